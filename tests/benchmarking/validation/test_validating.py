"""`si-embodied validate`: every stage runs whatever becomes of the others, and the report says what came of each."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from si_embodied.backends.config import BackendConfig
from si_embodied.benchmarking.validation import run as running
from si_embodied.benchmarking.validation.findings import Finding, Stage, carry_out, kept_finding, perform
from si_embodied.benchmarking.validation.gpu_tests import outcomes, run_gpu_tests
from si_embodied.benchmarking.validation.report import ARCHIVE, REPORT, ValidationReport, write_report
from si_embodied.benchmarking.validation.run import run_validation
from si_embodied.benchmarking.validation.settings import PARTS, VARIANTS, ValidationRun
from si_embodied.benchmarking.validation.stages import every_task, stages_of
from si_embodied.config import PlannerConfig
from si_embodied.errors import CheckpointError, ConfigError, MissingExtraError, UnknownNameError


def work(what: str) -> Finding:
    """A stage that succeeds, fails in one of three ways, or dies."""
    if what == "dies":
        os.kill(os.getpid(), 9)
    errors: dict[str, Exception] = {
        "lacks": MissingExtraError("bitsandbytes", "quant"),
        "breaks": CheckpointError("no\nfile"),
        "bug": KeyError("x"),
    }
    if what in errors:
        raise errors[what]
    return Finding("done", "0.5 [0.1, 0.9]", ("| a |",), {"value": float("nan")})


def stage(what: str, *, optional: bool = False, **settings: Any) -> Stage:
    return Stage("worlds", what, settings, work, (what,), optional)


def performed(stage: Stage, folder: Path) -> Finding:
    perform(stage, folder)
    row = json.loads(stage.file(folder).read_text())["finding"]
    return Finding(row["state"], row["summary"], tuple(row["lines"]), row["data"], row["seconds"])


@pytest.mark.parametrize(
    ("what", "optional", "state", "words"),
    [
        ("fine", False, "done", "0.5 [0.1, 0.9]"),
        ("lacks", False, "impossible", "si-embodied[quant]"),  # an extra that is not installed
        ("breaks", False, "failed", "no file"),
        ("breaks", True, "impossible", "no file"),  # a quantized version that does not load
        ("bug", True, "failed", "KeyError"),
    ],
)
def test_an_error_is_a_finding(what: str, optional: bool, state: str, words: str, tmp_path: Path) -> None:
    finding = performed(stage(what, optional=optional), tmp_path)
    assert finding.state == state
    assert words in finding.summary
    assert bool(finding.lines) == (what in ("fine", "bug"))  # a traceback


def test_a_stage_that_kills_its_process_is_a_finding(tmp_path: Path) -> None:
    finding = carry_out(stage("dies"), tmp_path)
    assert finding.state == "failed"
    assert "signal 9" in finding.summary
    assert carry_out(stage("fine"), tmp_path).state == "done"


def test_only_what_was_done_with_the_same_settings_is_kept(tmp_path: Path) -> None:
    perform(stage("fine", episodes=2), tmp_path)
    perform(stage("breaks"), tmp_path)
    kept = kept_finding(stage("fine", episodes=2), tmp_path)
    assert kept is not None
    assert kept.data == {"value": None}
    assert kept_finding(stage("fine", episodes=3), tmp_path) is None
    assert kept_finding(stage("breaks"), tmp_path) is None
    file = stage("fine").file(tmp_path)
    file.write_text(file.read_text()[:30])
    assert kept_finding(stage("fine", episodes=2), tmp_path) is None


def test_the_report_says_what_failed_and_what_to_send(tmp_path: Path) -> None:
    run = ValidationRun(out=tmp_path)
    made = [(each, performed(each, tmp_path)) for each in (stage("bug"), stage("lacks"))]
    (tmp_path / "exports").mkdir()
    for name in ("exports/manifest.json", "weights.safetensors"):
        (tmp_path / name).write_text("{}")
    report = ValidationReport(run, tuple(made), 3)
    write_report(report)
    assert report.failed
    text = (tmp_path / REPORT).read_text()
    for words in (
        "0 done, 1 failed, 1 impossible of 3 stages; 1 not run yet", "## What failed", "KeyError", "Traceback",
        "## What this machine cannot do", "si-embodied[quant]", ARCHIVE,
    ):  # fmt: skip
        assert words in text
    with zipfile.ZipFile(tmp_path / ARCHIVE) as archive:
        assert {REPORT, "report.json", "stages/worlds-bug.json"} <= set(archive.namelist())
        assert not {"exports/manifest.json", "weights.safetensors"} & set(archive.namelist())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parts": ("speed",)}, "speed"), ({"variants": ("2bit",)}, "2bit"), ({"tasks": ("Tabletop",)}, "WORLD:TASK"),
        ({"episodes": 0}, "episodes"), ({"backend": BackendConfig("remote", url="ws://robot")}, "ws://robot"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_rejected(changes: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=words):
        ValidationRun(**changes)


def test_every_task_of_every_world_is_played_by_default() -> None:
    pytest.importorskip("mujoco")
    names = [each.name for each in stages_of(ValidationRun(parts=("worlds",)), print) if each.part == "worlds"]
    assert names == every_task()
    assert {"si_embodied/Tabletop-v0:stack", "si_embodied/Apartment-v0:route"} <= set(names)


# --- tests marked gpu -----------------------------------------------------------------------------------------------

TESTS = """
import pytest

