"""Takes a dataclass field's description from where this project writes it: a comment beside it, or its `Doc`."""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe

_COMMENT = re.compile(r"  # (?!noqa|type:|fmt:|nosec)(.+)$")


class FieldComments(griffe.Extension):
    """Makes the comment that follows a field, or the text of its `Doc`, the field's docstring."""

    def on_attribute_instance(
        self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **kwargs: Any
    ) -> None:
        """Look at one attribute."""
        if attr.docstring is not None or not isinstance(node, ast.AnnAssign):
            return
        text = _doc(node.annotation) or _comment(attr)
        if text:
            attr.docstring = griffe.Docstring(text, parent=attr)


def _doc(annotation: ast.expr) -> str:
    for part in ast.walk(annotation):
        if isinstance(part, ast.Call) and ast.unparse(part.func) == "Doc" and isinstance(part.args[0], ast.Constant):
            return str(part.args[0].value)
    return ""


def _comment(attr: griffe.Attribute) -> str:
    lines = attr.lines
    found = _COMMENT.search(lines[-1]) if lines else None
    return found[1] if found else ""
