"""EB-Manipulation's rules on the Tabletop: seven integers an action, fifteen actions an episode."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from si_embodied.arm_actions import DISCRETE_LEVELS, POSITION_STEP_M, decode_discrete
from si_embodied.benchmarking.embodied.pictures import annotated
from si_embodied.benchmarking.embodied.situation import Past, Situation
from si_embodied.benchmarking.embodied.subsets import TABLETOP, Subsets, common_sense
from si_embodied.benchmarking.embodied.worlds import ProtocolWorld
from si_embodied.envs.manipulation import MOTION_LIMIT_S, TabletopEnv
from si_embodied.envs.scenes import tabletop as t
from si_embodied.envs.tabletop_truth import hole_centre
from si_embodied.robots import FETCH_ARM

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_STEPS = 15
_INNER_STEPS = 1000  # more than the protocol's: this module counts
_AXES_M = (0.85, -0.45, t.TABLE_TOP_M)
"""Map point of the drawn axes: on the table, beyond the area for objects, in view of the head camera."""


def levels_of(point_m: NDArray[np.float64]) -> list[int]:
    """The integers [x, y, z] of a map point (3,): centimetres from the workspace's lowest corner, rounded."""
    return np.rint((point_m - np.asarray(FETCH_ARM.workspace_m[0])) / POSITION_STEP_M).astype(int).tolist()  # type: ignore[no-any-return]


class ProtocolTabletop(ProtocolWorld):
    """The Tabletop as EB-Manipulation poses it.

    An action moves the tool, then opens or closes the gripper. An action that is not seven whole numbers within their
    ranges is invalid, and so is one whose pose the arm does not reach; each takes a step. An answer without a plan
    takes a step too, in which nothing moves.
    """

    SUBSETS: ClassVar[Subsets] = TABLETOP
    kind = "manipulation"

    def __init__(self, task: str = "base", *, image_size: int = 500, render_mode: str | None = None) -> None:
        """See `ProtocolWorld`."""
        super().__init__(task, image_size=image_size, render_mode=render_mode)
        self._rewords = task == "common_sense"

    def _make(self, task: str) -> TabletopEnv:
        env = TabletopEnv(
            task, image_size=self._image_size, action_mode="discrete", max_episode_steps=_INNER_STEPS
        )  # fmt: skip
        env.embodiment = replace(env.embodiment, cameras=("head",))  # the only one that is shown
        self._open = True
        return env

    @property
    def instruction(self) -> str:
        """The running episode's instruction."""
        return common_sense(self.inner.episode) if self._rewords else super().instruction

    def _reject(self) -> None:
        self.count.steps += 1
        self.count.invalid += 1

    def _limit_reached(self) -> bool:
        return self.count.steps >= MAX_STEPS

    def _carry_out(self, action: Any) -> Past:
        self.count.steps += 1
        levels = _levels(action)
        if levels is None:
            problem = f"expected seven whole numbers from 0 to {[n - 1 for n in DISCRETE_LEVELS]}; the arm did not move"
        elif not self._move(levels):
            problem = "the arm did not reach that pose: it is out of reach, or something is in the way"
        else:
            problem = ""
        self.count.invalid += bool(problem)
        feedback = f"the action was {f'invalid: {problem}' if problem else 'carried out'}"
        return Past(str(np.asarray(action).tolist()), f"{feedback}. Step {self.count.steps} of {MAX_STEPS}")

    def _move(self, levels: NDArray[np.int64]) -> bool:
        """Move the tool with the gripper as it is, then the gripper; returns whether the pose was reached."""
        env: TabletopEnv = self.inner
        target, opening = decode_discrete(levels, env.embodiment)
        reached = True
        if self._open != bool(opening):
            width_m = self._open * env.embodiment.max_opening_m
            reached = env.world.controller.move(target, width_m, MOTION_LIMIT_S)
        self._open = bool(opening)
        failed = self._last["action_failures"]
        self._observation, _, _, _, self._last = env.step(levels)
        return reached and self._last["action_failures"] == failed

    def situation(self) -> Situation:
        """What the planner is told: the head camera's picture with axes and boxes, and where each object is."""
        things = self._things()
        picture = annotated(
            self.inner.last_frames[0], [corners for _, corners in things], _AXES_M, str(levels_of(np.array(_AXES_M)))
        )
        listed = {f"object {k}": levels_of(centre) for k, (centre, _) in enumerate(things, start=1)}
        return Situation(self.instruction, picture, str(listed), (), tuple(self.count.past))

    def _things(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Centre (3,) and corners (n, 3) of every object, bowl, bin and hole, map; those with the lowest y first."""
        world = self.inner.world
        found = [(world.pose(item.name).translation, world.corners(item.name)) for item in world.scene.objects]
        for container in world.scene.containers:
            found += _parts(container)
        return sorted(found, key=lambda thing: float(thing[0][1]))


def _levels(action: Any) -> NDArray[np.int64] | None:
    """Seven whole numbers within their ranges; None if the action is something else."""
    values = np.asarray(action, dtype=np.float64)
    if values.shape != (7,) or not (np.isfinite(values) & (values == np.rint(values))).all():
        return None
    inside = (values >= 0) & (values < np.asarray(DISCRETE_LEVELS))
    return values.astype(np.int64) if inside.all() else None


def _parts(container: t.Container) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Centre and corners of a bowl or bin, or of each hole of the shape sorter."""
    if container.kind == "shape sorter":
        feet = [hole_centre(container, hole) for hole in range(len(t.SORTER_HOLES))]
        boxes = [
            _box(foot, np.array(hole.outline_m), t.SORTER_HEIGHT_M)
            for foot, hole in zip(feet, t.SORTER_HOLES, strict=True)
        ]
    else:
        bowl = container.kind == "bowl"
        half, height_m = (t.BOWL_RIM_RADIUS_M, t.BOWL_HEIGHT_M) if bowl else (t.BIN_HALF_M[0], t.BIN_HEIGHT_M)
        square = np.array([(x, y) for x in (-half, half) for y in (-half, half)])
        boxes = [_box(np.array([container.x_m, container.y_m, t.TABLE_TOP_M]), square, height_m)]
    return [(box.mean(axis=0), box) for box in boxes]


def _box(foot: NDArray[np.float64], outline: NDArray[np.float64], height_m: float) -> NDArray[np.float64]:
    """Corners (2 n, 3) of an outline (n, 2) around a point, at its foot and at its top."""
    return np.vstack([foot + np.column_stack([outline, np.full(len(outline), z)]) for z in (0.0, height_m)])
