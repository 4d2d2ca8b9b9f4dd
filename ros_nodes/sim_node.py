"""The Apartment or the Tabletop as a robot over ROS: `python -m si_embodied.ros_nodes.sim_node`.

It has the ROS interface of a robot's drivers, so the same planner node runs against it and against a robot. It also
publishes simulated time on /clock: run all other nodes with `use_sim_time:=true`.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import String
from std_srvs.srv import Trigger

from si_embodied.errors import SiEmbodiedError
from si_embodied.plugins import load_plugins
from si_embodied.ros_nodes.node import parameters
from si_embodied.ros_nodes.node.interrupts import init_until_interrupted
from si_embodied.ros_nodes.node.spinning import spin_while
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.qos import LATCHED
from si_embodied.ros_nodes.simulator.imperfections import DelayLine, failed
from si_embodied.ros_nodes.simulator.publishing import CameraPublisher, TransformPublisher, optical_frame
from si_embodied.ros_nodes.simulator.settings import FIXED, SimulatorSettings
from si_embodied.sensor_noise.camera import noisy_cameras

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from si_embodied.geometry import Pose
    from si_embodied.ros_nodes.simulator.robots import SimulatedRobot
    from si_embodied.sensor_noise.profiles import NoiseProfile
    from si_embodied.types import CameraFrame

START_S = 1.0
"""Not 0, which means "no time yet" to nodes that use simulated time."""


class Drivers(Protocol):
    """The topics of one kind of robot."""

    def start(self, stamp_s: float) -> None:
        """An episode has started."""

    def tick(self, stamp_s: float, settings: SimulatorSettings, noise: NoiseProfile, rng: np.random.Generator) -> None:
        """Publish the robot's state after a tick."""

    def look(self, stamp_s: float) -> None:
        """Publish the other sensors' data that belong to a set of images."""


