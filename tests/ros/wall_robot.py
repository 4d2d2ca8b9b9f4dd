"""A robot in a process of its own: a base with an RGB-D camera before a wall at x = 3 m, driven by goal_pose.

What a planner sees of it is known in closed form, and it can be told to be faulty.
"""

from __future__ import annotations

import math

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped, TransformStamped, Twist
from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Bool, Empty, Float64
from tf2_msgs.msg import TFMessage

from si_embodied.geometry import Intrinsics, Pose, wrap_angle
from si_embodied.ros_nodes.node.shared_memory import no_shared_memory
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.simulator.ordering import GoalOrder

WALL_M, EYE_M = 3.0, 1.0
CAMERA = Intrinsics.from_vertical_fov(65, 49, math.radians(70))  # odd: the image's centre is a pixel's
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # x right, y down, z forward, in base_link
T_base_camera = Pose(OPTICAL, np.array([0.0, 0.0, EYE_M]))
PERIOD_S = 0.05


def depth_seen(T_map_camera: Pose) -> np.ndarray:
    """Depth (H, W) of the wall and of the floor before it; 0 where neither is."""
    v, u = np.indices((CAMERA.height, CAMERA.width))
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], axis=-1)
    x, _, z = np.moveaxis(rays @ T_map_camera.rotation.T, -1, 0)
    eye = T_map_camera.translation
    with np.errstate(divide="ignore", invalid="ignore"):
        wall = np.where(x > 0, (WALL_M - eye[0]) / x, np.inf)
        floor = np.where(z < 0, -eye[2] / z, np.inf)
    depth = np.minimum(wall, floor)
    return np.where(np.isfinite(depth), depth, 0.0).astype(np.float32)


