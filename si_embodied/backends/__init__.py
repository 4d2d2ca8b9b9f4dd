"""Ways to complete a prompt: scripted, a local checkpoint, a server. Each implements `Backend` and nothing more.

`LocalBackend` is imported when it is first asked for: this package needs neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.backends.base import Backend, BackendInfo
from si_embodied.backends.controls import BlankImages
from si_embodied.backends.scripted import ScriptedBackend

if TYPE_CHECKING:
    from si_embodied.backends.local import LocalBackend

__all__ = ["Backend", "BackendInfo", "BlankImages", "LocalBackend", "ScriptedBackend"]


def __getattr__(name: str) -> object:
    """Import the heavy backend on first use."""
    if name == "LocalBackend":
        from si_embodied.backends.local import LocalBackend

        return LocalBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
