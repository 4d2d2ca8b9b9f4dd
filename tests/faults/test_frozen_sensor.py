"""A frozen camera repeats its last image with new stamps. It is refused once the camera has moved."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="sensors are subscribed to through rclpy")

import numpy as np
from fake_sensors import HEIGHT, PIXELS, RAMP, WIDTH, Node, Robot, colour, depth, stamped, transform
from sensor_msgs.msg import CompressedImage
from tf2_msgs.msg import TFMessage

from si_embodied.geometry import Pose
from si_embodied.types import Code, Observation, Refusal


def drive(robot: Robot, seconds: float, **options: object) -> Observation | Refusal:
    """Drive at 0.3 m/s with 20 images a second; what is seen in the end."""
    for _ in range(round(seconds * 20)):
        robot.step(0.05, speed=0.3, **options)
    return robot.sensors.observe()


def refused_as_frozen(seen: Observation | Refusal, kind: str) -> bool:
    return (
        isinstance(seen, Refusal)
        and seen.code is Code.STALE_OBSERVATION
        and f"the {kind} of the camera 'head' is frozen" in seen.message
        and "repeated the same image for" in seen.message
    )


@pytest.mark.promise(code="STALE_OBSERVATION")
def test_a_camera_that_repeats_itself_while_the_robot_drives_is_refused_within_a_second() -> None:
    robot = Robot()
    assert isinstance(drive(robot, 0.5), Observation)
    assert refused_as_frozen(drive(robot, 1.0, frozen=True), "colour")
    assert robot.sensors.problem() is not None


@pytest.mark.parametrize(("kind", "topic"), [("colour", "image"), ("depth", "depth")])
@pytest.mark.promise(code="STALE_OBSERVATION")
def test_one_frozen_stream_is_enough_to_refuse_the_camera(kind: str, topic: str) -> None:
    robot = Robot()
    seen: Observation | Refusal = Refusal(Code.NO_IMAGE, "")
    for _ in range(20):
        message = colour(PIXELS) if topic == "image" else depth(RAMP)
        robot.step(0.05, speed=0.3, **{topic: message})
        seen = robot.sensors.observe()
    assert refused_as_frozen(seen, kind)


@pytest.mark.promise(recovers="with the next image")
def test_a_camera_that_is_live_again_is_used_at_once() -> None:
    robot = Robot()
    assert isinstance(drive(robot, 1.0, frozen=True), Refusal)
    robot.step()
    assert isinstance(robot.sensors.observe(), Observation)


def test_a_standing_robot_in_a_simulator_without_noise_is_not_refused() -> None:
    robot = Robot()
    for _ in range(2400):  # two minutes
        robot.step(frozen=True)
    assert isinstance(robot.sensors.observe(), Observation)


@pytest.mark.promise(code="STALE_OBSERVATION")
def test_a_standing_robot_is_refused_after_the_time_that_is_set() -> None:
    robot = Robot(frozen_s=3.0)
    for _ in range(58):
        robot.step(frozen=True)
    assert isinstance(robot.sensors.observe(), Observation)
    for _ in range(8):
        robot.step(frozen=True)
    assert refused_as_frozen(robot.sensors.observe(), "colour")


@pytest.mark.parametrize("localised_at", [lambda turn: 0.2 * np.sin(turn / 40), lambda turn: 5.0 * (turn > 100)])
def test_with_odometry_a_localisation_that_wanders_or_jumps_is_not_motion(
    localised_at: Callable[[int], float],
) -> None:
    """As when RViz's 2D Pose Estimate sets the pose of a robot that stands in a simulator without noise."""
    robot = Robot()
    for turn in range(200):
        robot.node.now_s += 0.05
        robot.x = localised_at(turn)
        robot.send_transforms(child="odom")
        robot.x = 0.0
        robot.send_transforms(parent="odom")
        robot.send_images()
    assert isinstance(robot.sensors.observe(), Observation)


def test_a_correction_of_the_localisation_after_a_gap_in_odometry_is_not_motion() -> None:
    """The robot stands. Its images come 1 s late, and odometry pauses for 0.5 s.

    When it is back, the newest transform of the localisation lies in the pause, so where the base is in odom now is not
    known, though it is at the images' stamps.
    """
    robot = Robot()
    for turn in range(200):
        robot.node.now_s += 0.05
        if turn % 2:
            robot.x = 5.0 * (turn > 60)
            robot.send_transforms(child="odom")
            robot.x = 0.0
        if not 100 < turn < 110:
            robot.send_transforms(parent="odom")
        robot.send_images(stamp_s=robot.node.now_s - 1.0)
        assert robot.sensors.cameras[0].frozen is None


@pytest.mark.promise(code="STALE_OBSERVATION", recovers="30 s after the robot has stopped, with a warning")
def test_a_simulated_camera_that_was_wrongly_judged_frozen_recovers_while_the_robot_stands() -> None:
    """A wall that looks the same from everywhere. A task ends with the refusal before: 5 holds of 3 s."""
    robot = Robot(node=Node(use_sim_time=True))
    assert refused_as_frozen(drive(robot, 1.0, frozen=True), "colour")
    for _ in range(20 * 29):
        robot.step(frozen=True)
        assert robot.sensors.problem() is not None
    for _ in range(20 * 2):
        robot.step(frozen=True)
    assert isinstance(robot.sensors.observe(), Observation)
    assert any("has counted as frozen for 30 s" in warning for warning in robot.node.warnings)


