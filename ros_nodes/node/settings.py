"""Every setting of the planner node; its ROS parameters have the same names, `planner.guard.max_plan_age_s` for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from si_embodied.backends.config import BackendConfig, ServerOptions
from si_embodied.config import PlannerConfig
from si_embodied.embodiment import Embodiment, MobileBase, TableArm
from si_embodied.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from si_embodied.backends.config import BackendKind, Family
    from si_embodied.models.footprint import Weights

BACKENDS = ("local", "server", "remote", "scripted", "perfect_pixels")
ARM_DRIVERS = ("topic", "moveit")
NAVIGATORS = ("auto", "nav2", "topic")


@dataclass(frozen=True, slots=True)
class RobotSettings:
    """The mobile base. The defaults are a robot of a TurtleBot's class with a mast."""

    radius_m: float = 0.28  # of the disc that must stay clear of obstacles
    height_m: float = 1.2  # nothing above this can be bumped into
    look_step_rad: float = 1.0  # between two looks while looking around; less than the camera is wide
    tilt_topic: str = ""  # std_msgs/Float64 with the head camera's tilt in radians; empty: the camera is fixed
    lowest_tilt_rad: float = -1.0
    highest_tilt_rad: float = 0.5

    def embodiment(self, cameras: tuple[str, ...]) -> MobileBase:
        """The body that the planner plans for; how it is driven is the navigator's matter."""
        return MobileBase(
            cameras=cameras,
            action_mode="continuous",
            radius_m=self.radius_m,
            height_m=self.height_m,
            forward_step_m=0.25,
            turn_step_rad=self.look_step_rad,
            tilt_step_rad=0.26,
            tilt_range_rad=(self.lowest_tilt_rad, self.highest_tilt_rad),
            max_speed_m_s=0.5,
            max_turn_rate_rad_s=1.0,
            control_period_s=0.1,
            success_distance_m=1.0,
        )


