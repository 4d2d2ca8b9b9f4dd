"""Targets: a model's text in the form of every family, a model server's replies, and prompt files."""

from __future__ import annotations

import asyncio
import math
from functools import cache
from typing import Any, get_args

import numpy as np
from harness import brief, target

from si_embodied import CameraFrame, Hold, Intrinsics, Observation, Pose, Prompt, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.backends.config import Family, ServerOptions
from si_embodied.certainty import Token, certainty_of
from si_embodied.embodiment import TaskKind
from si_embodied.errors import BackendError, ConfigError, PlanParseError, RegionParseError
from si_embodied.grounding import pixel_of
from si_embodied.memory import Memory
from si_embodied.models.regions import Region, read_json, read_ref
from si_embodied.plan import parse_plan, plan_schema, plan_text
from si_embodied.planner import Planner
from si_embodied.prompts.template import parse_template
from si_embodied.robots import SERVICE_ARM, SERVICE_BASE
from si_embodied.skills import PointedSubgoal
from si_embodied.types import Code, Execute

FAMILIES: tuple[Family, ...] = get_args(Family)
KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
SIDES = (56, 84)
"""Pixels of the two square views; multiples of 28, so that Qwen2.5-VL sees them as they are."""


def text_of(data: bytes) -> str:
    """Bytes that are not UTF-8 become lone surrogates, which models do emit."""
    return data.decode("utf-8", "surrogateescape")


@cache
def _question(family: Family, kind: TaskKind) -> Any:
    from si_embodied.backends.conventions import question

    images = tuple(np.zeros((side, side, 3), np.uint8) for side in SIDES)
    return question(Prompt("v", "", images, plan_schema(kind, len(SIDES))), family)


def _read_plan(answer: str, kind: TaskKind) -> None:
    try:
        plan = parse_plan(answer, kind, len(SIDES))
    except PlanParseError as error:
        brief_offence(error)
        return
    for subgoal in plan.subgoals:
        if isinstance(subgoal, PointedSubgoal):
            side = SIDES[subgoal.view]
            assert all(type(value) is int and 0 <= value <= 1000 for value in subgoal.point), subgoal
            assert all(0 <= round(value) < side for value in pixel_of(subgoal.point, side, side)), subgoal
    assert parse_plan(plan_text(plan), kind, len(SIDES)) == plan


def brief_offence(error: PlanParseError) -> None:
    """An offence is quoted in the prompt that asks again."""
    assert len(error.offence) < 5000, error.offence[:200]


@target("json", "PIL")
def plan_text_of_every_family(data: bytes) -> None:
    """A model's answer, for each kind of task, with the points of each family."""
    text = text_of(data)
    certainty_of([Token(text.encode("utf-8", "surrogatepass"), 0.5)], text)
    for kind in KINDS:
        for family in FAMILIES:
            _read_plan(_question(family, kind).answer(text), kind)


@target("json")
def region_text(data: bytes) -> None:
    """An answer to a grounding question."""
    text = text_of(data)
    for read in (read_ref, lambda answer: read_json(answer, (1000, 1000)), lambda answer: read_json(answer, (56, 84))):
        try:
            region: Region = read(text)
        except RegionParseError as error:
            brief(error)
            continue
        x, y = region.point
        assert 0 <= x <= 1000, region
        assert 0 <= y <= 1000, region
        if region.box is not None:
            left, top, right, bottom = region.box
            assert 0 <= left <= x <= right <= 1000, region
            assert 0 <= top <= y <= bottom <= 1000, region


@cache
def seen() -> Observation:
    """A wall 3 m ahead of a camera 1 m above the floor."""
    ahead = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    frame = CameraFrame(
        "head", 10.0, np.zeros((20, 20, 3), np.uint8), np.full((20, 20), 3.0, np.float32),
        Intrinsics(20, 20, 10.0, 10.0, 9.5, 9.5), Pose(ahead, np.array([0.0, 0.0, 1.0])),
    )  # fmt: skip
    return Observation(10.0, (frame,), Pose.identity())


