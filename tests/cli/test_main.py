from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from si_embodied import __version__
from si_embodied.cli import main as entry
from si_embodied.errors import ConfigError

SHARED = ("__init__", "main", "options", "output", "parsing", "progress")  # modules of the command that are no verbs


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        entry.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == f"si-embodied {__version__}"


def test_help_lists_every_verb_once_under_the_title_of_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        entry.main(["--help"])
    sections = {part.partition(":\n")[0]: part.partition(":\n")[2] for part in capsys.readouterr().out.split("\n\n")}
    shown = {title: dict(line.split(maxsplit=1) for line in sections[title].splitlines()) for title in entry.GROUPS}
    assert shown == entry.GROUPS


def test_every_module_with_a_command_is_a_verb() -> None:
    modules = [path.stem for path in Path(entry.__file__).parent.glob("*.py") if path.stem not in SHARED]
    assert sorted(modules) == sorted(entry.VERBS)


@pytest.mark.parametrize("verb", entry.VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        entry.main([verb, "--help"])
    assert stopped.value.code == 0
    assert "usage: si-embodied" in capsys.readouterr().out


def test_help_of_every_verb_loads_nothing_heavy_and_shows_no_empty_default() -> None:
    """The settings dataclasses that verbs take import no simulator, learning library, ROS or server.

    What is shown with an empty default is a required argument that looks optional.
    """
    code = (
        "import contextlib, importlib, io, sys\n"
        "said = io.StringIO()\n"
        "from si_embodied.cli.main import VERBS, main\n"
        "for verb in VERBS:\n"
        "    module = importlib.import_module(f'si_embodied.cli.{verb}')\n"
        "    for name in getattr(module, 'SUBCOMMANDS', [None]):\n"
        "        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(said):\n"
        "            main([verb, *filter(None, [name]), '--help'])\n"
        "heavy = {'torch', 'transformers', 'mujoco', 'gymnasium', 'scipy', 'rich', 'rclpy', 'fastapi', 'msgpack'}\n"
        "heavy.add('ray')\n"
        "print(sorted(heavy & set(sys.modules)), said.getvalue().count('(default: )'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 0"


def test_help_is_quick_because_it_loads_little() -> None:
    """A time would depend on the machine; what is imported does not. Python itself loads about 60 modules."""
    code = (
        "import sys; from si_embodied.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'mujoco', 'rich', 'pydantic', 'tyro'} & set(sys.modules)\n"
        "print(sorted(heavy), len(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, count = done.stderr.rsplit(maxsplit=1)
    assert heavy == "[]"
    assert int(count) < 400, "287 when this was written"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("expected a verb after `si-embodied`", "doctor", "--help", "Start with")),
        (("-v",), ("expected a verb",)),
        (("evl",), ("'evl'", "Did you mean 'eval'?", "doctor")),
        (("suite",), ("expected a verb after `si-embodied suite`", "run, compare, list")),
        (("suite", "rnu"), ("'rnu'", "Did you mean 'run'?")),
    ],
)
def test_a_missing_or_misspelt_verb_is_an_error_with_a_suggestion(
    arguments: tuple[str, ...], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert all(word in shown for word in words), shown


@pytest.mark.parametrize("arguments", [("report",), ("data", "export", "--out", "x")])
def test_a_list_of_runs_needs_one(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        entry.main(arguments)
    assert stopped.value.code == 2
    shown = capsys.readouterr().err
    assert "RUN" in shown
    assert "required" in shown


def test_our_errors_are_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ConfigError("expected [a] seed,\ngot: [b]")

    monkeypatch.setattr("si_embodied.cli.doctor.check", fail)
    assert entry.main(["doctor"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "error: expected [a] seed, got: [b]\n"
    assert shown.out == ""


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("si_embodied.cli.doctor.check", interrupt)
    assert entry.main(["doctor"]) == 130
    assert "Traceback" not in capsys.readouterr().err
