"""Creates the backend and the planner for the node's settings: those of `backends.opening`, and perfect pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.backends.opening import open_backend, open_planner
from si_embodied.backends.questions import Asker, asker_for
from si_embodied.planner import Planner
from si_embodied.ros_nodes.node.perfect_pixels import PerfectPixels

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend
    from si_embodied.planner import AnyPlanner
    from si_embodied.ros_nodes.node.settings import NodeSettings


def make_backend(settings: NodeSettings) -> Backend | None:
    """The backend, loaded and ready; None if a planning server on another machine plans.

    Raises:
        SiEmbodiedError: the backend cannot be opened.
    """
    if settings.backend == "remote":
        return None
    return PerfectPixels() if settings.backend == "perfect_pixels" else open_backend(settings.backend_config)


def make_planner(settings: NodeSettings, backend: Backend | None) -> AnyPlanner:
    """A planner for the settings' robot, using a backend from `make_backend`.

    Raises:
        SiEmbodiedError: an unknown prompt version, or the planning server does not answer.
    """
    if backend is not None:
        return Planner(backend, settings.embodiment, settings.planner)
    return open_planner(settings.backend_config, settings.embodiment, settings.planner)


def make_asker(settings: NodeSettings, backend: Backend | None) -> Asker | None:
    """The `Asker` for `~/ask`; None if no model in this process can answer questions."""
    if backend is None or isinstance(backend, PerfectPixels):
        return None
    return asker_for(backend, settings.backend_config.kind)
