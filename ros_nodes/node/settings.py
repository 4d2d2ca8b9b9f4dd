"""Settings of the planner node; its ROS parameters have the same names, for example `planner.guard.max_plan_age_s`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, cast

from typing_extensions import Doc

from si_embodied.backends.config import (
    ADAPTER,
    CACHE,
    DEVICE,
    FAMILY,
    MODEL,
    PRECISION,
    SCRIPT_DELAY,
    THINKING,
    URL,
    BackendConfig,
    ServerOptions,
)
from si_embodied.config import PlannerConfig
from si_embodied.embodiment import Embodiment, MobileBase, TableArm
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.models.cache_memory import CACHE_MB
from si_embodied.robots import FETCH_ARM, SERVICE_BASE
from si_embodied.task import MOST_HOLDS, MOST_OUTAGE_S

if TYPE_CHECKING:
    from si_embodied.backends.config import BackendKind, Family
    from si_embodied.models.footprint import Weights

BACKENDS = ("local", "server", "remote", "scripted", "perfect_pixels")
ARM_DRIVERS = ("topic", "moveit")
NAVIGATORS = ("auto", "nav2", "topic")
_LEAST_LOOK_RAD = 0.1
"""A look around is a list of turns, 62 of them at this step."""


@dataclass(frozen=True, slots=True)
class RobotSettings:
    """The mobile base. The defaults describe a TurtleBot-sized robot with a mast."""

    radius_m: Annotated[float, Doc("radius of the disc that must stay clear of obstacles")] = SERVICE_BASE.radius_m
    height_m: Annotated[float, Doc("obstacles above this height are ignored")] = SERVICE_BASE.height_m
    look_step_rad: Annotated[
        float, Doc("turn between two images when looking around; less than the camera's field of view")
    ] = 1.0
    tilt_topic: Annotated[
        str, Doc("std_msgs/Float64 that tilts the head camera, radians; empty: the camera is fixed")
    ] = ""
    lowest_tilt_rad: Annotated[float, Doc("tilt limit of the head camera; down is negative")] = -1.0
    highest_tilt_rad: Annotated[float, Doc("tilt limit of the head camera; up is positive")] = 0.5

    def __post_init__(self) -> None:
        """Reject a body without size, and steps of a look around that never ends."""
        for name in ("radius_m", "height_m"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"expected robot.{name} to be positive and finite, got: {getattr(self, name)}")
        if not _LEAST_LOOK_RAD <= self.look_step_rad < math.inf:
            raise ConfigError(
                f"expected robot.look_step_rad to be at least {_LEAST_LOOK_RAD}, got: {self.look_step_rad}"
            )

    def embodiment(self, cameras: tuple[str, ...]) -> MobileBase:
        """The robot that the planner plans for; how it drives is up to the navigator."""
        return MobileBase(
            cameras=cameras,
            action_mode="continuous",
            radius_m=self.radius_m,
            height_m=self.height_m,
            forward_step_m=SERVICE_BASE.forward_step_m,
            turn_step_rad=self.look_step_rad,
            tilt_step_rad=SERVICE_BASE.tilt_step_rad,
            tilt_range_rad=(self.lowest_tilt_rad, self.highest_tilt_rad),
            max_speed_m_s=0.5,
            max_turn_rate_rad_s=1.0,
            control_period_s=0.1,
            success_distance_m=SERVICE_BASE.success_distance_m,
        )


@dataclass(frozen=True, slots=True)
class ArmSettings:
    """The arm, for manipulation. The defaults describe Fetch at the simulated table."""

    tool_frame: Annotated[
        str, Doc("frame between the fingertips, z out of the gripper, y along the closing direction")
    ] = "tool"
    lowest_m: Annotated[tuple[float, ...], Doc("lowest corner of the workspace in the map")] = FETCH_ARM.workspace_m[0]
    highest_m: Annotated[tuple[float, ...], Doc("highest corner of the workspace in the map")] = FETCH_ARM.workspace_m[
        1
    ]
    shoulder_m: Annotated[tuple[float, ...], Doc("shoulder in the map, from which the reach is measured")] = (
        FETCH_ARM.shoulder_m
    )
    reach_m: Annotated[float, Doc("longest distance from the shoulder to the tool")] = FETCH_ARM.reach_m
    max_opening_m: Annotated[float, Doc("largest distance between the finger pads")] = FETCH_ARM.max_opening_m
    finger_depth_m: Annotated[float, Doc("how far the fingertips extend below the tool centre point")] = (
        FETCH_ARM.finger_depth_m
    )
    home_m: Annotated[tuple[float, ...], Doc("tool position in the map that does not hide the scene")] = (
        FETCH_ARM.home_m
    )
    driver: Annotated[str, Doc("topic (publishes arm/goal and gripper/goal) or moveit")] = "topic"
    group: Annotated[str, Doc("MoveIt planning group that ends in the tool frame")] = "arm"
    pipeline: Annotated[
        str, Doc("MoveIt planning pipeline, for example pilz_industrial_motion_planner; empty: MoveIt's default")
    ] = ""
    planner: Annotated[
        str, Doc("planner of the pipeline, for example LIN for straight tool paths; empty: the pipeline's default")
    ] = ""
    speed_ratio: Annotated[float, Doc("share of the joints' maximum speeds and accelerations")] = 0.2
    gripper_action: Annotated[str, Doc("a control_msgs/GripperCommand action")] = "gripper_controller/gripper_cmd"
    gripper_joints: Annotated[tuple[str, ...], Doc("joints whose positions add up to the opening")] = (
        "l_gripper_finger_joint",
        "r_gripper_finger_joint",
    )
    gripper_scale_ratio: Annotated[float, Doc("command position per metre of opening; 0.5 if it is one finger's")] = 1.0
    gripper_effort_n: Annotated[float, Doc("largest force of a grasp")] = 30.0

    def __post_init__(self) -> None:
        """Reject invalid points and unknown drivers."""
        if self.driver not in ARM_DRIVERS:
            raise UnknownNameError("arm driver", self.driver, ARM_DRIVERS)
        for name in ("lowest_m", "highest_m", "shoulder_m", "home_m"):
            if len(getattr(self, name)) != 3:
                raise ConfigError(f"expected arm.{name} to be x, y, z in metres, got: {getattr(self, name)}")

    def embodiment(self, cameras: tuple[str, ...]) -> TableArm:
        """The robot that the planner plans for."""
        return TableArm(
            cameras=cameras,
            action_mode="pose",
            workspace_m=(_xyz(self.lowest_m), _xyz(self.highest_m)),
            shoulder_m=_xyz(self.shoulder_m),
            reach_m=self.reach_m,
            max_opening_m=self.max_opening_m,
            finger_depth_m=self.finger_depth_m,
            home_m=_xyz(self.home_m),
            control_period_s=3.0,
        )


def _xyz(values: tuple[float, ...]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z


@dataclass(frozen=True, slots=True)
class NavigationSettings:
    """How goals reach the base."""

    navigator: Annotated[str, Doc("nav2, topic (goal_pose and odometry), or auto: nav2 if nav2_msgs is installed")] = (
        "auto"
    )
    arrived_m: Annotated[float, Doc("distance from the goal that counts as arrived")] = 0.2
    arrived_rad: Annotated[float, Doc("difference from the goal's heading that counts as arrived")] = 0.2
    goal_timeout_s: Annotated[float, Doc("time limit of one goal")] = 90.0
    stuck_s: Annotated[float, Doc("time without movement after which a goal sent by topic counts as blocked")] = 8.0
    server_timeout_s: Annotated[float, Doc("how long Nav2 may take to accept a goal")] = 5.0
    cmd_vel_stamped: Annotated[bool, Doc("publish TwistStamped on cmd_vel, which Nav2 expects from Kilted on")] = False


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """The planner node."""

    kind: Annotated[str, Doc("kind of tasks: navigation or manipulation")] = "navigation"
    backend: Annotated[str, Doc("local, server, remote, scripted or perfect_pixels")] = "local"
    model: Annotated[str, MODEL] = ""
    weights: Annotated[str, PRECISION] = "full"
    adapter: Annotated[str, ADAPTER] = ""
    thinking_tokens: Annotated[int, THINKING] = 0
    cache_mb: Annotated[int, CACHE] = CACHE_MB
    device: Annotated[str, DEVICE] = "auto"
    url: Annotated[str, URL] = ""
    family: Annotated[str, FAMILY] = "qwen3_vl"
    script: Annotated[str, Doc("answers of the scripted backend, one per line; the last one repeats")] = ""
    script_delay_s: Annotated[float, SCRIPT_DELAY] = 0.0
    ground_truth_topic: Annotated[str, Doc("read by the perfect_pixels backend")] = "sim_node/ground_truth"
    cameras: Annotated[
        tuple[str, ...], Doc("the node subscribes to NAME/image_raw, NAME/depth and NAME/camera_info")
    ] = ("head",)
    compressed: Annotated[bool, Doc("subscribe to NAME/image_raw/compressed instead of NAME/image_raw")] = False
    rectified: Annotated[bool, Doc("images are already rectified: use P of camera_info and no distortion")] = False
    depth_compressed: Annotated[bool, Doc("subscribe to NAME/depth/compressedDepth (PNG) instead of NAME/depth")] = (
        False
    )
    depth_scale: Annotated[float, Doc("metres per unit of integer depth (16UC1); some cameras have 0.00025")] = 0.001
    min_depth_m: Annotated[float, Doc("the sensor's minimum; nearer counts as no return")] = 0.05
    max_depth_m: Annotated[float, Doc("the sensor's maximum; farther counts as no return")] = 100.0
    frozen_travel_m: Annotated[
        float, Doc("travel with identical images after which a camera counts as frozen; 0: never")
    ] = 0.1
    frozen_s: Annotated[
        float, Doc("time with identical images while standing; 0: never, since simulated cameras have no noise")
    ] = 0.0
    map_frame: Annotated[str, Doc("frame of goals and of the map")] = "map"
    odom_frame: Annotated[str, Doc("smooth frame (REP 105) in which frozen cameras are detected")] = "odom"
    base_frame: Annotated[str, Doc("frame of the robot's base")] = "base_link"
    join_slop_s: Annotated[float, Doc("largest time between an image and its depth")] = 0.02
    max_transform_age_s: Annotated[
        float,
        Doc("no goal starts without a pose of base and tool younger than this, and no longer gap is interpolated"),
    ] = 0.3
    most_ahead_s: Annotated[
        float, Doc("how far an arriving image's stamp may be ahead; more means that the clocks differ")
    ] = 0.1
    most_transform_ahead_s: Annotated[
        float, Doc("how far a transform's stamp may be ahead of the clock; AMCL stamps 1 s ahead")
    ] = 2.0
    observation_timeout_s: Annotated[float, Doc("how long to wait for images, depth and transforms of one instant")] = (
        3.0
    )
    task_timeout_s: Annotated[float, Doc("for tasks whose goal sets no timeout")] = 600.0
    most_holds: Annotated[int, Doc("refusals in a row after which a task ends")] = MOST_HOLDS
    most_outage_s: Annotated[
        float, Doc("how long a task waits for a model or server that fails; longer than a restart of the server")
    ] = MOST_OUTAGE_S
    autostart: Annotated[bool, Doc("configure and activate at start; for use without a lifecycle manager")] = False
    bond: Annotated[
        bool, Doc("keep a bond with Nav2's lifecycle manager, which needs a bond_timeout; requires bondpy")
    ] = False
    recorder: Annotated[
        str, Doc("name of a recorder node: no task is accepted before it listens to the cameras; empty: none")
    ] = ""
    live_folder: Annotated[
        str, Doc("folder through which `si-embodied watch FOLDER` shows what this planner sees and does; empty: none")
    ] = ""
    robot: RobotSettings = field(default_factory=RobotSettings)
    arm: ArmSettings = field(default_factory=ArmSettings)
    navigation: NavigationSettings = field(default_factory=NavigationSettings)
    planner: PlannerConfig = field(default_factory=PlannerConfig)

    def __post_init__(self) -> None:
        """Reject unknown names and values out of range."""
        if self.backend not in BACKENDS:
            raise UnknownNameError("backend", self.backend, BACKENDS)
        if self.kind not in ("navigation", "manipulation"):
            raise UnknownNameError("kind of tasks", self.kind, ("navigation", "manipulation"))
        if self.navigation.navigator not in NAVIGATORS:
            raise UnknownNameError("navigator", self.navigation.navigator, NAVIGATORS)
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"expected at least one camera and no name twice, got: {self.cameras}")
        if self.backend != "perfect_pixels":
            _ = self.backend_config  # checks its own values
        if not 0 <= self.min_depth_m < self.max_depth_m:
            raise ConfigError(f"expected 0 <= min_depth_m < max_depth_m, got: {self.min_depth_m}, {self.max_depth_m}")
        durations = ("join_slop_s", "observation_timeout_s", "task_timeout_s", "most_outage_s")
        for name in (*durations, "most_holds", "depth_scale"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"expected {name} to be positive, got: {getattr(self, name)}")

    @property
    def embodiment(self) -> Embodiment:
        """The robot that the planner plans for."""
        return self.robot.embodiment(self.cameras) if self.kind == "navigation" else self.arm.embodiment(self.cameras)

    @property
    def backend_config(self) -> BackendConfig:
        """The model that plans; perfect_pixels has none."""
        return BackendConfig(
            kind=cast("BackendKind", self.backend),
            model=self.model,
            device=self.device,
            weights=cast("Weights", self.weights),
            adapter=self.adapter,
            thinking_tokens=self.thinking_tokens,
            cache_mb=self.cache_mb,
            url=self.url,
            server=ServerOptions(family=cast("Family", self.family)),
            script=tuple(line for line in self.script.splitlines() if line.strip()),
            script_delay_s=self.script_delay_s,
        )
