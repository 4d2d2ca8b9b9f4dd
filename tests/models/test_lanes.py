"""Robots that share a model: the answers of planning alone, caches of their own, and no harm from one another."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("llguidance")

from si_embodied.backends import LocalBackend
from si_embodied.backends.base import SharedBackend
from si_embodied.errors import BackendError, DeadlineExceeded
from si_embodied.models.cache_memory import CACHE_MB
from si_embodied.models.lanes import Lanes
from si_embodied.models.opening import open_model
from si_embodied.plan import plan_schema
from si_embodied.types import Prompt


def picture(rng: np.random.Generator, robot: int) -> Any:
    image = np.empty((40 + 9 * (robot % 5), 70, 3), dtype=np.uint8)
    image[:] = rng.integers(0, 256, 3)
    image[10:30, 5:25] = rng.integers(0, 256, 3)
    return image


def prompts_of(robot: int, count: int) -> list[Prompt]:
    """A robot's prompts: a remembered view, then a new one and a growing memory; some robots remember nothing."""
    rng = np.random.default_rng(robot)
    remembered, found = [picture(rng, robot)] if robot % 2 else [], []
    for number in range(count):
        content = ("Find the chair.\n", *remembered, f"Attempts: {number}.\n", picture(rng, robot), "Plan:")
        schema = plan_schema("navigation" if robot % 3 else "manipulation", len(remembered) + 1)
        found.append(Prompt("v", "You plan for a robot.", content, schema))
    return found


@pytest.fixture(scope="module")
def shared(checkpoints: dict[str, Path]) -> dict[str, LocalBackend]:
    return {name: LocalBackend(path, device="cpu") for name, path in checkpoints.items()}


def plan(backend: Any, prompts: list[Prompt], pause: np.random.Generator | None = None) -> list[str]:
    texts = []
    for prompt in prompts:
        if pause is not None:
            time.sleep(pause.uniform(0, 0.02))
        texts.append(backend.generate(prompt, deadline_s=60.0).text)
    return texts


def test_robots_that_come_and_go_get_the_answers_of_planning_alone(
    family_name: str, shared: dict[str, LocalBackend], backends: dict[str, Any]
) -> None:
    """Of several lengths, with and without remembered views, for both kinds of robot."""
    robots = [prompts_of(robot, 1 + robot % 3) for robot in range(5)]
    alone = [plan(backends[family_name], prompts) for prompts in robots]
    pauses = [np.random.default_rng(robot) for robot in range(5)]
    passes = _sizes_of_passes(shared[family_name])
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(plan, [shared[family_name]] * 5, robots, pauses))
    assert together == alone
    assert max(passes) > 1, "no pass was shared"


def _sizes_of_passes(backend: LocalBackend) -> list[int]:
    """How many prompts were in each pass from now on."""
    network: Any = backend._lanes._runner._network  # type: ignore[attr-defined]
    read, sizes = type(network)._read, list[int]()
    network._read = lambda passes, check: sizes.append(len(passes)) or read(network, passes, check)  # type: ignore[func-returns-value]
    return sizes


def test_one_robot_is_canceled_and_the_others_are_not(
    shared: dict[str, LocalBackend], backends: dict[str, Any]
) -> None:
    """By its caller, in the middle of its plan."""
    backend, prompts = shared["qwen3_vl"], [prompts_of(robot, 1)[0] for robot in range(10, 13)]
    alone = [backends["qwen3_vl"].generate(prompt, deadline_s=60.0).text for prompt in prompts]
    assert isinstance(backend, SharedBackend)
    callers = [backend.caller() for _ in prompts]
    network: Any = backend._lanes._runner._network  # type: ignore[attr-defined]
    read, passes = network._read, iter(range(1000))

    def cancel_later(items: Any, check: Any) -> Any:
        if next(passes) >= 2:
            callers[1].cancel()
        return read(items, check)

    network._read = cancel_later
    try:
        with ThreadPoolExecutor(3) as pool:
            futures = [
                pool.submit(caller.generate, prompt, deadline_s=60.0)
                for caller, prompt in zip(callers, prompts, strict=True)
            ]
            with pytest.raises(BackendError, match="canceled"):
                futures[1].result()
            assert [futures[index].result().text for index in (0, 2)] == [alone[0], alone[2]]
    finally:
        network._read = read
    assert callers[1].generate(prompts[1], deadline_s=60.0).text == alone[1]


def test_one_robots_deadline_passes_and_the_others_are_answered(
    shared: dict[str, LocalBackend], backends: dict[str, Any]
) -> None:
    prompts = [prompts_of(robot, 1)[0] for robot in range(3)]
    alone = [backends["internvl"].generate(prompt, deadline_s=60.0).text for prompt in prompts]
    with ThreadPoolExecutor(3) as pool:
        futures = [
            pool.submit(shared["internvl"].generate, prompt, deadline_s=deadline_s)
            for prompt, deadline_s in zip(prompts, (60.0, 1e-3, 60.0), strict=True)
        ]
        with pytest.raises(DeadlineExceeded):
            futures[1].result()
        assert [futures[index].result().text for index in (0, 2)] == [alone[0], alone[2]]


