"""Every setting of the planner node; its ROS parameters have the same names, `planner.guard.max_plan_age_s` for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from si_embodied.backends.config import BackendConfig, ServerOptions
from si_embodied.config import PlannerConfig
from si_embodied.embodiment import Embodiment, MobileBase, TableArm
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.robots import FETCH_ARM

if TYPE_CHECKING:
    from si_embodied.backends.config import BackendKind, Family
    from si_embodied.models.footprint import Weights

BACKENDS = ("local", "server", "remote", "scripted", "perfect_pixels")
ARM_DRIVERS = ("topic", "moveit")
NAVIGATORS = ("auto", "nav2", "topic")


@dataclass(frozen=True, slots=True)
class RobotSettings:
    """The mobile base. The defaults are a robot of a TurtleBot's class with a mast."""

    radius_m: float = 0.28  # radius of the disc that must stay clear of obstacles
    height_m: float = 1.2  # obstacles above this height are ignored
    look_step_rad: float = 1.0  # turn between two images when looking around; less than the camera's field of view
    tilt_topic: str = ""  # std_msgs/Float64 that tilts the head camera, radians; empty: the camera is fixed
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

    tool_frame: str = "tool"  # frame between the fingertips, z out of the gripper, y along the closing direction
    lowest_m: tuple[float, ...] = FETCH_ARM.workspace_m[0]  # lowest corner of the workspace in the map
    highest_m: tuple[float, ...] = FETCH_ARM.workspace_m[1]  # highest corner of the workspace in the map
    shoulder_m: tuple[float, ...] = FETCH_ARM.shoulder_m  # in the map; the reach is measured from here
    reach_m: float = FETCH_ARM.reach_m
    max_opening_m: float = FETCH_ARM.max_opening_m  # largest distance between the finger pads
    finger_depth_m: float = FETCH_ARM.finger_depth_m  # how far the fingertips extend below the tool centre point
    home_m: tuple[float, ...] = FETCH_ARM.home_m  # tool position in the map that does not hide the scene
    driver: str = "topic"  # topic (publishes arm/goal and gripper/goal) or moveit
    group: str = "arm"  # MoveIt planning group that ends in the tool frame
    pipeline: str = ""  # MoveIt planning pipeline, for example pilz_industrial_motion_planner; empty: MoveIt's default
    planner: str = ""  # planner of the pipeline, for example LIN for straight tool paths; empty: the pipeline's default
    speed_ratio: float = 0.2  # share of the joints' maximum speeds and accelerations
    gripper_action: str = "gripper_controller/gripper_cmd"  # a control_msgs/GripperCommand action
    gripper_joints: tuple[str, ...] = ("l_gripper_finger_joint", "r_gripper_finger_joint")  # they add up to the opening
    gripper_scale_ratio: float = 1.0  # command position per metre of opening; 0.5 if it is one finger's
    gripper_effort_n: float = 30.0  # largest force of a grasp

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

    navigator: str = "auto"  # nav2, topic (goal_pose and odometry), or auto: nav2 if nav2_msgs is installed
    arrived_m: float = 0.2  # distance from the goal that counts as arrived
    arrived_rad: float = 0.2  # difference from the goal's heading that counts as arrived
    goal_timeout_s: float = 90.0  # time limit of one goal
    stuck_s: float = 8.0  # time without movement after which a goal sent by topic counts as blocked
    server_timeout_s: float = 5.0  # how long Nav2 may take to accept a goal
    cmd_vel_stamped: bool = False  # publish TwistStamped on cmd_vel, which Nav2 expects from Kilted on


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """The planner node."""

    kind: str = "navigation"  # kind of tasks: navigation or manipulation
    backend: str = "local"  # local, server, remote, scripted or perfect_pixels
    model: str = ""  # checkpoint directory or hub name, or a server's name for its model; empty: si-nano
    weights: str = "full"  # precision of a local model's weights: full, 8bit or 4bit
    device: str = "auto"  # auto, cpu, cuda or cuda:1; for an ONNX export, its execution providers in order
    url: str = ""  # address of the OpenAI-compatible server (server) or the planning server (remote)
    family: str = "qwen3_vl"  # family of a server's model: internvl, qwen2_5_vl or qwen3_vl
    script: str = ""  # answers of the scripted backend, one per line; the last one repeats
    script_delay_s: float = 0.0  # time that each scripted answer takes
    ground_truth_topic: str = "sim_node/ground_truth"  # read by the perfect_pixels backend
    cameras: tuple[str, ...] = ("head",)  # the node subscribes to NAME/image_raw, NAME/depth and NAME/camera_info
    compressed: bool = False  # subscribe to NAME/image_raw/compressed instead of NAME/image_raw
    rectified: bool = False  # images are already rectified: use P of camera_info and no distortion
    map_frame: str = "map"
    base_frame: str = "base_link"
    join_slop_s: float = 0.02  # largest time between an image and its depth
    max_transform_age_s: float = 0.3  # without a pose of base and tool younger than this, no goal starts
    most_ahead_s: float = 0.1  # how far an arriving image's stamp may be ahead; more means that the clocks differ
    observation_timeout_s: float = 3.0  # how long to wait for images, depth and transforms of one instant
    task_timeout_s: float = 600.0  # for tasks whose goal sets no timeout
    most_holds: int = 5  # refusals in a row after which a task ends
    autostart: bool = False  # configure and activate at start; for use without a lifecycle manager
    bond: bool = False  # keep a bond with Nav2's lifecycle manager, which needs a bond_timeout; requires bondpy
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
        for name in ("join_slop_s", "observation_timeout_s", "task_timeout_s", "most_holds"):
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
