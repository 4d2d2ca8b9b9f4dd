"""Starts a set of nodes without the `launch` package, each in its own process; they stop together."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc

import si_embodied
from si_embodied.errors import ConfigError, MissingExtraError, UnknownNameError
from si_embodied.ros_nodes.simulator.settings import WORLDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
_SHUTDOWN_S = 5.0
"""Time for a node to exit after a signal. The planner stops the robot first."""
_POLL_S = 0.1
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """One node to start."""

    name: str  # "planner"
    module: str  # "si_embodied.ros_nodes.planner_node"
    files: tuple[Path, ...] = ()  # parameter files; later ones win
    parameters: Mapping[str, object] = field(default_factory=dict)  # override the files

    def command(self) -> list[str]:
        """The command line."""
        arguments = [each for file in self.files for each in ("--params-file", str(file))]
        for name, value in self.parameters.items():
            arguments += ["-p", f"{name}:={_yaml(value)}"]
        return [sys.executable, "-m", self.module, "--ros-args", *arguments]


def _yaml(value: object) -> str:
    """Format a scalar for rcl's YAML parser. Strings are quoted, so "" and "yes" stay strings."""
    if isinstance(value, bool):
        return str(value).lower()
    return "'{}'".format(value.replace("'", "''")) if isinstance(value, str) else str(value)


def config_file(name: str) -> Path:
    """Find a file of `config/`, in the checkout or in the installed package.

    Raises:
        ConfigError: the file is not found.
    """
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    folders = [Path(si_embodied.__file__).parents[1] / "config"]
    folders += [Path(prefix) / "share" / "si_embodied" / "config" for prefix in prefixes if prefix]
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise ConfigError(f"config/{name} not found in {[str(each) for each in folders]}; reinstall si-embodied")
    return found


@dataclass(frozen=True, slots=True)
class Bringup:
    """Which nodes to start, and with what."""

    sim: Annotated[str | None, Doc("simulate a robot: apartment (the default) or tabletop")] = None
    task: Annotated[str | None, Doc("of the simulated world; default: its first")] = None
    seed: Annotated[int | None, Doc("of the simulated episode; default: 0")] = None
    speed: Annotated[float | None, Doc("simulated seconds per second, if the machine is fast enough")] = None
    backend: Annotated[str | None, Doc("of the planner: local (the default), server, perfect_pixels, …")] = None
    model: Annotated[str | None, Doc("of the planner; default: si-nano")] = None
    params_file: Annotated[Path | None, Doc("ROS parameters of the nodes, on top of those in config/")] = None
    record: Annotated[Path | None, Doc("a folder to create, for si-embodied replay, ros2 bag and Foxglove")] = None
    no_planner: Annotated[bool, Doc("start the simulated robot alone")] = False
    live_folder: Annotated[Path | None, Doc("through which `si-embodied watch` shows the planner")] = None

    def __post_init__(self) -> None:
        """Reject an unknown world."""
        if self.sim not in (None, *WORLDS):
            raise UnknownNameError("world", self.sim, WORLDS)

    def nodes(self) -> list[NodeProcess]:
        """The nodes to start.

        Raises:
            ConfigError: if the settings contradict each other.
        """
        sim = self.sim
        if self.no_planner and not sim:
            raise ConfigError("--no-planner leaves nothing to start; give --sim too")
        if self.no_planner and self.live_folder is not None:
            raise ConfigError("--watch shows the planner, and --no-planner starts none; leave one of them out")
        if sim is None and (self.task, self.seed, self.speed) != (None, None, None):
            raise ConfigError("--task, --seed and --speed set up a simulated world; give --sim too")
        if self.params_file is not None and not self.params_file.is_file():
            raise ConfigError(f"no such parameter file: {str(self.params_file)!r}")
        files = () if self.params_file is None else (self.params_file,)
        if sim:
            files = (config_file("sim.yaml"), config_file(f"{sim}.yaml"), *files)
        nodes = []

        def add(name: str, module: str, **parameters: object) -> None:
            given = {key: value for key, value in parameters.items() if value is not None}
            nodes.append(NodeProcess(name, f"si_embodied.ros_nodes.{module}", files, given))

        simulated = True if sim else None
        if self.record is not None:
            add("recorder", "recorder_node", output=str(self.record.absolute()), use_sim_time=simulated)
        if sim:
            truth = True if self.backend == "perfect_pixels" else None
            add(
                "sim_node", "sim_node", world=sim, task=self.task, seed=self.seed, real_time_factor=self.speed,
                publish_ground_truth=truth,
            )  # fmt: skip
        if not self.no_planner:
            add("watchdog", "watchdog_node", use_sim_time=simulated)
            add(
                "planner", "planner_node", autostart=True, use_sim_time=simulated, backend=self.backend,
                model=self.model, recorder=None if self.record is None else "recorder",
                live_folder=None if self.live_folder is None else str(self.live_folder.absolute()),
            )  # fmt: skip
        return nodes


