"""A map frame that jumps."""

from __future__ import annotations

import pytest

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing.map_watch import MapWatch


def watched(*poses: Pose | None) -> list[str]:
    """What each check says while `T_map_odom` is one after the other."""
    left = list(poses)
    watch = MapWatch(lambda: left.pop(0))
    return [watch.check() for _ in poses]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (Pose.planar(0.6, 0.0, 0.0), "the map frame has jumped by 0.60 m and 0 degrees"),
        (Pose.planar(0.0, 0.0, -0.5), "the map frame has jumped by 0.00 m and 29 degrees"),
        (Pose.planar(0.3, 0.3, 0.2), ""),
    ],
)
def test_a_large_correction_at_once_is_a_jump_and_a_small_one_is_not(after: Pose, words: str) -> None:
    assert watched(Pose.identity(), after, after) == ["", words, ""]


def test_slow_corrections_of_the_odometrys_drift_are_not_a_jump() -> None:
    assert not any(watched(*(Pose.planar(0.1 * step, 0.0, 0.05 * step) for step in range(100))))


def test_a_jump_is_noticed_after_a_gap() -> None:
    assert watched(None, Pose.identity(), None, Pose.planar(3.0, 0.0, 0.0))[-1]


def test_without_an_odometry_frame_nothing_is_noticed() -> None:
    assert watched(None, None) == ["", ""]
