"""The virtual environment that lmms-eval runs in: its dependencies conflict with those of our simulators."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import si_embodied
from si_embodied.errors import ConfigError
from si_embodied.run_lock import locked
from si_embodied.runs import write_text

DEFAULT = Path("~/.cache/si_embodied/lmms-eval-0.7.3")
_INSTALLED = "si_embodied_installed.txt"
_NOT_USABLE = (
    "if it names torchvision, that is of another build than torch: install both with this python's pip from one index "
    "(that of CPU builds, for a CPU), and repeat"
)


def ensure_environment(directory: Path, say: Callable[[str], None]) -> Path:
    """The environment's Python. The first call makes it, which downloads about 2 GB, or 7 GB with CUDA.

    Args:
        directory: where it is, or will be.
        say: told before the installation starts.

    Raises:
        ConfigError: another run installs it, the installation failed, or lmms-eval cannot be imported. The next call
            continues it.
        RecordError: the folder cannot be written.
    """
    directory = directory.expanduser().absolute()
    python, wanted = directory / "bin" / "python", requirement()
    if not _is_installed(directory, wanted):
        with locked(directory, option="--environment"):
            if not _is_installed(directory, wanted):  # by a run that has ended meanwhile
                _install(directory, python, wanted, say)
    return python


def package_folder(directory: Path) -> Path | None:
    """Where lmms-eval lies in an environment; None if it is not there."""
    return next(iter((directory / "lib").glob("python*/site-packages/lmms_eval")), None)


def _is_installed(directory: Path, wanted: Sequence[str]) -> bool:
    """Whether an installation has ended, and what it made is still there."""
    installed = directory / _INSTALLED
    if not (installed.is_file() and (directory / "bin" / "python").exists() and package_folder(directory)):
        return False
    return installed.read_text(encoding="utf-8").strip() == " ".join(wanted)


def _install(directory: Path, python: Path, wanted: Sequence[str], say: Callable[[str], None]) -> None:
    say(f"installing lmms-eval into {directory}; this takes minutes, once")
    if not python.exists():
        venv.EnvBuilder(with_pip=True).create(directory)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *wanted], "mend that and repeat")
    _run([str(python), "-c", "import lmms_eval.__main__"], _NOT_USABLE)
    write_text(directory / _INSTALLED, " ".join(wanted) + "\n")


def _run(command: Sequence[str], fix: str) -> None:
    """Run a command in the environment.

    Raises:
        ConfigError: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise ConfigError(f"{' '.join(command)} failed with code {done.returncode}: {last}; {fix}")


def requirement() -> Sequence[str]:
    """What pip installs: this package as it is installed here, from its source folder or by its version."""
    extras = "[models,benchmark]"
    source = Path(si_embodied.__file__).resolve().parents[1]
    if (source / "pyproject.toml").is_file():
        return "--editable", f"{source}{extras}"
    return (f"si-embodied{extras}=={si_embodied.__version__}",)
