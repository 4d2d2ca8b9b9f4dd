"""`si-embodied compare`: both models are shown the same, and the verdict is the exit code."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stand_in import EARLIER_S, MIDDLE_S, remembering

from si_embodied import task
from si_embodied.backends.config import BackendConfig
from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.benchmarking.comparison import asking
from si_embodied.benchmarking.comparison import run as module
from si_embodied.benchmarking.comparison.report import ComparisonReport
from si_embodied.benchmarking.comparison.run import run_comparison
from si_embodied.benchmarking.comparison.settings import ComparisonRun, Thresholds
from si_embodied.benchmarking.latency.cold import peak_memory
from si_embodied.benchmarking.latency.memory import Memory
from si_embodied.cli.compare import EXIT_CODES
from si_embodied.cli.main import main
from si_embodied.config import GuardConfig, PlannerConfig, Prompts
from si_embodied.errors import BackendError, ConfigError, DataError, DeadlineExceeded, EvaluationError, SiEmbodiedError
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
    return run_comparison(run)


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


def test_progress_names_the_model_that_plays(fake_world: str, tmp_path: Path, shown: Any) -> None:
    run_comparison(comparison(fake_world, tmp_path, STOP, no_memory=True))
    assert [work.label for work in shown.begun] == [
        "the first model, with the second asked beside it", "the first model's episodes",
        "the second model's own episodes",
    ]  # fmt: skip


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


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_an_episode_whose_pairs_were_lost_is_played_again(fake_world: str, tmp_path: Path, kept: int) -> None:
    """Otherwise the verdict would rest on fewer decisions than the episodes that it names."""
    run = comparison(fake_world, tmp_path, STOP, decisions_only=True, no_memory=True)
    whole = compared(run)
    file = tmp_path / asking.PAIRS
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:kept]))
    assert compared(run).decisions == whole.decisions > kept


def test_a_line_that_is_no_pair_is_named(fake_world: str, tmp_path: Path) -> None:
    run = comparison(fake_world, tmp_path, STOP, decisions_only=True, no_memory=True)
    compared(run)
    with (tmp_path / asking.PAIRS).open("a") as file:
        file.write('{"episode": 3}\n')
    count = len((tmp_path / asking.PAIRS).read_text().splitlines())
    with pytest.raises(ConfigError, match=rf"line {count} of .*pairs\.jsonl' is broken \(index: Field required"):
        compared(run)


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


def test_a_comparison_survives_memory_that_cannot_be_measured(
    fake_world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(_: BackendConfig) -> None:
        raise BackendError("CUDA out of memory")

    monkeypatch.setattr(module, "peak_memory", too_large)
    said: list[str] = []
    report = run_comparison(comparison(fake_world, tmp_path, STOP), said.append)
    assert report.verdict == "the same"
    assert said.count("memory is not measured: CUDA out of memory") == 2
    assert json.loads((tmp_path / "results.json").read_text())["verdict"] == "the same"
    assert "| peak memory |  | not measured |" in (tmp_path / "results.md").read_text()


OLD_AT_ONCE = PlannerConfig(Prompts(navigation="nav/v2"), guard=GuardConfig(max_plan_age_s=0.001))
"""What the robot was set to: a model that is slower here must not be refused for it."""


def along_a_recording(
    monkeypatch: pytest.MonkeyPatch, out: Path, against: str, *, without: float | None = None
) -> ComparisonReport:
    """One decision of a robot made again by a model that stops, and by another one."""
    recorded = remembering(EARLIER_S, MIDDLE_S, without=without, planner=OLD_AT_ONCE)
    monkeypatch.setattr(asking, "Recording", lambda _: recorded)
    config = EvaluationConfig(
        "", "planner", backend=replace(scripted(STOP), script_delay_s=0.01),
        planner=PlannerConfig(Prompts(navigation="nav/v1")),
    )  # fmt: skip
    return compared(ComparisonRun(config, scripted(against), out, recording=out, thresholds=LENIENT))


def test_along_a_recording_a_model_makes_its_own_decisions_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = along_a_recording(monkeypatch, tmp_path, STOP)
    assert (report.same_plans, report.decisions, report.success) == (1, 1, None)
    assert report.first.prompt_version == report.second.prompt_version == "nav/v1"  # the models', not the robot's


def test_along_a_recording_another_decision_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = along_a_recording(monkeypatch, tmp_path, TURN)
    assert (report.same_plans, report.decisions) == (0, 1)
    (row,) = (json.loads(line) for line in (tmp_path / asking.PAIRS).read_text().splitlines())
    assert (row["first"]["skill"], row["second"]["skill"]) == ("stop", "turn")


def test_a_recording_is_asked_about_anew_by_the_same_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for _ in range(2):
        assert along_a_recording(monkeypatch, tmp_path, STOP).decisions == 1
    assert len((tmp_path / asking.PAIRS).read_text().splitlines()) == 1


def test_a_decision_whose_images_were_not_recorded_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no decision of .* can be made again"):
        along_a_recording(monkeypatch, tmp_path, STOP, without=EARLIER_S)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (Memory(3 * 10**9, 2 * 10**9), Memory(10**9, 10**9), "GPU 2000 MB and GPU 1000 MB, ratio 0.50"),
        (Memory(4 * 10**8, None), Memory(3 * 10**8, None), "host 400 MB and host 300 MB, ratio 0.75"),
        (Memory(3 * 10**9, 2 * 10**9), Memory(10**9, None), "GPU 2000 MB and host 1000 MB"),
        (None, Memory(10**9, None), "not measured and host 1000 MB"),
    ],
)
def test_only_memory_of_the_same_kind_has_a_ratio(
    first: Memory | None, second: Memory | None, words: str, fake_world: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    measured = iter((first, second))
    monkeypatch.setattr(module, "peak_memory", lambda _: next(measured))
    report = compared(comparison(fake_world, tmp_path, STOP, decisions_only=True))
    assert f"| peak memory |  | {words} |" in "\n".join(report.table())


def closings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first answer of every scripted model that is closed from now on."""
    closed: list[str] = []
    monkeypatch.setattr(ScriptedBackend, "close", lambda self: closed.append(self.info.model))
    return closed


