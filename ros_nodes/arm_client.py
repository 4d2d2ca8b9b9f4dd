"""Goals to an arm: the policies' skills, whose every motion goes out as a tool pose and a gripper's opening.

The arm's side is two topics that take a motion (`gripper/goal`, metres between the pads, and `arm/goal`, the tool's
pose) and two that tell of it (`gripper/opening`, and `arm/outcome` once a motion has ended). `sim_node` speaks them; a
bridge to MoveIt is to.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Float64, String

from si_embodied.arm_actions import decode_pose
from si_embodied.embodiment import TableArm
from si_embodied.errors import ConfigError
from si_embodied.geometry import Pose
from si_embodied.policies.skills import Skill
from si_embodied.policies.skills.arm import ArmSkills
from si_embodied.ros_nodes import bridge
from si_embodied.types import ArmState, Code, Goal, Observation, Outcome

MOTION_TIMEOUT_S = 20.0
"""For one motion; the longest of the simulated arm takes 3 s."""
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class ArmClient:
    """The manipulation goals of a plan, one at a time. Used from the executor's thread alone; nothing here waits."""

    def __init__(
        self,
        node: Any,
        arm: TableArm,
        *,
        clock: Callable[[], float],
        tool_now: Callable[[], Pose | None],
        map_frame: str = "map",
    ) -> None:
        """Publish and subscribe on `node`.

        Args:
            node: a node.
            arm: what the arm can do; driven by tool poses.
            clock: seconds of the ROS clock.
            tool_now: `T_map_tool` as last heard of.
            map_frame: the frame of the poses.

        Raises:
            ConfigError: an arm that is not driven by tool poses.
        """
        if arm.action_mode != "pose":
            raise ConfigError(f"expected an arm that is driven by poses, got action_mode: {arm.action_mode!r}")
        self._node, self._arm, self._clock = node, arm, clock
        self._tool_now, self._map_frame = tool_now, map_frame
        self._skills = ArmSkills(arm)
        self._skill: Skill | None = None
        self._outcome: Outcome | None = None  # of the goal
        self._sent_ns, self._sent_s = 0, 0.0  # the motion under way
        self._motion_ended = False
        self._opening_m: float | None = None
        self._poses = node.create_publisher(PoseStamped, "arm/goal", 1)
        self._openings = node.create_publisher(Float64, "gripper/goal", 1)
        self._subscriptions = [
            node.create_subscription(Float64, "gripper/opening", self._on_opening, 1),
            node.create_subscription(String, "arm/outcome", self._on_outcome, _LATCHED),
        ]

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for publisher in (self._poses, self._openings):
            self._node.destroy_publisher(publisher)

    def state(self) -> ArmState | None:
        """Where the tool is and how far open the gripper, as last heard of; None before that."""
        tool = self._tool_now()
        return None if tool is None or self._opening_m is None else ArmState(tool, self._opening_m)

    def reset(self) -> None:
        """A new task: nothing is held."""
        self._skills.reset()

    # --- goals ------------------------------------------------------------------------------------------------------

    def start(self, goal: Goal, T_map_base: Pose) -> None:
        """Begin a goal; the base does not move."""
        del T_map_base
        self._outcome, self._motion_ended = None, False
        try:
            self._skill = self._skills.skill(goal)
        except ConfigError as error:
            self._skill, self._outcome = None, Outcome(Code.SKILL_FAILED, str(error))
            return
        self._step()

    def poll(self) -> Outcome | None:
        """How the goal ended, once."""
        if self._skill is not None:
            if self._motion_ended:
                self._step()
            elif self._clock() - self._sent_s > MOTION_TIMEOUT_S:
                self._hold_still()
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
            self._hold_still()

    def _step(self) -> None:
        """Send the skill's next motion, or take note of how it ended."""
        assert self._skill is not None  # the callers have checked
        state = self.state()
        if state is None:
            self._outcome = Outcome(
                Code.SKILL_FAILED, "nothing has been heard of the tool's frame and of gripper/opening"
            )
            return
        self._motion_ended = False
        action = self._skill.step(Observation(self._clock(), (), Pose.identity(), state))
        if isinstance(action, Outcome):
            self._outcome = action
            return
        tool, opening = decode_pose(action)
        self._openings.publish(Float64(data=opening * self._arm.max_opening_m))
        self._send(tool)

    def _hold_still(self) -> None:
        tool = self._tool_now()
        if tool is not None:
            self._send(tool)

    def _send(self, tool: Pose) -> None:
        self._sent_s = self._clock()
        # The stamp is the motion's name; simulated time may stand still between two.
        self._sent_ns = max(round(self._sent_s * 1e9), self._sent_ns + 1)
        message = PoseStamped()
        message.header.frame_id = self._map_frame
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self._sent_ns, 1_000_000_000)
        bridge.set_pose(message.pose, tool)
        self._poses.publish(message)

    # --- what is heard ----------------------------------------------------------------------------------------------

    def _on_opening(self, message: Float64) -> None:
        self._opening_m = float(message.data)

    def _on_outcome(self, message: String) -> None:
        """A motion has ended; whether the tool is where it should be, the skill sees for itself."""
        try:
            stamp_ns = int(json.loads(message.data)["goal_stamp_ns"])
        except (ValueError, TypeError, LookupError) as error:
            self._node.get_logger().error(f"not an outcome on arm/outcome: {message.data[:120]!r} ({error!r})")
            return
        self._motion_ended = self._motion_ended or stamp_ns == self._sent_ns