@dataclass(frozen=True, slots=True)
class ArmSettings:
    """The arm, where `kind` is manipulation. The defaults are Fetch's at the simulated table."""

    tool_frame: str = "tool"  # between the fingertips; z out of the gripper, y the closing direction
    lowest_m: tuple[float, ...] = (0.0, -0.62, 0.60)  # corner of the workspace, map
    highest_m: tuple[float, ...] = (1.0, 0.38, 1.60)  # the opposite corner, map
    shoulder_m: tuple[float, ...] = (0.0326, 0.0, 0.976)  # in the map; reach is measured from here
    reach_m: float = 0.87
    max_opening_m: float = 0.1018  # between the finger pads
    finger_depth_m: float = 0.012  # how far below the tool centre point the fingertips go
    home_m: tuple[float, ...] = (0.2, -0.6, 0.9)  # tool position that does not hide the scene, in the map
    driver: str = "topic"  # topic (arm/goal and gripper/goal) or moveit
    group: str = "arm"  # MoveIt's planning group that ends in the tool frame
    pipeline: str = ""  # MoveIt's, pilz_industrial_motion_planner for one; empty: MoveIt's default
    planner: str = ""  # of the pipeline, LIN for straight ways of the tool; empty: the pipeline's default
    speed_ratio: float = 0.2  # of the joints' greatest speeds and accelerations
    gripper_action: str = "gripper_controller/gripper_cmd"  # control_msgs/GripperCommand
    gripper_joints: tuple[str, ...] = ("l_gripper_finger_joint", "r_gripper_finger_joint")  # their sum is the opening
    gripper_scale_ratio: float = 1.0  # the command's position for an opening of 1 m; 0.5 where it is a finger's way
    gripper_effort_n: float = 30.0  # most force of a grasp

    def __post_init__(self) -> None:
        """Refuse points that are none, and drivers that there are not."""
        if self.driver not in ARM_DRIVERS:
            raise UnknownNameError("arm driver", self.driver, ARM_DRIVERS)
        for name in ("lowest_m", "highest_m", "shoulder_m", "home_m"):
            if len(getattr(self, name)) != 3:
                raise ConfigError(f"expected arm.{name} to be x, y, z in metres, got: {getattr(self, name)}")

    def embodiment(self, cameras: tuple[str, ...]) -> TableArm:
        """The body that the planner plans for."""
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

    navigator: str = "auto"  # nav2, topic (goal_pose and odometry), or auto: nav2 where nav2_msgs is installed
    arrived_m: float = 0.2  # from the goal
    arrived_rad: float = 0.2  # of the goal's heading
    goal_timeout_s: float = 90.0  # for one goal
    stuck_s: float = 8.0  # without movement, before a goal by topic counts as blocked
    server_timeout_s: float = 5.0  # for Nav2 to take a goal
    cmd_vel_stamped: bool = False  # TwistStamped on cmd_vel, as Nav2 wants it from Kilted on


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """The planner node."""

    kind: str = "navigation"  # of the tasks: navigation or manipulation
    backend: str = "local"  # local, server, remote, scripted or perfect_pixels
    model: str = ""  # checkpoint directory, or the model's name at a server; empty: the one that is shipped
    weights: str = "full"  # of a local model: full, 8bit or 4bit
    device: str = "auto"  # of a local model: cpu, cuda, cuda:1; of an ONNX export, its execution providers in order
    url: str = ""  # of the server (OpenAI-compatible) or of the planning server (remote)
    family: str = "qwen3_vl"  # of a server's model: internvl, qwen2_5_vl or qwen3_vl
    script: str = ""  # for the scripted backend: answers, one a line; the last is said again and again
    script_delay_s: float = 0.0  # that each of these answers takes
    ground_truth_topic: str = "sim_node/ground_truth"  # for the perfect_pixels backend
    cameras: tuple[str, ...] = ("head",)  # NAME/image_raw, NAME/depth and NAME/camera_info are subscribed to
    compressed: bool = False  # take NAME/image_raw/compressed
    rectified: bool = False  # images are already rectified: use P of camera_info and no distortion
    depth_compressed: bool = False  # take NAME/depth/compressedDepth, in PNG
    depth_scale: float = 0.001  # metres per unit of integer depth (16UC1); some cameras have 0.00025 or 0.0001
    min_depth_m: float = 0.05  # nearer than the sensor measures: no return
    max_depth_m: float = 100.0  # farther than the sensor measures: no return
    frozen_travel_m: float = 0.1  # travel with images that stay the same, until a camera counts as frozen; 0: never
    frozen_s: float = 0.0  # the same while standing; 0: never, since simulated cameras have no noise
    map_frame: str = "map"
    odom_frame: str = "odom"  # moves smoothly (REP 105): frozen cameras are told by it, else by map_frame
    base_frame: str = "base_link"
    join_slop_s: float = 0.02  # most time between an image and its depth
    most_ahead_s: float = 0.1  # of an image's stamp before the clock when it arrives; more are clocks that differ
    most_transform_ahead_s: float = 2.0  # of a transform's stamp before the clock; AMCL stamps 1 s ahead
    observation_timeout_s: float = 3.0  # to wait for images, depth and transforms of one instant
    task_timeout_s: float = 600.0  # where the goal gives none
    most_holds: int = 5  # refusals in a row that end a task
    autostart: bool = False  # configure and activate without being told; for use without a lifecycle manager
    bond: bool = False  # keep a bond with Nav2's lifecycle manager, which has a bond_timeout; needs bondpy
    robot: RobotSettings = field(default_factory=RobotSettings)
    arm: ArmSettings = field(default_factory=ArmSettings)
    navigation: NavigationSettings = field(default_factory=NavigationSettings)
    planner: PlannerConfig = field(default_factory=PlannerConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.backend not in BACKENDS:
            raise UnknownNameError("backend", self.backend, BACKENDS)
        if self.kind not in ("navigation", "manipulation"):
            raise UnknownNameError("kind of tasks", self.kind, ("navigation", "manipulation"))
        if self.navigation.navigator not in NAVIGATORS:
            raise UnknownNameError("navigator", self.navigation.navigator, NAVIGATORS)
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"expected cameras with names of their own, at least one, got: {self.cameras}")
        if self.backend != "perfect_pixels":
            _ = self.backend_config  # checks its own values
        if not 0 <= self.min_depth_m < self.max_depth_m:
            raise ConfigError(f"expected 0 <= min_depth_m < max_depth_m, got: {self.min_depth_m}, {self.max_depth_m}")
        for name in ("join_slop_s", "observation_timeout_s", "task_timeout_s", "most_holds", "depth_scale"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"expected {name} to be positive, got: {getattr(self, name)}")

    @property
    def embodiment(self) -> Embodiment:
        """The robot that the planner plans for."""
        return self.robot.embodiment(self.cameras) if self.kind == "navigation" else self.arm.embodiment(self.cameras)

    @property
    def backend_config(self) -> BackendConfig:
        """The model to plan with; not for perfect pixels, which have none."""
        return BackendConfig(
            kind=cast("BackendKind", self.backend),
            model=self.model,
            device=self.device,
            weights=cast("Weights", self.weights),
            url=self.url,
            server=ServerOptions(family=cast("Family", self.family)),
            script=tuple(line for line in self.script.splitlines() if line.strip()),
            script_delay_s=self.script_delay_s,
        )
