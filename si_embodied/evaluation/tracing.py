"""Takes the trace of an episode while it runs."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import extra
from si_embodied.evaluation.episode import Watcher
from si_embodied.evaluation.trace import Floor, Still, Trace
from si_embodied.evaluation.video import describe_decision
from si_embodied.grounding import pixel_of
from si_embodied.skills import PointedSubgoal, Push
from si_embodied.types import Hold

with extra("sim"):
    from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import gymnasium

    from si_embodied.ground_truth import FloorPlan
    from si_embodied.policies.base import Policy
    from si_embodied.types import CameraFrame, Decision, Observation, Task

MOST_STILLS = 6
_WIDTH_PX, _QUALITY = 192, 68
_EXECUTED, _REFUSED, _RIM = (64, 220, 96), (255, 96, 64), (20, 20, 20)
_MOVED_M = 0.02  # a shorter move is not drawn


class EpisodeTrace(Watcher):
    """Keeps at most `MOST_STILLS` views, the first and the last among them, and where the base drove.

    A view for each plan, with the plan drawn in, and rather of plans that point at something than of others; of a
    policy that does not plan, views at equal distances.
    """

    def __init__(self) -> None:
        """Expect one episode."""
        self._pointing, self._others = _Thinned(), _Thinned()
        self._decided = 0
        self._last: tuple[int, CameraFrame] | None = None
        self._path: list[tuple[float, float]] = []
        self._floor: Floor | None = None
        self._has_pose = False  # whether the world tells where the base really is

    def acted(
        self, env: gymnasium.Env[Any, Any], policy: Policy, task: Task, observation: Observation, step: int
    ) -> None:
        """Take the view of a new decision, or of a policy without decisions, and the base's position."""
        world: Any = env.unwrapped
        if step == 0:
            self._floor, self._has_pose = _floor_of(world), hasattr(world, "pose")
        self._at(*(world.pose if self._has_pose else observation.T_map_base.translation)[:2])
        self._last = step, observation.frames[0]
        decisions = policy.decisions
        if not decisions:
            self._others.offer(lambda: _still(step, None, "", observation.frames[0]))
        elif len(decisions) > self._decided:
            seen = policy.execution.planned_from or observation
            kept = self._pointing if _points(decisions[-1], seen) else self._others
            kept.offer(lambda: _planned(step, decisions, seen))
        self._decided = len(decisions)

    def trace(self) -> Trace:
        """What was taken."""
        stills = self._chosen()
        if self._last is not None and (not stills or stills[-1].step < self._last[0]):
            stills = [*stills[: MOST_STILLS - 1], _still(self._last[0], None, "the last view", self._last[1])]
        drove = len(self._path) > 1
        return Trace(tuple(self._path) if drove else (), tuple(stills), self._floor)

    def _chosen(self) -> list[Still]:
        """The first view, then those that plans point into, and others as far as there is room; in their order."""
        every = sorted([*self._pointing.stills, *self._others.stills], key=lambda still: still.step)
        pointing = _spread([still for still in self._pointing.stills if still is not every[0]], MOST_STILLS - 2)
        rest = [still for still in self._others.stills if still is not every[0]]
        others = _spread(rest, MOST_STILLS - 2 - len(pointing))
        return sorted([*every[:1], *pointing, *others], key=lambda still: still.step)

    def _at(self, x: float, y: float) -> None:
        if not self._path or math.dist(self._path[-1], (x, y)) >= _MOVED_M:
            self._path.append((float(x), float(y)))


class _Thinned:
    """At most twice `MOST_STILLS` views at equal distances of however many are offered; few are drawn for nothing."""

    def __init__(self) -> None:
        self.stills: list[Still] = []
        self._every, self._offered = 1, 0

    def offer(self, draw: Callable[[], Still]) -> None:
        """Draw the view if it is one to keep."""
        if self._offered % self._every == 0:
            self.stills.append(draw())
            if len(self.stills) > 2 * MOST_STILLS:
                self.stills, self._every = self.stills[::2], 2 * self._every
        self._offered += 1


def _spread(stills: Sequence[Still], count: int) -> list[Still]:
    """So many of them, at equal distances, the last among them."""
    if count <= 0:
        return []
    if len(stills) <= count:
        return list(stills)
    return [stills[(number * len(stills)) // count - 1] for number in range(1, count + 1)]


def _floor_of(world: Any) -> Floor | None:
    """The floor plan of a world whose ground truth has one (`Witness`)."""
    draw = getattr(getattr(world, "ground_truth", None), "floor_plan", None)
    plan: FloorPlan | None = None if draw is None else draw()
    if plan is None:
        return None
    x, y = plan.origin_m
    path, goals = (
        tuple((float(px), float(py)) for px, py in points) for points in (plan.shortest_path_m, plan.goals_m)
    )
    return Floor(float(plan.resolution_m), (float(x), float(y)), np.asarray(plan.free, bool), path, goals)


def _points(decision: Decision, seen: Observation) -> list[PointedSubgoal]:
    """The subgoals that point into a view."""
    subgoals = () if decision.plan is None else decision.plan.subgoals
    return [each for each in subgoals if isinstance(each, PointedSubgoal) and each.view < len(seen.views)]


def _planned(step: int, decisions: Sequence[Decision], seen: Observation) -> Still:
    """The view that a plan's first point lies in, with all its points in that view; the first one without points."""
    decision = decisions[-1]
    pointed = _points(decision, seen)
    view = pointed[0].view if pointed else 0
    frame = seen.views[view]
    earlier = f", {seen.stamp_s - frame.stamp_s:.0f} s earlier" if view >= len(seen.frames) else ""
    marks = [each for each in pointed if each.view == view]
    colour = _REFUSED if isinstance(decision, Hold) else _EXECUTED
    # The camera by name: the number that the model's answer has for the view depends on the prompt.
    caption = f"{describe_decision(decisions)} ({frame.name} camera{earlier})"
    return _still(step, len(decisions) - 1, caption, frame, marks, colour)


def _still(
    step: int,
    plan: int | None,
    caption: str,
    frame: CameraFrame,
    marks: Sequence[PointedSubgoal] = (),
    colour: tuple[int, int, int] = _EXECUTED,
) -> Still:
    """A view, reduced, with a ring at each point, and a line to where a push ends."""
    height, width = frame.rgb.shape[:2]
    size = _WIDTH_PX, max(1, round(_WIDTH_PX * height / width))
    image = Image.fromarray(np.ascontiguousarray(frame.rgb)).resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for mark in marks:
        u, v = pixel_of(mark.point, *size)
        for radius, ink, line in ((8, _RIM, 5), (7, colour, 3)):
            draw.ellipse((u - radius, v - radius, u + radius, v + radius), outline=ink, width=line)
        if isinstance(mark, Push):
            draw.line((u, v, *pixel_of(mark.to, *size)), fill=colour, width=2)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY, optimize=True)
    return Still(step, plan, caption, data.getvalue())