@pytest.mark.promise(code="STALE_OBSERVATION")
def test_a_simulated_camera_that_is_used_again_is_refused_again_once_it_moves() -> None:
    robot = Robot(node=Node(use_sim_time=True))
    drive(robot, 1.0, frozen=True)
    for _ in range(20 * 32):
        robot.step(frozen=True)
    assert refused_as_frozen(drive(robot, 1.5, frozen=True), "colour")


def test_a_frozen_camera_on_a_robot_that_is_moved_stays_refused() -> None:
    """A person pushes it on, 2 cm a second."""
    robot = Robot()
    drive(robot, 1.0, frozen=True)
    for _ in range(20 * 60):
        robot.step(0.05, speed=0.02, frozen=True)
    assert refused_as_frozen(robot.sensors.observe(), "colour")


@pytest.mark.parametrize("travel_m", [0.02, 0.1, 1.0])
@pytest.mark.promise(code="STALE_OBSERVATION")
def test_a_camera_that_freezes_after_long_standing_is_refused_once_it_moves(travel_m: float) -> None:
    robot = Robot(frozen_travel_m=travel_m)
    for _ in range(20 * 60):
        robot.step(frozen=True)
    seen = drive(robot, travel_m / 0.3 + 0.5, frozen=True)
    assert refused_as_frozen(seen, "colour")
    robot.step(frozen=True)
    assert refused_as_frozen(robot.sensors.observe(), "colour")


@pytest.mark.parametrize(("simulated", "frozen_s"), [(False, 0.0), (True, 3.0)])
def test_a_camera_with_noise_stays_refused_however_long_it_stands(simulated: bool, frozen_s: float) -> None:
    robot = Robot(node=Node(use_sim_time=simulated), frozen_s=frozen_s)
    drive(robot, 1.0, frozen=True)
    for _ in range(20 * 60):
        robot.step(frozen=True)
        assert robot.sensors.problem() is not None


def test_a_robot_that_stopped_while_transforms_were_missing_is_not_refused() -> None:
    """Between the last transform before the gap and the first one after it, the pose is not known."""
    robot = Robot()
    robot.step()
    robot.x = 9.0
    for turn in range(120):  # it stands; the first three seconds without transforms
        robot.node.now_s += 0.05
        if turn >= 60:
            robot.send_transforms()
        robot.send_images()
    assert isinstance(robot.sensors.observe(), Observation)


@pytest.mark.promise(code="STALE_OBSERVATION")
def test_a_turn_on_the_spot_is_motion() -> None:
    """0.2 rad, eleven degrees, in a second."""
    robot = Robot()
    for turn in range(20):
        robot.node.now_s += 0.05
        yaw = Pose.planar(0.0, 0.0, 0.01 * turn)
        robot.node.send("/tf", TFMessage(transforms=[transform("map", "base_link", yaw, robot.node.now_s)]))
        robot.send_images()
    assert refused_as_frozen(robot.sensors.observe(), "colour")


@pytest.mark.promise(code="STALE_OBSERVATION")
def test_a_loop_of_a_few_images_is_frozen_too() -> None:
    """A driver that hands out the same two buffers in turn."""
    robot = Robot()
    for turn in range(60):
        robot.seed = turn // 2 % 2
        robot.step(0.05, speed=0.3, frozen=True)
    assert refused_as_frozen(robot.sensors.observe(), "colour")


def test_late_images_from_where_the_camera_was_before_are_no_motion() -> None:
    """It stood, turned, and stands again; images of before arrive late, between those of now."""
    robot = Robot()
    for turn in range(120):
        robot.node.now_s += 0.05
        robot.x = 3.0 * (turn >= 60)
        robot.seed = int(turn >= 60)
        robot.send_transforms()
        robot.send_images()
        if turn >= 70:
            robot.seed = 0
            robot.send_images(stamp_s=robot.node.now_s - 3.02)
    assert isinstance(robot.sensors.observe(), Observation)


def test_a_uniform_image_says_nothing_about_motion() -> None:
    """A covered lens, a wall that fills the view, no return at all: equal images prove nothing."""
    robot = Robot()
    for _ in range(40):
        plain = colour(np.full((HEIGHT, WIDTH, 3), (200, 100, 50), np.uint8))
        robot.step(0.05, speed=0.3, image=plain, depth=depth(np.full((HEIGHT, WIDTH), 3.0)))
    assert isinstance(robot.sensors.observe(), Observation)


@pytest.mark.promise(code="STALE_OBSERVATION")
def test_a_frozen_compressed_image_is_refused_too() -> None:
    import cv2

    robot = Robot(compressed=True)
    data = cv2.imencode(".png", PIXELS)[1].tobytes()
    for _ in range(20):
        robot.step(0.05, speed=0.3, image=None)
        message = stamped(CompressedImage(format="png", data=data), robot.node.now_s)
        robot.node.send("head/image_raw/compressed", message)
    assert refused_as_frozen(robot.sensors.observe(), "colour")


def test_the_check_can_be_switched_off() -> None:
    assert isinstance(drive(Robot(frozen_travel_m=0.0), 2.0, frozen=True), Observation)
