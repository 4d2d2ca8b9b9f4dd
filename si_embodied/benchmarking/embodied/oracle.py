"""Answers in the protocol's own format from ground truth: what they score shows that actions are decoded rightly."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.arm_actions import encode_discrete
from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.benchmarking.embodied.answers import PLAN, TEXTS
from si_embodied.envs.scenes import tabletop as t
from si_embodied.geometry import Pose
from si_embodied.policies.skills.arm import CLEARANCE_M, DROP_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.benchmarking.embodied.worlds import ProtocolWorld
    from si_embodied.envs.manipulation import TabletopEnv
    from si_embodied.ground_truth import ManipulationStep
    from si_embodied.types import Prompt

_OVER_RIM_M = 0.015  # of the tool above a bowl's or bin's rim where it lets go
_WORDS = ("as listed", "from ground truth")


def oracle_backend(world: ProtocolWorld) -> ScriptedBackend:
    """A backend that answers each prompt for the episode that `world` is at."""
    plan = table_plan if world.kind == "manipulation" else house_plan

    def complete(_: Prompt) -> str:
        steps, actions = plan(world.inner)
        texts = dict(zip(TEXTS, (*_WORDS, "; ".join(f"{k}. {step}" for k, step in enumerate(steps, 1))), strict=True))
        return json.dumps({**texts, PLAN: actions})

    return ScriptedBackend(complete, name="oracle")


def house_plan(env: Any) -> tuple[list[str], list[dict[str, Any]]]:
    """The next skill, in words and as an action; none if the task is done."""
    if env.ground_truth.seen_step() is None:
        return [], []
    number = env.ground_truth.next_action()
    name = env.skills[number].text
    return [name], [{"action_id": number, "action_name": name}]


def table_plan(env: TabletopEnv) -> tuple[list[str], list[list[int]]]:
    """The next pick and place, in words and as actions of seven integers; none if the task is done."""
    move = env.ground_truth.next_move()
    if move is None:
        return [], []
    pick, place, _ = move
    words, actions = [f"put it down at the {place.object_name}"], _places(env, pick, place)
    if pick is not None:
        words, actions = [f"pick up the {pick.object_name}", *words], [*_picks(env, pick), *actions]
    return words, [encode_discrete(pose, opening, env.embodiment).tolist() for pose, opening in actions]


def _picks(env: TabletopEnv, step: ManipulationStep) -> list[tuple[Pose, float]]:
    turn = env.world.controller.tool.yaw
    yaw = turn + (step.yaw_rad - turn + math.pi / 2) % math.pi - math.pi / 2  # the nearer of two equal grasps
    grasp = Pose.from_rpy(math.pi, 0.0, yaw, step.position_m)
    return [(_raised(grasp), 1.0), (grasp, 0.0), (_raised(grasp), 0.0)]


def _places(env: TabletopEnv, pick: ManipulationStep | None, step: ManipulationStep) -> list[tuple[Pose, float]]:
    """Above the place, down to it, and up again, except from where the open fingers are above the rim."""
    height_m = _held_height_m(env) if pick is None else pick.grasp_height_m
    rim_m = _rim_m(env, step.object_name)
    z = max(float(step.position_m[2]) + height_m + DROP_M, rim_m + _OVER_RIM_M if rim_m else 0.0)
    release = Pose.from_rpy(math.pi, 0.0, 0.0, np.array([*step.position_m[:2], z]))
    moves = [(_raised(release), 0.0), (release, 1.0)]
    return moves if rim_m else [*moves, (_raised(release), 1.0)]


def _held_height_m(env: TabletopEnv) -> float:
    """Of the tool above the lowest point of the object in the gripper."""
    held = next(item.name for item in env.world.scene.objects if env.world.fingers_on(item.name) == 2)
    return float(env.world.controller.tool.translation[2] - env.world.corners(held)[:, 2].min())


def _rim_m(env: TabletopEnv, name: str) -> float:
    """Height of a bowl's or bin's rim in the map; 0 for anything else."""
    kinds = {container.name: container.kind for container in env.world.scene.containers}
    heights = {"bowl": t.BOWL_HEIGHT_M, "bin": t.BIN_HEIGHT_M}
    return t.TABLE_TOP_M + heights[kinds[name]] if kinds.get(name) in heights else 0.0


def _raised(pose: Pose) -> Pose:
    offset: NDArray[np.float64] = np.array([0.0, 0.0, CLEARANCE_M])
    return Pose(pose.rotation, pose.translation + offset)
