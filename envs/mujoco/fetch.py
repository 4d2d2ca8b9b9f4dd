"""The Fetch robot of gymnasium-robotics as a MuJoCo model, and a Cartesian controller for its arm.

The robot's description and meshes are read from the installed package and edited in memory; no file is copied.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.envs.mujoco.inverse_kinematics import ToolSolver
from si_embodied.errors import MissingExtraError, extra
from si_embodied.geometry import Pose
from si_embodied.robots import FETCH_ARM, TORSO_LIFT_M

with extra("sim"):
    import mink
    import mujoco

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray

    _Setpoint = tuple[NDArray[np.float64], NDArray[np.float64]]
    """Commanded joint angles, and what the servos are given so that they follow."""

ARM_JOINTS = (
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "upperarm_roll_joint",
    "elbow_flex_joint",
    "forearm_roll_joint",
    "wrist_flex_joint",
    "wrist_roll_joint",
)
BASE_BODY = "robot0:base_link"
TOOL_SITE = "tool"
TOOL_OFFSET_M = 0.0265
"""From the gripper's frame to the tool centre point, along x."""
_FINGER_TRAVEL_M = 0.05
"""Of each finger joint, from closed to open."""
_CLOSED_OPENING_M = FETCH_ARM.max_opening_m - 2 * _FINGER_TRAVEL_M
"""Between the pads when both finger joints are at 0."""

PHYSICS_STEP_S = 0.002
CONTROL_STEP_S = 0.02  # 50 Hz
HOME_Q = (-0.9926, -0.8712, -0.6656, 1.2394, 0.4209, 1.3388, 1.5055)
"""Joint angles with the tool at `FETCH_ARM.home_m`, pointing down with yaw 0."""

_GAINS = (4000.0, 4000.0, 3000.0, 3000.0, 1500.0, 1500.0, 1000.0)
_TORQUES_NM = (200.0, 200.0, 150.0, 150.0, 100.0, 100.0, 80.0)
"""More than a free motion needs, damping included; they bound the force of a blocked arm."""
_TORSO_GAIN = 40000.0
_FINGER_GAIN = 4000.0
_FINGER_FORCE_N = 25.0
_HEAVY_DECORATION = ("robot0:estop_link", "robot0:laser_link")
"""Removed to save rendering time: 15,000 of the robot's 34,000 triangles, on its back and under the table."""


def _model_file() -> Path:
    found = importlib.util.find_spec("gymnasium_robotics")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("gymnasium_robotics", "sim")
    return Path(found.submodule_search_locations[0]) / "envs" / "assets" / "fetch" / "pick_and_place.xml"


def fetch_spec() -> mujoco.MjSpec:
    """A new model of the robot alone: position-controlled, with collisions for the fingers only.

    base_link is at the map's origin and faces x.
    """
    spec = mujoco.MjSpec.from_file(str(_model_file()))
    spec.modelname = "tabletop"
    for element in (*spec.equalities, *spec.actuators):
        spec.delete(element)
    for body in ("robot0:mocap", "floor0", "table0", "object0", *_HEAVY_DECORATION):
        spec.delete(spec.body(body))
    for element in (*spec.worldbody.geoms, *spec.lights, *spec.cameras, *spec.textures):
        spec.delete(element)
    for joint in ("robot0:slide0", "robot0:slide1", "robot0:slide2"):
        spec.delete(spec.joint(joint))
    spec.body(BASE_BODY).pos = [0.0, 0.0, 0.0]
    for body in spec.bodies:
        body.gravcomp = 1.0
    _set_joints(spec)
    _set_geoms(spec)
    _add_actuators(spec)
    _add_tool(spec)
    option = spec.option
    option.timestep = PHYSICS_STEP_S
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10.0
    return spec


