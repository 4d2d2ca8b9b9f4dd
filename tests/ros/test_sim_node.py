"""The simulated robots over ROS, each in its own process."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, Twist
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter as RclpyParameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_msgs.msg import Float64, String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

pytest.importorskip("mujoco", reason="the simulated worlds need the extra sim")

from si_embodied.geometry import Pose, deproject_image
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.transform_buffer import TransformBuffer
from si_embodied.types import Code

SIM = ["-m", "si_embodied.ros_nodes.sim_node"]
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STARTS_S, SOON_S = 60.0, 30.0


class Robot:
    """A simulated robot in its process, and what has been heard of it."""

    def __init__(self, ros: Any, **parameters: Any) -> None:
        self.ros = ros
        self.transforms = TransformBuffer(keep_s=1e6)
        self.clock_s = 0.0
        self.stamps: set[float] = set()
        node = ros.node
        node.create_subscription(TFMessage, "/tf", lambda m: self._on_tf(m, False), 100)
        node.create_subscription(TFMessage, "/tf_static", lambda m: self._on_tf(m, True), LATCHED)
        node.create_subscription(Clock, "/clock", self._on_clock, qos_profile_sensor_data)
        self.process = ros.start(SIM, {"image_size": 64, **parameters})
        ros.wait(lambda: self.clock_s > 0, STARTS_S, "the simulator's clock")

    def _on_tf(self, message: TFMessage, static: bool) -> None:
        for each in message.transforms:
            pose = bridge.pose_of_transform(each.transform)
            stamp_s = bridge.seconds(each.header.stamp)
            self.transforms.add(each.header.frame_id, each.child_frame_id, stamp_s, pose, static=static)

    def _on_clock(self, message: Clock) -> None:
        now_s = bridge.seconds(message.clock)
        assert now_s > self.clock_s, "simulated time goes back"
        self.clock_s = now_s

    def where(self, frame: str = "base_link") -> Pose:
        return self.ros.wait(lambda: self.transforms.latest("map", frame), SOON_S, f"where {frame} is")

    def wait_sim(self, seconds: float) -> None:
        until_s = self.clock_s + seconds
        self.ros.wait(lambda: self.clock_s >= until_s, SOON_S + 10 * seconds, f"{seconds} s of simulated time")

    def publisher(self, kind: Any, topic: str) -> Any:
        publisher = self.ros.node.create_publisher(kind, topic, 10)
        self.ros.wait(lambda: publisher.get_subscription_count() > 0, SOON_S, f"a subscriber of {topic}")
        return publisher

    def set(self, **values: Any) -> Any:
        request = SetParameters.Request()
        for name, value in values.items():
            request.parameters.append(RclpyParameter(name, value=value).to_parameter_msg())
        return self.ros.call(SetParameters, "sim_node/set_parameters", request).results


@pytest.fixture(scope="module")
def base(shared_ros: Any) -> Robot:
    """The Apartment's robot, seed 0; every test leaves it standing and ideal."""
    return Robot(shared_ros, publish_ground_truth=True)


@pytest.fixture
def outcome(base: Robot) -> Iterator[Callable[[int], int]]:
    """Waits for the outcome code of the goal stamped with so many seconds."""
    heard = base.ros.listen(String, "navigation/outcome", LATCHED)

    def code(stamp_s: int) -> int:
        def found() -> list[Any]:
            return [v for v in map(json.loads, (m.data for m in heard)) if v["goal_stamp_ns"] == stamp_s * 10**9]

        return int(base.ros.wait(found, 60.0, f"the outcome of goal {stamp_s}")[0]["code"])

    return code


def goal(pose: Pose, stamp_s: int, frame: str = "map") -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id = frame
    message.header.stamp.sec = stamp_s
    bridge.set_pose(message.pose, pose)
    return message


def test_image_depth_calibration_and_pose_are_of_one_instant(base: Robot) -> None:
    """Taken to the map with everything that was published for their stamp, the lowest pixels lie on the floor."""
    images = base.ros.listen(Image, "head/image_raw", qos_profile_sensor_data)
    depths = base.ros.listen(Image, "head/depth", qos_profile_sensor_data)
    infos = base.ros.listen(CameraInfo, "head/camera_info", qos_profile_sensor_data)

    def together() -> list[Any]:
        keyed = [{bridge.seconds(m.header.stamp): m for m in heard} for heard in (images, depths, infos)]
        common = set.intersection(*(set(each) for each in keyed))
        return [tuple(each[stamp] for each in keyed) for stamp in common]

    image, depth, info = base.ros.wait(together, SOON_S, "an image with depth and calibration")[0]
    base.wait_sim(0.2)
    stamp_s = bridge.seconds(image.header.stamp)
    T_map_camera = base.transforms.lookup("map", image.header.frame_id, stamp_s)
    points = T_map_camera.apply(deproject_image(bridge.camera_model_of(info).intrinsics, bridge.depth_of(depth)))
    assert bridge.rgb_of(image).shape == (64, 64, 3)
    assert T_map_camera.translation[2] == pytest.approx(1.1, abs=0.01), "the head camera's height"
    assert np.nanmin(points[..., 2]) == pytest.approx(0.0, abs=0.02), "nothing is lower than the floor"


