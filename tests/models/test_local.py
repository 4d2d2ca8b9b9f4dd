"""The local backend, on the CPU and, if available, on CUDA."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from si_embodied import CameraFrame, Intrinsics, Observation, Pose, Task
from si_embodied.backends import BlankImages, LocalBackend
from si_embodied.embodiment import MobileBase, TaskKind
from si_embodied.errors import BackendError, CheckpointError, ConfigError, DeadlineExceeded
from si_embodied.memory import Attempt, Memory
from si_embodied.models.decoding import Decoding
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.plan import parse_plan, plan_schema
from si_embodied.planner import Planner
from si_embodied.prompts import load_prompt
from si_embodied.types import Code, Hold, Outcome, Prompt, SkillOption, SkillState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _kind_and_views(prompt: Prompt) -> tuple[TaskKind, int]:
    """The kind of plan and number of views, read from the schema."""
    text = str(prompt.schema)
    views = 1 + int(text.split("'view': {'maximum': ")[1].split(",", maxsplit=1)[0])
    return ("navigation" if "'goto'" in text else "manipulation"), views


def _check_answers(backend: Any, draw_prompt: Callable[..., Prompt], count: int, **keywords: Any) -> list[str]:
    """Check that every answer is a valid plan; returns the texts."""
    rng, texts = np.random.default_rng(5), []
    for index in range(count):
        prompt = draw_prompt(rng, reasoning=index % 10 == 9, **keywords)
        completion = backend.generate(prompt, deadline_s=60.0)
        parse_plan(completion.text, *_kind_and_views(prompt))
        texts.append(completion.text)
    return texts


def _one_image(rng: np.random.Generator) -> Prompt:
    image = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    return Prompt("test/v1", "You plan.", ("find the red chair", image), plan_schema("navigation", 1))


def test_untrained_answers_are_plans(
    family_name: str, backends: dict[str, Any], draw_prompt: Callable[..., Prompt]
) -> None:
    """Answers of one in ten prompts start with free text; not all answers are equal."""
    assert len(set(_check_answers(backends[family_name], draw_prompt, 20, side=120))) >= 5


@pytest.mark.slow
def test_a_thousand_untrained_answers_are_plans(backends: dict[str, Any], draw_prompt: Callable[..., Prompt]) -> None:
    """The tiny checkpoint; both kinds of task, one to three images of 24 to 320 px, hostile instructions."""
    _check_answers(backends["qwen3_vl"], draw_prompt, 1000, side=320)


def test_the_same_prompt_gives_the_same_answer(family_name: str, backends: dict[str, Any]) -> None:
    """Decoding is greedy, and a prompt in between leaves no trace."""
    backend, rng = backends[family_name], np.random.default_rng(3)
    first, between = _one_image(rng), _one_image(rng)
    answer = backend.generate(first, deadline_s=60.0).text
    backend.generate(between, deadline_s=60.0)
    assert backend.generate(first, deadline_s=60.0).text == answer


def test_the_image_changes_the_answer(backends: dict[str, Any]) -> None:
    """Even an untrained model's, for some of eight images; without images there is only one answer."""
    backend, blank = backends["qwen3_vl"], BlankImages(backends["qwen3_vl"])
    prompts = [_one_image(np.random.default_rng(seed)) for seed in range(8)]
    assert len({backend.generate(prompt, deadline_s=60.0).text for prompt in prompts}) > 1
    assert len({blank.generate(prompt, deadline_s=60.0).text for prompt in prompts}) == 1


def test_completions_count_tokens_and_time(backends: dict[str, Any]) -> None:
    """80x64 px: resized up to at least 64 patches of 16 px, so 160x128 or more and a quarter as many tokens.

    The parts of the latency add up to at most the total.
    """
    started = time.monotonic()
    completion = backends["qwen3_vl"].generate(_one_image(np.random.default_rng(0)), deadline_s=60.0)
    total = time.monotonic() - started
    assert set(completion.latency_s) == {"vision", "prefill", "decode"}
    assert all(value > 0 for value in completion.latency_s.values())
    assert sum(completion.latency_s.values()) <= total
    assert completion.prompt_tokens >= 16
    assert 1 <= completion.completion_tokens <= len(completion.text)


