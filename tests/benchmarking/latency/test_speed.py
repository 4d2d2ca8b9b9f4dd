"""`si-embodied benchmark latency`: every kind of plan is asked for, and what was not measured is said."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.benchmarking.latency import cold
from si_embodied.benchmarking.latency import run as module
from si_embodied.benchmarking.latency.cold import cold_start
from si_embodied.benchmarking.latency.memory import Memory, peak
from si_embodied.benchmarking.latency.report import Row, Spread
from si_embodied.benchmarking.latency.run import KINDS, run_speed
from si_embodied.benchmarking.latency.scenes import noisy, turned
from si_embodied.benchmarking.latency.settings import SpeedRun
from si_embodied.cli.main import main
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.errors import BackendError, ConfigError
from si_embodied.evaluation.machine import describe_machine
from si_embodied.types import Code, Completion, PlanRecord, Prompt

SCRIPTED = BackendConfig("scripted", script=('{"subgoals": [{"skill": "turn", "degrees": 30}], "done": false}',))


def record(total_s: float, *, tokens: int = 0, **parts: float) -> PlanRecord:
    return PlanRecord(0.0, "nav/v2", "m", "k", "d", (), 10, tokens, {"total": total_s, **parts}, Code.OK, "")


@pytest.fixture(autouse=True)
def no_meters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "meters", list)


def test_every_kind_of_plan_has_a_row(tmp_path: Path) -> None:
    run = SpeedRun(SCRIPTED, plans=2, warmup=1, starts=0, image_size=64, out=tmp_path)
    report = run_speed(run)
    assert [row.kind for row in report.rows] == list(KINDS)
    assert all(row.plans == 2 and row.plan_ms.p50 > 0 for row in report.rows)
    table = "\n".join(report.table())
    for words in ("cold start: not measured: --starts 0", "energy: not measured", "not measured here", "machine: "):
        assert words in table
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["rows"][0]["plan_ms"]["p90"] > 0
    assert written["rows"][0]["tokens_per_s"] is None  # a scripted answer has no tokens
    assert "| re-plan (nav/v2) | 2 |" in (tmp_path / "results.md").read_text()


def test_a_prompt_without_earlier_views_is_replaced_for_four_views(tmp_path: Path) -> None:
    config = PlannerConfig(Prompts(navigation="nav/v1"))
    report = run_speed(SpeedRun(SCRIPTED, config, plans=1, warmup=0, starts=0, image_size=64, out=tmp_path))
    assert {row.kind: row.prompt_version for row in report.rows} == {
        "first plan": "nav/v1", "re-plan": "nav/v1", "unchanged": "nav/v1", "four views": "nav/v2",
    }  # fmt: skip


def test_a_situation_is_what_its_kind_says() -> None:
    """First plans have nothing in common, re-plans a task, unchanged ones all but noise; four views are remembered."""
    made = {kind: [next(upcoming) for _ in range(3)] for kind, make in KINDS.items() for upcoming in [make(64)]}
    assert len({each.task for each in made["first plan"]}) == 3
    assert [len(each.memory.attempts) for each in made["re-plan"]] == [0, 1, 2]
    still = made["unchanged"]
    assert {len(each.memory.attempts) for each in still} == {1}
    one, other = (each.observation.frames[0].rgb.astype(int) for each in still[:2])
    assert 0 < np.abs(one - other).max() <= 2
    recalled = [each.memory.recall(each.observation) for each in made["four views"]]
    assert [len(each.keyframes) for each in recalled] == [4, 4, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_no_picture_is_shown_twice(kind: str) -> None:
    """Also after a whole turn: features of an equal picture are reused, and a plan would seem to cost less."""
    shown = itertools.islice(KINDS[kind](32), 60)
    assert len({situation.observation.frames[0].rgb.tobytes() for situation in shown}) == 60


def test_a_turn_to_the_left_moves_the_picture_to_the_right() -> None:
    """At 15 degrees a step in a panorama of six pictures, by a quarter of a picture's width."""
    before, after = (turned(0, step, 64).observation.frames[0].rgb for step in (0, 1))
    assert np.array_equal(after[:, 16:], before[:, :-16])


def test_noise_is_at_most_one_grey_level() -> None:
    situation = turned(0, 0, 64)
    moved = noisy(situation, np.random.default_rng(0)).observation.frames[0].rgb.astype(int)
    assert np.abs(moved - situation.observation.frames[0].rgb).max() == 1


