"""The citation of this package and of the paper whose models it runs, as BibTeX from CITATION.cff."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from typing import Any

import yaml


def bibtex() -> str:
    """One entry for the software and one for each reference."""
    text = importlib.resources.files(__package__).joinpath("CITATION.cff").read_text(encoding="utf-8")
    cff: dict[str, Any] = yaml.safe_load(text)
    software = _entry("software", str(cff["title"]), cff, {"version": cff["version"], "license": cff["license"]})
    return "\n\n".join([software, *(_reference(each) for each in cff.get("references", ()))]) + "\n"


def _reference(reference: Mapping[str, Any]) -> str:
    first, title = reference["authors"][0], str(reference["title"])
    key = f"{first['family-names']}{reference['year']}{title.split(maxsplit=1)[0]}".lower()
    fields = {"year": reference["year"], "url": reference.get("url")}
    fields["doi"] = next((each["value"] for each in reference.get("identifiers", ()) if each["type"] == "doi"), None)
    return _entry("article", key, reference, fields)


def _entry(kind: str, key: str, cited: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    everything = {
        "title": f"{{{cited['title']}}}",
        "author": " and ".join(_name(a) for a in cited["authors"]),
        **fields,
    }
    lines = [f"  {name} = {{{value}}}" for name, value in everything.items() if value is not None]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}"


def _name(author: Mapping[str, str]) -> str:
    """`Family, Given`; the name of a group is in braces, so that BibTeX does not take it apart."""
    if "name" in author:
        return f"{{{author['name']}}}"
    return f"{author['family-names']}, {author['given-names']}"
