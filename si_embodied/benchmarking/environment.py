"""The virtual environment that lmms-eval runs in: its dependencies conflict with those of our simulators."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import si_embodied
from si_embodied.errors import ConfigError
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
        ConfigError: the installation failed, or lmms-eval cannot be imported. The next call continues it.
    """
    directory = directory.expanduser().absolute()
    python, installed = directory / "bin" / "python", directory / _INSTALLED
    wanted = requirement()
    text = " ".join(wanted)
    if installed.is_file() and installed.read_text(encoding="utf-8").strip() == text:
        return python
    say(f"installing lmms-eval into {directory}; this takes minutes, once")
    if not python.exists():
        venv.EnvBuilder(with_pip=True).create(directory)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *wanted], "mend that and repeat")
    _run([str(python), "-c", "import lmms_eval.__main__"], _NOT_USABLE)
    write_text(installed, text + "\n")
    return python


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