class WallRobot(Node):
    def __init__(self) -> None:
        super().__init__("wall_robot")
        declare = self.declare_parameter
        self.offset_s = float(declare("stamp_offset_s", 0.0).value)  # of the camera's clock
        self.with_depth = bool(declare("depth", True).value)
        self.with_images = bool(declare("images", True).value)
        self.rng = np.random.default_rng(0)
        self.tf_until_s = float(declare("tf_for_s", 1e9).value)  # then transforms come no more
        self.tf_until_goal = int(declare("tf_until_goal", 0).value)  # with the goal of this number too; 0: never
        self.speed = float(declare("speed", 1.5).value)
        self.drift = float(declare("drift", 0.0).value)  # m/s to the map's left, while somebody looks
        self.spin = float(declare("spin", 0.0).value)  # rad/s to the left, while somebody looks
        self.tilt = float(declare("tilt", 0.0).value)  # of the camera, radians, up positive; 0: it is fixed
        self.x = self.y = self.yaw = 0.0
        self.goal: tuple[float, float, float] | None = None
        self.order = GoalOrder()
        self.start_s = self.now_s()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.tf = self.create_publisher(TFMessage, "/tf", 100)
        self.static = self.create_publisher(TFMessage, "/tf_static", latched)
        self.odometry = self.create_publisher(Odometry, "odom", 10)
        self.images = self.create_publisher(Image, "head/image_raw", qos_profile_sensor_data)
        self.depths = self.create_publisher(Image, "head/depth", qos_profile_sensor_data)
        self.infos = self.create_publisher(CameraInfo, "head/camera_info", qos_profile_sensor_data)
        self.create_subscription(PoseStamped, "goal_pose", self.on_goal, 1)
        self.create_subscription(Twist, "cmd_vel", self.on_velocity, 1)
        self.create_subscription(Empty, "navigation/cancel", self.on_cancel, 1)
        self.create_subscription(Bool, "publish_transforms", self.on_publish_transforms, 1)
        if self.tilt:
            self.create_subscription(Float64, "head/tilt", self.on_tilt, 1)
        else:
            self.static.publish(TFMessage(transforms=[self.transform("base_link", "head_optical", T_base_camera, 0.0)]))
        self.create_timer(PERIOD_S, self.step)

    def now_s(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def on_goal(self, message: PoseStamped, info: dict) -> None:
        self.order.goal(info)
        self.tf_until_goal -= 1
        if self.tf_until_goal == 0:
            self.tf_until_s = 0.0
        pose = bridge.pose_of_message(message.pose)
        self.goal = (float(pose.translation[0]), float(pose.translation[1]), pose.yaw)

    def on_velocity(self, message: Twist, info: dict) -> None:
        if self.order.outdated(info):
            return
        if message.linear.x == 0.0 and message.angular.z == 0.0:
            self.goal = None

    def on_cancel(self, _: Empty, info: dict) -> None:
        if not self.order.outdated(info):
            self.goal = None

    def on_publish_transforms(self, message: Bool) -> None:
        self.tf_until_s = 1e9 if message.data else 0.0

    def on_tilt(self, message: Float64) -> None:
        self.tilt = message.data

    def camera(self) -> Pose:
        """T_base_camera."""
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        up = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
        return Pose(up @ OPTICAL, T_base_camera.translation)

    def move(self) -> None:
        if self.images.get_subscription_count():
            self.y, self.yaw = self.y + self.drift * PERIOD_S, self.yaw + self.spin * PERIOD_S
        if self.goal is not None:
            x, y, yaw = self.goal
            dx, dy, turn = x - self.x, y - self.y, wrap_angle(yaw - self.yaw)
            left = max(math.hypot(dx, dy), abs(turn), 1e-9)
            share = min(1.0, self.speed * PERIOD_S / left)
            self.x, self.y, self.yaw = self.x + share * dx, self.y + share * dy, self.yaw + share * turn

    def transforms(self, base: Pose, now_s: float) -> list[TransformStamped]:
        moving = [self.transform("map", "base_link", base, now_s)]
        if self.tilt:
            moving.append(self.transform("base_link", "head_optical", self.camera(), now_s))
        return moving

    def step(self) -> None:
        now_s = self.now_s()
        self.move()
        base = Pose.planar(self.x, self.y, self.yaw)
        if now_s - self.start_s < self.tf_until_s:
            self.tf.publish(TFMessage(transforms=self.transforms(base, now_s)))
        odometry = Odometry()
        odometry.header.frame_id = "map"
        bridge.set_stamp(odometry.header.stamp, now_s)
        bridge.set_pose(odometry.pose.pose, base)
        self.odometry.publish(odometry)
        if self.with_images:
            self.look(base @ self.camera(), now_s + self.offset_s)

    def look(self, T_map_camera: Pose, stamp_s: float) -> None:
        depth = depth_seen(T_map_camera)
        info = CameraInfo(width=CAMERA.width, height=CAMERA.height, distortion_model="plumb_bob", d=[0.0] * 5)
        info.k = CAMERA.matrix().ravel()
        self.publish(self.infos, info, stamp_s)
        image = Image(width=CAMERA.width, height=CAMERA.height, encoding="rgb8", step=3 * CAMERA.width)
        image.data = bytes(3 * CAMERA.width * CAMERA.height)
        self.publish(self.images, image, stamp_s)
        if self.with_depth:
            image = Image(width=CAMERA.width, height=CAMERA.height, encoding="32FC1", step=4 * CAMERA.width)
            noise = self.rng.normal(1.0, 1e-4, depth.shape)  # without it, turned away from the wall it seems frozen
            image.data = (depth * noise).astype(np.float32).tobytes()
            self.publish(self.depths, image, stamp_s)

    @staticmethod
    def publish(publisher, message, stamp_s: float) -> None:
        message.header.frame_id = "head_optical"
        bridge.set_stamp(message.header.stamp, stamp_s)
        publisher.publish(message)

    @staticmethod
    def transform(parent: str, child: str, pose: Pose, stamp_s: float) -> TransformStamped:
        message = TransformStamped(child_frame_id=child)
        message.header.frame_id = parent
        bridge.set_stamp(message.header.stamp, stamp_s)
        bridge.set_transform(message.transform, pose)
        return message


if __name__ == "__main__":
    with no_shared_memory():  # a killed planner must not hold up what moves the robot
        rclpy.init()
        robot = WallRobot()
    try:
        rclpy.spin(robot)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
