"""`si-embodied compare`: both models are shown the same, and the verdict is the exit code."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from si_embodied.backends.config import BackendConfig
from si_embodied.benchmarking.comparison import asking
from si_embodied.benchmarking.comparison.report import ComparisonReport
from si_embodied.benchmarking.comparison.run import run_comparison
from si_embodied.benchmarking.comparison.settings import ComparisonRun, Thresholds
from si_embodied.benchmarking.latency.cold import peak_memory
from si_embodied.cli.compare import EXIT_CODES
from si_embodied.cli.main import main
from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig

STOP = '{"subgoals": [{"skill": "stop"}], "done": false}'
TURN = '{"subgoals": [{"skill": "turn", "degrees": 30}], "done": false}'
LENIENT = Thresholds(agreement=0.6, margin=0.5)
"""Met by six equal decisions (6 / (6 + 1.96^2) = 0.61) and by four equal episodes."""


def scripted(*answers: str) -> BackendConfig:
    return BackendConfig("scripted", script=answers)


def comparison(world: str, out: Path, against: str, **changes: Any) -> ComparisonRun:
    """A model that stops at once, compared with another, over six episodes."""
    config = EvaluationConfig(world, "planner", backend=scripted(STOP), episodes=6)
    return ComparisonRun(config, scripted(against), out, thresholds=LENIENT, **changes)


def compared(run: ComparisonRun) -> ComparisonReport:
    return run_comparison(run, lambda *_: nullcontext(lambda _: None))


def test_a_model_is_the_same_as_itself(fake_world: str, tmp_path: Path) -> None:
    report = compared(comparison(fake_world, tmp_path, STOP))
    assert report.verdict == "the same"
    assert report.decisions == report.same_plans >= 6
    assert report.success is not None
    # The world ends in success if the robot stops in an episode of an even seed.
    assert (report.success.episodes, report.success.first, report.success.second) == (6, 0.5, 0.5)
    table = "\n".join(report.table())
    assert "verdict: the same by every threshold" in table
    assert "McNemar p = 1" in table


def test_another_decision_is_found_and_costs_success(fake_world: str, tmp_path: Path) -> None:
    report = compared(comparison(fake_world, tmp_path, TURN))
    assert report.verdict == "different"
    assert report.same_plans == 0
    assert report.success is not None
    assert (report.success.only_first, report.success.only_second) == (3, 0)


def test_the_second_model_sees_what_came_of_the_first_ones_decisions(fake_world: str, tmp_path: Path) -> None:
    """Not of its own: an episode in which the first stops has one decision, although the second would turn on."""
    report = compared(comparison(fake_world, tmp_path, TURN, decisions_only=True))
    rows = [json.loads(line) for line in (tmp_path / asking.PAIRS).read_text().splitlines()]
    assert len(rows) == report.decisions
    assert {row["second"]["skill"] for row in rows} == {"turn"}
    assert report.success is None


def test_a_comparison_is_continued(fake_world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = comparison(fake_world, tmp_path, STOP)
    compared(replace(run, evaluation=replace(run.evaluation, episodes=4)))
    played: list[int] = []
    play = asking.run_episode
    monkeypatch.setattr(
        asking, "run_episode", lambda env, policy, seed, **more: played.append(seed) or play(env, policy, seed, **more)
    )
    assert compared(run).decisions >= 6
    assert played == [4, 5]
    with pytest.raises(ConfigError, match="other settings"):
        compared(comparison(fake_world, tmp_path, TURN))


def test_the_pairs_of_an_interrupted_episode_do_not_count(fake_world: str, tmp_path: Path) -> None:
    """They were written before the episode, which was then played again."""
    run = comparison(fake_world, tmp_path, STOP)
    whole = compared(run)
    lines = (tmp_path / asking.PAIRS).read_text().splitlines(keepends=True)
    (tmp_path / asking.PAIRS).write_text("".join([*lines, *lines]))
    assert compared(run).decisions == whole.decisions


def test_the_exit_code_is_the_verdict(
    fake_world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from si_embodied.cli import compare

    monkeypatch.setattr(compare, "_opened", lambda given: scripted(TURN if given.model == "other" else STOP))
    shared = ("compare", "--model", "one", "--env", fake_world, "--episodes", "2", "--no-memory", "--json", "--out")
    assert main([*shared, str(tmp_path / "a"), "--against", "one"]) == EXIT_CODES["undecided"] == 3
    assert "73 decisions are needed" in capsys.readouterr().out
    assert main([*shared, str(tmp_path / "b"), "--against", "other"]) == EXIT_CODES["different"] == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["verdict"] == "different"


def test_along_a_recording_both_make_the_same_decisions_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the robot's memory and images; what was not recorded is left out."""
    records = Path(__file__).parents[2] / "ros_nodes" / "recording" / "records_0_1_0.jsonl"
    from si_embodied.ros_nodes.recording.decision_records import DecisionRecord
    from si_embodied.ros_nodes.recording.replay import Replayed

    made = [DecisionRecord.from_json(line) for line in records.read_text(encoding="utf-8").splitlines()]
    again = [Replayed(each.decision, each.decision, "identical", 0.0) for each in made]
    again.append(Replayed(made[0].decision, None, "not replayed", None, "images are missing"))
    monkeypatch.setattr(asking, "Recording", lambda _: SimpleNamespace(records=made))
    monkeypatch.setattr(asking, "Replayer", lambda *_: SimpleNamespace(replay=lambda _: iter(again)))
    config = EvaluationConfig("", "planner", backend=scripted(STOP))
    report = compared(ComparisonRun(config, scripted(STOP), tmp_path, recording=tmp_path))
    assert report.decisions == report.same_plans == len(made)
    assert report.success is None


