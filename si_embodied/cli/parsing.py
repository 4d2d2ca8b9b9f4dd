"""From a dataclass to a command line: flags, defaults and help come from its fields, and tyro does the parsing.

A command is a frozen dataclass with a `run` method. The help of a flag is its field's `Doc`, so that a settings
dataclass brings its own help: `Annotated[EvaluationConfig, flags(env="ID", seed="S")]` adds `--env` and `--seed`.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Protocol

import tyro
from tyro.conf import (
    FlagCreatePairsOff,
    HelptextFromCommentsOff,
    OmitArgPrefixes,
    Positional,
    UseAppendAction,
    arg,
)
from tyro.constructors import PrimitiveConstructorSpec

from si_embodied.types import LEAST_IMAGE_SIZE

_MISSING = inspect.Parameter.empty


class Command(Protocol):
    """A parsed command line."""

    def run(self) -> int:
        """Run the command, and return its exit code."""
        ...


def parse(command: type[Command], program: str, arguments: Sequence[str]) -> Command:
    """Parse the arguments of a command.

    Raises:
        SystemExit: with code 0 after `--help`, and with 2 after a message about arguments that are wrong.
        ConfigError: if a settings dataclass rejects its values.
    """
    config = (OmitArgPrefixes, FlagCreatePairsOff, HelptextFromCommentsOff)
    about = inspect.getdoc(command)
    parsed: Command = tyro.cli(constructor(command), prog=program, description=about, args=arguments, config=config)
    return parsed


@dataclasses.dataclass(frozen=True, slots=True)
class _Chosen:
    """The fields of a settings dataclass that become flags."""

    fields: Mapping[str, object] | None  # None for all


def flags(*names: str, **fields: object) -> object:
    """Annotate a field whose type is a settings dataclass with those of its fields that become flags.

    Without arguments, all of them do.

    Args:
        names: fields whose flags need no more than their type says.
        fields: others, each with a metavar, a `reader`, `flags` of its own, a note for tyro, or a tuple of these.
    """
    return _Chosen({**dict.fromkeys(names), **fields} or None)


def all_flags(settings: type, **fields: object) -> object:
    """Annotate a field whose type is a settings dataclass, all of whose fields become flags.

    Args:
        settings: the dataclass.
        fields: those that need more than their type says, as for `flags`.
    """
    return flags(*(each.name for each in dataclasses.fields(settings) if each.name not in fields), **fields)


def reader(
    read: Callable[[str], Any], metavar: str, *, without_value: str | None = None
) -> PrimitiveConstructorSpec[Any]:
    """How to read a flag's text.

    Args:
        read: makes the value, or raises a `ValueError` with the text, what is expected and an example.
        metavar: stands for the value in `--help`.
        without_value: the text that a flag without a value stands for; by default, the flag needs a value.
    """
    return PrimitiveConstructorSpec(
        nargs=1 if without_value is None else (0, 1),
        metavar=metavar,
        instance_from_str=lambda texts: read(texts[0] if texts else str(without_value)),
        is_instance=lambda _: True,
        str_from_instance=lambda value: [str(value)],
    )


def whole_number(text: str, minimum: int = 0, example: int | None = None) -> int:
    """Read an integer of at least `minimum`."""
    if not (text.lstrip("+-").isdecimal() and int(text) >= minimum):
        shown = minimum + 1 if example is None else example
        raise ValueError(f"expected a whole number of at least {minimum}, got {text!r}; for example {shown}")
    return int(text)


def count(text: str) -> int:
    """Read an integer of at least 1."""
    return whole_number(text, 1)


def image_size(text: str) -> int:
    """Read the width of an image in pixels."""
    return whole_number(text, LEAST_IMAGE_SIZE, example=224)


COUNT = reader(count, "N")
IMAGE_SIZE = reader(image_size, "N")
Count = Annotated[int, COUNT]


def number(text: str, above: float = -math.inf) -> float:
    """Read a finite number above `above`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not above < value < math.inf:
        limit = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(f"expected a number{limit}, got {text!r}; for example 1.5")
    return value


# --- the function that tyro reads -----------------------------------------------------------------------------------

_READERS: Mapping[Any, PrimitiveConstructorSpec[Any]] = {
    int: reader(whole_number, "N"), float: reader(number, "X"), str: reader(str, "TEXT"), Path: reader(Path, "PATH")
}  # fmt: skip
_keyword = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)