class Simulator:
    """One simulated robot on one node. Everything runs in the executor's thread; nothing here blocks."""

    def __init__(self, node: Node) -> None:
        """Read the parameters, start the first episode and the timer.

        Raises:
            SiEmbodiedError: a parameter is invalid, or the world cannot be rendered.
        """
        self._node = node
        self.error: SiEmbodiedError | None = None  # what ended the simulation
        parameters.declare(node, SimulatorSettings)
        self._settings = parameters.read(node, SimulatorSettings)
        self._noise = self._settings.noise()
        self._now_s, self._ticks, self._images = START_S, 0, 0
        self._commands: DelayLine[Callable[[], None]] = DelayLine()
        self._exposed: DelayLine[tuple[CameraFrame, ...]] = DelayLine()
        self._transforms = TransformPublisher(node)
        self._robot, self._drivers = self._make_robot()
        self._cameras = [CameraPublisher(node, name) for name in self._robot.embodiment.cameras]
        self._clock = node.create_publisher(ClockMessage, "/clock", 1)
        self._instruction = node.create_publisher(String, "~/instruction", LATCHED)
        truths = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._truth = node.create_publisher(String, "~/ground_truth", truths)
        node.create_service(Trigger, "~/reset", self._on_reset)
        node.add_on_set_parameters_callback(self._on_parameters)
        self._reset()
        period_s = self._robot.tick_s / self._settings.real_time_factor
        # Not the node's own clock, which may be set to follow /clock, published by this timer.
        self._timer = node.create_timer(period_s, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Release the renderer's resources."""
        self._robot.close()

    def _make_robot(self) -> tuple[SimulatedRobot, Drivers]:
        # Import only the world that runs, with its physics.
        if self._settings.world == "apartment":
            from si_embodied.ros_nodes.simulator.apartment import ApartmentRobot
            from si_embodied.ros_nodes.simulator.mobile import BaseDrivers

            rate_hz = self._settings.camera_rate_hz
            base = ApartmentRobot(self._settings.task or "objectnav", self._settings.image_size, rate_hz)
            return base, BaseDrivers(self._node, base, self._transforms, self._later)
        from si_embodied.ros_nodes.simulator.arm import ArmDrivers
        from si_embodied.ros_nodes.simulator.tabletop import TabletopRobot

        arm = TabletopRobot(self._settings.task or "base", self._settings.image_size)
        return arm, ArmDrivers(self._node, arm, self._transforms, self._later)

    def _later(self, command: Callable[[], None]) -> None:
        self._commands.put(self._now_s + self._settings.command_latency_s, command)

    # --- episodes ---------------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        """Start the episode of parameter `seed`; time continues."""
        seed = self._settings.seed
        self._robot.reset(seed)
        self._rng = np.random.default_rng([seed, 0x51])
        self._noisy = noisy_cameras(len(self._cameras), self._rng)
        self._commands.clear()
        self._exposed.clear()
        self._drivers.start(self._now_s)
        self._instruction.publish(String(data=self._robot.instruction))
        self._node.get_logger().info(f"{self._settings.world}, seed {seed}: {self._robot.instruction}")

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._reset()
        except SiEmbodiedError as error:
            response.success, response.message = False, str(error)
        else:
            response.success, response.message = True, self._robot.instruction
        return response

    def _on_parameters(self, changed: Sequence[Any]) -> SetParametersResult:
        fixed = [parameter.name for parameter in changed if parameter.name in FIXED]
        if fixed:
            reason = f"{', '.join(fixed)} is read only at start: restart the node"
            return SetParametersResult(successful=False, reason=reason)
        names = {field.name for field in dataclasses.fields(SimulatorSettings)}
        changes = {parameter.name: parameter.value for parameter in changed if parameter.name in names}
        try:
            self._settings = parameters.read(self._node, SimulatorSettings, changes)
            self._noise = self._settings.noise()
        except SiEmbodiedError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    # --- time -------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Advance by one tick, and publish the result."""
        for command in self._commands.take(self._now_s):
            command()
        try:
            self._advance()
        except SiEmbodiedError as error:  # of the world, not of a command
            self.error = error

    def _advance(self) -> None:
        self._robot.advance()
        self._ticks += 1
        self._now_s = START_S + self._ticks * self._robot.tick_s
        self._publish_clock()
        self._drivers.tick(self._now_s, self._settings, self._noise, self._rng)
        if self._now_s - START_S >= self._images / self._settings.camera_rate_hz - 1e-9:
            self._images = int((self._now_s - START_S) * self._settings.camera_rate_hz + 1e-9) + 1
            self._look()
        for frames in self._exposed.take(self._now_s):
            for publisher, frame in zip(self._cameras, frames, strict=True):
                publisher.publish(frame, self._settings.depth_encoding)

    def _publish_clock(self) -> None:
        message = ClockMessage()
        bridge.set_stamp(message.clock, self._now_s)
        self._clock.publish(message)

    def _look(self) -> None:
        """Take an image with every camera; the images are published after their latency, unless they are dropped."""
        observation = self._robot.observe(self._now_s)
        pairs = zip(self._noisy, observation.frames, strict=True)
        seen = tuple(camera.take(frame, self._noise) for camera, frame in pairs)
        if self._settings.publish_tf:
            self._transforms.publish(self._now_s, *_camera_poses(observation.T_map_base, seen))
        self._drivers.look(self._now_s)
        if self._rng.random() < self._noise.transfer.dropped_ratio:
            return
        frames = tuple(failed(frame, self._settings) for frame in seen)
        if self._settings.publish_ground_truth:
            self._publish_truth(frames[0].stamp_s)
        self._exposed.put(self._now_s + self._noise.transfer.delay_s, frames)

    def _publish_truth(self, stamp_s: float) -> None:
        """Publish the ground truth of the images with a stamp, before the images."""
        values = dataclasses.asdict(self._robot.ground_truth())
        self._truth.publish(String(data=json.dumps({"stamp_s": stamp_s, **values})))


def _camera_poses(T_map_base: Pose, frames: Sequence[CameraFrame]) -> list[tuple[str, str, Pose]]:
    T_base_map = T_map_base.inverse()
    return [("base_link", optical_frame(each.name), T_base_map @ each.T_map_camera) for each in frames]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is stopped, whatever arrives.

    Returns 2 if a setting is invalid or the world cannot be rendered.
    """
    interrupted = init_until_interrupted(arguments)
    node = Node("sim_node")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    simulator: Simulator | None = None
    try:
        load_plugins()
        running = simulator = Simulator(node)
        spin_while(node, executor, lambda: not interrupted() and running.error is None)
        if simulator.error is not None:
            raise simulator.error
    except SiEmbodiedError as error:
        node.get_logger().fatal(str(error))
        return 2
    finally:
        if simulator is not None:
            simulator.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main())
