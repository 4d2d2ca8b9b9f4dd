"""Settings of the watchdog. Those it shares with the planner have the planner's names, so that one file serves both."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated

from typing_extensions import Doc

from si_embodied.errors import ConfigError
from si_embodied.ros_nodes.node.settings import ArmSettings, NavigationSettings

ACTIONS = (
    "navigate_to_pose", "navigate_through_poses", "follow_path", "move_action", "execute_trajectory",
    "gripper_controller/gripper_cmd",
)  # fmt: skip
_SHORTEST_S, _LONGEST_S = 0.2, 5.0
"""Two periods of the heartbeat; and a robot that drives on for longer is not watched."""
_ROS_NAME = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
_LONGEST_NAME = 150
"""DDS takes 255 characters with the namespace, the action's suffix and what ROS puts before it."""


def _check_name(setting: str, name: str) -> None:
    """Reject what is not the name of a topic or action; the empty name stands for none."""
    if name and (len(name) > _LONGEST_NAME or not _ROS_NAME.fullmatch(name)):
        raise ConfigError(
            f"expected {setting} to be a ROS name of letters, digits, '_' and '/', at most {_LONGEST_NAME} long, "
            f"got: {name[:80]!r}"
        )


@dataclass(frozen=True, slots=True)
class WatchedArm:
    """Of the planner's arm, what the watchdog cancels."""

    gripper_action: Annotated[str, Doc("a control_msgs/GripperCommand action")] = ArmSettings().gripper_action

    def __post_init__(self) -> None:
        """Reject invalid names."""
        _check_name("arm.gripper_action", self.gripper_action)


@dataclass(frozen=True, slots=True)
class WatchedBase:
    """Of the planner's navigation, how the base is stopped."""

    cmd_vel_stamped: Annotated[bool, Doc("publish TwistStamped on cmd_vel, which Nav2 expects from Kilted on")] = (
        NavigationSettings().cmd_vel_stamped
    )


@dataclass(frozen=True, slots=True)
class WatchedHead:
    """Of the planner's robot, the camera's tilt."""

    tilt_topic: Annotated[str, Doc("std_msgs/Float64 that tilts the head camera; empty: the camera is fixed")] = ""

    def __post_init__(self) -> None:
        """Reject invalid names."""
        _check_name("robot.tilt_topic", self.tilt_topic)


@dataclass(frozen=True, slots=True)
class WatchdogSettings:
    """The watchdog node."""

    heartbeat_timeout_s: Annotated[float, Doc("without a heartbeat for this long, the planner is lost")] = 0.5
    watchdog_actions: Annotated[tuple[str, ...], Doc("actions of Nav2 and MoveIt whose goals are cancelled")] = ACTIONS
    arm: WatchedArm = field(default_factory=WatchedArm)
    navigation: WatchedBase = field(default_factory=WatchedBase)
    robot: WatchedHead = field(default_factory=WatchedHead)

    def __post_init__(self) -> None:
        """Reject invalid names and values out of range."""
        if not _SHORTEST_S <= self.heartbeat_timeout_s <= _LONGEST_S:
            raise ConfigError(
                f"expected heartbeat_timeout_s to be from {_SHORTEST_S} to {_LONGEST_S}, "
                f"got: {self.heartbeat_timeout_s}"
            )
        for name in self.watchdog_actions:
            _check_name("watchdog_actions", name)
