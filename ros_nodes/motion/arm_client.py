"""Executes manipulation goals: skills from `policies` produce tool poses and gripper openings for an arm driver."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from si_embodied.arm_actions import decode_pose
from si_embodied.embodiment import TableArm
from si_embodied.errors import ConfigError
from si_embodied.geometry import Pose
from si_embodied.policies.skills import Skill
from si_embodied.policies.skills.arm import ArmSkills
from si_embodied.ros_nodes.motion.arm_drivers import ArmDriver
from si_embodied.ros_nodes.motion.stop import MotionStop
from si_embodied.skills import Goal
from si_embodied.types import ArmState, Code, Observation, Outcome

MOTION_TIMEOUT_S = 40.0
"""For one motion: MoveIt may plan for 5 s and moves slowly by default; the simulated arm needs at most 3 s."""

STUCK_S = 10.0
"""An arm that has moved neither tool nor fingers for this long has lost the motion: MoveIt may plan for 5 s before it
moves."""
_MOVED_M, _MOVED_RAD = 0.002, math.radians(1)

UNKNOWN_S = 2.0
"""How long the arm stands between two motions and waits for its own pose: on a busy machine, transforms come late."""
UNKNOWN = "the tool's transform or the gripper's opening is not known"


class ArmClient:
    """Executes one goal at a time. Used from the executor's thread alone; nothing here blocks."""

    def __init__(
        self,
        arm: TableArm,
        driver: ArmDriver,
        *,
        stop: MotionStop,
        clock: Callable[[], float],
        tool_now: Callable[[], Pose | None],
    ) -> None:
        """Move the arm with `driver`.

        Args:
            arm: the arm, with the action mode "pose".
            driver: moves the tool and the gripper.
            stop: stops the arm.
            clock: the ROS clock in seconds.
            tool_now: the current `T_map_tool`, None while it is not known.

        Raises:
            ConfigError: the arm has another action mode.
        """
        if arm.action_mode != "pose":
            raise ConfigError(f"expected an arm with the action_mode 'pose', got: {arm.action_mode!r}")
        self._arm, self._driver, self._stop = arm, driver, stop
        self._clock, self._tool_now = clock, tool_now
        self._skills = ArmSkills(arm)
        self._skill: Skill | None = None
        self._outcome: Outcome | None = None  # of the goal that has just ended
        self._due_s: float | None = None  # since when the next motion is due; None while one is under way
        self._sent_s = 0.0  # when the motion under way was sent
        self._still: ArmState | None = None  # where the arm has been since `_still_s`
        self._still_s = 0.0

    def close(self) -> None:
        """Release the driver."""
        self._driver.close()

    def state(self) -> ArmState | None:
        """The current tool pose and gripper opening, None while either is not known."""
        tool, opening_m = self._tool_now(), self._driver.opening_m()
        return None if tool is None or opening_m is None else ArmState(tool, opening_m)

    def reset(self) -> None:
        """Start a new task with an empty gripper."""
        self._skills.reset()

    # --- goals ------------------------------------------------------------------------------------------------------

    def start(self, goal: Goal, T_map_base: Pose) -> None:
        """Start a goal; the base is fixed."""
        del T_map_base
        self._stop.release()
        self._outcome = None
        try:
            self._skill = self._skills.skill(goal)
        except ConfigError as error:
            self._skill, self._outcome = None, Outcome(Code.SKILL_FAILED, str(error))
            return
        if self.state() is None:  # nothing is lost yet: the planner looks again, instead of moving on an older plan
            self._skill, self._outcome = None, Outcome(Code.NO_TRANSFORM, UNKNOWN)
            return
        self._due_s = self._clock()
        self._step()

    def poll(self) -> Outcome | None:
        """The outcome of the goal, returned once; None while it is under way."""
        if self._skill is not None and self._outcome is None:  # else it ended without a motion
            if self._due_s is None and self._driver.take_end():
                self._due_s = self._clock()
            if self._due_s is None:
                self._outcome = self._overdue()
            else:
                self._step()
        outcome, self._outcome = self._outcome, None
        if outcome is not None and not outcome.succeeded:
            self.cancel()
        elif outcome is not None:
            self._skill = None
        return outcome

    def _overdue(self) -> Outcome | None:
        """Why the motion under way is given up: it takes too long, or the arm has stood for too long."""
        now_s, state = self._clock(), self.state()
        if state is not None and (self._still is None or _moved(self._still, state)):
            self._still, self._still_s = state, now_s
        if now_s - self._sent_s > MOTION_TIMEOUT_S:
            reason = f"the arm's driver did not report the motion's end within {MOTION_TIMEOUT_S:.0f} s"
            return Outcome(Code.TIMED_OUT, reason)
        if self._still_s >= self._sent_s and now_s - self._still_s > STUCK_S:
            reason = f"the arm has not moved for {STUCK_S:.0f} s, and its driver did not report the motion's end"
            return Outcome(Code.BLOCKED, reason)
        return None

    def cancel(self) -> None:
        """Stop the arm where it is, without opening the gripper."""
        self._skill = None
        self._driver.cancel()
        self._stop.apply()

    @property
    def settled(self) -> bool:
        """Whether no goal is on its way that a controller could still accept."""
        return self._driver.settled

    def _step(self) -> None:
        """Send the skill's next motion, or record the skill's outcome; wait while the arm's state is not known."""
        assert self._skill is not None  # the callers check
        assert self._due_s is not None
        state = self.state()
        if state is None:
            if self._clock() - self._due_s >= UNKNOWN_S:
                self._outcome = Outcome(Code.NO_TRANSFORM, UNKNOWN)
            return
        self._due_s = None
        action = self._skill.step(Observation(self._clock(), (), Pose.identity(), state))
        if isinstance(action, Outcome):
            self._outcome = action
            return
        tool, opening = decode_pose(action)
        self._sent_s, self._still = self._clock(), None
        self._driver.move(tool, opening * self._arm.max_opening_m)


def _moved(before: ArmState, after: ArmState) -> bool:
    change = before.T_map_tool.inverse() @ after.T_map_tool
    turned = math.acos(min(max((float(np.trace(change.rotation)) - 1) / 2, -1.0), 1.0))
    far = float(np.linalg.norm(change.translation)) > _MOVED_M
    return far or turned > _MOVED_RAD or abs(before.gripper_opening_m - after.gripper_opening_m) > _MOVED_M