def test_plans_come_with_their_certainty(
    family_name: str, backends: dict[str, Any], draw_prompt: Callable[..., Prompt]
) -> None:
    """In every family, also one whose points are converted; a letter has none."""
    rng, pointing = np.random.default_rng(6), 0
    for index in range(20):
        prompt = draw_prompt(rng, reasoning=index % 10 == 9, side=120)
        completion = backends[family_name].generate(prompt, deadline_s=60.0)
        subgoals = parse_plan(completion.text, *_kind_and_views(prompt)).subgoals
        pointed = bool(subgoals) and hasattr(subgoals[0], "point")
        assert completion.certainty is not None
        assert 0 < completion.certainty.decision <= 1
        assert (completion.certainty.point is not None) == pointed
        pointing += pointed
    assert pointing > 0
    letter = {"type": "text", "pattern": "[AB]", "maxLength": 1}
    assert backends[family_name].generate(Prompt("v", "", ("A or B?",), letter), deadline_s=60.0).certainty is None


def test_free_text_ends_where_the_model_ends_it(ending_checkpoint: Path) -> None:
    """Without the token that ends it."""
    backend, rng = LocalBackend(ending_checkpoint, device="cpu"), np.random.default_rng(0)
    schema = {"type": "text", "pattern": "(?s:.{0,400})", "maxLength": 400}
    texts = []
    for _ in range(8):
        image = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
        prompt = Prompt("v", "", (image, "Which is nearest? A. chair B. sofa"), schema)
        texts.append(backend.generate(prompt, deadline_s=60.0).text)
    assert "im_end" not in "".join(texts)
    assert max(map(len, texts)) < 400
    assert len(set(texts)) > 1


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, 1e-6, float("nan")])
def test_without_time_left_there_is_no_answer(deadline_s: float, backends: dict[str, Any]) -> None:
    """Not even a partial one."""
    with pytest.raises(DeadlineExceeded):
        backends["qwen3_vl"].generate(_one_image(np.random.default_rng(0)), deadline_s=deadline_s)


def test_an_unbounded_schema_is_rejected(backends: dict[str, Any]) -> None:
    """Before the model runs."""
    prompt = replace(_one_image(np.random.default_rng(0)), schema={"type": "string"})
    with pytest.raises(ConfigError, match="maxLength"):
        backends["qwen3_vl"].generate(prompt, deadline_s=60.0)


def test_max_new_tokens_is_honoured(checkpoints: dict[str, Path]) -> None:
    """With an error, not half a plan."""
    backend = LocalBackend(checkpoints["qwen3_vl"], device="cpu", max_new_tokens=3)
    with pytest.raises(BackendError, match="max_new_tokens"):
        backend.generate(_one_image(np.random.default_rng(0)), deadline_s=60.0)


def test_image_size_bounds_the_longest_side(checkpoints: dict[str, Path]) -> None:
    """1280x320 px are 80 x 20 patches, reduced to about the limit of 1,024; 256 px are 16 x 4 patches."""
    prompt = Prompt("v", "", (np.zeros((320, 1280, 3), np.uint8),), plan_schema("navigation", 1))
    whole = LocalBackend(checkpoints["qwen3_vl"], device="cpu").generate(prompt, deadline_s=60.0)
    small = LocalBackend(checkpoints["qwen3_vl"], device="cpu", image_size=256).generate(prompt, deadline_s=60.0)
    text_tokens = small.prompt_tokens - 16 * 4 // 4
    assert 200 < whole.prompt_tokens - text_tokens <= 1024 // 4


def test_limits_below_one_are_rejected(checkpoints: dict[str, Path]) -> None:
    """Before the checkpoint is read."""
    for keywords in ({"image_size": 0}, {"max_new_tokens": -1}):
        with pytest.raises(ConfigError, match="at least 1"):
            LocalBackend(checkpoints["qwen3_vl"], **keywords)  # type: ignore[arg-type]


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    """With the error of `inspect_checkpoint`."""
    with pytest.raises(CheckpointError, match="nowhere"):
        LocalBackend(tmp_path / "nowhere")


def test_info_names_model_kernel_and_dtype(backends: dict[str, Any]) -> None:
    """These affect scores."""
    info = backends["internvl"].info
    assert (info.model, info.kernel, info.dtype) == ("internvl", "sdpa", "float32")


def test_qwen25_answers_in_relative_points(backends: dict[str, Any], draw_prompt: Callable[..., Prompt]) -> None:
    """In an image of 28 px a point has one of 29 values, 0..28, also after conversion to 0..1000."""
    backend, rng, values = backends["qwen2_5_vl"], np.random.default_rng(0), set()
    for _ in range(30):
        image = np.empty((56, 56, 3), dtype=np.uint8)
        image[:] = rng.integers(0, 256, 3)
        prompt = Prompt("v", "", (image, str(rng.integers(1000))), plan_schema("manipulation", 1))
        plan = parse_plan(backend.generate(prompt, deadline_s=60.0).text, "manipulation", 1)
        for subgoal in plan.subgoals:
            values.update(getattr(subgoal, "point", ()))
    assert values <= {round(pixel * 1000 / 56) for pixel in range(57)}
    assert len(values) > 1


