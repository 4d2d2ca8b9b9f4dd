"""Settings of the base that no robot can have are rejected."""

from __future__ import annotations

import math

import pytest

from si_embodied.errors import ConfigError
from si_embodied.ros_nodes.node.settings import RobotSettings


@pytest.mark.parametrize("name", ["radius_m", "height_m"])
@pytest.mark.parametrize("value", [0.0, -0.2, math.nan, math.inf])
def test_a_body_has_a_size(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"robot.{name} to be positive"):
        RobotSettings(**{name: value})


@pytest.mark.parametrize("value", [1e-7, 0.0, -1.0, 0.09, math.nan, math.inf])
def test_a_look_around_has_a_bounded_number_of_turns(value: float) -> None:
    with pytest.raises(ConfigError, match="robot.look_step_rad to be at least 0.1"):
        RobotSettings(look_step_rad=value)


def test_the_smallest_step_is_allowed() -> None:
    assert RobotSettings(look_step_rad=0.1).look_step_rad == 0.1
