"""A command line from a dataclass."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from typing_extensions import Doc
from tyro.constructors import PrimitiveConstructorSpec

from si_embodied.cli import parsing, study
from si_embodied.cli.main import VERBS
from si_embodied.cli.main import parse as parse_line
from si_embodied.cli.parsing import flags, parse, reader
from si_embodied.config import descriptions
from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig


@dataclass(frozen=True)
class Oven:
    """Settings that know nothing of a command line."""

    dish: Annotated[str, Doc("what to bake")]
    heat: Annotated[int, Doc("degrees")] = 180
    fan: Annotated[bool, Doc("circulate the air")] = False
    secret: Annotated[Undefined | None, Doc("imported for type checkers only")] = None  # noqa: F821

    def __post_init__(self) -> None:
        if self.heat > 300:
            raise ConfigError(f"expected at most 300 degrees, got: {self.heat}")


@dataclass(frozen=True)
class Rack:
    """Where to put it."""

    level: Annotated[Literal["low", "high"], Doc("of the rack")] = "low"


@dataclass(frozen=True)
class Bake:
    """Bake something."""

    oven: Annotated[Oven, flags("dish", "heat", "fan")]
    rack: Rack
    minutes: Annotated[float | None, Doc("how long")] = None
    timer: Annotated[str | None, Doc("ring"), reader(str, "[SOUND]", without_value="bell")] = None

    def run(self) -> int:
        return 0


@dataclass(frozen=True)
class BakeBread(Bake):
    """Bake bread."""

    oven: Annotated[Oven, flags("heat")] = Oven("bread", heat=250)
    rack: Rack = Rack()


def test_flags_become_the_nested_settings() -> None:
    command = parse(Bake, "bake", ["--dish", "pie", "--heat", "200", "--fan", "--level", "high", "--minutes", "2.5"])
    assert command == Bake(Oven("pie", 200, fan=True), Rack("high"), 2.5)


def test_a_default_instance_gives_the_flags_their_defaults() -> None:
    assert parse(BakeBread, "bake", []) == BakeBread()
    assert parse(BakeBread, "bake", ["--heat", "230"]) == BakeBread(Oven("bread", 230))


@pytest.mark.parametrize(("arguments", "timer"), [([], None), (["--timer"], "bell"), (["--timer", "gong"], "gong")])
def test_a_flag_may_stand_without_a_value(arguments: list[str], timer: str | None) -> None:
    assert parse(BakeBread, "bake", arguments) == BakeBread(timer=timer)


def test_settings_check_themselves() -> None:
    with pytest.raises(ConfigError, match="at most 300 degrees, got: 301"):
        parse(Bake, "bake", ["--dish", "pie", "--heat", "301"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dish", "pie", "--heat", "hot"], ("--heat", "'hot'", "whole number")),
        (["--dish", "pie", "--minutes", "nan"], ("--minutes", "'nan'", "number", "1.5")),
        (["--dish", "pie", "--level", "top"], ("--level", "'top'", "'low'", "'high'")),
        (["--dish", "pie", "--haet", "1"], ("--haet", "--heat")),
        ([], ("--dish",)),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_expected(
    arguments: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(Bake, "bake", arguments)
    assert stopped.value.code == 2
    shown = capsys.readouterr().err
    assert all(word in shown for word in words), shown


def test_help_shows_the_settings_own_descriptions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        parse_line(["eval", "--help"])
    shown = capsys.readouterr().out
    described = descriptions(EvaluationConfig)
    for name in ("env", "policy", "task", "seed", "episodes", "image_size", "action_mode", "latency", "python"):
        assert described[name] in shown


@pytest.mark.parametrize(
    ("arguments", "steps", "minutes"),
    [([], 4000, None), (["--steps", "3"], 3, None), (["--minutes", "3"], None, 3.0)],
)
def test_the_length_of_a_training_is_steps_or_minutes(
    arguments: list[str], steps: int | None, minutes: float | None
) -> None:
    command, _ = parse_line(["study", "scaling", *arguments])
    assert isinstance(command, study.Scaling)
    sizes = study._one_budget(command.sizes, study._DEFAULT_SIZES)
    assert (sizes.steps, sizes.minutes, sizes.data) == (steps, minutes, Path("runs/nano/data"))


def _whole_numbers(
    cls: Any, chosen: Mapping[str, object] | None = None, base: Any = None
) -> Iterator[tuple[Any, str]]:  # fmt: skip
    """Each flag of a command that takes any whole number: the settings that it is a field of, and its name."""
    for field, plain, notes in parsing._fields(cls, chosen):
        default = parsing._default(field) if base is None else getattr(base, field.name)
        within = next((note for note in reversed(notes) if isinstance(note, parsing._Chosen)), None)
        if dataclasses.is_dataclass(plain):
            if dataclasses.is_dataclass(default):
                yield from _whole_numbers(plain, None if within is None else within.fields, default)
        elif base is not None and int in (typing.get_args(plain) or (plain,)):
            yield from [(base, field.name)] * (not any(isinstance(each, PrimitiveConstructorSpec) for each in notes))


def test_a_flag_that_says_at_least_0_takes_a_0() -> None:
    """Otherwise the message about -1 would send its reader into the next error."""
    modules = [importlib.import_module(f"si_embodied.cli.{verb}") for verb in VERBS]
    commands = [
        command
        for verb, module in zip(VERBS, modules, strict=True)
        for command in getattr(module, "SUBCOMMANDS", {verb: getattr(module, verb.capitalize(), None)}).values()
    ]
    found = [(settings, name) for command in commands for settings, name in _whole_numbers(command)]
    assert len(found) > 10
    for settings, name in found:
        dataclasses.replace(settings, **{name: 0})


@pytest.mark.parametrize(
    ("line", "least"),
    [
        ("data generate --out O --count -1", 1),
        ("data generate --out O --count 1 --image-size 20", 64),
        ("calibrate board --columns 2", 3),
        ("benchmark latency --image-size 20", 32),
        ("train full --model M --data D --out O --batch 0", 1),
        ("train lora --model M --data D --out O --rank -4", 1),
        ("study scaling --steps 0", 1),
    ],
)
def test_a_number_that_is_too_small_is_refused_with_the_smallest(
    line: str, least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_line(line.split())
    assert f"at least {least}" in " ".join(capsys.readouterr().err.split())
