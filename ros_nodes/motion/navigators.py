"""The choice of navigator: Nav2 or a goal topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from si_embodied.errors import MissingRosPackageError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.motion.navigation_client import Navigator
from si_embodied.ros_nodes.motion.topic_navigator import TopicNavigator
from si_embodied.ros_nodes.node.settings import NodeSettings


def make_navigator(
    node: Any, settings: NodeSettings, *, clock: Callable[[], float], base_now: Callable[[], Pose | None]
) -> Navigator:
    """Nav2 if `navigation.navigator` allows it and nav2_msgs is installed, otherwise the goal topic.

    Raises:
        MissingRosPackageError: the setting is nav2, and nav2_msgs is not installed.
    """
    choice = settings.navigation.navigator
    if choice != "topic":
        try:
            from si_embodied.ros_nodes.motion.nav2_client import Nav2Navigator

            return Nav2Navigator(node, settings.navigation, settings.map_frame, clock=clock)
        except ModuleNotFoundError as error:
            if choice == "nav2":
                raise MissingRosPackageError(str(error.name)) from error
    return TopicNavigator(node, settings.navigation, settings.map_frame, clock=clock, base_now=base_now)