def require_ros() -> None:
    """Check, before starting any node, that ROS and the interfaces are installed.

    Raises:
        MissingExtraError: rclpy is not installed.
        ConfigError: the interfaces are not built.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise MissingExtraError("rclpy", "ros")
    for package in ("tf2_msgs", "si_embodied_msgs"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"the ROS interfaces {package!r} are not built; run: python interfaces/build.py")


def environment(*, simulated: bool) -> dict[str, str]:
    """The nodes' environment. For a simulated robot, adds a DDS profile that can hold images, unless one is set.

    A real robot does not get the profile: it binds DDS to this machine, and a robot may have several.
    """
    values = dict(os.environ)
    values.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    if simulated and not values.get(PROFILE_VARIABLE):
        values[PROFILE_VARIABLE] = str(config_file("fastdds.xml"))
    return values


def run(nodes: Sequence[NodeProcess], say: Callable[[str], None], *, simulated: bool) -> int:
    """Run nodes until one exits or this process gets SIGINT or SIGTERM, then stop all of them.

    Args:
        nodes: started in this order, stopped in reverse.
        say: prints a line for the user.
        simulated: whether everything the nodes communicate with runs on this machine.

    Returns:
        0 if a signal stopped the nodes and all exited with 0, else 1.
    """
    stop_requested = threading.Event()
    previous = {each: signal.signal(each, lambda *_: stop_requested.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for node in nodes:
            # In its own session the node does not get Ctrl-C; this process stops the nodes in order.
            processes[node.name] = subprocess.Popen(
                node.command(),
                env=environment(simulated=simulated),
                start_new_session=True,
                preexec_fn=_stop_with_parent,  # noqa: PLW1509  (one system call, which takes no lock)
            )
        while not stop_requested.wait(_POLL_S):
            ended = [name for name, process in processes.items() if process.poll() is not None]
            if ended:
                say(f"{ended[0]} exited with code {processes[ended[0]].returncode}; stopping the rest")
                break
    finally:
        codes = {name: _stop(process) for name, process in reversed(processes.items())}
        for number, handler in previous.items():
            signal.signal(number, handler)
    failed = {name: code for name, code in codes.items() if code}
    if stop_requested.is_set() and failed:
        say("failed while stopping: " + ", ".join(f"{name} with code {code}" for name, code in failed.items()))
    return 0 if stop_requested.is_set() and not failed else 1


def _stop_with_parent() -> None:
    """In the child: get SIGINT if the parent is killed, so that the robot does not drive on when a terminal crashes."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Stop a process with SIGINT, then SIGTERM, then SIGKILL; its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
            _wait(process)
    return process.wait()


def _wait(process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _SHUTDOWN_S
    while process.poll() is None and time.monotonic() < until:
        time.sleep(_POLL_S / 2)
