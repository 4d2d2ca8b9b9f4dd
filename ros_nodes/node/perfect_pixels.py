"""Perfect perception over ROS: it points where the simulator says the thing is, to test all the rest."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from si_embodied.backends.base import BackendInfo
from si_embodied.errors import BackendError
from si_embodied.plan import plan_text
from si_embodied.planner import Planner
from si_embodied.policies.perfect_pixels import manipulation_answer, navigation_answer
from si_embodied.types import Completion

if TYPE_CHECKING:
    from si_embodied.memory import Memory
    from si_embodied.types import Decision, Observation, Prompt, Task

_KEEP = 400
"""Instants of ground truth that are remembered: many seconds at a camera's rate."""
_SAME_INSTANT_S = 0.001
_LATENESS_S = 2.0
"""The truth of an image may come after it."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What the simulator says of one image; as much of both kinds of ground truth as pointing needs."""

    stamp_s: float
    visible: tuple[int, float, float] | None  # view, u, v
    name: str
    there: bool
    kind: str | None = None  # of the step that a task at the table lacks: "pick" or "place"

    @classmethod
    def from_json(cls, text: str) -> Truth:
        """From the text that `sim_node` publishes.

        Raises:
            BackendError: it is none.
        """
        try:
            values = json.loads(text)
            visible = values["visible"]
            pixel = None if visible is None else (int(visible[0]), float(visible[1]), float(visible[2]))
            return cls(
                float(values["stamp_s"]), pixel, str(values["name"]), bool(values["at_goal"]), values.get("skill")
            )
        except (ValueError, TypeError, LookupError) as error:
            raise BackendError(f"not ground truth as sim_node publishes it: {text[:120]!r} ({error!r})") from error

    def at_goal(self) -> bool:
        """Whether stopping here is success."""
        return self.there

    def straight_way(self) -> None:
        """The goal is a thing, which is pointed at."""
        return

    def visible_target(self) -> tuple[int, float, float] | None:
        """Where the target is in the image."""
        return self.visible

    def target_name(self) -> str:
        """What it is called."""
        return self.name

    @property
    def object_name(self) -> str:
        """What the step is about."""
        return self.name

    def next_step(self) -> Truth | None:
        """The step that the task lacks."""
        return None if self.kind is None else self

    def pixel_of(self, step: Any) -> tuple[int, float, float] | None:
        """Where the step's object is in the images."""
        return self.visible

    def next_action(self) -> Any:
        """Not for a robot over ROS."""
        raise BackendError("ground truth over ROS has no actions")


class PerfectPixels:
    """Answers each prompt from the ground truth of the very image that is asked about."""

    info = BackendInfo(model="perfect-pixels", kernel="none", dtype="none")

    def __init__(self) -> None:
        """Nothing known yet."""
        self._truths: deque[Truth] = deque(maxlen=_KEEP)
        self._changed = threading.Condition()
        self._looking_at_s = 0.0

    def on_truth(self, message: Any) -> None:
        """Take in a `std_msgs/String`."""
        truth = Truth.from_json(message.data)
        with self._changed:
            self._truths.append(truth)
            self._changed.notify()

    def look_at(self, stamp_s: float) -> None:
        """The next prompt is about this instant's image."""
        with self._changed:
            self._looking_at_s = stamp_s

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The answer.

        Raises:
            BackendError: there is no ground truth of that image.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._truth() is not None, timeout=min(_LATENESS_S, deadline_s))
            truth, wanted_s = self._truth(), self._looking_at_s
        if truth is None:
            raise BackendError(
                f"no ground truth of the image of {wanted_s:.3f} s; run sim_node with publish_ground_truth:=true"
            )
        if prompt.version.startswith("nav"):
            return Completion(plan_text(navigation_answer(truth, prompt)))
        return Completion(plan_text(manipulation_answer(cast("Any", truth), prompt)))

    def cancel(self) -> None:
        """No effect: an answer waits for its ground truth, at most two seconds."""

    def close(self) -> None:
        """No effect: nothing is held open."""

    def _truth(self) -> Truth | None:
        """That of the instant looked at; the caller holds the lock."""
        near = (each for each in self._truths if abs(each.stamp_s - self._looking_at_s) <= _SAME_INSTANT_S)
        return next(near, None)


class PerfectPixelsPlanner(Planner):
    """Tells its backend which image it asks about: a prompt has pictures and no stamps."""

    backend: PerfectPixels

    def plan(
        self, task: Task, observation: Observation, memory: Memory, *, now_s: float | None = None
    ) -> Decision:  # fmt: skip
        """As any planner."""
        self.backend.look_at(observation.stamp_s)
        return super().plan(task, observation, memory, now_s=now_s)