def test_both_models_are_closed_after_a_recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before memory is measured, for which each is loaded once more."""
    closed = closings(monkeypatch)
    monkeypatch.setattr(module, "peak_memory", lambda _: pytest.fail("loaded too early") if len(closed) < 2 else None)
    along_a_recording(monkeypatch, tmp_path, STOP)
    assert len(closed) == 2


def test_the_first_model_is_closed_if_the_second_cannot_be_opened(
    fake_world: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed = closings(monkeypatch)
    run = replace(comparison(fake_world, tmp_path, STOP), against=BackendConfig(model=str(tmp_path / "missing")))
    with pytest.raises(SiEmbodiedError, match="missing"):
        asking.pairs_of_episodes(run)
    assert len(closed) == 1


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
    """A copy whose first MLP has noise as large as its weights.

    It changes no decision here (three times as much changes one of four), and how sure the model is of nearly each.
    """
    from safetensors.numpy import load_file, save_file

    shutil.copytree(checkpoint, out)
    weights = load_file(out / "model.safetensors")
    layer = weights[MLP]
    noise = np.random.default_rng(0).normal(0.0, layer.astype(np.float32).std(), layer.shape)
    weights[MLP] = (layer + noise).astype(layer.dtype)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return out


EXACT = replace(LENIENT, agreement=0.5, certainty=1.02)
"""Wilson's interval of 4 in 4 begins at 4 / (4 + 1.96^2) = 0.51."""