def constructor(cls: Any, chosen: Mapping[str, object] | None = None, base: Any = _MISSING) -> Callable[..., Any]:
    """Return a function that makes a `cls` (or changes `base`); tyro makes a flag of each keyword it takes.

    A nested dataclass with `flags` lends its keywords to this function, any other is a group of flags in `--help`.
    """
    parameters: list[inspect.Parameter] = []
    inlined: dict[str, Callable[..., Any]] = {}
    for field, plain, notes in _fields(cls, chosen):
        default = _default(field) if base is _MISSING else getattr(base, field.name)
        within = next((note for note in reversed(notes) if isinstance(note, _Chosen)), None)  # the outer choice wins
        if not dataclasses.is_dataclass(plain):
            parameters.append(_keyword(field.name, annotation=_flag(plain, notes, default), default=default))
        elif within is None:
            make = constructor(plain, None, default)
            parameters.append(_keyword(field.name, annotation=Annotated[plain, arg(constructor=make)]))
        else:
            inlined[field.name] = make = constructor(plain, within.fields, default)
            parameters += inspect.signature(make).parameters.values()

    def construct(**values: Any) -> Any:
        for name, make in inlined.items():
            values[name] = make(**{each: values.pop(each) for each in inspect.signature(make).parameters})
        return cls(**values) if base is _MISSING else dataclasses.replace(base, **values)

    parameters.sort(key=lambda each: each.default is not _MISSING)
    construct.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    construct.__annotations__ = {each.name: each.annotation for each in parameters}
    construct.__doc__ = cls.__doc__
    return construct


def _fields(cls: Any, chosen: Mapping[str, object] | None) -> Iterator[tuple[dataclasses.Field[Any], Any, list[Any]]]:
    """The fields that become flags, each with its type and the notes on it (`Doc`, metavar, reader).

    Only their types are resolved: those of other fields may be imported for type checkers alone.
    """
    declared = {name: hint for base in reversed(cls.__mro__) for name, hint in inspect.get_annotations(base).items()}
    fields = [each for each in dataclasses.fields(cls) if chosen is None or each.name in chosen]
    wanted = SimpleNamespace(__annotations__={each.name: declared[each.name] for each in fields})
    hints = typing.get_type_hints(wanted, vars(sys.modules[cls.__module__]), include_extras=True)
    for field in fields:
        hint, given = hints[field.name], (chosen or {}).get(field.name)
        notes = list(getattr(hint, "__metadata__", ()))
        plain = hint.__origin__ if notes else hint
        more = (note for note in (given if isinstance(given, tuple) else (given,)) if note)
        yield field, plain, [*notes, *(arg(metavar=note) if isinstance(note, str) else note for note in more)]


def _flag(plain: Any, notes: list[Any], default: Any) -> Any:
    """The annotation that tyro reads; `--help` says a default unless it means that nothing is given."""
    kinds = [kind for kind in typing.get_args(plain) or (plain,) if kind is not type(None)]
    if (
        len(kinds) == 1
        and kinds[0] in _READERS
        and not any(isinstance(each, PrimitiveConstructorSpec) for each in notes)
    ):
        notes = [*notes, _READERS[kinds[0]]]
    element = typing.get_args(plain)[0] if typing.get_origin(plain) is tuple and Positional in notes else None
    if default is _MISSING and element in _READERS:
        notes = [*notes, _at_least_one(_READERS[element]), arg(help_behavior_hint="(required)")]
    if default is None or default is False or default == "" or (default == () and UseAppendAction not in notes):
        notes = [*notes, arg(help_behavior_hint="")]
    return Annotated[(plain, *notes)] if notes else plain


def _at_least_one(element: PrimitiveConstructorSpec[Any]) -> PrimitiveConstructorSpec[Any]:
    """Read one text or more. To tyro, no text at all would be an empty tuple, and the argument optional."""

    def read(texts: list[str]) -> tuple[Any, ...]:
        if not texts:
            raise ValueError("it is required; give at least one")
        return tuple(element.instance_from_str([text]) for text in texts)

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=element.metavar,
        instance_from_str=read,
        is_instance=lambda _: True,
        str_from_instance=lambda values: list(map(str, values)),
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return _MISSING if field.default is dataclasses.MISSING else field.default
