"""The arm's skills with a tool that follows exactly, or not at all: their commands and outcomes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from si_embodied.arm_actions import decode_discrete, decode_pose
from si_embodied.embodiment import TableArm
from si_embodied.errors import ObservationError
from si_embodied.geometry import Pose
from si_embodied.policies.skills.arm import ArmSkills, HeldObject, HomeSkill, PickSkill, PlaceSkill, PushSkill
from si_embodied.skills import GoHome, Grasp, PushAlong, Release
from si_embodied.types import ArmState, Code, Observation, Outcome

GRASP = Grasp(Pose.from_rpy(math.pi, 0.0, 0.3, (0.6, 0.1, 0.72)), width_m=0.046, height_above_support_m=0.02)


def observe(tool: Pose, opening_m: float) -> Observation:
    return Observation(0.0, (), Pose.identity(), ArmState(tool, opening_m))


class Tool:
    """A tool that follows its commands unless held back; a closed gripper stays open by the width of its object."""

    def __init__(self, arm: TableArm, *, holds_m: float = 0.0, lowest_m: float = -1.0, stuck: bool = False) -> None:
        self.arm, self.holds_m, self.lowest_m, self.stuck = arm, holds_m, lowest_m, stuck
        self.pose, self.opening_m = Pose.from_rpy(math.pi, 0.0, 0.0, (0.4, 0.0, 0.9)), arm.max_opening_m
        self.commands: list[tuple[Pose, float]] = []

    def run(self, skill: Any, *, at: Callable[[int], None] = lambda _: None) -> Outcome:
        for count in range(12):
            at(count)
            result = skill.step(observe(self.pose, self.opening_m))
            if isinstance(result, Outcome):
                return result
            discrete = self.arm.action_mode == "discrete"
            pose, opening = decode_discrete(result, self.arm) if discrete else decode_pose(result)
            self.commands.append((pose, opening))
            if not self.stuck:
                z = max(float(pose.translation[2]), self.lowest_m)
                self.pose = Pose(pose.rotation, np.array([*pose.translation[:2], z]))
            self.opening_m = max(opening * self.arm.max_opening_m, self.holds_m)
        raise AssertionError("the skill does not end")


def test_a_pick_comes_from_above_closes_and_lifts(arm: TableArm) -> None:
    tool, skill = Tool(arm, holds_m=0.046), PickSkill(GRASP, arm)
    assert tool.run(skill).code is Code.OK
    heights = [pose.translation[2] for pose, _ in tool.commands]
    np.testing.assert_allclose(heights, [0.84, 0.72, 0.72, 0.84], atol=1e-6)
    assert [opening > 0 for _, opening in tool.commands] == [True, True, False, False]
    assert skill.held == HeldObject(0.02, 0.046)


def test_a_pick_that_closes_on_nothing_opens_and_retreats(arm: TableArm) -> None:
    tool, skill = Tool(arm), PickSkill(GRASP, arm)
    assert tool.run(skill).code is Code.GRASP_MISSED
    pose, opening = tool.commands[-1]
    assert opening > 0
    assert pose.translation[2] == pytest.approx(0.84)
    assert skill.held is None


def test_a_pick_that_cannot_get_down_retreats_as_blocked(arm: TableArm) -> None:
    tool = Tool(arm, lowest_m=0.76)
    outcome = tool.run(PickSkill(GRASP, arm))
    assert outcome.code is Code.BLOCKED
    assert "+4.0 cm up" in outcome.message  # 0.76 - 0.72
    assert tool.commands[-1][0].translation[2] == pytest.approx(0.84)


def test_a_pick_that_the_arm_cannot_reach_says_so(arm: TableArm) -> None:
    assert Tool(arm, stuck=True).run(PickSkill(GRASP, arm)).code is Code.OUT_OF_REACH


def test_an_object_that_slips_out_on_the_way_up_is_a_missed_grasp(arm: TableArm) -> None:
    tool = Tool(arm, holds_m=0.046)

    def slip(count: int) -> None:
        if count == 3:  # before the lift
            tool.holds_m = 0.0

    assert tool.run(PickSkill(GRASP, arm), at=slip).code is Code.GRASP_MISSED


def test_a_grasp_is_turned_by_half_a_turn_where_that_is_nearer(arm: TableArm) -> None:
    far = Grasp(Pose.from_rpy(math.pi, 0.0, 3.0, (0.6, 0.1, 0.72)), 0.046, 0.02)
    tool = Tool(arm, holds_m=0.046)
    tool.run(PickSkill(far, arm))
    assert tool.commands[0][0].yaw == pytest.approx(3.0 - math.pi)


def test_a_place_lets_go_at_the_height_of_the_grasp_and_squarely(arm: TableArm) -> None:
    tool, skill = (
        Tool(arm, holds_m=0.046),
        PlaceSkill(Release(np.array([0.7, 0.0, 0.75])), HeldObject(0.02, 0.046), arm),
    )
    tool.opening_m = 0.046
    assert tool.run(skill).code is Code.OK
    opened = next(pose for pose, opening in tool.commands if opening > 0)
    # surface at 0.75 + grasp height 0.02 + drop of 5 mm
    np.testing.assert_allclose(opened.translation, [0.7, 0.0, 0.775], atol=1e-6)
    assert opened.yaw == pytest.approx(0.0)
    assert tool.commands[-1][0].translation[2] > 0.83
    assert skill.held is None


def test_a_place_in_a_narrow_bowl_opens_only_a_little(arm: TableArm) -> None:
    tool = Tool(arm, holds_m=0.046)
    tool.opening_m = 0.046
    tool.run(PlaceSkill(Release(np.array([0.7, 0.0, 0.75])), HeldObject(0.02, 0.046), arm))
    assert tool.commands[-1][1] * arm.max_opening_m == pytest.approx(0.072)


def test_a_place_with_an_empty_gripper_moves_nothing(arm: TableArm) -> None:
    tool = Tool(arm)
    assert tool.run(PlaceSkill(Release(np.array([0.7, 0.0, 0.75])), None, arm)).code is Code.SKILL_FAILED
    assert tool.commands == []


def test_a_blocked_place_rises_and_holds_on(arm: TableArm) -> None:
    tool = Tool(arm, holds_m=0.046, lowest_m=0.80)
    tool.opening_m = 0.046
    skill = PlaceSkill(Release(np.array([0.7, 0.0, 0.70])), HeldObject(0.02, 0.046), arm)
    assert tool.run(skill).code is Code.BLOCKED
    assert all(opening == 0 for _, opening in tool.commands)
    assert skill.held is not None


def test_going_home_keeps_the_grip_on_what_is_held(arm: TableArm) -> None:
    tool = Tool(arm, holds_m=0.046)
    assert tool.run(HomeSkill(HeldObject(0.02, 0.046), arm)).code is Code.OK
    assert all(opening == 0 for _, opening in tool.commands)
    np.testing.assert_allclose(tool.pose.translation, arm.home_m, atol=1e-6)


def test_a_push_comes_down_behind_the_object_and_ends_before_the_goal(arm: TableArm) -> None:
    tool = Tool(arm)
    goal = PushAlong(np.array([0.5, 0.0, 0.75]), np.array([0.5, 0.2, 0.70]))
    assert tool.run(PushSkill(goal, arm)).code is Code.OK
    down, end = tool.commands[1][0].translation, tool.commands[2][0].translation
    np.testing.assert_allclose(down[:2], [0.5, -0.07], atol=1e-6)
    np.testing.assert_allclose(end[:2], [0.5, 0.18], atol=1e-6)
    assert all(opening == 0 for _, opening in tool.commands)


def test_the_next_place_knows_what_the_pick_took(arm: TableArm) -> None:
    skills, tool = ArmSkills(arm), Tool(arm, holds_m=0.046)
    assert tool.run(skills.skill(GRASP)).succeeded
    assert skills.held == HeldObject(0.02, 0.046)
    assert tool.run(skills.skill(GoHome())).succeeded
    assert tool.run(skills.skill(Release(np.array([0.7, 0.0, 0.75])))).succeeded
    assert skills.held is None


def test_in_discrete_mode_arrival_is_judged_against_the_rounded_pose(arm: TableArm) -> None:
    discrete = dataclasses.replace(arm, workspace_m=((0.0, -0.5, 0.6), (1.0, 0.5, 1.6)), action_mode="discrete")
    odd = Grasp(Pose.from_rpy(math.pi, 0.0, 0.31, (0.6049, 0.0951, 0.7249)), 0.046, 0.02)  # 5 mm from the grid
    assert Tool(discrete, holds_m=0.046).run(PickSkill(odd, discrete)).code is Code.OK


def test_an_observation_without_an_arm_is_refused(arm: TableArm) -> None:
    with pytest.raises(ObservationError, match="arm"):
        PickSkill(GRASP, arm).step(Observation(0.0, (), Pose.identity()))
