"""Importing backends is lightweight, and a missing library is named."""

from __future__ import annotations

import subprocess
import sys

import pytest

import si_embodied.backends

_CHECK_LIGHT = """
import sys
import si_embodied.backends
heavy = {"torch", "transformers", "llguidance", "PIL", "tokenizers", "safetensors"} & set(sys.modules)
assert not heavy, heavy
"""

_CHECK_MISSING = """
import sys
sys.modules[{module!r}] = None
from si_embodied.errors import MissingExtraError
try:
    from si_embodied.backends import LocalBackend
    from si_embodied.models.checkpoints import shipped_checkpoint
    LocalBackend(shipped_checkpoint())  # an export needs neither torch nor all of transformers, a checkpoint does
except MissingExtraError as error:
    assert (error.module, error.extra) == ({package!r}, "models"), error
else:
    raise SystemExit("it was opened")
"""


def test_importing_backends_imports_nothing_heavy() -> None:
    """In a fresh interpreter."""
    subprocess.run([sys.executable, "-c", _CHECK_LIGHT], check=True, timeout=60)


@pytest.mark.parametrize(
    ("module", "package"),
    [("torch", "torch"), ("transformers", "transformers"), ("llguidance", "llguidance"), ("PIL", "pillow")],
)
def test_the_error_for_a_missing_library_names_its_extra(module: str, package: str) -> None:
    """Simulates that the library is not installed."""
    code = _CHECK_MISSING.format(module=module, package=package)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_an_unknown_attribute_raises() -> None:
    """The lazy export still reports a misspelt name."""
    with pytest.raises(AttributeError, match="NoBackend"):
        _ = si_embodied.backends.NoBackend  # type: ignore[attr-defined]
