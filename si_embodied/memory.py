"""The planner's memory of a task: attempts, earlier views and known objects. Bounded and immutable.

The next prompt shows it, as far as the prompt has a place for it.
"""

from __future__ import annotations

import itertools
import math
import typing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from si_embodied.config import MemoryConfig
from si_embodied.geometry import deproject_image
from si_embodied.prompts import load_prompt
from si_embodied.skills import Shown
from si_embodied.types import Code, SeenObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from si_embodied.config import PlannerConfig
    from si_embodied.embodiment import TaskKind
    from si_embodied.geometry import Pose
    from si_embodied.skills import Goal
    from si_embodied.types import CameraFrame, Observation, Outcome

T = TypeVar("T")

NOTHING_YET = "(nothing yet)"

SAME_OBJECT_M = 0.7
"""Points closer than this, with the same name, are on the same object: two views show different sides of a sofa."""
_CELL_M, _RANGE_M, _PIXEL_STEP = 0.5, 5.0, 8
"""A view's ground: the cells of this size that its depth image shows, up to this range, every so many pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One executed subgoal, or one refusal."""

    description: str  # "goto red chair"; "plan" for a refusal before there was a goal
    goal: Goal | None
    T_map_base: Pose  # the robot's pose when the decision was made
    outcome: Outcome
    floor_m2: float = 0.0  # the most floor that a plan's map had shown by then, square metres

    @property
    def achieved(self) -> bool:
        """Whether it brought the robot or a thing to a place that the model chose."""
        return self.outcome.succeeded and self.goal is not None and self.goal.place_m is not None


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What is remembered of a task; the oldest is dropped first, except for views, of which the least useful goes."""

    limit: int = 12  # lines of attempts that the prompt shows
    attempts: tuple[Attempt, ...] = ()
    forgotten: int = 0  # number of attempts dropped
    kept: int = 126  # attempts that are remembered for the guard
    keyframes: tuple[CameraFrame, ...] = ()  # earlier views worth keeping, oldest first
    before: CameraFrame | None = None  # the view of the latest plan: what its goals have changed
    objects: tuple[SeenObject, ...] = ()  # that the model pointed at; the latest last
    goal: SeenObject | None = None  # where the goal picture was taken, and how well a view agrees with it
    config: MemoryConfig = field(default_factory=MemoryConfig)

    @classmethod
    def for_planner(cls, config: PlannerConfig, kind: TaskKind) -> Memory:
        """An empty memory for a task, as large as its prompt and the guard need.

        The guard needs the largest circle and the refusals after it. Views and objects are not remembered if the prompt
        does not show them. A prompt that is not known, because a server chooses it, may show them.
        """
        guard, kept = config.guard, config.memory
        version = config.prompts.version(kind)
        shown = load_prompt(version).shown if version else typing.get_args(Shown)
        attempts = max(kept.entries, guard.circle_window + 2 * guard.max_repeats)
        limits: dict[str, Any] = {name: 0 for name in typing.get_args(Shown) if name not in shown}
        return cls(kept.entries, kept=attempts, config=replace(kept, **limits))

    # --- attempts ---------------------------------------------------------------------------------------------------

    def add(self, attempt: Attempt) -> Memory:
        """A copy with one more attempt."""
        attempts = (*self.attempts, attempt)
        surplus = max(0, len(attempts) - self.kept)
        return replace(self, attempts=attempts[surplus:], forgotten=self.forgotten + surplus)

    def describe(self) -> str:
        """The latest attempts for the prompt, numbered from the episode's start; '(nothing yet)' if there are none.

        One per line, except that the same in a row share one: "3-7. explore: done". A refusal because of repetition
        comes with its reason.
        """
        numbered = enumerate(self.attempts, self.forgotten + 1)
        lines = []
        for words, same in itertools.groupby(numbered, lambda each: f"{_words(each[1])}{_reason(each[1])}"):
            numbers = [number for number, _ in same]
            span = f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
            lines.append(f"{span}. {words}")
        return "\n".join(lines[-self.limit :]) or NOTHING_YET

    def last(self) -> str:
        """Only the latest attempt, unnumbered, for prompts that show no more than that."""
        return _words(self.attempts[-1]) if self.attempts else NOTHING_YET

    def achieved(self) -> str:
        """The latest attempts that reached a place, in order, for the prompt: "goto red chair, goto blue sofa"."""
        done = [attempt.description for attempt in self.attempts if attempt.achieved]
        return ", ".join(done[-self.limit :]) or NOTHING_YET

    # --- views ------------------------------------------------------------------------------------------------------

    def saw(self, observation: Observation) -> Memory:
        """A copy that also remembers the first camera's view, if it adds enough; call it with every observation.

        Of too many views, the one is forgotten whose ground the others show best. A view that shows a known object in
        its middle counts as much more ground.
        """
        if self.config.keyframes == 0 or not observation.frames or observation.frames[0].depth_m is None:
            return self
        frame = observation.frames[0]
        views = [view for view in self.keyframes if view.stamp_s < frame.stamp_s]  # a clock set back drops the others
        grounds = [ground_of(view) for view in views]
        ground = ground_of(frame)
        if len(ground.difference(*grounds)) * _CELL_M**2 < self.config.min_view_gain_m2:
            return self if len(views) == len(self.keyframes) else replace(self, keyframes=tuple(views))
        views.append(frame)
        grounds.append(ground)
        if len(views) > self.config.keyframes:
            del views[self._least_useful(views, grounds)]
        return replace(self, keyframes=tuple(views))

    def _least_useful(self, views: Sequence[CameraFrame], grounds: Sequence[frozenset[int]]) -> int:
        """Index of the view to forget, never the newest."""

        def use(index: int) -> float:
            own = grounds[index].difference(*(ground for k, ground in enumerate(grounds) if k != index))
            named = sum(in_the_middle(views[index], seen.position_m) for seen in self.objects)
            return len(own) * _CELL_M**2 + named * self.config.min_view_gain_m2

        return min(range(len(views) - 1), key=use)

    def planned(self, observation: Observation) -> Memory:
        """A copy that remembers the first camera's view of a plan, to compare it with the view after its goals."""
        if self.config.keyframes == 0 or not observation.frames:
            return self
        return replace(self, before=observation.frames[0])

    def recall(self, observation: Observation) -> Observation:
        """The observation, with the earlier views, the known objects and the localised goal, for a plan to refer to."""
        now = {frame.stamp_s for frame in observation.frames}
        latest = min(now, default=math.inf)
        views = [view for view in self.keyframes if view.stamp_s not in now and view.stamp_s < latest]
        before = self.before
        if before is not None and before.stamp_s < latest and all(view.stamp_s != before.stamp_s for view in views):
            views.append(before)
        recalled = replace(observation, keyframes=tuple(views), objects=self.objects)
        if self.goal is None or observation.goal_point_m is not None:
            return recalled
        return replace(recalled, goal_point_m=self.goal.position_m, goal_seen_s=self.goal.stamp_s)

    def shortened(self) -> Iterator[Memory]:
        """This memory, and copies for models whose context is too small for it.

        Each copy shows half as much of everything as the one before, the newest part of it. The last one shows the
        latest attempt alone.
        """
        memory = self
        yield memory
        while memory.limit > 1 or memory.keyframes or memory.before is not None or memory.objects:
            memory = replace(
                memory,
                limit=max(1, memory.limit // 2),
                keyframes=_newest_half(memory.keyframes),
                before=memory.before if memory.keyframes else None,
                objects=_newest_half(memory.objects),
            )
            yield memory

    def without_views(self) -> Memory:
        """A copy without the images, for a planner that does not show them."""
        return replace(self, keyframes=(), before=None)

    # --- objects ----------------------------------------------------------------------------------------------------

    def pointed_at(
        self, name: str, position_m: NDArray[np.float64], stamp_s: float, probability: float | None
    ) -> Memory:
        """A copy that knows the object at map point (3,), or has seen it once more."""
        if self.config.objects == 0:
            return self
        same = [seen for seen in self.objects if is_same(seen, name, position_m)]
        others = [seen for seen in self.objects if not is_same(seen, name, position_m)]
        seen = SeenObject(name, position_m, stamp_s, probability, 1 + sum(each.sightings for each in same))
        return replace(self, objects=tuple([*others, seen][-self.config.objects :]))

    def moved(self, name: str) -> Memory:
        """A copy that no longer knows where the objects of that name are."""
        return replace(self, objects=tuple(seen for seen in self.objects if seen.name != name))

    def localised(self, goal: SeenObject) -> Memory:
        """A copy that knows where the goal picture was taken, from the view that agrees best, and when it was seen."""
        known = self.goal
        if known is None:
            return replace(self, goal=goal)
        best = max(known, goal, key=lambda each: each.probability or 0.0)
        sightings = known.sightings + goal.sightings
        return replace(self, goal=replace(best, stamp_s=goal.stamp_s, sightings=sightings))

    def next_task(self) -> Memory:
        """A copy for the next task in the same place: without the attempts and the goal, with the views and objects."""
        return replace(self, attempts=(), forgotten=0, before=None, goal=None)


def is_same(seen: SeenObject, name: str, position_m: NDArray[np.float64]) -> bool:
    """Whether a known object is the one of that name at map point (3,)."""
    return seen.name == name and math.dist(seen.position_m[:2], position_m[:2]) < SAME_OBJECT_M


def ground_of(frame: CameraFrame) -> frozenset[int]:
    """The cells of the map's xy plane that a view shows: floor, and what stands on it. A cell is one number."""
    assert frame.depth_m is not None  # the caller checks
    step = slice(None, None, _PIXEL_STEP)
    depth = frame.depth_m[step, step]
    height, width = depth.shape
    points = deproject_image(frame.intrinsics.scaled(width, height), depth).reshape(-1, 3)
    near = np.isfinite(points[:, 2]) & (np.linalg.norm(points, axis=1) < _RANGE_M)
    cells = np.floor(frame.T_map_camera.apply(points[near])[:, :2] / _CELL_M).astype(np.int64)
    return frozenset(np.unique(cells @ (1 << 31, 1)).tolist())


def in_the_middle(frame: CameraFrame, point_m: NDArray[np.float64]) -> bool:
    """Whether a map point (3,) lies in the middle half of a view, within the range that counts as ground."""
    x, y, z = frame.T_map_camera.inverse().apply(point_m)
    if not 0 < z < _RANGE_M:
        return False
    camera = frame.intrinsics
    return bool(abs(x / z * camera.fx) < camera.width / 4 and abs(y / z * camera.fy) < camera.height / 2)


def _newest_half(values: tuple[T, ...]) -> tuple[T, ...]:
    return values[(len(values) + 1) // 2 :]


def outcome_words(code: Code) -> str:
    """The outcome of an attempt as prompts word it."""
    return "done" if code is Code.OK else f"failed ({code.name.lower()})"


def _words(attempt: Attempt) -> str:
    return f"{attempt.description}: {outcome_words(attempt.outcome.code)}"


def _reason(attempt: Attempt) -> str:
    return f": {attempt.outcome.message}" if attempt.outcome.code is Code.REPETITION else ""