def test_the_robot_drives_to_a_goal_pose(base: Robot, outcome: Callable[[int], int]) -> None:
    scans = base.ros.listen(LaserScan, "scan")
    base.ros.wait(lambda: scans, SOON_S, "a scan")
    start, scan = base.where(), scans[-1]
    ranges = np.minimum(np.array(scan.ranges), 3.0)
    width = np.arange(-30, 31)  # half a right angle to each side must be clear
    clear = ranges[(np.arange(len(ranges))[:, None] + width) % len(ranges)].min(axis=1)
    heading = scan.angle_min + int(np.argmax(clear)) * scan.angle_increment
    wanted = start @ Pose.planar(0.5 * math.cos(heading), 0.5 * math.sin(heading), heading)
    base.publisher(PoseStamped, "goal_pose").publish(goal(wanted, 11))
    assert outcome(11) == Code.OK
    base.wait_sim(0.2)
    there = base.where()
    assert np.hypot(*(there.translation - wanted.translation)[:2]) < 0.1
    assert abs(math.remainder(there.yaw - wanted.yaw, 2 * math.pi)) < 0.1


@pytest.mark.parametrize(("number", "rate"), [(21, 0.0), (22, math.nan)])
def test_a_velocity_takes_over_from_a_goal_and_stops_if_not_finite(
    base: Robot, outcome: Callable[[int], int], number: int, rate: float
) -> None:
    base.publisher(PoseStamped, "goal_pose").publish(goal(base.where() @ Pose.planar(0.0, 0.0, math.pi), number))
    base.wait_sim(0.3)
    base.publisher(Twist, "cmd_vel").publish(_turn(rate))
    assert outcome(number) == Code.CANCELED
    base.wait_sim(0.2)
    stopped = base.where()
    base.wait_sim(0.5)
    assert base.where().yaw == pytest.approx(stopped.yaw, abs=1e-6)


def test_a_new_goal_preempts_the_one_before_it(base: Robot, outcome: Callable[[int], int]) -> None:
    here, goals = base.where(), base.publisher(PoseStamped, "goal_pose")
    goals.publish(goal(here @ Pose.planar(0.0, 0.0, math.pi), 31))
    base.wait_sim(0.2)
    goals.publish(goal(base.where(), 32))
    assert outcome(31) == Code.CANCELED
    assert outcome(32) == Code.OK


def test_a_goal_in_another_frame_is_refused(base: Robot, outcome: Callable[[int], int]) -> None:
    base.publisher(PoseStamped, "goal_pose").publish(goal(Pose.identity(), 41, frame="base_link"))
    assert outcome(41) == Code.SKILL_FAILED


def test_a_velocity_that_is_not_renewed_stops(base: Robot) -> None:
    """0.4 rad/s are meant for half a second: 0.2 rad, to within a tick at each end."""
    heard = base.ros.listen(Odometry, "odom")
    before = base.where()
    base.publisher(Twist, "cmd_vel").publish(_turn(0.4))
    base.ros.wait(lambda: any(m.twist.twist.angular.z > 0.3 for m in heard), SOON_S, "the turn")
    base.wait_sim(1.0)
    assert heard[-1].twist.twist.angular.z == 0.0
    assert math.remainder(base.where().yaw - before.yaw, 2 * math.pi) == pytest.approx(0.2, abs=0.045)


def test_a_noise_profile_may_be_set_while_the_robot_runs(base: Robot) -> None:
    """A standing robot's ideal images are all the same; those of a real camera never are."""
    heard = base.ros.listen(Image, "head/depth", qos_profile_sensor_data)

    def different() -> bool:
        heard.clear()
        base.ros.wait(lambda: len(heard) > 2, SOON_S, "images")
        return heard[-1].data != heard[-2].data

    assert not different()
    try:
        assert base.set(noise_profile="realsense")[0].successful
        base.wait_sim(0.5)
        assert different()
    finally:
        base.set(noise_profile="none")
    refused = base.set(noise_profile="realsens")[0]
    assert not refused.successful
    assert "Did you mean 'realsense'" in refused.reason