def _set_joints(spec: mujoco.MjSpec) -> None:
    for joint in spec.joints:
        joint.damping, joint.armature, joint.stiffness, joint.frictionloss = np.full(3, 10.0), 0.2, np.zeros(3), 0.0
    spec.joint("robot0:torso_lift_joint").damping = np.full(3, 1000.0)
    for side in ("l", "r"):
        finger = spec.joint(f"robot0:{side}_gripper_finger_joint")
        finger.damping, finger.armature = np.full(3, 100.0), 1.0
        spec.body(f"robot0:{side}_gripper_finger_link").mass = 0.1
        spec.body(f"robot0:{side}_gripper_finger_link").inertia = [1e-4, 1e-4, 1e-4]
    # As the real gripper's gears do: uncoupled, a held object drifts sideways between two saturated forces.
    spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1="robot0:l_gripper_finger_joint",
        name2="robot0:r_gripper_finger_joint",
        data=[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        solref=[0.005, 1.0],
    )


def _set_geoms(spec: mujoco.MjSpec) -> None:
    for geom in spec.geoms:
        if "finger" in geom.name:
            geom.friction, geom.condim, geom.rgba = [1.5, 0.05, 0.001], 4, [0.12, 0.12, 0.13, 1.0]
            geom.material, geom.margin = "", 0.0
        else:
            geom.contype, geom.conaffinity = 0, 0


