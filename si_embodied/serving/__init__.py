"""Planning on another machine: the wire format, the planning server, and the robot's thin client.

The client (`RemotePlanner`) needs numpy, msgpack and websockets; the server also needs FastAPI, uvicorn and
prometheus-client. Neither imports a model: the server is given a backend. Nothing is pickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from si_embodied.serving.client import RemotePlanner

__all__ = ["RemotePlanner"]


def __getattr__(name: str) -> object:
    """Import the client on first use, so that importing the package needs no extra."""
    if name == "RemotePlanner":
        from si_embodied.serving.client import RemotePlanner

        return RemotePlanner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
