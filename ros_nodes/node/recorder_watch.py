"""Whether a recorder hears the cameras: a task that starts before it does cannot be replayed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from si_embodied.ros_nodes.node.settings import NodeSettings

_LEAD_S = 1.0
"""A task begins with images from shortly before it."""
_FORMS = (("image_raw", "image_raw/compressed"), ("depth", "depth/compressedDepth"), ("camera_info",))
"""What a replay needs of a camera, each in one of its forms."""


class RecorderWatch:
    """Refuses tasks until a recorder has once heard every camera; what becomes of it later stops no robot."""

    def __init__(self, node: Any, settings: NodeSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch for the recorder that the settings name, if any.

        Args:
            node: rclpy's, which knows the graph.
            settings: of the planner node.
            clock: steady, in seconds; simulated time may begin anew.
        """
        self._node, self._name, self._clock = node, settings.recorder, clock
        self._unheard = [(camera, forms) for camera in settings.cameras for forms in _FORMS]
        self._heard_since_s: float | None = None

    def refusal(self) -> str:
        """Why a task would begin before its recording; empty if it would not."""
        if not self._name:
            return ""
        self._unheard = [each for each in self._unheard if not self._hears(*each)]
        if self._unheard:
            camera, forms = self._unheard[0]
            return f"the recorder {self._name!r} does not listen to '{camera}/{forms[0]}' yet; start it, or wait for it"
        now_s = self._clock()
        if self._heard_since_s is None:
            self._heard_since_s = now_s
        return "" if now_s >= self._heard_since_s + _LEAD_S else f"the recorder {self._name!r} has just begun to listen"

    def _hears(self, camera: str, forms: tuple[str, ...]) -> bool:
        names = [self._node.resolve_topic_name(f"{camera}/{form}") for form in forms]
        found = [each for name in names for each in self._node.get_subscriptions_info_by_topic(name)]
        return any(each.node_name == self._name for each in found)
