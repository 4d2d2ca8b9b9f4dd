"""`benchmark spatial`: settings, task files and the whole path over the samples."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from si_embodied.backends.config import BackendConfig
from si_embodied.benchmarking.answering import answers_of
from si_embodied.benchmarking.benchmarks import BENCHMARKS
from si_embodied.benchmarking.environment import DEFAULT
from si_embodied.benchmarking.harness import Scored, last_words
from si_embodied.benchmarking.messages import Sight
from si_embodied.benchmarking.report import ALL_PARTS, Measured, SpatialReport, compare, join, measure, published
from si_embodied.benchmarking.settings import SpatialRun
from si_embodied.benchmarking.spatial import for_lmms_eval, run_spatial
from si_embodied.benchmarking.task_files import check_data, write_task_files
from si_embodied.errors import ConfigError, DataError, RecordError, UnknownNameError
from si_embodied.runs import JsonLines

SAMPLES = Path(__file__).parent / "samples"
VSI, SITE = BENCHMARKS["vsi"].tasks, BENCHMARKS["site"].tasks
EVERY_TASK = [task for benchmark in BENCHMARKS.values() for task in benchmark.tasks]


def test_an_unknown_benchmark_is_rejected() -> None:
    with pytest.raises(UnknownNameError, match="mmsi"):
        SpatialRun(tasks=("msi",))


def test_the_samples_hold_the_data_of_every_task() -> None:
    check_data(SAMPLES, EVERY_TASK)


def test_missing_data_are_said_with_where_to_get_them_and_where_they_must_lie(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        check_data(tmp_path, VSI)
    words = str(caught.value)
    assert (
        f"hf download nyu-visionx/VSI-Bench --repo-type dataset --local-dir {tmp_path}/nyu-visionx/VSI-Bench" in words
    )
    assert f"videos in {tmp_path}/vsibench: unpack the archives" in words


@pytest.mark.parametrize("kept", [0, 4, 20_000])
def test_a_table_that_was_cut_short_is_named(tmp_path: Path, kept: int) -> None:
    data = shutil.copytree(SAMPLES, tmp_path / "data")
    (file,) = (data / "RunsenXu").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=rf"test-00000-of-00001\.parquet' is empty or cut short.*\({kept} bytes"):
        check_data(data, BENCHMARKS["mmsi"].tasks)


def test_the_reason_of_lmms_eval_is_found_in_its_log() -> None:
    """The log ends with its own wrappings of it, in colour."""
    log = (
        "Traceback (most recent call last):\n"
        "datasets.exceptions.DataFilesNotFoundError: No data files in /data/MMSI-Bench\n"
        "The above exception was the direct cause of the following exception:\n"
        "tenacity.RetryError: RetryError[<Future at 0x7f state=finished raised DataFilesNotFoundError>]\n"
        "\x1b[32m2026-11-30 17:49:19\x1b[0m | \x1b[31mERROR\x1b[0m | Error during evaluation: RetryError[<Future>]\n"
    )
    assert last_words(log) == "datasets.exceptions.DataFilesNotFoundError: No data files in /data/MMSI-Bench"
    assert last_words("\x1b[31mkilled\x1b[0m\n") == "killed"
    assert last_words("") == "without a word"


def test_a_task_file_includes_lmms_evals_own_and_changes_only_the_data(tmp_path: Path) -> None:
    write_task_files(tmp_path, VSI, Path("/lmms_eval"), SAMPLES, None)
    assert yaml.safe_load((tmp_path / "vsibench_multiimage.yaml").read_text()) == {
        "include": "/lmms_eval/tasks/vsibench/multi_image_input/vsibench_multiimage.yaml",
        "task": "si_vsibench_multiimage",
        "dataset_path": str(SAMPLES / "nyu-visionx" / "VSI-Bench"),
        "dataset_kwargs": {},
    }


def test_without_local_data_and_limit_lmms_evals_own_task_runs(tmp_path: Path) -> None:
    write_task_files(tmp_path, VSI, Path("/lmms_eval"), None, None)
    assert not list(tmp_path.glob("*.yaml"))


def test_a_limit_below_what_the_scorer_needs_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 10"):
        write_task_files(tmp_path, VSI, Path("/lmms_eval"), None, 5)


def test_a_limited_task_calls_the_subset(tmp_path: Path) -> None:
    write_task_files(tmp_path, VSI, Path("/lmms_eval"), None, 20)
    assert "process_docs: !function subsets.vsibench_multiimage" in (tmp_path / "vsibench_multiimage.yaml").read_text()
    assert "subset(documents, 'question_type', 20)" in (tmp_path / "subsets.py").read_text()


def test_a_relative_model_is_found_from_lmms_evals_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = for_lmms_eval(BackendConfig(model="runs/tiny", adapter="runs/adapter"))
    assert (found.model, found.adapter) == (f"{tmp_path}/runs/tiny", f"{tmp_path}/runs/adapter")
    assert for_lmms_eval(BackendConfig(model="/runs/tiny")).adapter == ""


def test_a_row_has_lmms_evals_score_and_an_interval() -> None:
    samples = [{"doc_id": k, "average": {"score": float(k < 3)}} for k in range(4)]
    (task,) = BENCHMARKS["mmsi"].tasks
    found = measure("mmsi", task, "images", Scored({"average,none": 0.75}, samples), [])
    row = found.row
    assert (row.score, row.questions, row.interval, len(found.pieces)) == (75.0, 4, "Wilson", 4)
    # Wilson's interval of 3 of 4, by its formula: (0.75 + z²/8 ± z sqrt(0.1875/4 + z²/64)) / (1 + z²/4), z = 1.96.
    assert (row.low, row.high) == pytest.approx((30.06, 95.44), abs=0.01)


def test_results_without_the_metric_are_rejected() -> None:
    (task,) = BENCHMARKS["mmsi"].tasks
    with pytest.raises(RecordError, match="average"):
        measure("mmsi", task, "images", Scored({}, []), [])


def test_the_parts_of_a_benchmark_make_one_score_of_all_their_questions() -> None:
    """Of two options 2 of 2 right, and of four options 1 of 4: gained 0.5 x 2 + (0.75 - 3 x 0.25), possible 1 + 3."""

    def part(task: int, options: int, right: int, count: int, sight: Sight) -> Measured:
        gained = [(k < right) - 1 / options for k in range(count)]
        samples = [
            {"doc_id": k, "chance_adjusted_acc": {"overall": each, "total": 1 - 1 / options}}
            for k, each in enumerate(gained)
        ]
        score = 100 * sum(gained) / (count * (1 - 1 / options))
        return measure("site", SITE[task], sight, Scored({"chance_adjusted_acc,none": score}, samples), [])

    seeing = join([part(0, 2, 2, 2, "images"), part(1, 4, 1, 4, "images")])
    row = seeing.row
    assert (row.task, row.questions, row.scored) == (ALL_PARTS, 6, 6)
    assert row.score == pytest.approx(100 * 1.0 / 4.0)
    assert row.low < row.score < row.high
    blind = join([part(0, 2, 2, 2, "none"), part(1, 4, 1, 4, "none")])
    assert [each.p_value for each in compare({"images": seeing, "none": blind})] == [None, 1.0]


def test_published_figures_stand_beside_the_scores() -> None:
    found = published({"mindcube": BENCHMARKS["mindcube"]}, "sensenova/SenseNova-SI-1.4-InternVL3-8B@0123456789ab")
    assert found["mindcube"] == ("85.6, and 52.5 without images (arXiv 2511.13719, SenseNova-SI-1.1-InternVL3-8B)",)
    assert found["EASI-8 mean"] == ("63.7 (model card of sensenova/SenseNova-SI-1.4-InternVL3-8B)",)


# --- the whole path -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_planted_scores_come_out_of_lmms_eval(tmp_path: Path) -> None:
    """Always answers "A 2", which is right in a known share of the samples.

    Makes lmms-eval's environment first (minutes), or takes the one that LMMS_EVAL_ENVIRONMENT names.
    """
    backend, place = BackendConfig("scripted", script=("A 2",)), Path(os.environ.get("LMMS_EVAL_ENVIRONMENT", DEFAULT))
    run = SpatialRun(backend, data=SAMPLES, sights=("images", "none"), environment=place, out=tmp_path)
    report = run_spatial(run)
    scores = _by_task(report, "images")
    planted = json.loads((SAMPLES / "planted.json").read_text())
    planted["site " + ALL_PARTS] = [row for task in SITE for row in planted[task.name]]
    assert scores == pytest.approx({task: planted_score(task, rows) for task, rows in planted.items()}, abs=1e-3)
    assert _by_task(report, "none") == scores
    assert all(row.p_value in (None, 1.0) for row in report.rows)
    file = tmp_path / "images" / "answers.jsonl"
    answered = file.read_text()
    again = run_spatial(replace(run, tasks=("viewspatial",), sights=("images",)))
    assert [row.score for row in again.rows] == [scores["viewspatial"]]
    assert file.read_text() == answered, "a second run reads the answers of the first"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_planted_circular_scores_come_out_of_lmms_eval(tmp_path: Path) -> None:
    """A model that answers every rotation of the first, third and fifth question of ViewSpatial right, and is wrong in
    the last rotation of the others; of the other benchmarks, one that always answers "A 2".
    """
    environment = Path(os.environ.get("LMMS_EVAL_ENVIRONMENT", DEFAULT))
    planted = json.loads((SAMPLES / "planted.json").read_text())
    right = ["AB".index(answer[0]) for _, answer, _ in planted["viewspatial"]]
    turned = ["AB"[(place - turn + (number % 2) * turn) % 2] for number, place in enumerate(right) for turn in (0, 1)]
    script = (*(["B"] * len(right)), *turned)  # the questions in their own order come first
    run = SpatialRun(
        BackendConfig("scripted", script=script), tasks=("viewspatial",), data=SAMPLES, sights=("images",),
        circular=True, environment=environment, out=tmp_path / "planted",
    )  # fmt: skip
    rows = {row.task: row for row in run_spatial(run).rows}
    assert {task: row.score for task, row in rows.items()} == pytest.approx(
        {"viewspatial": 40.0, "viewspatial, once": 100.0, "viewspatial, circular": 60.0}
    )
    assert (rows["viewspatial, once"].chance, rows["viewspatial, circular"].chance) == (50.0, 25.0)
    same = replace(run, backend=BackendConfig("scripted", script=("A 2",)), tasks=tuple(BENCHMARKS), out=tmp_path / "A")
    found = {row.task: row for row in run_spatial(same).rows}
    for task in same.circular_tasks:
        answers = [answer for _, answer, _ in planted[task.name] if answer[0] in "ABCD"]
        assert found[f"{task.name}, once"].score == pytest.approx(100 * np.mean([each[0] == "A" for each in answers]))
        assert found[f"{task.name}, circular"].score == 0.0
    # SITE's videos have two questions of four options: 1/4, and (1/4)^4 in all rotations.
    video = found["site_bench_video_multiimage, circular"]
    assert (found["site_bench_video_multiimage, once"].chance, video.questions, video.scored) == (25.0, 8, 2)
    assert video.chance == pytest.approx(100 / 256)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_lmms_evals_own_client_gets_the_same_answers_from_our_server(tmp_path: Path, ending_checkpoint: Path) -> None:
    """Its `openai` model asks `si-embodied serve`, four questions at once, and the answers are those of the engine in
    lmms-eval's own process. Those that reach the limit are left out: ours counts characters and OpenAI's tokens.
    """
    environment = Path(os.environ.get("LMMS_EVAL_ENVIRONMENT", DEFAULT))
    run = SpatialRun(
        BackendConfig(model=str(ending_checkpoint)), tasks=tuple(BENCHMARKS), data=SAMPLES, sights=("images",),
        environment=environment, out=tmp_path / "ours",
    )  # fmt: skip
    run_spatial(run)
    recorded = answers_of(JsonLines(tmp_path / "ours" / "images" / "answers.jsonl"))
    ours = {(each.task, each.document): each.text for each in recorded if len(each.text) < 40}
    command = [sys.executable, "-m", "si_embodied.cli.main", "serve", "--model", str(ending_checkpoint), "--port", "0"]
    with subprocess.Popen([*command, "--max-rate", "1000"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = next(word for word in server.stdout.readline().split() if word.startswith("ws://"))
            theirs = _asked_by_lmms_eval(url.replace("ws", "http", 1) + "/v1", run, {task for task, _ in ours})
        finally:
            server.kill()
    assert len(ours) >= 30
    assert len(set(ours.values())) >= 5
    assert {key: theirs[key] for key in ours} == ours


def _asked_by_lmms_eval(url: str, run: SpatialRun, tasks: set[str]) -> dict[tuple[str, int], str]:
    """The answers that lmms-eval's `openai` model gets from a server, by task and number of the question."""
    out, settings = run.out.parent / "theirs", "api_key=unused,timeout=600,num_concurrent=4,max_retries=1"
    out.mkdir()
    command = [
        str(run.environment.expanduser() / "bin" / "python"), "-m", "lmms_eval", "--model", "openai",
        "--model_args", f"model_version=ending,base_url={url},{settings}", "--tasks", ",".join(sorted(tasks)),
        "--include_path", str(run.out / "tasks"), "--batch_size", "1", "--output_path", str(out), "--log_samples",
        "--process_docs_parallel", "1",
    ]  # fmt: skip
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
    places = {"HF_HOME": str(SAMPLES), "HF_DATASETS_CACHE": str(run.out / "datasets")}
    subprocess.run(command, env=os.environ | offline | places, cwd=out, check=True, capture_output=True)
    found = {}
    for file in out.rglob("*_samples_*.jsonl"):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            found[file.stem.partition("_samples_")[2], int(row["doc_id"])] = row["filtered_resps"]
    return found


