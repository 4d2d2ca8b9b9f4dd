"""Injects faults into a stack at random: those of the sensors through the relay, the others by itself."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeAlias

from faults import BASE, SENSOR_FAULTS, Fault, faults_of
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient
from rclpy.logging import LoggingSeverity
from si_embodied_msgs.action import PlanTask
from stack import Stack, pause
from std_msgs.msg import Bool, Header, String
from std_srvs.srv import SetBool

from si_embodied.ros_nodes.node.bringup import NodeProcess
from si_embodied.ros_nodes.sensing.qos import LATCHED

STARTS_S, ENDS_S = 60.0, 60.0
GAP_S, TOGETHER = (0.5, 3.0), 0.25
"""Between a recovery and the next fault; and the share of faults that begin during another one."""
JUMP_S = 5.0
SAMPLE_S = 5.0
_SENSORS = {fault.name for fault in SENSOR_FAULTS}
JUNK = ('{"goal_stamp_ns": Infinity, "code": 0}', "[" * 100_000, f'{{"goal_stamp_ns": {"9" * 4000}, "code": 0}}', "\0")


Special: TypeAlias = Generator[None, None, Iterator[None]]
"""A fault that ends with a request that undoes it: what is left to do then. Its promises hold until that request."""


class Injector:
    """Injects faults into one stack."""

    def __init__(self, stack: Stack, rng: random.Random, say: Callable[[str], None]) -> None:
        """Nothing is injected before `run`."""
        self.stack, self.rng, self.say = stack, rng, say
        self.active: dict[str, Fault] = {}
        self._resources: dict[int, list[dict[str, int]]] = defaultdict(list)  # of each planner process
        self._next_s = self._sample_s = 0.0
        self._left: list[Fault] = []  # of this round: each fault comes before any comes again
        node = stack.ros.node
        node.get_logger().set_level(LoggingSeverity.ERROR)  # of every subscription that does not latch
        self._faults = node.create_publisher(String, "chaos/faults", LATCHED)
        self._button = node.create_publisher(Bool, "emergency_stop", 10)
        self._outcome = node.create_publisher(
            String, f"{'navigation' if stack.world == BASE else 'arm'}/outcome", LATCHED
        )
        self._beat = node.create_publisher(Header, "planner_heartbeat", 10)
        self._release = node.create_client(SetBool, "planner/emergency_stop")
        self._change = node.create_client(ChangeState, "planner/change_state")
        self._others = ActionClient(node, PlanTask, "other_task")
        self._special: dict[str, Callable[[float], Any]] = {
            "a malformed outcome": lambda _: self._say(self._outcome, String(data=self.rng.choice(JUNK))),
            "a malformed heartbeat": lambda _: self._say(self._beat, Header(frame_id="x" * 1000)),
            "an instruction of 200 kB": lambda _: self._long_instruction(),
            "the clock jumps back 5 s": lambda _: self._jump(),
            "the world is reset": lambda _: stack.new_episode(),
            "the task is canceled": lambda _: self._cancel(),
            "the emergency stop": self._emergency_stop,
            "the planner is deactivated": self._deactivate,
            "kill -9 of the planner": self._kill_planner,
            "the planner hangs": self._hang,
            "kill -9 of the watchdog": self._kill_watchdog,
            "a second planner": self._second_planner,
        }

    def run(self, seconds: float) -> None:
        """Wait for the first plan, inject faults for a time, then see that the robot still acts."""
        referee = self.stack.referee
        self._until(lambda: referee.counts.get("plans"), STARTS_S, "a first plan")
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._inject()
            self._spin()
        self._until(lambda: not self.active, ENDS_S, "the end of the last faults")
        plans = referee.counts.get("plans", 0)
        self._until(lambda: referee.counts.get("plans", 0) > plans + 1, ENDS_S, "plans after the last fault")

    def _until(self, condition: Callable[[], Any], seconds: float, what: str) -> None:
        until_s = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until_s:
                self.stack.referee.violated(f"waited {seconds:.0f} s in vain for {what}")
                return
            self._spin()

    def _spin(self) -> None:
        self.stack.spin()
        now_s, referee = time.monotonic(), self.stack.referee
        for process in self.stack.processes.values():
            code = process.died()
            if code is not None:
                referee.violated(f"{process.name} ended by itself with exit code {code}")
                process.start()
        lost = referee.lost(now_s)
        if lost:
            referee.drop_pending()
            referee.violated(f"not recovered from {', '.join(fault.name for fault in lost)}")
        if now_s - self._sample_s > SAMPLE_S:
            self._sample_s = now_s
            planner = self.stack.processes["planner"]
            if self.stack.tasks.handle is not None:
                self._resources[planner.starts].append(planner.resources())

    def longest_lived(self) -> tuple[dict[str, int], dict[str, int]] | None:
        """Resources of the planner process that lived longest, at first and at last."""
        found = max(self._resources.values(), key=len, default=[])
        return (found[0], found[-1]) if found else None

    # --- which fault, and when ----------------------------------------------------------------------------------------

    def _inject(self) -> None:
        now_s = time.monotonic()
        pending = self.stack.referee.pending
        if self.active or pending:
            if len(self.active) != 1 or self._next_s > now_s:
                return
            self._next_s = now_s + 1.0
            if self.rng.random() > TOGETHER:
                return
        elif self._next_s < 0.0:
            self._next_s = now_s + self.rng.uniform(*GAP_S)
            return
        elif now_s < self._next_s:
            return
        fault = self._draw()
        if fault is not None:
            self.stack.jobs.append(self._one(fault, self.rng.uniform(*fault.lasts_s)))

    def _draw(self) -> Fault | None:
        """The next fault; of those done to processes and sent as messages, one at a time."""
        special = any(name not in _SENSORS for name in self.active)
        if not self._left:
            self._left = list(faults_of(self.stack.world))
            self.rng.shuffle(self._left)
        for fault in self._left:
            hidden = any(
                fault.name in each.alone_from or each.name in fault.alone_from for each in self.active.values()
            )
            if fault.name not in self.active and not hidden and not (special and fault.name not in _SENSORS):
                self._left.remove(fault)
                return fault
        return None

    def _one(self, fault: Fault, lasts_s: float) -> Iterator[None]:
        """Inject a fault: a job of the stack."""
        self.say(f"{fault.name} for {lasts_s:.1f} s")
        referee = self.stack.referee
        self.active[fault.name] = fault
        referee.began(fault, time.monotonic(), self.stack.stamp_s)
        restore: Iterator[None] | None = None
        if fault.name in _SENSORS:
            self._publish()
            yield from pause(lasts_s)
            del self.active[fault.name]
            self._publish()
        else:
            restore = yield from self._special[fault.name](lasts_s)
            del self.active[fault.name]
        referee.ended(fault, time.monotonic(), self.stack.stamp_s)
        yield from restore or ()
        self._next_s = -1.0

    def _publish(self) -> None:
        names = [name for name in self.active if name in _SENSORS]
        self._faults.publish(String(data=json.dumps({"faults": names, "shift_s": self.stack.shift_s})))

    # --- faults that the runner does itself ---------------------------------------------------------------------------

    def _say(self, publisher: Any, message: Any) -> Iterator[None]:
        publisher.publish(message)
        yield

    def _long_instruction(self) -> Iterator[None]:
        client = self.stack.tasks.client
        future = client.send_goal_async(PlanTask.Goal(instruction="go to the chair " * 12_000))
        yield from pause(1.0)
        if future.done() and future.result().accepted:
            self.stack.referee.violated("an instruction of 200 kB was accepted")

    def _jump(self) -> Iterator[None]:
        self.stack.shift_s -= JUMP_S
        self.stack.referee.clock_jumped(-JUMP_S)
        self._publish()
        yield

    def _cancel(self) -> Iterator[None]:
        if self.stack.tasks.handle is not None:
            self.stack.tasks.handle.cancel_goal_async()
        yield

    def _emergency_stop(self, lasts_s: float) -> Special:
        self._button.publish(Bool(data=True))
        yield from pause(lasts_s)
        return self.stack.call(self._release, SetBool.Request(data=False), lambda response: response.success)

    def _deactivate(self, lasts_s: float) -> Special:
        yield from self._transition(Transition.TRANSITION_DEACTIVATE)
        yield from pause(lasts_s)
        return self._transition(Transition.TRANSITION_ACTIVATE)

    def _transition(self, number: int) -> Iterator[None]:
        request = ChangeState.Request()
        request.transition.id = number
        yield from self.stack.call(self._change, request, lambda response: response.success)

    def _kill_planner(self, lasts_s: float) -> Iterator[None]:
        self.stack.processes["planner"].kill()
        self.stack.tasks.drop()
        self.stack.acting.discard("planner")
        yield from pause(lasts_s)
        self.stack.processes["planner"].start()

    def _hang(self, lasts_s: float) -> Iterator[None]:
        running = self.stack.processes["planner"].running
        assert running is not None
        os.kill(running.pid, signal.SIGSTOP)
        yield from pause(lasts_s)
        os.kill(running.pid, signal.SIGCONT)

    def _kill_watchdog(self, lasts_s: float) -> Iterator[None]:
        self.stack.processes["watchdog"].kill()
        yield from pause(lasts_s)
        self.stack.processes["watchdog"].start()

    def _second_planner(self, lasts_s: float) -> Iterator[None]:
        """One of the two may act: whichever the watchdog lets."""
        script = json.dumps({"subgoals": [{"skill": "turn", "degrees": 90}], "done": False})
        settings = {"autostart": True, "use_sim_time": True, "backend": "scripted", "script": script}
        node = NodeProcess("second", "si_embodied.ros_nodes.planner_node", parameters=settings)
        second = self.stack.make(node, "-r", "__node:=second", "-r", "plan_task:=other_task")
        second.start()
        until_s = time.monotonic() + lasts_s + 5.0
        while not self._others.server_is_ready() and time.monotonic() < until_s:
            yield
        yield from pause(1.0)
        self._others.send_goal_async(PlanTask.Goal(instruction="turn", timeout_s=lasts_s))
        yield from pause(2 * lasts_s)
        self.stack.acting.discard("second")
        assert second.running is not None
        second.running.send_signal(signal.SIGINT)
        while second.died() is None:
            yield
        second.log.close()