def test_one_robots_pass_fails_and_the_others_are_answered(
    shared: dict[str, LocalBackend], backends: dict[str, Any]
) -> None:
    """Whatever pass its prompt is in fails; the robot's next plan is as if nothing had been."""
    backend, prompts = shared["qwen2_5_vl"], [prompts_of(robot, 1)[0] for robot in range(10, 14)]
    prompts[2] = replace(prompts[2], content=("a long instruction " * 40, *prompts[2].content))
    alone = [backends["qwen2_5_vl"].generate(prompt, deadline_s=60.0).text for prompt in prompts]
    lengths = [len(backend.family.encode(prompt).input_ids) for prompt in prompts]
    network: Any = backend._lanes._runner._network  # type: ignore[attr-defined]
    read, failed = network._read, list[int]()

    def fail(items: Any, check: Any) -> Any:
        if any(each.count > shorter + 64 for each in items):
            failed.append(len(items))
            raise RuntimeError("a cable came loose")
        return read(items, check)

    shorter = sorted(lengths)[-2]
    assert shorter + 64 < lengths[2] - 100, "only the third robot's prompt is longer, even with a draft"
    network._read = fail
    try:
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(backend.generate, prompt, deadline_s=60.0) for prompt in prompts]
            with pytest.raises(RuntimeError, match="cable"):
                futures[2].result()
            answers = [futures[index].result().text for index in (0, 1, 3)]
    finally:
        network._read = read
    assert answers == [alone[index] for index in (0, 1, 3)]
    assert backend.generate(prompts[2], deadline_s=60.0).text == alone[2]
    assert failed


def test_robots_that_take_turns_keep_their_prefixes(family_name: str, checkpoints: dict[str, Path]) -> None:
    """Each robot's second plan reuses all up to its remembered view's end, though another has planned in between."""
    backend = LocalBackend(checkpoints[family_name], device="cpu")
    robots = [prompts_of(robot, 2) for robot in (1, 3, 5)]
    for prompts in robots:
        backend.generate(prompts[0], deadline_s=60.0)
    for prompts in robots:
        inputs = backend.family.encode(prompts[1])
        second_image = int(np.flatnonzero(np.diff(inputs.is_image))[1])  # where the remembered view ends
        assert backend.generate(prompts[1], deadline_s=60.0).counts["reused"] > second_image


def test_the_kept_caches_are_bounded(checkpoints: dict[str, Path]) -> None:
    """The least recently used go first, and of two sizes the last one is always kept."""
    model = open_model(checkpoints["qwen3_vl"], device="cpu")
    inputs = [model.family.encode(prompts_of(robot, 1)[0]) for robot in range(6)]

    def read(lanes: Lanes, index: int) -> int:
        with lanes.take(inputs[index]) as lane:
            return lane.runner.prefill(inputs[index], lane.runner.encode_images(inputs[index]), [])

    unbounded = Lanes(model.runner)
    read(unbounded, 0)
    one = unbounded.kept_bytes
    assert one > 0
    lanes = Lanes(model.runner, cache_bytes=3 * one)
    for index in range(6):
        read(lanes, index)
        assert lanes.kept_bytes <= 3 * one
    assert read(lanes, 5) == len(inputs[5].input_ids) - 1
    assert read(lanes, 0) < len(inputs[0].input_ids) - 1
    tiny = Lanes(model.runner, cache_bytes=1)
    for _ in range(2):
        reused = read(tiny, 1)
    assert reused == len(inputs[1].input_ids) - 1
    lanes.clear()
    assert lanes.kept_bytes == 0


def kept(backend: LocalBackend) -> tuple[int, int, int]:
    """How many caches of prompts, features of images and images as model inputs a backend keeps."""
    lanes, family = backend._lanes, backend._family
    return len(lanes._kept), len(lanes._runner._network.store._values), len(family._encoded._values)  # type: ignore[attr-defined]


def test_what_is_kept_between_prompts_has_one_limit(checkpoints: dict[str, Path]) -> None:
    prompts = prompts_of(1, 3)  # of four images in all
    usual, frugal = (LocalBackend(checkpoints["qwen3_vl"], device="cpu", cache_mb=mb) for mb in (CACHE_MB, 0))
    assert plan(usual, prompts) == plan(frugal, prompts)
    assert kept(usual) == (3, 4, 4)
    assert kept(frugal) == (1, 0, 0)


def test_a_kept_cache_holds_no_more_than_is_counted(checkpoints: dict[str, Path]) -> None:
    """A tensor that is a part of a larger one holds all of it."""
    backend = LocalBackend(checkpoints["qwen3_vl"], device="cpu")
    plan(backend, prompts_of(1, 3))
    runners: list[Any] = [lane.runner for lane in backend._lanes._kept]
    tensors = [tensor for runner in runners for layer in runner._layers for tensor in layer]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    held, counted = sum(storages.values()), backend._lanes.kept_bytes
    assert counted <= held <= 1.02 * counted, "drafted tokens that were rejected are held until the next pass"
    assert all(runner._hidden is None for runner in runners)


def test_a_robot_that_plans_often_evicts_nobody(checkpoints: dict[str, Path]) -> None:
    model = open_model(checkpoints["qwen3_vl"], device="cpu")
    lanes = Lanes(model.runner)

    def read(prompt: Prompt) -> tuple[int, int]:
        inputs = model.family.encode(prompt)
        with lanes.take(inputs) as lane:
            return lane.runner.prefill(inputs, lane.runner.encode_images(inputs), []), len(inputs.input_ids)

    slow = prompts_of(1, 1)[0]
    read(slow)
    for prompt in prompts_of(3, 40):
        read(prompt)
    reused, length = read(slow)
    assert reused == length - 1


def test_more_prompts_than_lanes_wait_until_their_deadline(checkpoints: dict[str, Path]) -> None:
    model = open_model(checkpoints["qwen3_vl"], device="cpu")
    inputs = model.family.encode(prompts_of(0, 1)[0])
    lanes = Lanes(model.runner, most=2)
    with (
        lanes.take(inputs),
        lanes.take(inputs),
        pytest.raises(DeadlineExceeded, match="busy with 2 other prompts"),
        lanes.take(inputs, deadline=time.monotonic() + 0.02),
    ):
        pass
    with lanes.take(inputs, deadline=time.monotonic()):
        pass
