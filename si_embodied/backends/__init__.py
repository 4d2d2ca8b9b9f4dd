"""Ways to complete a prompt: scripted, a local checkpoint, a server. Each implements `Backend` and nothing more."""

from si_embodied.backends.base import Backend, BackendInfo
from si_embodied.backends.scripted import ScriptedBackend

__all__ = ["Backend", "BackendInfo", "ScriptedBackend"]
