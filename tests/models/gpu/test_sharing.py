"""One GPU for several processes, and one server for several robots."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.opening import open_planner
from si_embodied.benchmarking.latency.scenes import ROBOT, turned
from si_embodied.types import Code

DEVICES = pytest.mark.parametrize(
    "where", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)]
)
"""On a CPU only with -m slow, for the time that the processes take to start."""

PLAN = """
import sys
from si_embodied.backends.config import BackendConfig
from si_embodied.backends.opening import open_planner
from si_embodied.benchmarking.latency.scenes import ROBOT, turned
planner = open_planner(BackendConfig(model=sys.argv[1], device=sys.argv[2]), ROBOT)
for seed in range(12):
    shown = turned(seed % 4, seed // 4, 224)
    print(planner.plan(shown.task, shown.observation, shown.memory).record.raw_text)
"""


@DEVICES
def test_two_processes_share_a_gpu(where: str, checkpoints: dict[str, Path]) -> None:
    """Both load, plan and end, with the same answers: a planner and, say, a detector beside it."""
    command = (sys.executable, "-c", PLAN, str(checkpoints["qwen3_vl"]), where)
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = []
    for process in both:
        out, errors = process.communicate(timeout=280)
        assert process.returncode == 0, errors[-2000:]
        answers.append(out.splitlines())
    assert len(answers[0]) == 12
    assert answers[0] == answers[1]


@DEVICES
def test_a_server_answers_eight_robots(where: str, checkpoints: dict[str, Path]) -> None:
    """At once, each with its own task, six plans each; every answer is the one that a robot alone would get."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("websockets")
    from si_embodied.serving.client import RemotePlanner

    model = str(checkpoints["qwen3_vl"])
    shown = {robot: [turned(robot, step, 128) for step in range(6)] for robot in range(8)}

    def answers(planner: object, robot: int) -> list[object]:
        made = [planner.plan(each.task, each.observation, each.memory) for each in shown[robot]]  # type: ignore[attr-defined]
        return [(each.record.raw_text, each.record.code) for each in made]

    with closing(open_planner(BackendConfig(model=model, device=where), ROBOT)) as alone:
        expected = [answers(alone, robot) for robot in shown]
    command = (
        sys.executable, "-m", "si_embodied.cli.main", "serve", "--model", model, "--device", where, "--port", "0",
        "--max-rate", "1000",
    )  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = next(word for word in server.stdout.readline().split() if word.startswith("ws://"))
            planners = [RemotePlanner(url, ROBOT, robot=f"robot-{number}") for number in shown]
            with ThreadPoolExecutor(len(planners)) as robots:
                found = list(robots.map(answers, planners, shown))
            for planner in planners:
                planner.close()
        finally:
            server.terminate()
    assert found == expected
    assert all(code is not Code.BACKEND_FAILED for each in found for _, code in each)