@pytest.mark.gpu
@pytest.mark.parametrize("what", ["passes", "fails", "skipped"])
def test_it(what):
    assert what != "fails", "expected 1 | 2"
    if what == "skipped":
        pytest.skip("no CUDA device")

def test_unmarked():
    assert False
"""


def test_the_tests_marked_gpu_are_run_and_their_reasons_kept(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_it.py").write_text(TESTS)
    (tests / "test_other.py").write_text("raise RuntimeError('a file without the mark is not imported')")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    said: list[str] = []
    finding = run_gpu_tests(ValidationRun(tests=tests, out=tmp_path / "out"), said.append)
    assert (finding.state, finding.summary) == ("failed", "1 passed, 1 failed, 1 skipped")
    text = "\n".join(finding.lines)
    for words in (
        "test_it[fails]`",
        "expected 1 \\| 2",
        "1 skipped: no CUDA device",
        "Passed: `test_it::test_it[passes]`",
    ):
        assert words in text
    assert ["PASSED" in line for line in said] == [True, False]  # nothing is said of those that were skipped
    assert len(outcomes(tmp_path / "out/tests/results.xml")) == 3


def test_without_the_source_there_are_no_tests(tmp_path: Path) -> None:
    finding = run_gpu_tests(ValidationRun(tests=tmp_path), print)
    assert finding.state == "impossible"
    assert "come with the source" in finding.summary


# --- the whole flow -------------------------------------------------------------------------------------------------


def test_a_tiny_checkpoint_is_validated_to_its_report(
    fake_world: str, checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every part with one episode, in this process; a second run repeats only what was not done."""
    pytest.importorskip("llguidance")

    monkeypatch.setattr(running, "carry_out", performed)
    task = f"{fake_world}:objectnav"
    run = ValidationRun(
        BackendConfig(model=str(checkpoints["qwen3_vl"]), device="cpu"), episodes=1, compared=1, plans=1,
        variants=("itself", "4bit", "tensorrt-fp16"), tasks=(task,), compared_task=task, tests=tmp_path,
        out=tmp_path / "out",
    )  # fmt: skip
    said: list[str] = []
    report = run_validation(run, said.append)
    states = {f"{each.part} {each.name}": finding.state for each, finding in report.findings}
    assert states == {
        "machine machine": "done", "tests marked gpu": "impossible", "latency what a plan costs": "done",
        "precisions itself": "done", "precisions 4bit": "impossible", "precisions tensorrt-fp16": "impossible",
        f"worlds {task}": "done",
    }  # fmt: skip
    assert not report.failed
    text = (run.out / REPORT).read_text()
    for words in (
        "4bit weights need a CUDA device",
        "TensorrtExecutionProvider",
        "SHA-256",
        "model.safetensors",
        "| n |",
    ):
        assert words in text
    again: list[str] = []
    run_validation(run, again.append)
    assert sum("(from an earlier run)" in line for line in again) == 4
    with pytest.raises(ConfigError, match="other settings"):
        run_validation(replace(run, seed=7), again.append)
    with pytest.raises(ConfigError, match=r"planner\.deadline_s 20\.0, now 3\.0"):
        run_validation(replace(run, planner=PlannerConfig(deadline_s=3.0)), again.append)
    assert set(VARIANTS) >= set(run.variants)
    assert {each.part for each, _ in report.findings} == {"machine", *PARTS}


def test_a_run_with_other_settings_of_the_planner_is_another_run(tmp_path: Path) -> None:
    """The findings of every stage depend on them."""
    run = ValidationRun(BackendConfig(model=str(tmp_path)))
    assert run.identity() != replace(run, planner=PlannerConfig(deadline_s=3.0)).identity()
