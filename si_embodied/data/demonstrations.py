"""Planning demonstrations: an observation at a decision, and the right plan in the planner's own schema.

The plans are in the small model's style and use one view, the head camera's. On the table, a plan holds a pick and its
place; in an apartment, the robot drives up to a target in view or else explores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from si_embodied.data.views import HEAD, ApartmentStage, LabelledView, TabletopStage
from si_embodied.envs.mujoco.tabletop import HEAD_TILT_RAD
from si_embodied.envs.scenes.tasks import task_candidates
from si_embodied.geometry import Pose
from si_embodied.grounding import point_of
from si_embodied.memory import NOTHING_YET
from si_embodied.plan import Plan, plan_text
from si_embodied.robots import FETCH_ARM
from si_embodied.skills import Explore, Goto, Home, Pick, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.scenes.tasks import NavigationTask
    from si_embodied.ground_truth import ManipulationStep

MIN_VISIBLE_PX_AT_224 = 40
"""Visible pixels of the target that count as in view, as in the environment's success measure."""
ABOVE_M = 0.12
"""Height above the object at which the arm's skills leave the tool after a pick or place."""
_RETRY_CHANCE, _HELD_CHANCE = 0.10, 0.06


class Demonstration(NamedTuple):
    """One decision and the right plan."""

    image: NDArray[np.uint8]  # (H, W, 3), from the head camera
    instruction: str
    memory: str  # as `Memory.describe` writes it
    plan: Plan

    @property
    def text(self) -> str:
        """The plan as the model should write it."""
        return plan_text(self.plan)


# --- the table ------------------------------------------------------------------------------------------------------


def tabletop_demonstrations(seed: int, task: str = "base", *, image_size: int = 224) -> Iterator[Demonstration]:
    """The decisions of one tabletop episode, one for each pick and place.

    Occasionally the first decision follows a missed grasp, with the arm above the object, or finds the object in the
    gripper. If the head camera does not show enough for a decision, the episode ends there; if the arm hides the view,
    the plan is to go home.
    """
    rng = np.random.default_rng((seed, 3))
    with TabletopStage(seed, task=task, image_size=image_size) as stage:
        memory: list[str] = []
        _disturb(stage, rng, memory)
        for _ in range(4):
            move = stage.truth.next_move()
            if move is None:
                return
            pick, place, last = move
            view = stage.view(HEAD)
            plan = _manipulation_plan(stage, view, pick, place, last)
            if plan is None:
                if not memory:
                    return
                plan = Plan(subgoals=(Home(),), done=False)
            yield Demonstration(view.frame.rgb, stage.task.instruction, _described(memory), plan)
            if last or (isinstance(plan.subgoals[0], Home) and pick is None):
                return
            if isinstance(plan.subgoals[0], Home):
                stage.world.controller.reset(0.0, HEAD_TILT_RAD)
                memory.append("home: done")
            else:
                if pick is None:
                    return
                memory += [f"pick {pick.object_name}: done", f"place {place.object_name}: done"]
                _carry_out(stage, pick, place)


def _manipulation_plan(
    stage: TabletopStage, view: LabelledView, pick: ManipulationStep | None, place: ManipulationStep, last: bool
) -> Plan | None:
    """The pick and the place as points in the head view; None if it does not show one of them."""
    subgoals: list[Pick | Place] = []
    for step in (pick, place):
        if step is None:
            continue
        pixel = stage.truth.pixel_of(step)
        if pixel is None:
            return None
        point = point_of(pixel[1], pixel[2], view.frame.intrinsics.width, view.frame.intrinsics.height)
        if step.kind == "pick":
            subgoals.append(Pick(object=step.object_name, view=0, point=point))
        else:
            subgoals.append(Place(object=step.object_name, view=0, point=point))
    return Plan(subgoals=tuple(subgoals), done=last)


def _disturb(stage: TabletopStage, rng: np.random.Generator, memory: list[str]) -> None:
    """Occasionally start with the arm where a missed pick or a rejected place would have left it."""
    drawn = rng.random()
    move = stage.truth.next_move() if drawn < _RETRY_CHANCE + _HELD_CHANCE else None
    if move is None or move[0] is None:
        return
    pick = move[0]
    arm = stage.world.controller
    above = _down(pick.position_m + np.array([0.0, 0.0, ABOVE_M]), pick.yaw_rad)
    room = min(pick.width_m + 0.04, FETCH_ARM.max_opening_m)
    arm.move(above, room, 3.0)
    if drawn < _RETRY_CHANCE:
        memory.append(f"pick {pick.object_name}: failed (grasp_missed)")
        return
    grasp = _down(pick.position_m, pick.yaw_rad)
    for target, opening_m in ((grasp, room), (grasp, 0.0), (above, 0.0)):
        arm.move(target, opening_m, 3.0)
    place = move[1]
    memory += [f"pick {pick.object_name}: done", f"place {place.object_name}: failed (out_of_reach)"]
    if stage.world.fingers_on(pick.object_name) != 2:
        memory[:] = [f"pick {pick.object_name}: failed (grasp_missed)"]