def test_a_planning_server_is_refused_along_a_recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(asking, "Recording", lambda _: SimpleNamespace(records=[]))
    config = EvaluationConfig("", "planner", backend=BackendConfig("remote", url="ws://robot:8421"))
    run = ComparisonRun(config, scripted(STOP), tmp_path, recording=tmp_path)
    with pytest.raises(ConfigError, match="ws://robot:8421"):
        asking.pairs_of_recording(run)


# --- a real checkpoint ----------------------------------------------------------------------------------------------

MLP = "model.language_model.layers.0.mlp.down_proj.weight"


@pytest.fixture
def nano() -> Path:
    pytest.importorskip("mujoco")
    pytest.importorskip("torch")
    from si_embodied.models.checkpoints import shipped_checkpoint

    return shipped_checkpoint()


def perturbed(checkpoint: Path, out: Path) -> Path:
    """A copy whose first MLP has noise of ten times its weights' standard deviation.

    Noise of once that changes no decision on these observations, so that the model is rightly the same.
    """
    from safetensors.numpy import load_file, save_file

    shutil.copytree(checkpoint, out)
    weights = load_file(out / "model.safetensors")
    layer = weights[MLP]
    noise = np.random.default_rng(0).normal(0.0, 10 * layer.astype(np.float32).std(), layer.shape)
    weights[MLP] = (layer + noise).astype(layer.dtype)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return out


def test_noise_in_one_layer_is_found(nano: Path, tmp_path: Path) -> None:
    """And the checkpoint is the same as itself, by as few decisions.

    Wilson's interval of 4 in 4 begins at 4 / (4 + 1.96^2) = 0.51, and that of 0 in 4 ends at 0.49.
    """
    config = EvaluationConfig(
        "si_embodied/Tabletop-v0", "planner", "base", BackendConfig(model=str(nano)), episodes=4, seed=100000
    )
    itself = ComparisonRun(
        config, BackendConfig(model=str(nano)), tmp_path / "a", decisions_only=True, no_memory=True,
        thresholds=replace(LENIENT, agreement=0.5),
    )  # fmt: skip
    report = compared(itself)
    assert report.verdict == "the same"
    assert report.same_plans == report.decisions
    assert report.distance.p95 == 0.0
    noisy = BackendConfig(model=str(perturbed(nano, tmp_path / "noisy")))
    report = compared(replace(itself, against=noisy, out=tmp_path / "b"))
    assert report.verdict == "different"


def test_memory_of_another_process_is_not_measured() -> None:
    assert peak_memory(BackendConfig("server", model="m", url="http://127.0.0.1:1")) is None
