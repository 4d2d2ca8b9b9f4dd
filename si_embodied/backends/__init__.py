"""Model backends: scripted, a local checkpoint, an OpenAI-compatible server. Each implements `Backend`.

`opening` turns a `BackendConfig` into a backend or a planner. `LocalBackend` and `ServerBackend` are imported on first
use, so importing this package needs neither torch, transformers nor httpx. A planning server on another machine is a
planner, not a backend: see `si_embodied.serving.RemotePlanner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.backends.base import Backend, BackendInfo
from si_embodied.backends.config import BackendConfig, ServerOptions
from si_embodied.backends.controls import BlankImages
from si_embodied.backends.opening import open_backend, open_planner
from si_embodied.backends.scripted import ScriptedBackend

if TYPE_CHECKING:
    from si_embodied.backends.local import LocalBackend
    from si_embodied.backends.server import ServerBackend

__all__ = [
    "Backend", "BackendConfig", "BackendInfo", "BlankImages", "LocalBackend", "ScriptedBackend", "ServerBackend",
    "ServerOptions", "open_backend", "open_planner",
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
