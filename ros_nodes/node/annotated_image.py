"""Publishes the images of each decision with the plan's points drawn in, on `~/annotated`, while it has subscribers."""

from __future__ import annotations

import array
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
_CAPTION_PX = 18


class AnnotatedImage:
    """A decision listener: publishes one image per decision, with all views side by side."""

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


def annotated(decision: Decision, observation: Observation) -> NDArray[np.uint8]:
    """Draw all views side by side (H, W, 3), a labelled ring at each point of the plan, and the decision as a caption.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    with extra("sim"):
        from PIL import Image as Pillow
        from PIL import ImageDraw
    frames = observation.frames
    widths = [frame.intrinsics.width for frame in frames]
    height = max(frame.intrinsics.height for frame in frames)
    canvas = Pillow.new("RGB", (sum(widths), height + _CAPTION_PX))
    draw = ImageDraw.Draw(canvas)
    lefts = np.cumsum([0, *widths[:-1]]).tolist()
    for frame, left in zip(frames, lefts, strict=True):
        canvas.paste(Pillow.fromarray(np.ascontiguousarray(frame.rgb)), (left, 0))
    executed = 0 if isinstance(decision, Hold) else len(decision.subgoals)
    subgoals = () if decision.plan is None else decision.plan.subgoals
    for number, subgoal in enumerate(subgoals, 1):
        if isinstance(subgoal, PointedSubgoal) and subgoal.view < len(frames):
            colour = _DONE if number <= executed else _REFUSED
            _draw_point(draw, frames[subgoal.view], lefts[subgoal.view], subgoal, f"{number} {subgoal.object}", colour)
    words = ", ".join(subgoal.words for subgoal in subgoals)
    if isinstance(decision, Hold):
        draw.text((4, height + 3), f"hold {decision.code.name}: {words}", fill=_REFUSED)
    else:
        draw.text((4, height + 3), words or "done", fill=_DONE)
    return np.asarray(canvas)


def _draw_point(draw: Any, frame: CameraFrame, left: int, subgoal: PointedSubgoal, name: str, colour: Any) -> None:
    """Draw a ring at a subgoal's point, its name and, for a push, a line to the end point."""
    width, height = frame.intrinsics.width, frame.intrinsics.height
    u, v = pixel_of(subgoal.point, width, height)
    radius, u = max(3.0, height / 40), u + left
    draw.ellipse((u - radius, v - radius, u + radius, v + radius), outline=colour, width=max(1, height // 160))
    if isinstance(subgoal, Push):
        to_u, to_v = pixel_of(subgoal.to, width, height)
        draw.line((u, v, to_u + left, to_v), fill=colour, width=max(1, height // 160))
    draw.text((u + radius + 2, v - radius), name, fill=colour)