def _by_task(report: SpatialReport, sight: Sight) -> dict[str, float]:
    """The scores with a sight; those of a whole benchmark are under its name too."""
    rows = [row for row in report.rows if row.sight == sight]
    return {f"{row.benchmark} {row.task}" if row.task == ALL_PARTS else row.task: row.score for row in rows}


def planted_score(task: str, rows: list[list[str]]) -> float:
    """The score of always answering "A 2", in percent, from (category, answer, number of options) of each sample."""
    right = [float(answer.startswith("A")) for _, answer, _ in rows]
    chance = [1 / max(1, int(options)) for _, _, options in rows]
    if task.startswith("site"):  # chance-adjusted: what was gained over guessing, of what could be
        return 100 * sum(np.subtract(right, chance)) / sum(np.subtract(1, chance))
    if task.startswith("mmbench"):  # only the question that stands alone can be right
        return 100 * sum(right[k] for k in range(len(rows)) if [row[0] for row in rows].count(rows[k][0]) == 1) / 3
    if not task.startswith("vsibench"):
        return 100 * float(np.mean(right))
    kinds: dict[str, float] = {}
    for (kind, answer, options), each in zip(rows, right, strict=True):
        if not int(options):  # mean relative accuracy over the ten thresholds 0.5, 0.55 … 0.95
            error = abs(2 - float(answer)) / float(answer)
            each = float(np.mean([error <= 1 - limit for limit in np.linspace(0.5, 0.95, 10)]))  # noqa: PLW2901
        name = "object_rel_direction" if "direction" in kind else kind
        kinds[name] = kinds.get(name, 0.0) + (each / 3 if "direction" in kind else each)
    return 100 * float(np.mean(list(kinds.values())))
