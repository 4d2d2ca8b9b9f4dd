"""Images that are old, ahead of the clock, or missing: each camera is judged by its own stamps."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy", reason="sensors are subscribed to through rclpy")

from fake_sensors import Robot, colour, depth

from si_embodied.types import Code, Observation, Refusal


def test_good_sensors_are_observed() -> None:
    robot = Robot(cameras=("head", "wrist"))
    robot.step()
    seen = robot.sensors.observe()
    assert isinstance(seen, Observation)
    assert [frame.name for frame in seen.frames] == ["head", "wrist"]
    assert robot.sensors.problem() is None
    assert robot.sensors.rejected == {}


def test_a_second_camera_that_is_eight_seconds_old_is_refused_by_name() -> None:
    robot = Robot(cameras=("head", "wrist"))
    robot.step()
    robot.cameras = ("head",)
    for _ in range(160):
        robot.step()
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert seen.code is Code.STALE_OBSERVATION
    assert "'wrist' is 8.00 s old, more than 1.0 s" in seen.message


def test_old_images_of_a_camera_whose_transforms_died_are_not_used_instead_of_new_ones() -> None:
    """The wrist's last posed image is 8 s old; it is still in the buffer, because the camera sends one a second."""
    robot = Robot(cameras=("head", "wrist"))
    frames = {"image": None, "depth": None}
    for second in range(14):
        for _ in range(20):
            robot.step(0.05, **frames)
            robot.send_images("head")
        if second < 6:
            robot.send_transforms(parent="base_link", child="wrist_link")
        robot.send_images("wrist", **in_frame("wrist_link"))
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert seen.code is Code.NO_TRANSFORM
    assert "'wrist'" in seen.message
    assert "'wrist_link' is known only until" in seen.message


def in_frame(frame: str) -> dict[str, Any]:
    messages = {"image": colour(), "depth": depth()}
    for message in messages.values():
        message.header.frame_id = frame
    return messages


@pytest.mark.parametrize(
    ("offset_s", "code", "words"),
    [
        (-5.0, Code.STALE_OBSERVATION, "5.00 s old"),
        (5.0, Code.STALE_OBSERVATION, "5.00 s ahead of the clock"),
        (-0.9, None, ""),
        (0.05, None, ""),
    ],
)
def test_stamps_far_from_the_clock_are_refused(offset_s: float, code: Code | None, words: str) -> None:
    robot = Robot()
    for _ in range(250):
        robot.step(image=None, depth=None)
    stamp_s = robot.node.now_s + offset_s
    robot.send_transforms(max(stamp_s, robot.node.now_s))
    robot.send_images(stamp_s=stamp_s)
    seen = robot.sensors.observe()
    assert (seen.code if isinstance(seen, Refusal) else None) is code
    assert not isinstance(seen, Refusal) or words in seen.message


def test_depth_stamped_ahead_never_passes_for_that_of_a_later_image() -> None:
    """The camera's stamps are five seconds ahead for a while, then its depth stops and its images go on."""
    robot = Robot()
    for _ in range(100):
        robot.step()
        robot.send_images(stamp_s=robot.node.now_s + 5.0)
    for _ in range(120):
        robot.step(depth=None)
        seen = robot.sensors.observe()
        assert isinstance(seen, Refusal) or seen.frames[0].depth_m is None


def test_depth_that_is_five_seconds_old_is_not_paired_with_the_image() -> None:
    robot = Robot()
    robot.step(depth=None)
    robot.send_images(image=None, stamp_s=robot.node.now_s - 5.0)
    seen = robot.sensors.observe()
    assert isinstance(seen, Observation)
    assert seen.frames[0].depth_m is None


@pytest.mark.parametrize("offset_s", [-5.0, -0.05, 0.05])
@pytest.mark.promise(code="NO_DEPTH", recovers="with the next pair")
def test_no_plan_is_made_on_an_image_whose_depth_fits_none(offset_s: float) -> None:
    """No goal would start: the planner would be asked again and again, and the refusal would never end the task."""
    robot = Robot()
    for _ in range(10):
        robot.step(0.1, depth=None)
        robot.send_images(image=None, stamp_s=robot.node.now_s + offset_s)
        seen, problem = robot.sensors.observe(with_depth=True), robot.sensors.problem()
        assert isinstance(seen, Refusal)
        assert seen == problem
        assert seen.code is Code.NO_DEPTH
        assert seen.message == "no depth of the last images of 'head' has come on head/depth"
    robot.step()
    assert isinstance(robot.sensors.observe(with_depth=True), Observation)
    assert robot.sensors.problem() is None


def test_a_plan_waits_for_the_depth_of_the_image_that_shows_what_a_goal_led_to() -> None:
    robot = Robot()
    robot.step()
    after_s = robot.node.now_s
    robot.step(0.1, depth=None)
    seen = robot.sensors.observe(after_s, with_depth=True)
    assert isinstance(seen, Refusal)
    assert seen.code is Code.NO_DEPTH
    robot.send_images(image=None)
    seen = robot.sensors.observe(after_s, with_depth=True)
    assert isinstance(seen, Observation)
    assert seen.frames[0].depth_m is not None


def test_a_camera_without_depth_is_planned_on() -> None:
    robot = Robot()
    robot.step(depth=None)
    assert isinstance(robot.sensors.observe(with_depth=True), Observation)


def test_missing_sensors_are_named() -> None:
    robot = Robot(cameras=("head", "wrist"))
    robot.cameras = ("head",)
    robot.step()
    seen = robot.sensors.observe()
    assert seen == Refusal(Code.NO_IMAGE, "the camera 'wrist' has sent nothing on wrist/image_raw")
    assert robot.sensors.problem() == seen


def test_stamps_of_zero_are_refused() -> None:
    robot = Robot()
    robot.step()
    robot.sensors.cameras[0].clear()
    robot.send_images(stamp_s=0.0)
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert seen.code is Code.STALE_OBSERVATION


@pytest.mark.promise(recovers="with the next image")
def test_a_message_that_raises_in_a_callback_is_counted_named_and_dropped() -> None:
    robot = Robot()
    robot.step()
    for _ in range(3):
        robot.node.send("head/image_raw", object())
        robot.node.send("/tf", object())
    assert robot.sensors.rejected == {"images of head": 3, "/tf": 3}
    assert robot.sensors.last_rejection.startswith("/tf: AttributeError")
    assert len(robot.node.warnings) == 4  # the first and the second of each
    robot.step()
    assert isinstance(robot.sensors.observe(), Observation)