def _there(width: int, height: int, goal: tuple[int, int]) -> Observation:
    """One view of a wall at 3 m, and a goal image of another size."""
    rng = np.random.default_rng(width)
    frame = CameraFrame(
        name="head",
        stamp_s=0.0,
        rgb=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        depth_m=np.full((height, width), 3.0, np.float32),
        intrinsics=Intrinsics.from_vertical_fov(width, height, 1.2),
        T_map_camera=Pose.identity(),
    )
    picture = rng.integers(0, 256, (goal[1], goal[0], 3), dtype=np.uint8)
    return Observation(0.0, (frame,), Pose.identity(), goal_image=picture)


def test_points_are_in_the_view_and_not_in_the_goal_picture(family_name: str, backends: dict[str, Any]) -> None:
    """Every family sees both images, but an answer can refer only to the view, in the view's pixels.

    Qwen2.5-VL is told of a view of 84 x 56, and constrained to it; the goal image before it is 112 x 140.
    """
    prompt = load_prompt("nav/imagenav_v1").render(
        Task("go where the picture was taken", "navigation"), _there(84, 56, (112, 140)), Memory()
    )  # fmt: skip
    backend = backends[family_name]
    family, inputs = backend.family, backend.family.encode(prompt)
    assert len(inputs.image_sizes_px) == 2
    corner = inputs.image_sizes_px[1] if family_name == "qwen2_5_vl" else (1000, 1000)
    written = json.dumps({"subgoals": [{"skill": "goto", "object": "door", "view": 0, "point": corner}], "done": False})
    plan = parse_plan(family.answer(written, prompt, inputs), "navigation", 1)
    assert plan.subgoals[0].point == (1000, 1000)  # type: ignore[union-attr]
    assert f"{corner[0]}" in json.dumps(family.schema(prompt, inputs))
    parse_plan(backend.generate(prompt, deadline_s=60.0).text, "navigation", 1)


def test_the_goal_image_changes_the_answer(backends: dict[str, Any]) -> None:
    """With the same view, for some of eight goal images."""
    template, task, answers = load_prompt("nav/imagenav_v1"), Task("go there", "navigation"), set()
    here = _there(64, 48, (64, 48))
    for seed in range(8):
        picture = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        prompt = template.render(task, replace(here, goal_image=picture), Memory())
        answers.add(backends["qwen3_vl"].generate(prompt, deadline_s=60.0).text)
    assert len(answers) > 1


def test_an_untrained_model_names_only_available_skills(family_name: str, backends: dict[str, Any]) -> None:
    area = np.array([[-1.0, -1.0], [4.0, 1.0]])
    options = tuple(
        SkillOption(verb, target, None if verb == "pick" else area)
        for verb, target in (("navigate", "green sofa"), ("pick", "red mug"), ("place", "green sofa"))
    )  # fmt: skip
    rng, named = np.random.default_rng(0), set()
    for _ in range(12):
        skills = SkillState(options, str(rng.integers(1000)), True, "nothing")
        observation = replace(_there(60, 60, (60, 60)), skills=skills)
        prompt = load_prompt("rearrange/v2").render(Task("tidy up", "rearrangement"), observation, Memory())
        plan = parse_plan(backends[family_name].generate(prompt, deadline_s=60.0).text, "rearrangement", prompt.views)
        named |= {(goal.skill, getattr(goal, "object", "")) for goal in plan.subgoals}
    known = {("navigate", "green sofa"), ("goto", "green sofa"), ("goto", "red mug"), ("pick", "red mug")}
    assert named <= known | {("place", "green sofa"), ("explore", ""), ("stop", "")}


