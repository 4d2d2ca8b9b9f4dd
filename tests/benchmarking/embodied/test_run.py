"""`benchmark embodied`: settings, controls, resuming and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from si_embodied.backends.config import BackendConfig
from si_embodied.benchmarking.embodied.report import make_row
from si_embodied.benchmarking.embodied.run import run_embodied
from si_embodied.benchmarking.embodied.settings import EmbodiedRun
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import EpisodeResult, PlanEntry
from si_embodied.evaluation.report import make_report
from si_embodied.evaluation.runner import Run
from si_embodied.types import Code, PlanRecord

WORDS = BackendConfig("scripted", script=("I would rather not",))


def a_run(out: Path, **changes: object) -> EmbodiedRun:
    settings: dict[str, object] = {"subset": ("spatial",), "image_size": 32, "episodes": 1, "seed": 70_001}
    return EmbodiedRun(WORDS, out=out, **settings | changes)  # type: ignore[arg-type]


def test_a_model_and_the_oracle_play_the_same_seeds_and_the_run_resumes(tmp_path: Path) -> None:
    report = run_embodied(a_run(tmp_path), ["oracle"])
    words, oracle = report.rows
    assert (words.answered_by, words.success, words.output_errors, words.invalid_actions) == ("scripted", 0.0, 1.0, 1.0)
    assert (words.planner_steps, words.environment_steps) == (15, 15)
    assert (oracle.answered_by, oracle.success, oracle.output_errors, oracle.p_value) == ("oracle", 1.0, 0.0, 1.0)
    records = tmp_path / "tabletop" / "spatial" / "records.jsonl"
    before = records.read_bytes()
    again = run_embodied(a_run(tmp_path), ["oracle"])
    assert records.read_bytes() == before
    assert again.rows == report.rows
    assert json.loads((tmp_path / "tabletop" / "results.json").read_text())["rows"][1]["answered_by"] == "oracle"


def test_the_oracle_answers_alone_without_a_model(tmp_path: Path) -> None:
    run = EmbodiedRun(BackendConfig(model="/nowhere"), oracle=True, subset=("base",), image_size=32, episodes=1,
                      seed=70_001, env="si_embodied/HabitatRearrange-v0", out=tmp_path)  # fmt: skip
    (row,) = run_embodied(run).rows
    assert (row.answered_by, row.success, row.p_value) == ("oracle", 1.0, None)


def test_another_prompt_does_not_resume_a_run(tmp_path: Path) -> None:
    run_embodied(a_run(tmp_path))
    with pytest.raises(ConfigError, match="shots"):
        run_embodied(a_run(tmp_path, shots=0))


def test_a_changed_prompt_file_does_not_resume_a_run(tmp_path: Path) -> None:
    file = tmp_path / "rules.txt"
    file.write_text("rules")
    run = a_run(tmp_path / "out", prompt_file=file)
    before = run.evaluation("spatial").identity()
    file.write_text("other rules")
    assert run.evaluation("spatial").identity() != before


def test_subsets_that_a_world_lacks_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="long_horizon"):
        a_run(tmp_path, env="si_embodied/HabitatRearrange-v0")


def test_by_default_every_subset_of_the_world_is_run() -> None:
    assert list(EmbodiedRun().subsets()) == ["base", "common_sense", "complex", "visual", "spatial"]


def test_free_text_asks_a_server_for_no_json() -> None:
    server = BackendConfig("server", model="m", url="http://127.0.0.1:1")
    bound, free = (EmbodiedRun(server, answers=form).evaluation("base").backend for form in ("schema", "text"))
    assert bound is not None
    assert free is not None
    assert (bound.server.answer_format, free.server.answer_format) == ("json_schema", "none")
    assert free.server.max_tokens >= 2048  # EmbodiedBench's


def episode(seed: int, success: bool, *codes: Code, **metrics: float) -> EpisodeResult:
    plans = tuple(
        PlanEntry(
            PlanRecord(0.0, "p", "m", "k", "d", (), 0, 10, {"total": 2.0}, code, ""), code is Code.OK, None
        )
        for code in codes
    )  # fmt: skip
    return EpisodeResult(seed, "spatial", "do", success, 0, "truncated", 0.0, 0.0, metrics, plans)


def test_the_row_has_embodiedbenchs_metrics() -> None:
    episodes = (
        episode(0, True, Code.OK, progress=1.0, environment_steps=5, invalid_actions=1, actions=5, empty_plan=0),
        episode(
            1, False, Code.PLAN_INVALID, Code.OK, Code.OK,
            progress=0.5, environment_steps=3, invalid_actions=4, actions=5, empty_plan=1,
        ),
    )  # fmt: skip
    row = make_row("spatial", make_report(Run(EvaluationConfig("e", "p", episodes=2), episodes)))
    assert (row.success, row.progress, row.planner_steps, row.environment_steps) == (0.5, 0.75, 2.0, 4.0)
    assert (row.invalid_actions, row.output_errors, row.empty_plans) == (0.5, 0.25, 0.5)
    # Wilson's interval of 1 of 2: (0.5 + z²/4 ± z sqrt(0.25/2 + z²/16)) / (1 + z²/2), z = 1.96.
    assert (row.low, row.high) == pytest.approx((0.0945, 0.9055), abs=1e-4)
    assert (row.seconds_p50, row.completion_tokens) == (2.0, 10.0)
