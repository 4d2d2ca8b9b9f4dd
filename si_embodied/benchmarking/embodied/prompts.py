"""The prompt, in the structure of EmbodiedBench's: rules with examples, the task with what happened so far, the format.

The rules may come from a file of the user's, such as EmbodiedBench's own `system_prompts.py`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from si_embodied.arm_actions import POSITION_LEVELS, ROTATION_LEVELS, ROTATION_STEP_RAD
from si_embodied.benchmarking.embodied.answers import answer_schema, text_schema
from si_embodied.errors import ConfigError
from si_embodied.types import Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.benchmarking.embodied.situation import Situation

Kind: TypeAlias = Literal["manipulation", "rearrangement"]
AnswerForm: TypeAlias = Literal["schema", "text"]

OFFICIAL = {"manipulation": "eb_manipulation_system_prompt", "rearrangement": "habitat_system_prompt"}
"""Names of the texts in EmbodiedBench's `embodiedbench/evaluator/config/system_prompts.py`."""


@dataclass(frozen=True, slots=True)
class Prompter:
    """Writes the prompt of each answer."""

    kind: Kind
    system: str  # placeholders: {} in EmbodiedBench's order, or our names
    task: str
    past: str
    answer: str
    examples: tuple[str, ...]
    form: AnswerForm = "schema"
    text_limit: int = 1000

    @property
    def version(self) -> str:
        """`embodiedbench/manipulation@` and a digest of all texts."""
        texts = (self.system, self.task, self.past, self.answer, *self.examples)
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
        return f"embodiedbench/{self.kind}@{digest}"

    def prompt(self, situation: Situation) -> Prompt:
        """The prompt for an answer: all in the user's turn, the picture where EmbodiedBench has it.

        EB-Manipulation sends the text first, EB-Habitat the picture.
        """
        text = "\n\n".join((self._rules(situation), self._task(situation), self.answer))
        content: tuple[str | NDArray[np.uint8], ...] = (text, situation.picture)
        schema = answer_schema(situation.skills, self.text_limit)
        return Prompt(
            self.version,
            "",
            content if self.kind == "manipulation" else content[::-1],
            schema if self.form == "schema" else text_schema(self.text_limit),
        )

    def _rules(self, situation: Situation) -> str:
        examples = "\n\n".join(f"Example {k}:\n{each}" for k, each in enumerate(self.examples, start=1))
        if self.kind == "manipulation":
            levels, rotations = POSITION_LEVELS - 1, ROTATION_LEVELS - 1
            degrees = round(math.degrees(ROTATION_STEP_RAD))
            values: Mapping[str, Any] = {"levels": levels, "rotations": rotations, "degrees": degrees}
            in_order: Sequence[Any] = (levels, levels, rotations, degrees, examples)
        else:
            last, skills = len(situation.skills) - 1, _listed(situation.skills)
            values, in_order = {"last": last, "skills": skills}, (last, skills, examples)
        return _filled(self.system, in_order, {**values, "examples": examples})

    def _task(self, situation: Situation) -> str:
        lines = [f"{k}. {past.action}: {past.feedback}" for k, past in enumerate(situation.past, start=1)]
        past = self.past.replace("{actions}", "\n".join(lines)) if lines else ""
        instruction = situation.instruction.rstrip(".")
        values = {"{instruction}": instruction, "{objects}": situation.objects, "{past}": past}
        return re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], self.task).strip()


def load_prompter(
    kind: Kind,
    *,
    file: Path | None = None,
    shots: int | None = None,
    form: AnswerForm = "schema",
    text_limit: int = 1000,
) -> Prompter:
    """The prompt of a kind of task.

    Args:
        kind: of task.
        file: replaces the rules: a text, or EmbodiedBench's `system_prompts.py`, of which only the strings are read.
        shots: how many of our examples to show; None for all.
        form: whether the answer is bound to its schema, or free text.
        text_limit: characters of each of the answer's texts.

    Raises:
        ConfigError: the file cannot be read, or does not hold such a prompt.
    """
    text = resources.files("si_embodied.benchmarking.embodied").joinpath(f"{kind}.md").read_text(encoding="utf-8")
    parts = re.split(r"^# (\w+)\n", text, flags=re.MULTILINE)
    sections = {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    prompter = Prompter(kind, **sections, examples=_examples(kind)[:shots], form=form, text_limit=text_limit)
    if file is None:
        return prompter
    prompter = replace(prompter, system=_own_rules(file, kind))
    count, names = _PLACEHOLDERS[kind]
    _filled(prompter.system, ("",) * count, dict.fromkeys(names, ""))
    return prompter


_PLACEHOLDERS: Mapping[Kind, tuple[int, tuple[str, ...]]] = {
    "manipulation": (5, ("levels", "rotations", "degrees", "examples")),
    "rearrangement": (3, ("last", "skills", "examples")),
}
"""How many are filled in order, and the names of those that are filled by name."""


def _filled(text: str, in_order: Sequence[Any], named: Mapping[str, Any]) -> str:
    try:
        return text.format(*in_order, **named)
    except (LookupError, ValueError, AttributeError) as error:
        names = ", ".join(f"{{{name}}}" for name in named)
        raise ConfigError(
            f"the prompt's placeholders cannot be filled ({error}): expected up to {len(in_order)} {{}}, or {names}"
        ) from error


def _own_rules(file: Path, kind: Kind) -> str:
    try:
        text = file.expanduser().read_text(encoding="utf-8")
        if file.suffix != ".py":
            return text
        return _string_in(text, OFFICIAL[kind])
    except (OSError, ValueError, SyntaxError) as error:
        raise ConfigError(f"cannot read a prompt from {str(file)!r}: {error}") from error


def _string_in(program: str, name: str) -> str:
    """The string that a Python file assigns to a name; nothing of the file is run."""
    for node in ast.parse(program).body:
        names = [each.id for each in getattr(node, "targets", ()) if isinstance(each, ast.Name)]
        if name in names and isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            return str(node.value.value)
    raise ValueError(f"it assigns no string to {name}; give a text file instead")


def _listed(skills: Sequence[str]) -> str:
    return ", ".join(f"\naction id {number}: {name}" for number, name in enumerate(skills))


def _examples(kind: Kind) -> tuple[str, ...]:
    """Our examples: what is given, and a good answer."""
    file = resources.files("si_embodied.benchmarking.embodied").joinpath(f"{kind}_examples.json")
    rows = json.loads(file.read_text(encoding="utf-8"))
    return tuple(f"{row['given']}\nAnswer: {json.dumps(row['answer'])}" for row in rows)