def _down(position_m: NDArray[np.float64], yaw_rad: float) -> Pose:
    return Pose.from_rpy(math.pi, 0.0, yaw_rad, position_m)


def _carry_out(stage: TabletopStage, pick: ManipulationStep, place: ManipulationStep) -> None:
    """Move the object to the place step's position, turned as the gripper would turn it, and the arm above it."""
    world, name = stage.world, pick.object_name
    turn = Pose.from_rpy(0.0, 0.0, -pick.yaw_rad).rotation
    pose, low = world.pose(name), float(world.corners(name)[:, 2].min())
    offset = turn @ (pose.translation - np.array([*pick.position_m[:2], low]))
    world.place_object(name, Pose(turn @ pose.rotation, place.position_m + offset + np.array([0.0, 0.0, 0.001])))
    above = _down(place.position_m + np.array([0.0, 0.0, pick.grasp_height_m + ABOVE_M]), 0.0)
    world.controller.move(above, min(pick.width_m + 0.026, FETCH_ARM.max_opening_m), 3.0)
    world.rest()


def _described(lines: list[str]) -> str:
    """The lines numbered like the attempts in the planner's memory."""
    return "\n".join(f"{k}. {line}" for k, line in enumerate(lines, start=1)) or NOTHING_YET


# --- the apartment --------------------------------------------------------------------------------------------------


def apartment_demonstrations(
    seed: int, task: str = "objectnav", count: int = 10, *, image_size: int = 224
) -> Iterator[Demonstration]:
    """Decisions at up to `count` poses in one apartment, with the target in view in half of them where possible.

    Raises:
        UnknownNameError: the task does not exist.
    """
    rng = np.random.default_rng((seed, 4))
    enough_px = max(1, round(MIN_VISIBLE_PX_AT_224 * (image_size / 224) ** 2))
    with ApartmentStage(seed, image_size=image_size) as stage:
        candidates = task_candidates(stage.apartment, task, rng)
        index = {piece.name: i for i, piece in enumerate(stage.apartment.furniture)}
        legs = [(c, leg, index[goal]) for c in candidates for leg, goal in enumerate(c.goals)]
        if not legs:
            return
        poses, wants_seen = stage.poses(rng), True
        for _, pose in zip(range(count), poses, strict=False):
            view = stage.view(*pose)
            seen = {o.id for o in view.objects if o.pixels >= enough_px}
            some_px = {o.id for o in view.objects}  # with a few pixels visible, neither answer is right
            fitting = [entry for entry in legs if (entry[2] in seen if wants_seen else entry[2] not in some_px)]
            if not fitting:
                fitting = [entry for entry in legs if entry[2] in seen or entry[2] not in some_px]
            if not fitting:
                continue
            chosen, leg, target = fitting[int(rng.integers(len(fitting)))]
            is_seen = target in seen
            wants_seen = not is_seen
            plan = _goto(view, chosen, leg, target) if is_seen else Plan(subgoals=(Explore(),), done=False)
            yield Demonstration(view.frame.rgb, chosen.instruction, _memory_before(rng, chosen, leg), plan)


def _goto(view: LabelledView, task: NavigationTask, leg: int, target: int) -> Plan:
    seen = next(o for o in view.objects if o.id == target)
    point = point_of(*seen.point_px, view.frame.intrinsics.width, view.frame.intrinsics.height)
    words = seen.name if task.name == "objectnav" else seen.category
    return Plan(
        subgoals=(Goto(object=words, view=0, point=point),), done=leg == len(task.goals) - 1
    )  # fmt: skip


def _memory_before(rng: np.random.Generator, task: NavigationTask, leg: int) -> str:
    """A plausible memory: some exploring, and the earlier legs of a route."""
    lines: list[str] = []

    def explored(odds: tuple[Literal[0, 1, 2, 3], ...]) -> None:
        lines.extend(["explore: done"] * odds[int(rng.integers(len(odds)))])

    for goal in task.goals[:leg]:
        explored((0, 0, 1, 2))
        lines.append(f"goto {goal.rpartition('_')[0].replace('_', ' ')}: done")
    explored((0, 0, 1, 2, 3) if leg == 0 else (0, 0, 1, 2))
    return _described(lines)