def playing(nano: Path, against: Path, out: Path, thresholds: Thresholds = EXACT) -> ComparisonRun:
    config = EvaluationConfig(
        "si_embodied/Tabletop-v0", "planner", "base", BackendConfig(model=str(nano)), episodes=2, seed=100000
    )
    return ComparisonRun(
        config, BackendConfig(model=str(against)), out, decisions_only=True, no_memory=True, thresholds=thresholds
    )  # fmt: skip


def test_noise_in_one_layer_is_found(nano: Path, tmp_path: Path) -> None:
    """And the checkpoint is the same as itself, by as few decisions."""
    report = compared(playing(nano, nano, tmp_path / "a"))
    assert report.verdict == "the same"
    assert report.same_plans == report.decisions
    assert (report.distance.p95, report.shift.count, report.shift.p95) == (0.0, report.decisions, 0.0)
    noisy = playing(nano, perturbed(nano, tmp_path / "noisy"), tmp_path / "b", replace(EXACT, agreement=0.95))
    report = compared(noisy)
    assert report.verdict == "different"
    assert {each.name for each in report.criteria if each.outcome == "different"} == {"certainty within 1.02x"}
    assert "certainty within 1.02x is at most" in "\n".join(report.table())


@pytest.mark.timeout(900)
def test_an_export_in_eight_bits_decides_as_the_checkpoint(nano: Path, tmp_path: Path) -> None:
    """And is as sure of it, within 2%: nothing went wrong in the export or in quantizing it."""
    pytest.importorskip("onnxscript")
    from si_embodied.models.onnx.export import export_model

    export = export_model(nano, tmp_path / "int8", precision="int8")
    report = compared(playing(nano, export, tmp_path / "out"))
    assert report.verdict == "the same", report.table()
    assert 0 < report.shift.p95 < math.log(1.02)  # another runtime, which rounds in another way


def test_memory_of_another_process_is_not_measured() -> None:
    assert peak_memory(BackendConfig("server", model="m", url="http://127.0.0.1:1")) is None


def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No backend answers any more."""

    def give_up(self: ScriptedBackend, prompt: Any, *, deadline_s: float) -> Any:
        raise BackendError("the server has gone")

    monkeypatch.setattr(ScriptedBackend, "generate", give_up)
    monkeypatch.setattr(task, "_LONGEST_PAUSE_S", 0.0)


def test_two_servers_that_fail_do_not_agree(fake_world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = comparison(fake_world, tmp_path, STOP, decisions_only=True, no_memory=True)
    with monkeypatch.context() as patch:
        gone(patch)
        with pytest.raises(EvaluationError, match=r"seed 0, the first model .* failed \(the server has gone\)"):
            compared(run)
    assert compared(run).verdict == "the same", "nothing of the failed episode is kept"


def test_along_a_recording_a_server_that_fails_is_no_decision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone(monkeypatch)
    with pytest.raises(EvaluationError, match="at decision 0 of the recording, the first model or its server failed"):
        along_a_recording(monkeypatch, tmp_path, STOP)


@pytest.mark.parametrize("in_time", [0, 4])
def test_two_models_that_are_late_do_not_agree(
    fake_world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_time: int
) -> None:
    generate, asked = ScriptedBackend.generate, itertools.count()

    def late(self: ScriptedBackend, prompt: Any, *, deadline_s: float) -> Any:
        if next(asked) >= in_time:
            raise DeadlineExceeded("no answer in time")
        return generate(self, prompt, deadline_s=deadline_s)

    monkeypatch.setattr(ScriptedBackend, "generate", late)
    run = comparison(fake_world, tmp_path, STOP, decisions_only=True, no_memory=True)
    said: list[str] = []
    if in_time:
        assert run_comparison(run, said.append).decisions == 2
        assert any("both models missed the deadline in" in line for line in said)
    else:
        with pytest.raises(DataError, match="missed the deadline in .* longer deadline_s"):
            run_comparison(run, said.append)
