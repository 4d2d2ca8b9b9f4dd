"""Ways to complete a prompt: scripted, a local checkpoint, a server. Each implements `Backend` and nothing more.

`LocalBackend` and `ServerBackend` are imported when they are first asked for: this package needs neither torch nor
transformers nor httpx. A planner on another machine is no backend but a planner: `si_embodied.serving.RemotePlanner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.backends.base import Backend, BackendInfo
from si_embodied.backends.controls import BlankImages
from si_embodied.backends.options import ServerOptions
from si_embodied.backends.scripted import ScriptedBackend

if TYPE_CHECKING:
    from si_embodied.backends.local import LocalBackend
    from si_embodied.backends.server import ServerBackend

__all__ = [
    "Backend", "BackendInfo", "BlankImages", "LocalBackend", "ScriptedBackend", "ServerBackend", "ServerOptions",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import the backends that need a library on first use."""
    if name == "LocalBackend":
        from si_embodied.backends.local import LocalBackend

        return LocalBackend
    if name == "ServerBackend":
        from si_embodied.backends.server import ServerBackend

        return ServerBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
