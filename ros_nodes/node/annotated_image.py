"""Publishes the images of each decision with the plan's points drawn in, on `~/annotated`, while it has subscribers."""

from __future__ import annotations

import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from si_embodied.errors import MissingExtraError, extra
from si_embodied.grounding import pixel_of
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.skills import PointedSubgoal, Push
from si_embodied.types import Hold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime
    from si_embodied.types import CameraFrame, Decision, Observation

_DONE, _REFUSED = (64, 220, 96), (255, 96, 64)
"""Colours (RGB) of subgoals that are executed, and of those that are not."""
_WORDS = (255, 255, 255)
_CAPTION_PX = 18


class AnnotatedImage:
    """A decision listener: publishes one image per decision, with every view that the plan could point at."""

    def __init__(self, node: NodeView, runtime: PlannerRuntime) -> None:
        """Create the publisher."""
        self._node = node
        self._images = node.create_lifecycle_publisher(Image, "~/annotated", QoSProfile(depth=2))

    def on_decision(self, decision: Decision, observation: Observation | None) -> None:
        """Draw and publish the decision, if there are subscribers."""
        if observation is None or not self._images.get_subscription_count():
            return
        try:
            pixels = annotated(decision, observation)
        except MissingExtraError as error:
            self._node.get_logger().warning(f"no annotated image: {error}", once=True)
            return
        height, width = pixels.shape[:2]
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        message.data = array.array("B", pixels.tobytes())
        message.header.frame_id = observation.frames[0].name
        bridge.set_stamp(message.header.stamp, observation.stamp_s)
        self._images.publish(message)

    def tick(self) -> None:
        """Does nothing: images are published with their decisions."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._images)


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """Where a view is drawn, in pixels of the canvas."""

    frame: CameraFrame
    left: int
    top: int
    scale: float  # canvas pixels per image pixel

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return round(self.frame.intrinsics.width * self.scale), round(self.frame.intrinsics.height * self.scale)

    def place(self, point: tuple[int, int]) -> tuple[float, float]:
        """Where a plan's point in this view is on the canvas: u, v."""
        u, v = pixel_of(point, self.frame.intrinsics.width, self.frame.intrinsics.height)
        return self.left + self.scale * u, self.top + self.scale * v


def annotated(decision: Decision, observation: Observation) -> NDArray[np.uint8]:
    """Draw the views (H, W, 3), a labelled ring at each point of the plan, and the decision as a caption.

    The present views are side by side. The remembered ones are below them at half size, each with its age.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    with extra("sim"):
        from PIL import Image as Pillow
        from PIL import ImageDraw
    present = _row(observation.frames, top=0, scale=1.0)
    remembered = _row(observation.keyframes, top=_bottom(present), scale=0.5)
    tiles = (*present, *remembered)
    height = _bottom(tiles)
    canvas = Pillow.new("RGB", (max(tile.left + tile.size[0] for tile in tiles), height + _CAPTION_PX))
    draw = ImageDraw.Draw(canvas)
    for tile in tiles:
        image = Pillow.fromarray(np.ascontiguousarray(tile.frame.rgb))
        canvas.paste(image if tile.scale == 1.0 else image.resize(tile.size), (tile.left, tile.top))
    for tile in remembered:
        age_s = observation.stamp_s - tile.frame.stamp_s
        draw.text((tile.left + 4, tile.top + 2), f"{age_s:.0f} s ago", fill=_WORDS)
    executed = 0 if isinstance(decision, Hold) else len(decision.subgoals)
    subgoals = () if decision.plan is None else decision.plan.subgoals
    for number, subgoal in enumerate(subgoals, 1):
        if isinstance(subgoal, PointedSubgoal) and subgoal.view < len(tiles):
            colour = _DONE if number <= executed else _REFUSED
            _draw_point(draw, tiles[subgoal.view], subgoal, f"{number} {subgoal.object}", colour)
    draw.text((4, height + 3), _caption(decision), fill=_REFUSED if isinstance(decision, Hold) else _DONE)
    return np.asarray(canvas)


def _caption(decision: Decision) -> str:
    words = ", ".join(subgoal.words for subgoal in (() if decision.plan is None else decision.plan.subgoals))
    return f"hold {decision.code.name}: {words}" if isinstance(decision, Hold) else words or "done"


def _row(frames: Sequence[CameraFrame], *, top: int, scale: float) -> list[_Tile]:
    """Tiles side by side."""
    tiles: list[_Tile] = []
    for frame in frames:
        left = tiles[-1].left + tiles[-1].size[0] if tiles else 0
        tiles.append(_Tile(frame, left, top, scale))
    return tiles


def _bottom(tiles: Iterable[_Tile]) -> int:
    return max(tile.top + tile.size[1] for tile in tiles)


def _draw_point(draw: Any, tile: _Tile, subgoal: PointedSubgoal, name: str, colour: Any) -> None:
    """Draw a ring at a subgoal's point, its name and, for a push, a line to the end point."""
    u, v = tile.place(subgoal.point)
    height = tile.size[1]
    radius = max(3.0, height / 40)
    draw.ellipse((u - radius, v - radius, u + radius, v + radius), outline=colour, width=max(1, height // 160))
    if isinstance(subgoal, Push):
        draw.line((u, v, *tile.place(subgoal.to)), fill=colour, width=max(1, height // 160))
    draw.text((u + radius + 2, v - radius), name, fill=colour)