def _add_actuators(spec: mujoco.MjSpec) -> None:
    def position(joint: str, gain: float, force: float | None = None) -> None:
        actuator = spec.add_actuator(name=joint, target=f"robot0:{joint}", trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_position(kp=gain, dampratio=1.0)
        if force is not None:
            actuator.forcelimited, actuator.forcerange = True, [-force, force]

    for joint, gain, torque in zip(ARM_JOINTS, _GAINS, _TORQUES_NM, strict=True):
        position(joint, gain, torque)
    position("torso_lift_joint", _TORSO_GAIN)
    position("head_pan_joint", 500.0)
    position("head_tilt_joint", 500.0)
    for side in ("l", "r"):
        position(f"{side}_gripper_finger_joint", _FINGER_GAIN, _FINGER_FORCE_N)


def _add_tool(spec: mujoco.MjSpec) -> None:
    gripper = spec.body("robot0:gripper_link")
    # Tool z points out of the gripper (its x), tool y along the fingers' travel (its y), so tool x is its -z.
    rotation = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    x, y, z, w = Pose(rotation, np.zeros(3)).quaternion()
    gripper.add_site(name=TOOL_SITE, pos=[TOOL_OFFSET_M, 0, 0], quat=[w, x, y, z], size=[0.005] * 3, rgba=[0, 0, 0, 0])


@functools.lru_cache(maxsize=1)
def _kinematic_model() -> mujoco.MjModel:
    """The arm alone on a fixed base; shared by all controllers, which only read it."""
    spec = fetch_spec()
    for element in (*spec.equalities, *spec.actuators):
        spec.delete(element)
    for joint in list(spec.joints):
        name = joint.name.removeprefix("robot0:")
        if name == "torso_lift_joint":
            joint.parent.pos = joint.parent.pos + np.array([0.0, 0.0, TORSO_LIFT_M])
        if name not in ARM_JOINTS:
            spec.delete(joint)
    return spec.compile()


class CartesianController:
    """Moves the tool along straight lines with differential inverse kinematics (mink, daqp) at 50 Hz."""

    max_speed_m_s = 0.7
    max_turn_rate_rad_s = 3.0
    position_tolerance_m = 0.0015
    rotation_tolerance_rad = 0.015
    settled_speed_m_s = 0.01

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Control the arm of a model built from `fetch_spec`."""
        self._model, self._data = model, data
        kinematic = _kinematic_model()
        self._configuration = mink.Configuration(kinematic)
        speeds = {f"robot0:{name}": 3.0 for name in ARM_JOINTS}
        self._solver = ToolSolver(self._configuration, TOOL_SITE, speeds, CONTROL_STEP_S)
        fingers = ("l_gripper_finger_joint", "r_gripper_finger_joint")
        self._kinematic_q = _addresses(kinematic, ARM_JOINTS, "qposadr")
        self._q = _addresses(model, ARM_JOINTS, "qposadr")
        self._v = _addresses(model, ARM_JOINTS, "dofadr")
        self._joints = np.array([model.joint(f"robot0:{name}").id for name in ARM_JOINTS])
        self._ctrl = np.array([model.actuator(name).id for name in ARM_JOINTS])
        # A servo lags a moving target by damping / stiffness seconds, so its setpoint leads the target by that time.
        self._lead_s = (model.dof_damping[self._v] - model.actuator_biasprm[self._ctrl, 2]) / model.actuator_gainprm[
            self._ctrl, 0
        ]
        self._kinematic_v = _addresses(kinematic, ARM_JOINTS, "dofadr")
        self._fingers = np.array([model.actuator(name).id for name in fingers])
        self._finger_q = _addresses(model, fingers, "qposadr")
        self._finger_v = _addresses(model, fingers, "dofadr")
        self._tool = model.site(TOOL_SITE).id
        self._commanded_q = self._configuration.q  # the arm's setpoint

    @property
    def tool(self) -> Pose:
        """Measured `T_map_tool`."""
        return Pose(self._data.site_xmat[self._tool].reshape(3, 3).copy(), self._data.site_xpos[self._tool].copy())

    @property
    def opening_m(self) -> float:
        """Measured distance between the finger pads."""
        return float(self._data.qpos[self._finger_q].sum()) + _CLOSED_OPENING_M

    def reset(self, head_pan_rad: float, head_tilt_rad: float) -> None:
        """Set the robot to its home configuration with the gripper open, and hold it there."""
        data, model = self._data, self._model
        data.qpos[self._q] = HOME_Q
        for joint, value in (
            ("torso_lift_joint", TORSO_LIFT_M),
            ("head_pan_joint", head_pan_rad),
            ("head_tilt_joint", head_tilt_rad),
        ):
            data.qpos[_addresses(model, (joint,), "qposadr")] = value
            data.ctrl[model.actuator(joint).id] = value
        data.qpos[self._finger_q] = _FINGER_TRAVEL_M
        data.ctrl[self._ctrl], data.ctrl[self._fingers] = HOME_Q, _FINGER_TRAVEL_M
        mujoco.mj_forward(model, data)
        self._commanded_q = self._configuration.model.qpos0.copy()
        self._commanded_q[self._kinematic_q] = HOME_Q
        self._solver.prefer(self._commanded_q)

    def move(self, target: Pose, opening_m: float, limit_s: float) -> bool:
        """Move the tool to `target` and the pads to `opening_m` apart, stepping the physics.

        Returns:
            Whether the tool is within the controller's tolerances once it has come to rest or `limit_s` has passed.
        """
        motion = self.motion(target, opening_m, limit_s)
        while True:
            try:
                next(motion)
            except StopIteration as end:
                reached: bool = end.value
                return reached

    def motion(self, target: Pose, opening_m: float, limit_s: float) -> Generator[None, None, bool]:
        """The same motion as a generator that yields after every control step; it may be abandoned for another."""
        finger = float(np.clip((opening_m - _CLOSED_OPENING_M) / 2, 0.0, _FINGER_TRAVEL_M))
        self._data.ctrl[self._fingers] = finger
        if np.linalg.norm(self._commanded().translation() - self.tool.translation) > 0.01:
            self._follow_measured()  # an obstacle held the arm: start from its measured pose
        ticks, setpoints = self._course(target)
        last_error = math.inf
        for tick, setpoint in zip(range(1, math.ceil(limit_s / CONTROL_STEP_S) + 1), setpoints, strict=False):
            if setpoint is None:
                self._follow_measured()
                break
            self._commanded_q, self._data.ctrl[self._ctrl] = setpoint
            mujoco.mj_step(self._model, self._data, nstep=round(CONTROL_STEP_S / PHYSICS_STEP_S))
            # An arm out of reach or held back never comes to rest; no progress in 0.2 s ends the motion too.
            if tick >= ticks and (tick - ticks) % _STALL_TICKS == 0:
                distance, turned = self._distance(target)
                error = distance + 0.1 * turned
                if tick > ticks and error > last_error - 0.0003 and not self._reached(target):
                    break
                last_error = error
            if tick >= ticks + 2 and self._settled(finger):
                break
            yield
        return self._reached(target)

    def hold(self) -> None:
        """Make the arm's measured joints its setpoint, so that it brakes and stays; the fingers keep theirs."""
        self._follow_measured()
        self._data.ctrl[self._ctrl] = self._commanded_q[self._kinematic_q]

    def _commanded(self) -> mink.SE3:
        self._configuration.update(self._commanded_q)
        return self._configuration.get_transform_frame_to_world(TOOL_SITE, "site")

    def _follow_measured(self) -> None:
        q = self._commanded_q.copy()
        low, high = self._model.jnt_range[self._joints].T
        limited = self._model.jnt_limited[self._joints].astype(bool)
        measured = self._data.qpos[self._q]
        # A joint pushed past its limit would leave the solver without a feasible solution.
        q[self._kinematic_q] = np.where(limited, np.clip(measured, low, high), measured)
        self._commanded_q = q

    def _course(self, target: Pose) -> tuple[int, Iterator[_Setpoint | None]]:
        """A straight line to `target`: after how many control steps it arrives, and the setpoint of each step.

        None of it depends on the physics, so the way there is computed at once: between steps of the physics, which
        claim the processor's caches, the same arithmetic takes several times as long.
        """
        start = self._commanded()
        offset = target.translation - start.translation()
        turn = (start.rotation().inverse() @ mink.SO3.from_matrix(target.rotation)).log()
        distance, angle = float(np.linalg.norm(offset)), float(np.linalg.norm(turn))
        duration_s = _EASE_PEAK * max(distance / self.max_speed_m_s, angle / self.max_turn_rate_rad_s)
        ticks = max(1, math.ceil(duration_s / CONTROL_STEP_S))
        setpoints = self._setpoints(start, offset, turn, ticks)
        return ticks, itertools.chain(list(itertools.islice(setpoints, ticks)), setpoints)

    def _setpoints(
        self, start: mink.SE3, offset: NDArray[np.float64], turn: NDArray[np.float64], ticks: int
    ) -> Generator[_Setpoint | None]:
        """Setpoints towards a pose, and the last again without end; None, and no more, if the solver finds none."""
        origin, rotation = start.translation(), start.rotation()
        for tick in itertools.count(1):
            share = _ease(min(1.0, tick / ticks))
            waypoint = mink.SE3.from_rotation_and_translation(
                rotation @ mink.SO3.exp(turn * share), origin + share * offset
            )
            try:
                velocity = self._solver.velocity(waypoint)
            except mink.NoSolutionFound:
                yield None
                return
            self._configuration.integrate_inplace(velocity, CONTROL_STEP_S)
            q = self._configuration.q
            setpoint = q, q[self._kinematic_q] + self._lead_s * velocity[self._kinematic_v]
            yield setpoint
            if tick >= ticks and float(np.abs(velocity).max()) < _STILL_RAD_S:
                break
        yield from itertools.repeat(setpoint)

    def _settled(self, finger: float) -> bool:
        data = self._data
        fingers_still = bool(np.abs(data.qvel[self._finger_v]).max() < 0.003)
        return fingers_still and bool(np.abs(data.qvel[self._v]).max() < self.settled_speed_m_s)

    def _distance(self, target: Pose) -> tuple[float, float]:
        """Distance from the tool to a pose, in metres and radians."""
        tool = self.tool
        turn = _rotation_vector(tool.rotation.T @ target.rotation)
        return float(np.linalg.norm(tool.translation - target.translation)), float(np.linalg.norm(turn))

    def _reached(self, target: Pose) -> bool:
        distance, turned = self._distance(target)
        return distance < self.position_tolerance_m and turned < self.rotation_tolerance_rad


_STALL_TICKS = 10
_STILL_RAD_S = 1e-3
_EASE_PEAK = 1.875  # peak speed of a minimum-jerk motion over its mean


def _ease(share: float) -> float:
    """Minimum-jerk profile of progress from 0 to 1 (Flash and Hogan, 1985)."""
    return share**3 * (10 - 15 * share + 6 * share**2)


def _addresses(model: mujoco.MjModel, joints: Sequence[str], attribute: str) -> NDArray[np.intp]:
    """Indices of joints in qpos (`qposadr`) or qvel (`dofadr`)."""
    return np.array([int(getattr(model.joint(f"robot0:{joint}"), attribute)[0]) for joint in joints], dtype=np.intp)


def _rotation_vector(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    vector: NDArray[np.float64] = mink.SO3.from_matrix(rotation).log()
    return vector
