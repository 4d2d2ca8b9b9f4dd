"""ROS in processes of its own: every node is a process, and spoken to over DDS."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

import pytest
import yaml
from forked import Forked

try:
    import rclpy
    import tf2_msgs.msg  # noqa: F401
    from lifecycle_msgs.srv import ChangeState
    from rclpy.action import ActionClient
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    from si_embodied_msgs.action import PlanTask
    from std_srvs.srv import SetBool
except ModuleNotFoundError as error:
    fix = "pip install 'si-embodied[ros]'" if error.name == "rclpy" else "build it: python interfaces/build.py"
    MISSING = f"{error.name} is not installed: {fix}"
else:
    MISSING = ""

HERE = Path(__file__).parent
# For this process too, before its first participant: without it a busy machine loses images.
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(HERE.parents[1] / "config" / "fastdds.xml"))
Process: TypeAlias = Forked | subprocess.Popen[str]
STARTS_S, ANSWERS_S, TASK_S, ENDS_S = 60.0, 20.0, 90.0, 10.0
"""Deadlines, for a busy machine: nothing here waits for ever, and nothing is as slow as this."""


class WithoutRos(pytest.Module):
    """A test module that is not imported."""

    def collect(self) -> Any:
        pytest.skip(MISSING, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip every module here, with the reason, where there is no ROS to test with."""
    return WithoutRos.from_parent(parent, path=module_path) if MISSING else None


@dataclass
class Ros:
    """A test's own ROS domain: processes in it, and a node to speak to them."""

    folder: Path
    domain: int = 0  # free on this machine, drawn at the start
    processes: list[Process] = field(default_factory=list)
    actions: dict[str, ActionClient] = field(default_factory=dict)
    plans: list[Any] = field(default_factory=list)  # for the tests' own use
    velocities: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.domain, self._lock = free_domain()
        self.environment = {
            **os.environ, "ROS_DOMAIN_ID": str(self.domain), "ROS_PYTHON_CHECK_FIELDS": "1",
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_LOG_DIR": str(self.folder), "OMP_NUM_THREADS": "1",
            "ROS_HOME": str(self.folder),  # where the watchdog keeps a stop
        }  # fmt: skip
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = Node("tester", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def start(self, command: list[str], parameters: Mapping[str, Any] | None = None) -> Forked:
        """Start a Python process (a file or -m and a module) with ROS parameters."""
        file = self.folder / f"{len(self.processes)}.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(parameters or {})}}))
        settings = ["--params-file", str(file)] if parameters else []
        process = Forked([*command, "--ros-args", *settings], self.environment)
        self.processes.append(process)
        return process

    def wait(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """Spin until a condition holds; its value."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            value = condition()
            if value:
                return value
            for process in self.processes:
                if process.poll() not in (None, 0):
                    raise AssertionError(f"a process ended while waiting for {what}:\n{process.communicate()[0]}")
            self.executor.spin_once(timeout_sec=0.05)
        raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")

    def result(self, future: Any, seconds: float, what: str) -> Any:
        """What a future brings."""
        self.wait(future.done, seconds, what)
        return future.result()

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service."""
        client = self.node.create_client(kind, name)
        try:
            self.wait(client.service_is_ready, STARTS_S, f"the service {name}")
            return self.result(client.call_async(request), ANSWERS_S, f"an answer of {name}")
        finally:
            self.node.destroy_client(client)

    def release(self) -> None:
        """End the planner's emergency stop; it may still be looking for a watchdog, which keeps one too."""
        free = lambda: self.call(SetBool, "planner/emergency_stop", SetBool.Request(data=False)).success  # noqa: E731
        self.wait(free, STARTS_S, "the end of the emergency stop")

    def listen(self, kind: Any, topic: str, qos: Any = 10) -> list[Any]:
        """A list that grows by the messages of a topic."""
        heard: list[Any] = []
        self.node.create_subscription(kind, topic, heard.append, qos)
        return heard

    def action(self, kind: Any, name: str) -> ActionClient:
        """An action client whose server is there."""
        client = self.actions.get(name) or ActionClient(self.node, kind, name)
        self.actions[name] = client
        self.wait(client.server_is_ready, STARTS_S, f"the action {name}")
        return client

    def task(self, instruction: str = "go to the wall", timeout_s: float = 60.0) -> Any:
        """The goal handle of a task that was sent to the planner."""
        client = self.action(PlanTask, "plan_task")
        goal = PlanTask.Goal(instruction=instruction, timeout_s=timeout_s)
        return self.result(client.send_goal_async(goal), ANSWERS_S, "the goal's acceptance")

    def end(self, handle: Any) -> Any:
        """Status and result of a task."""
        assert handle.accepted
        return self.result(handle.get_result_async(), TASK_S, "the task's end")

    def change(self, transition: int) -> bool:
        """Ask the planner for a transition; whether it was made."""
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(self.call(ChangeState, "planner/change_state", request).success)

    def stop(self, process: Process, number: int = signal.SIGINT) -> str:
        """End a process as a user would; its output."""
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.communicate(timeout=ANSWERS_S)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"it did not end within {ANSWERS_S} s:\n{process.communicate()[0]}") from None

    def close(self) -> None:
        """End everything: politely, because what is killed leaves its shared memory behind.

        The last first: a planner that is told to end waits until the robot, which was started before it, stands.
        """
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=ENDS_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        self._lock.close()


def free_domain() -> tuple[int, IO[str]]:
    """A ROS domain that no other test on this machine uses, and the lock that keeps it so until it is closed."""
    domains = random.Random().sample(range(1, 101), 100)  # ports of domains above are handed out by Linux
    for domain in domains:
        lock = (Path(tempfile.gettempdir()) / f"si_embodied_ros_domain_{domain}.lock").open("w")
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return domain, lock
        lock.close()
    raise AssertionError("every ROS domain from 1 to 100 is taken by another test")


@contextmanager
def ros_in(folder: Path) -> Iterator[Ros]:
    ros = Ros(folder)
    try:
        yield ros
    finally:
        ros.close()


@pytest.fixture
def ros(tmp_path: Path) -> Iterator[Ros]:
    with ros_in(tmp_path) as ros:
        yield ros


@pytest.fixture(scope="module")
def shared_ros(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ros]:
    with ros_in(tmp_path_factory.mktemp("ros")) as ros:
        yield ros


@pytest.fixture(scope="session")
def new_ros(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], AbstractContextManager[Ros]]:
    """Opens a domain for as long as a test's own fixture lasts."""
    return lambda: ros_in(tmp_path_factory.mktemp("ros"))
