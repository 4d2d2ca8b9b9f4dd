from __future__ import annotations

import subprocess
import sys

import pytest

from si_embodied import __version__
from si_embodied.cli import main as entry
from si_embodied.errors import ConfigError


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        entry.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == f"si-embodied {__version__}"


def test_every_verb_has_a_line_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        entry.main(["--help"])
    text = capsys.readouterr().out
    for verb, about in entry.VERBS.items():
        assert f"    {verb} " in text
        assert about in text


@pytest.mark.parametrize("verb", entry.VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        entry.main([verb, "--help"])
    assert stopped.value.code == 0
    assert "usage: si-embodied" in capsys.readouterr().out


def test_help_of_every_verb_loads_nothing_heavy() -> None:
    """The settings dataclasses that verbs take import no simulator, learning library, ROS or server."""
    code = (
        "import contextlib, importlib, io, sys\n"
        "from si_embodied.cli.main import VERBS, main\n"
        "for verb in VERBS:\n"
        "    module = importlib.import_module(f'si_embodied.cli.{verb}')\n"
        "    for name in getattr(module, 'SUBCOMMANDS', [None]):\n"
        "        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "            main([verb, *filter(None, [name]), '--help'])\n"
        "heavy = {'torch', 'transformers', 'mujoco', 'gymnasium', 'scipy', 'rich', 'rclpy', 'fastapi', 'msgpack'}\n"
        "heavy.add('ray')\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