@pytest.mark.gpu
def test_cuda_answers_are_plans(
    family_name: str, checkpoints: dict[str, Path], draw_prompt: Callable[..., Prompt]
) -> None:
    """In bfloat16, with all inputs on the device."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    backend = LocalBackend(checkpoints[family_name], device="cuda")
    assert backend.info.dtype == "bfloat16"
    _check_answers(backend, draw_prompt, 10)


@pytest.mark.gpu
def test_cuda_in_float32_answers_as_the_cpu_does(checkpoints: dict[str, Path], backends: dict[str, Any]) -> None:
    """The same tokens for most prompts: rounding may decide a near tie differently."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cuda = LocalBackend(checkpoints["qwen3_vl"], device="cuda", dtype="float32")
    prompts = [_one_image(np.random.default_rng(seed)) for seed in range(10)]
    same = [
        cuda.generate(prompt, deadline_s=60.0).text == backends["qwen3_vl"].generate(prompt, deadline_s=60.0).text
        for prompt in prompts
    ]
    assert sum(same) >= 8


def test_a_canceled_answer_is_aborted(backends: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Canceled during the first pass; the next answer is not affected."""
    backend, prompt = backends["qwen3_vl"], _one_image(np.random.default_rng(0))
    encode = TorchRunner.encode_images
    monkeypatch.setattr(
        TorchRunner, "encode_images", lambda runner, inputs, **_: (encode(runner, inputs), backend.cancel())[0]
    )
    with pytest.raises(BackendError, match="canceled"):
        backend.generate(prompt, deadline_s=60.0)
    monkeypatch.undo()
    assert backend.generate(prompt, deadline_s=60.0).text


def test_the_same_prompt_again_takes_one_pass(checkpoints: dict[str, Path]) -> None:
    """The last answer is the draft, and everything but the prompt's last token is cached."""
    backend, prompt = LocalBackend(checkpoints["qwen3_vl"], device="cpu"), _one_image(np.random.default_rng(0))
    first, again = (backend.generate(prompt, deadline_s=60.0) for _ in range(2))
    assert again.text == first.text
    assert again.counts["reused"] == first.prompt_tokens - 1
    assert again.counts["steps"] <= first.completion_tokens // 64 < first.counts["steps"]


def test_sampled_answers_are_plans_and_reproducible(checkpoints: dict[str, Path]) -> None:
    """A seed always gives the same answer to a prompt, and some other seed gives another."""
    prompt = _one_image(np.random.default_rng(0))

    def draw(seed: int) -> str:
        backend = LocalBackend(checkpoints["qwen3_vl"], device="cpu", decoding=Decoding(temperature=1.5, seed=seed))
        return backend.generate(prompt, deadline_s=60.0).text

    texts = [draw(seed) for seed in (0, 0, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1
    for text in texts:
        parse_plan(text, "navigation", 1)


def test_a_thread_that_waits_for_the_model_keeps_its_own_deadline(
    checkpoints: dict[str, Path], draw_prompt: Callable[..., Prompt]
) -> None:
    """`test_lanes` has the threads that need not wait."""
    backend, prompt = (
        LocalBackend(checkpoints["qwen3_vl"], device="cpu", lanes=1),
        draw_prompt(np.random.default_rng(7)),
    )
    with (
        backend._lanes.take(backend.family.encode(prompt)),  # as a thread does that is answered
        pytest.raises(DeadlineExceeded, match=r"busy with another prompt"),
    ):
        backend.generate(prompt, deadline_s=0.05)


def test_a_planner_shows_a_small_model_less_of_its_memory(
    family_name: str,
    backends: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    base: MobileBase,
    wall_ahead: Observation,
    find_chair: Task,
) -> None:
    """By one token too long, the prompt is made again with half of the memory; with a tiny context, the robot holds."""
    (frame,) = wall_ahead.frames
    memory = Memory(keyframes=tuple(replace(frame, stamp_s=frame.stamp_s - age) for age in (4.0, 3.0, 2.0, 1.0)))
    for number in range(12):
        memory = memory.pointed_at(f"red chair {number}", np.array([number, 0.0, 0.0]), frame.stamp_s, None)
        memory = memory.add(Attempt(f"turn {number}", None, wall_ahead.T_map_base, Outcome(Code.OK)))
    planner, family = Planner(backends[family_name], base), backends[family_name].family
    whole = planner.plan(find_chair, wall_ahead, memory).record
    assert whole.shortened == 0
    monkeypatch.setattr(type(family), "context_tokens", whole.prompt_tokens + 127)
    half = planner.plan(find_chair, wall_ahead, memory).record
    assert half.shortened == 1
    assert half.prompt_tokens < whole.prompt_tokens
    assert len(half.raw_text) == 1
    monkeypatch.setattr(type(family), "context_tokens", 200)
    decision = planner.plan(find_chair, wall_ahead, memory)
    assert isinstance(decision, Hold)
    assert decision.code is Code.PROMPT_TOO_LONG
    assert "context is 200; show fewer or smaller images" in decision.message