def test_percentiles_are_in_milliseconds() -> None:
    """Of 1 to 101 ms: the 51st, the 91st and the 100th."""
    found = Spread.of([0.001 * k for k in range(1, 102)])
    assert (found.p50, found.p90, found.p99) == pytest.approx((51.0, 91.0, 100.0))


def test_tokens_are_counted_while_they_are_written() -> None:
    """By a local model in `decode`, by a server in the whole answer."""
    local = Row.of("re-plan", [record(2.0, tokens=30, prefill=1.0, decode=0.5)] * 2, Memory(None, None), {})
    served = Row.of("re-plan", [record(2.0, tokens=30, generate=1.5)], Memory(None, None), {})
    assert (local.tokens_per_s, served.tokens_per_s) == pytest.approx((60.0, 20.0))


def test_energy_is_per_plan() -> None:
    row = Row.of("re-plan", [record(1.0)] * 4, Memory(10**6, None), {"RAPL package-0": 8.0})
    assert row.joules == {"RAPL package-0": 2.0}


def test_a_server_has_no_cold_start_of_ours() -> None:
    served = BackendConfig("server", model="m", url="http://robot:8000")
    assert "http://robot:8000" in module._no_cold(served, 3)


def test_a_cold_start_is_timed_in_a_process_of_its_own() -> None:
    start = cold_start(SCRIPTED, image_size=64)
    assert start.total_s > start.load_s + start.first_s > 0
    assert start.host_bytes is None or start.host_bytes > 10**6
    assert start.gpu_bytes is None


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no checkpoint directory"):
        cold_start(BackendConfig(model=str(tmp_path / "missing")), image_size=64)


def test_a_start_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold, "_TIMEOUT_S", 0.01)
    with pytest.raises(BackendError, match="'m' and plans 3 times was still running after"):
        cold_start(replace(SCRIPTED, model="m"))


def test_the_machine_is_described_from_what_it_tells(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson AGX Orin\0")
    (tmp_path / "proc/cpuinfo").write_text("processor: 0\nmodel name: Cortex\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal:       24683656 kB\nMemFree:        1 kB\n")
    found = describe_machine(tmp_path)
    assert found["memory"] == "23.5 GiB"  # 24683656 / 1024 / 1024
    assert (found["board"], found["processor"]) == ("NVIDIA Jetson AGX Orin", "Cortex")
    assert "load" not in found
    assert "si-embodied" in found
    (tmp_path / "proc/loadavg").write_text("5.65 5.52 3.86 5/126 4711\n")
    assert describe_machine(tmp_path)["load"] == "5.65, 5.52, 3.86 over 1, 5 and 15 minutes"


@pytest.mark.parametrize("values", [{"plans": 0}, {"warmup": -1}, {"starts": -1}, {"image_size": 8}])
def test_numbers_out_of_range_are_rejected(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        SpeedRun(**values)


def test_a_planning_server_has_a_model_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "latency", "--planner", "ws://robot:8421", "--model", "m"]) == 2
    assert "--planner" in capsys.readouterr().err


@pytest.mark.gpu
def test_cuda_memory_is_that_of_each_kind_of_plan(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Torch's peak, reset before each kind; four views hold more than one."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    backend = BackendConfig(model=str(checkpoints["qwen3_vl"]), device="cuda")
    report = run_speed(SpeedRun(backend, plans=3, warmup=1, starts=1, image_size=224, out=tmp_path))
    peaks = {row.kind: row.gpu_bytes for row in report.rows}
    assert all(size is not None and size > 0 for size in peaks.values())
    assert peaks["four views"] > peaks["first plan"]
    assert report.cold[0].gpu_bytes
    assert peak().gpu


def failing(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Scripted answers that a server would stop giving after so many."""
    generate, asked = ScriptedBackend.generate, itertools.count()

    def give_up(self: ScriptedBackend, prompt: Prompt, *, deadline_s: float) -> Completion:
        if next(asked) >= after:
            raise BackendError("the server has gone")
        return generate(self, prompt, deadline_s=deadline_s)

    monkeypatch.setattr(ScriptedBackend, "generate", give_up)


def test_a_server_that_fails_midway_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, after=5)
    with pytest.raises(BackendError, match="a plan that was to be measured failed: the server has gone"):
        run_speed(SpeedRun(SCRIPTED, plans=2, warmup=1, starts=0, image_size=64, out=tmp_path))
    assert not list(tmp_path.iterdir()), "times of failures stand in no table"


def test_a_cold_start_whose_plan_fails_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, after=0)
    settings = {"backend": asdict(SCRIPTED), "image_size": 64}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(settings)))
    with pytest.raises(BackendError, match="the server has gone"):
        cold.main()
