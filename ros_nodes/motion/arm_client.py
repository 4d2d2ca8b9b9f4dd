"""Goals to an arm: the policies' skills, each motion of which is a tool pose and an opening for the arm's driver."""

from __future__ import annotations

from collections.abc import Callable

from si_embodied.arm_actions import decode_pose
from si_embodied.embodiment import TableArm
from si_embodied.errors import ConfigError
from si_embodied.geometry import Pose
from si_embodied.policies.skills import Skill
from si_embodied.policies.skills.arm import ArmSkills
from si_embodied.ros_nodes.motion.arm_drivers import ArmDriver
from si_embodied.skills import Goal
from si_embodied.types import ArmState, Code, Observation, Outcome

MOTION_TIMEOUT_S = 40.0
"""For one motion: MoveIt may plan for 5 s, and moves slowly by default; the simulated arm takes 3 s at most."""

UNKNOWN = "nothing has been heard of the tool's frame and of the gripper's opening"


class ArmClient:
    """The manipulation goals of a plan, one at a time. Used from the executor's thread alone; nothing here waits."""

    def __init__(
        self,
        arm: TableArm,
        driver: ArmDriver,
        *,
        clock: Callable[[], float],
        tool_now: Callable[[], Pose | None],
    ) -> None:
        """Move with `driver`.

        Args:
            arm: what the arm can do; driven by tool poses.
            driver: moves it.
            clock: seconds of the ROS clock.
            tool_now: `T_map_tool` as last heard of.

        Raises:
            ConfigError: an arm that is not driven by tool poses.
        """
        if arm.action_mode != "pose":
            raise ConfigError(f"expected an arm that is driven by poses, got action_mode: {arm.action_mode!r}")
        self._arm, self._driver, self._clock, self._tool_now = arm, driver, clock, tool_now
        self._skills = ArmSkills(arm)
        self._skill: Skill | None = None
        self._outcome: Outcome | None = None  # of the goal
        self._sent_s = 0.0  # the motion under way

    def close(self) -> None:
        """Release the driver."""
        self._driver.close()

    def state(self) -> ArmState | None:
        """Where the tool is and how far open the gripper, as last heard of; None before that."""
        tool, opening_m = self._tool_now(), self._driver.opening_m()
        return None if tool is None or opening_m is None else ArmState(tool, opening_m)

    def reset(self) -> None:
        """A new task: nothing is held."""
        self._skills.reset()

    # --- goals ------------------------------------------------------------------------------------------------------

    def start(self, goal: Goal, T_map_base: Pose) -> None:
        """Begin a goal; the base does not move."""
        del T_map_base
        self._outcome = None
        try:
            self._skill = self._skills.skill(goal)
        except ConfigError as error:
            self._skill, self._outcome = None, Outcome(Code.SKILL_FAILED, str(error))
            return
        self._step()

    def poll(self) -> Outcome | None:
        """How the goal ended, once."""
        if self._skill is not None:
            if self._driver.take_end():
                self._step()
            elif self._clock() - self._sent_s > MOTION_TIMEOUT_S:
                self._driver.stay(self._tool_now())
                self._outcome = Outcome(
                    Code.TIMED_OUT, f"the arm did not say within {MOTION_TIMEOUT_S:.0f} s that it is there"
                )
        outcome, self._outcome = self._outcome, None
        if outcome is not None:
            self._skill = None
        return outcome

    def cancel(self) -> None:
        """Stop where the tool is, and hold on."""
        if self._skill is not None:
            self._skill = None
            self._driver.stay(self._tool_now())

    def _step(self) -> None:
        """Send the skill's next motion, or take note of how it ended."""
        assert self._skill is not None  # the callers have checked
        state = self.state()
        if state is None:
            self._outcome = Outcome(Code.SKILL_FAILED, UNKNOWN)
            return
        action = self._skill.step(Observation(self._clock(), (), Pose.identity(), state))
        if isinstance(action, Outcome):
            self._outcome = action
            return
        tool, opening = decode_pose(action)
        self._sent_s = self._clock()
        self._driver.move(tool, opening * self._arm.max_opening_m)
