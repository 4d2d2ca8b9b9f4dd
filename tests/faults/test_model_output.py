"""Whatever a backend answers or raises is a decision, and nothing is clamped."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from si_embodied import Code, Execute, Hold, Observation, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import Prompts
from si_embodied.embodiment import MobileBase
from si_embodied.errors import ConfigError, ObservationError
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.types import Completion, Prompt

GOTO = '{"subgoals":[{"skill":"goto","object":"chair","view":1,"point":[500,500]}],"done":false}'
TURN = '{"subgoals":[{"skill":"turn","degrees":90}],"done":false}'


class Panic(BaseException):
    """Like the `PanicException` of libraries written in Rust."""


def plan(answer: Any, base: MobileBase, observation: Observation, task: Task) -> Execute | Hold:
    return Planner(ScriptedBackend(lambda _: answer), base).plan(task, observation, Memory())


@pytest.mark.parametrize(
    "point",
    ["[1001,500]", "[-1,500]", "[500,1e9]", "[NaN,500]", "[Infinity,0]", '["500","500"]', "[[500,500]]", "[500]",
     "null", "[500.5,500]", "[true,false]", "[500,500,500]", "{}", "9" * 3000],
)  # fmt: skip
def test_a_point_that_is_not_in_the_image_is_refused(
    base: MobileBase, wall_ahead: Observation, find_chair: Task, point: str
) -> None:
    decision = plan(GOTO.replace("[500,500]", point), base, wall_ahead, find_chair)
    assert isinstance(decision, Hold)
    assert decision.code is Code.PLAN_INVALID


@pytest.mark.parametrize(
    "text",
    ["", "  \n", GOTO[:40], GOTO * 3, '{"subgoals":' + "[" * 1900 + "]" * 1900 + ',"done":false}', "x" * 5_000_000,
     TURN.replace('"degrees":90', '"degrees":10,"degrees":170'), '{"subgoals":[],"done":false,"reasoning":"\ud800"}',
     TURN.replace("90", "9" * 3000), TURN[:-1] + ',"topic":"/cmd_vel"}'],
)  # fmt: skip
def test_an_answer_that_is_not_one_plan_is_refused(
    base: MobileBase, wall_ahead: Observation, find_chair: Task, text: str
) -> None:
    decision = plan(text, base, wall_ahead, find_chair)
    assert isinstance(decision, Hold)
    assert decision.code is Code.PLAN_INVALID
    json.dumps(decision.record.raw_text).encode()
    "".join(decision.record.raw_text).encode()  # a record can always be written


@pytest.mark.parametrize("text", [None, b"{}", 3, ["{}"]])
def test_a_backend_that_answers_without_text_is_a_hold(
    base: MobileBase, wall_ahead: Observation, find_chair: Task, text: Any
) -> None:
    decision = plan(text, base, wall_ahead, find_chair)
    assert isinstance(decision, Hold)
    assert decision.code is Code.BACKEND_FAILED


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError("gone"), Code.INTERNAL_ERROR),
        (AssertionError(), Code.INTERNAL_ERROR),
        (ZeroDivisionError("a bug"), Code.INTERNAL_ERROR),
        (RecursionError("deep"), Code.INTERNAL_ERROR),
        (Panic("from Rust"), Code.INTERNAL_ERROR),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), Code.INTERNAL_ERROR),
        (ObservationError("an image of 200:1"), Code.BACKEND_FAILED),
        (ConfigError("a schema"), Code.BACKEND_FAILED),
    ],
)
def test_any_exception_of_a_backend_is_a_hold_and_an_unforeseen_one_logs_a_traceback(
    base: MobileBase,
    wall_ahead: Observation,
    find_chair: Task,
    error: BaseException,
    code: Code,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(prompt: Prompt) -> str:
        raise error

    decision = Planner(ScriptedBackend(fail), base).plan(find_chair, wall_ahead, Memory())
    assert isinstance(decision, Hold)
    assert decision.code is code
    assert ("Traceback" in caplog.text) is (code is Code.INTERNAL_ERROR)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_a_latency_that_is_not_a_duration_is_left_out(
    base: MobileBase, wall_ahead: Observation, find_chair: Task, seconds: float
) -> None:
    class Odd(ScriptedBackend):
        def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
            return Completion(TURN, latency_s={"decode": seconds})

    decision = Planner(Odd([]), base).plan(find_chair, wall_ahead, Memory())
    assert isinstance(decision, Execute)
    assert "decode" not in decision.record.latency_s


def test_an_image_of_200_to_1_is_a_hold(wall_ahead: Observation, base: MobileBase, checkpoints: dict[str, Any]) -> None:
    import dataclasses

    import numpy as np

    from si_embodied import Intrinsics
    from si_embodied.backends import LocalBackend

    frame = dataclasses.replace(
        wall_ahead.frames[0],
        rgb=np.zeros((10, 2010, 3), np.uint8),
        depth_m=None,
        intrinsics=Intrinsics(2010, 10, 50.0, 50.0, 1000.0, 5.0),
    )
    planner = Planner(LocalBackend(checkpoints["qwen3_vl"], device="cpu"), base)
    assert planner.config.prompts != Prompts()
    decision = planner.plan(
        Task("find it", "navigation"), dataclasses.replace(wall_ahead, frames=(frame,)), Memory()
    )  # fmt: skip
    assert isinstance(decision, Hold)
    assert decision.code is Code.BACKEND_FAILED
    assert "2010x10" in decision.message
