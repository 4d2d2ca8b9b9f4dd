"""Requests faster than plans: the newest is planned, and none waits in a queue."""

from __future__ import annotations

import threading
import time

from si_embodied import Observation, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.embodiment import MobileBase
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.types import Prompt
from si_embodied.worker import PlannerWorker

TURN = '{"subgoals":[{"skill":"turn","degrees":90}],"done":false}'


def test_of_a_thousand_requests_only_the_first_and_the_last_are_planned(
    base: MobileBase, wall_ahead: Observation
) -> None:
    gate, asked = threading.Event(), list[str]()

    def answer(prompt: Prompt) -> str:
        asked.append(prompt.text)
        assert gate.wait(10)
        return TURN

    worker = PlannerWorker(Planner(ScriptedBackend(answer), base), lambda: 10.0)
    for number in range(1000):
        worker.submit(Task(f"task {number}", "navigation"), wall_ahead, Memory())
        while not asked:
            time.sleep(0.001)
    gate.set()
    end = time.monotonic() + 5
    while worker.busy and time.monotonic() < end:
        worker.poll()
        time.sleep(0.001)
    worker.close()
    assert len(asked) == 2
    assert "task 0" in asked[0]
    assert "task 999" in asked[1]
