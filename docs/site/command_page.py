"""docs/reference/command.md: every verb and flag of `si-embodied`, read from the dataclasses that make them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from markdown_tables import cell, code, table
from typing_extensions import Doc
from tyro.conf import Positional, UseAppendAction
from tyro.constructors import PrimitiveConstructorSpec

from si_embodied.cli.main import GROUPS
from si_embodied.cli.parsing import Command, constructor

INTRODUCTION = """\
# The command line

Every verb of `si-embodied` and every flag. `si-embodied VERB --help` prints the same. `make reference` writes this page
from the code, so do not edit it; a test fails where it differs.

Before the verb: `-v` (`--verbose`) logs what happens and shows errors with a traceback; `--version` prints the version.
The exit code is 0 if the command worked, 1 if it found that something cannot work, 2 on an error, and 130 after Ctrl-C.
"""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag as `--help` shows it."""

    name: str  # "--max-rate", or "folder" for a positional argument
    value: str  # what stands for its value; empty for a switch
    default: str  # empty: none
    required: bool
    repeats: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One command line: a verb, or a verb and what it does."""

    words: str  # "models export"
    about: str
    flags: tuple[Flag, ...]


def entries(verb: str) -> Iterator[Entry]:
    """The command lines of a verb."""
    module = importlib.import_module(f"si_embodied.cli.{verb}")
    for name, command in getattr(module, "SUBCOMMANDS", {"": getattr(module, verb.capitalize(), None)}).items():
        yield Entry(f"{verb} {name}".strip(), inspect.getdoc(command) or "", tuple(flags_of(command)))


def flags_of(command: type[Command]) -> Iterator[Flag]:
    """The flags of a command, those that must be given first."""
    return _flags(constructor(command))


def _flags(make: Callable[..., Any]) -> Iterator[Flag]:
    for parameter in inspect.signature(make).parameters.values():
        notes = list(getattr(parameter.annotation, "__metadata__", ()))
        plain = parameter.annotation.__origin__ if notes else parameter.annotation
        if dataclasses.is_dataclass(plain):  # a group of flags
            yield from _flags(_noted(notes, "constructor_factory")())
        else:
            yield _flag(parameter, plain, notes)


def _flag(parameter: inspect.Parameter, plain: Any, notes: list[Any]) -> Flag:
    positional, required = Positional in notes, parameter.default is parameter.empty
    name = _noted(notes, "name") or parameter.name
    return Flag(
        name=name.replace("_", "-") if positional else f"--{name.replace('_', '-')}",
        value=_value(plain, notes),
        default="" if required or _noted(notes, "help_behavior_hint") == "" else _words(parameter.default),
        required=required,
        repeats=UseAppendAction in notes,
        meaning=next((note.documentation for note in reversed(notes) if isinstance(note, Doc)), ""),
    )


def _noted(notes: list[Any], what: str) -> Any:
    """The last thing of this kind that `tyro.conf.arg` was told."""
    return next((value for note in reversed(notes) if (value := getattr(note, what, None)) is not None), None)


def _value(plain: Any, notes: list[Any]) -> str:
    if plain is bool:
        return ""
    told = [note for note in notes if not isinstance(note, PrimitiveConstructorSpec)]
    if metavar := _noted(told, "metavar") or _noted(notes, "metavar"):
        return str(metavar)
    arguments = [each for each in typing.get_args(plain) if each not in (type(None), Ellipsis)]
    if typing.get_origin(plain) is typing.Literal:
        return "{" + ",".join(map(str, arguments)) + "}"
    if arguments:  # of `X | None` and `tuple[X, ...]`, that of X
        inner, within = arguments[0], list(getattr(arguments[0], "__metadata__", ()))
        several = typing.get_origin(plain) is tuple and UseAppendAction not in notes
        return _value(inner.__origin__ if within else inner, within) + (" …" if several else "")
    return {"int": "N", "float": "X", "Path": "PATH"}.get(getattr(plain, "__name__", ""), "TEXT")


def _words(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def command_page() -> str:
    """The page."""
    parts = [INTRODUCTION]
    for title, verbs in GROUPS.items():
        parts.append(f"## {title.capitalize()}\n")
        parts += [_section(entry) for verb in verbs for entry in entries(verb)]
    return "\n".join(parts)


def _section(entry: Entry) -> str:
    rows = [(_usage(flag), code(flag.default), cell(_meaning(flag))) for flag in entry.flags]
    flags = table(("flag", "default", "meaning"), rows) if rows else "No flags.\n"
    return f"### {entry.words}\n\n{cell(entry.about)}\n\n{flags}"


def _usage(flag: Flag) -> str:
    return code(f"{flag.name} {flag.value}".strip().replace("|", " or "))


def _meaning(flag: Flag) -> str:
    notes = [note for note, holds in (("required", flag.required), ("may be repeated", flag.repeats)) if holds]
    return "; ".join(filter(None, (flag.meaning, *notes)))
