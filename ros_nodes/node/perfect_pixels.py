"""Perfect perception over ROS: points at the simulator's ground truth, to test everything but the model."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from si_embodied.backends.base import BackendInfo
from si_embodied.errors import BackendError
from si_embodied.plan import plan_text
from si_embodied.policies.perfect_pixels import manipulation_answer, navigation_answer
from si_embodied.types import Completion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from si_embodied.ground_truth import Pixel
    from si_embodied.types import CameraFrame, Prompt

_KEEP = 400
"""Ground-truth messages kept: many seconds at a camera's rate."""
_SAME_INSTANT_S = 0.001
_LATENESS_S = 2.0
"""An image's ground truth may arrive this much after the image."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The simulator's ground truth of one image, for both kinds of tasks, reduced to what pointing needs."""

    stamp_s: float
    visible: tuple[int, float, float] | None  # view, u, v
    name: str
    there: bool
    kind: str | None = None  # the next step of a table task: "pick" or "place"
    earlier: Mapping[float, Pixel | None] = field(
        default_factory=dict
    )  # visible in the prompt's earlier views, by stamp
    goal_is_a_place: ClassVar[bool] = False

    @classmethod
    def from_json(cls, text: str) -> Truth:
        """Parse the text that `sim_node` publishes.

        Raises:
            BackendError: the text is not ground truth.
        """
        try:
            values = json.loads(text)
            visible, kind = values["visible"], values.get("skill")
            if not isinstance(kind, str | None):
                raise TypeError(f"skill is of type {type(kind).__name__}")
            pixel = None if visible is None else (int(visible[0]), float(visible[1]), float(visible[2]))
            return cls(float(values["stamp_s"]), pixel, str(values["name"]), bool(values["at_goal"]), kind)
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            raise BackendError(f"expected sim_node's ground truth, got: {text[:120]!r} ({error!s:.120})") from error

    def at_goal(self) -> bool:
        """Whether stopping here succeeds."""
        return self.there

    def seen_in(self, frame: CameraFrame) -> tuple[float, float] | None:
        """The pixel (u, v) of the target in an earlier image."""
        pixel = self.earlier.get(frame.stamp_s)
        return None if pixel is None else pixel[1:]

    def straight_way(self) -> None:
        """None: the goal is an object, which the planner points at."""
        return

    def visible_target(self) -> tuple[int, float, float] | None:
        """View and pixel (u, v) of the target; None if it is not visible."""
        return self.visible

    def target_name(self) -> str:
        """The target's name."""
        return self.name

    @property
    def object_name(self) -> str:
        """The object of the next step."""
        return self.name

    def next_step(self) -> Truth | None:
        """The next step of the task; None if there is none."""
        return None if self.kind is None else self

    def pixel_of(self, step: Any) -> tuple[int, float, float] | None:
        """View and pixel (u, v) of the step's object; None if it is not visible."""
        return self.visible

    def next_action(self) -> Any:
        """Not available over ROS."""
        raise BackendError("ground truth over ROS has no actions")


class PerfectPixels:
    """Answers each prompt from the ground truth of the prompt's own image."""

    info = BackendInfo(model="perfect-pixels", kernel="none", dtype="none")

    def __init__(self) -> None:
        """Start without any ground truth."""
        self._truths: deque[Truth] = deque(maxlen=_KEEP)
        self._changed = threading.Condition()

    def on_truth(self, message: Any) -> None:
        """Receive ground truth as a `std_msgs/String`."""
        truth = Truth.from_json(message.data)
        with self._changed:
            self._truths.append(truth)
            self._changed.notify()

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """Answer from the ground truth, waiting for it up to two seconds.

        Raises:
            BackendError: no ground truth has arrived for the image.
        """
        stamps = [frame.stamp_s for frame in prompt.frames]
        now_s = max(stamps)
        with self._changed:
            self._changed.wait_for(lambda: self._truth(now_s) is not None, timeout=min(_LATENESS_S, deadline_s))
            truth, earlier = self._truth(now_s), {stamp_s: self._truth(stamp_s) for stamp_s in stamps}
        if truth is None:
            raise BackendError(
                f"no ground truth for the image at {now_s:.3f} s; run sim_node with publish_ground_truth:=true"
            )
        seen = {stamp_s: known.visible for stamp_s, known in earlier.items() if known is not None}
        truth = replace(truth, earlier=seen)
        if prompt.version.startswith("nav"):
            return Completion(plan_text(navigation_answer(truth, prompt)))
        return Completion(plan_text(manipulation_answer(cast("Any", truth), prompt)))

    def cancel(self) -> None:
        """Does nothing: `generate` takes at most two seconds."""

    def close(self) -> None:
        """Does nothing: there is nothing to release."""

    def _truth(self, stamp_s: float) -> Truth | None:
        """The ground truth of an image; the caller holds the lock."""
        near = (each for each in self._truths if abs(each.stamp_s - stamp_s) <= _SAME_INSTANT_S)
        return next(near, None)