def test_late_images_keep_the_stamp_of_their_exposure(base: Robot) -> None:
    ages: list[float] = []
    base.ros.node.create_subscription(
        Image, "head/image_raw", lambda m: ages.append(base.clock_s - bridge.seconds(m.header.stamp)), 10
    )
    assert base.set(image_latency_s=0.6)[0].successful
    try:
        base.wait_sim(1.0)
        ages.clear()
        base.ros.wait(lambda: len(ages) > 3, SOON_S, "late images")
        assert min(ages) > 0.5
    finally:
        base.set(image_latency_s=0.0)


def test_a_camera_with_another_clock_and_without_depth(base: Robot) -> None:
    ahead: list[float] = []
    base.ros.node.create_subscription(
        Image, "head/image_raw", lambda m: ahead.append(bridge.seconds(m.header.stamp) - base.clock_s), 10
    )
    depths = base.ros.listen(Image, "head/depth")
    assert all(each.successful for each in base.set(clock_offset_s=0.5, publish_depth=False))
    try:
        base.wait_sim(1.0)  # what was exposed before has come by then
        ahead.clear()
        depths.clear()
        base.ros.wait(lambda: len(ahead) > 3, SOON_S, "images")
        assert min(ahead) > 0.3
        assert not depths
    finally:
        base.set(clock_offset_s=0.0, publish_depth=True)


def test_what_cannot_be_set_is_refused_with_the_reason(base: Robot) -> None:
    assert "restart the node" in base.set(world="tabletop")[0].reason
    assert "32FC1" in base.set(depth_encoding="8UC1")[0].reason


def test_a_reset_starts_the_episode_of_the_seed(base: Robot) -> None:
    """And time goes on: `Robot` refuses a clock that goes back."""
    instructions = base.ros.listen(String, "sim_node/instruction", LATCHED)
    truths = base.ros.listen(String, "sim_node/ground_truth")
    first = base.where()
    assert base.set(seed=1)[0].successful
    answer = base.ros.call(Trigger, "sim_node/reset", Trigger.Request())
    assert answer.success
    base.ros.wait(lambda: instructions and instructions[-1].data == answer.message, SOON_S, "the new instruction")
    truths.clear()
    base.ros.wait(lambda: truths, SOON_S, "ground truth")
    assert json.loads(truths[-1].data)["name"] in answer.message
    assert np.linalg.norm(base.where().translation - first.translation) > 0.1


def test_the_arm_goes_where_it_is_sent(ros: Any) -> None:
    robot = Robot(ros, world="tabletop", camera_rate_hz=1.0)
    outcomes = ros.listen(String, "arm/outcome", LATCHED)
    openings = ros.listen(Float64, "gripper/opening")
    tool = robot.where("tool")
    wanted = Pose(tool.rotation, tool.translation + np.array([0.0, 0.1, -0.05]))
    arm, gripper = robot.publisher(PoseStamped, "arm/goal"), robot.publisher(Float64, "gripper/goal")
    robot.wait_sim(0.5)  # the simulator knows the publishers then, too
    arm.publish(goal(wanted, 51))  # and only then the gripper's, which belongs to it
    gripper.publish(Float64(data=0.04))
    ros.wait(lambda: outcomes, 90.0, "the arm's outcome")
    assert json.loads(outcomes[0].data) == {"goal_stamp_ns": 51 * 10**9, "code": 0, "message": ""}
    robot.wait_sim(0.2)
    assert np.linalg.norm(robot.where("tool").translation - wanted.translation) < 0.003
    # A busy machine may deliver the second message after the motion has ended.
    ros.wait(lambda: openings[-1].data == pytest.approx(0.04, abs=0.003), SOON_S, "the gripper's opening")


def test_it_ends_on_ctrl_c_with_exit_code_0(ros: Any) -> None:
    robot = Robot(ros)
    output = ros.stop(robot.process)
    assert robot.process.returncode == 0, output
    assert "Traceback" not in output


def test_a_world_that_does_not_exist_is_named_and_ends_the_process(ros: Any) -> None:
    process = ros.start(SIM, {"world": "appartment"})
    output = process.communicate(timeout=STARTS_S)[0]
    assert process.returncode == 2
    assert "Did you mean 'apartment'?" in output


def _turn(rate: float) -> Twist:
    message = Twist()
    message.angular.z = rate
    return message