def checked(decision: Any, planner: Any, observation: Observation) -> None:
    """A decision without an unforeseen error, whose goals its guard lets through."""
    assert isinstance(decision, Execute | Hold)
    assert decision.record.code is not Code.INTERNAL_ERROR, decision.record.message
    if isinstance(decision, Execute):
        for index, goal in enumerate(decision.goals):
            assert planner.guard.check_goal(goal, observation, Memory(), decision.goals[:index]) is None


@target("json", weight=0.5)
def planner(data: bytes) -> None:
    """An instruction (the first line), and the model's answer to it (the rest), also when it is asked again."""
    instruction, _, answer = text_of(data).partition("\n")
    for robot in (SERVICE_BASE, SERVICE_ARM):
        asked: list[str] = []
        planner = Planner(ScriptedBackend(lambda prompt, asked=asked: (asked.append(prompt.text), answer)[1]), robot)
        if not instruction.strip():
            continue
        checked(planner.plan(Task(instruction, robot.kind), seen(), Memory()), planner, seen())
        for prompt in asked:
            assert not any(character < " " and character not in "\t\n" for character in prompt)
            prompt.encode()


# --- servers --------------------------------------------------------------------------------------------------------


@target("json", "httpx", "PIL")
def chat_reply(data: bytes) -> None:
    """The body of a reply of an OpenAI-compatible server."""
    from si_embodied.backends.chat import chat_answer, model_names

    try:
        assert all(isinstance(name, str) for name in model_names(data, "http://server"))
    except BackendError as error:
        brief(error)
    try:
        answer = chat_answer(data, "http://server", ServerOptions())
    except BackendError as error:
        brief(error)
        return
    assert isinstance(answer.text, str)
    assert answer.prompt_tokens >= 0
    assert answer.completion_tokens >= 0
    certainty_of(answer.tokens, answer.text)
    for family in FAMILIES:
        _read_plan(_question(family, "navigation").answer(answer.text), "navigation")


@target("http", "httpx", "PIL", weight=0.3)
def server_stream(data: bytes) -> None:
    """The bytes that a model's server sends, from the status line on."""
    backend, loop = _server_backend()
    loop.run_until_complete(_exchange(backend, data))


@cache
def _server_backend() -> Any:
    from si_embodied.backends.server import ServerBackend

    return ServerBackend("http://127.0.0.1:1", "m", api_key=""), asyncio.new_event_loop()


async def _exchange(backend: Any, data: bytes) -> None:
    import httpcore
    import httpx

    from si_embodied.backends.retries import Again

    transport = httpx.AsyncHTTPTransport(verify=False, trust_env=False)
    transport._pool = httpcore.AsyncConnectionPool(network_backend=httpcore.AsyncMockBackend([data, b""]))
    async with httpx.AsyncClient(transport=transport, trust_env=False) as backend._client:
        try:
            body = await backend._exchange("POST", "/v1/chat/completions", b"{}")
        except Again as error:
            brief(error)
            _check_wait(error.after_s)
        except BackendError as error:
            brief(error)
        else:
            chat_reply(body)


@target("text", "httpx")
def retry_after(data: bytes) -> None:
    """The header Retry-After."""
    from si_embodied.backends.retries import retry_after_s

    _check_wait(retry_after_s(data.decode("latin-1")))


def _check_wait(seconds: float | None) -> None:
    assert seconds is None or 0 <= seconds < math.inf


# --- prompts --------------------------------------------------------------------------------------------------------


@target("text")
def prompt_file(data: bytes) -> None:
    """A prompt file: what is accepted can be rendered."""
    try:
        template = parse_template("mine", text_of(data))
    except ConfigError:
        return
    if template.check(seen()) is None:
        prompt = template.render(Task("go", "navigation"), seen(), Memory())
        assert "go" in template.ask_again(prompt, "no plan").text
