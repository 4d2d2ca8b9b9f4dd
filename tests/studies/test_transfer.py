"""Scores of several checkpoints are ranked against their success, and nothing is asked or played twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("llguidance")
pytest.importorskip("scipy")

from scipy import stats

from si_embodied.benchmarking.messages import Sight
from si_embodied.benchmarking.report import Row, SpatialReport
from si_embodied.benchmarking.results import write_results
from si_embodied.cli.main import main
from si_embodied.data.records import QUESTIONS_FILE
from si_embodied.errors import ConfigError, RecordError
from si_embodied.evaluation.config import model_fingerprint
from si_embodied.evaluation.statistics import wilson_interval
from si_embodied.studies import transfer
from si_embodied.studies.correlation import Outcomes, RankCorrelation, Reported, permutation_p, rank_correlation, tau_b
from si_embodied.studies.plots import draw
from si_embodied.studies.results import Rate
from si_embodied.studies.settings import PlannerRun, TransferRun
from si_embodied.studies.transfer import Link, ModelRow, TransferResults

# --- rank correlation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_tau_is_scipys_also_with_ties(seed: int) -> None:
    first, second = np.random.default_rng(seed).integers(0, 5, (2, 9)).astype(float)
    assert tau_b(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)


def test_tau_takes_scores_that_differ_by_rounding_as_ties() -> None:
    first = np.array([0.1 + 0.2, 0.3, 0.5])
    assert tau_b(first, np.array([1.0, 2.0, 3.0])) == pytest.approx(stats.kendalltau([1, 1, 2], [1, 2, 3]).statistic)


@pytest.mark.parametrize("seed", range(5))
def test_the_p_value_is_scipys_exact_one(seed: int) -> None:
    first, second = np.random.default_rng(seed).random((2, 6))
    assert permutation_p(first, second) == pytest.approx(stats.kendalltau(first, second, method="exact").pvalue)


def test_many_checkpoints_have_drawn_orders() -> None:
    """Of 12! orders, none of 20,000 drawn ones is as good as the perfect one."""
    assert permutation_p(np.arange(12.0), np.arange(12.0)) == pytest.approx(1 / 20_001)


def steady(*rates: float, questions: int = 4) -> Outcomes:
    """Checkpoints that get the same for every question."""
    return Outcomes(np.tile(np.array(rates)[:, None], questions))


def noisy(*rates: float, questions: int) -> Outcomes:
    """Checkpoints that are right in a share of the questions, each in others."""
    rng = np.random.default_rng(1)
    return Outcomes(np.array([rng.permutation(np.arange(questions) < rate * questions) for rate in rates], float))


def test_checkpoints_in_the_same_order_correlate_perfectly() -> None:
    found = rank_correlation(steady(0.1, 0.4, 0.5, 0.9), steady(0.0, 0.2, 0.3, 0.4))
    assert found == RankCorrelation(1.0, 1.0, 1.0, 2 / 24)  # the same and the opposite order, of 4! = 24


def test_few_episodes_make_the_interval_wider() -> None:
    scores = noisy(0.1, 0.3, 0.5, 0.7, 0.9, questions=500)
    widths = []
    for episodes in (10, 500):
        found = rank_correlation(scores, noisy(0.2, 0.4, 0.5, 0.6, 0.8, questions=episodes))
        assert found is not None
        assert found.tau == 1
        widths.append(found.high - found.low)
    assert widths[0] > widths[1]


def test_checkpoints_that_tie_have_no_correlation() -> None:
    assert rank_correlation(steady(0.1, 0.4, 0.5), steady(0.3, 0.3, 0.3)) is None


def test_every_checkpoint_is_asked_the_same_redrawn_questions() -> None:
    answers = np.random.default_rng(0).integers(0, 2, 20).astype(float)
    drawn = Outcomes(np.stack([answers, answers, 1 - answers])).redrawn(np.random.default_rng(0), 300)
    assert np.array_equal(drawn[:, 0], drawn[:, 1])
    assert drawn[:, 0] + drawn[:, 2] == pytest.approx(np.ones(300))
    assert len(np.unique(drawn[:, 0])) > 5


def test_a_reported_score_is_drawn_from_its_error() -> None:
    drawn = Reported(np.array([0.5, 0.2]), np.array([0.1, 0.0])).redrawn(np.random.default_rng(0), 4000)
    assert drawn.mean(axis=0) == pytest.approx([0.5, 0.2], abs=0.01)
    assert drawn.std(axis=0) == pytest.approx([0.1, 0.0], abs=0.01)


# --- the study ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(micro: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Three untrained checkpoints of the smallest model."""
    from si_embodied.training.export import Story, export
    from si_embodied.training.nano import Training

    folder = tmp_path_factory.mktemp("states")
    return tuple(
        export(Training(replace(micro, seed=seed)).mean, folder / f"state-{seed}", Story({}, "none", seed, 0, 0.0))
        for seed in range(3)
    )


@pytest.fixture
def run(models: tuple[Path, ...], shards: Path, micro: Any, fake_world: str, tmp_path: Path) -> TransferRun:
    """Both held-out images of each world, and two episodes in the smallest world."""
    return TransferRun(
        model=Path(), models=models, out=tmp_path / "out", tasks=(f"{fake_world}:objectnav",), episodes=2, seed=6,
        shards=shards / "held_out", images=2, recipe=micro,
    )  # fmt: skip


def test_every_checkpoint_is_asked_and_played_once(
    run: TransferRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: tuple[list[str], Callable[[str], None]]
) -> None:
    found = transfer.study(run, tmp_path, report=heard[1])
    assert [row.model for row in found.rows] == [model_fingerprint(path) for path in run.models]
    names = ["pointing, tabletop", "plans, tabletop", "pointing, apartment", "plans, apartment"]
    assert all(list(row.scores) == names for row in found.rows)
    assert len({tuple(rate.count for rate in row.scores.values()) for row in found.rows}) == 1, "the same questions"
    assert {row.success[run.tasks[0]].count for row in found.rows} == {2}
    assert [(link.task, link.score) for link in found.links] == [(run.tasks[0], name) for name in names]
    assert TransferResults.read(tmp_path / "transfer.json") == found
    assert len(heard[0]) == 3 * (len(names) + 1)
    records = {file: file.read_bytes() for file in run.out.rglob("*.jsonl")}
    assert len(records) == 1 + 3

    monkeypatch.setattr(PlannerRun, "load", lambda _: pytest.fail("asked again"))
    assert transfer.study(run, tmp_path) == found
    assert {file: file.read_bytes() for file in run.out.rglob("*.jsonl")} == records


def test_another_number_of_images_is_asked_anew(run: TransferRun, tmp_path: Path) -> None:
    both, one = (transfer.study(replace(run, images=count), tmp_path) for count in (2, 1))
    assert both.rows[0].scores["pointing, tabletop"].count > one.rows[0].scores["pointing, tabletop"].count


def test_data_questions_are_scored_by_capability(
    run: TransferRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {"metric-0": 0.5, "metric-1": 0.25, "relation-0": 1.0, "relation-1": 0.0}
    labels = [SimpleNamespace(id=name, capability=name.partition("-")[0]) for name in scores]
    asked = [SimpleNamespace(labels=one) for one in labels], {(name, "images", 0): one for name, one in scores.items()}
    monkeypatch.setattr(transfer, "ask_all", lambda *_, **__: asked)
    (tmp_path / QUESTIONS_FILE).write_text("")  # of which only the checksum is taken
    found = transfer.study(replace(run, shards=None, data=tmp_path), tmp_path)
    assert {name: rate.mean for name, rate in found.rows[0].scores.items()} == {
        "metric measurement": 0.375, "spatial relations": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("count", [0, 2])
def test_two_checkpoints_are_too_few(run: TransferRun, tmp_path: Path, count: int) -> None:
    with pytest.raises(ConfigError, match=f"at least 3 different checkpoints to rank, got: {count}"):
        transfer.study(replace(run, models=run.models[:count]), tmp_path)


def test_the_same_checkpoint_twice_counts_once(run: TransferRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got: 2"):
        transfer.study(replace(run, models=(*run.models[:2], run.models[0])), tmp_path)


def test_a_missing_checkpoint_is_named(run: TransferRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no checkpoint in .*nowhere"):
        transfer.study(replace(run, models=(*run.models, tmp_path / "nowhere")), tmp_path)


def test_a_folder_without_shards_is_named(run: TransferRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no shards of `train nano` in .*empty"):
        transfer.study(replace(run, shards=tmp_path / "empty"), tmp_path)


def test_without_questions_the_command_says_what_to_give(
    models: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "transfer", "--models", *map(str, models), "--out", str(tmp_path)]) == 2
    assert "--shards, --data or --benchmark-results" in capsys.readouterr().err


# --- benchmark results ----------------------------------------------------------------------------------------------


def report(model: str, score: float, limit: int = 50, sights: Sequence[Sight] = ("images", "blank")) -> SpatialReport:
    """What `benchmark spatial` found of 50 questions: this score with images, and 0 otherwise."""
    low, high = wilson_interval(round(score * 50), 50)
    percent = {"images": 100 * score}
    rows = [
        Row("mmsi", "mmsi_bench", "average", sight, 50, 50, percent.get(sight, 0.0), 100 * low, 100 * high, "Wilson",
            0.1, 0.1, 9.0, 1.0, "0")
        for sight in sights
    ]  # fmt: skip
    return SpatialReport(model, "sdpa", "float32", {"model": model, "limit": limit}, {}, {}, tuple(rows))


def benchmarked(run: TransferRun, folder: Path, reports: Sequence[SpatialReport]) -> TransferRun:
    """The study with these results instead of its own questions."""
    folders = tuple(folder / f"benchmark-{number}" for number in range(len(reports)))
    for where, one in zip(folders, reports, strict=True):
        write_results(where, one)
    return replace(run, shards=None, benchmark_results=folders)


def test_benchmark_results_are_matched_to_their_checkpoints(run: TransferRun, tmp_path: Path) -> None:
    names = [model_fingerprint(path) for path in run.models]
    given = benchmarked(
        run, tmp_path, [report(name, share) for name, share in zip(names[::-1], (0.6, 0.4, 0.2), strict=True)]
    )
    found = transfer.study(given, tmp_path)
    assert [row.scores["mmsi_bench"].mean for row in found.rows] == pytest.approx([0.2, 0.4, 0.6])
    assert found.rows[0].scores["mmsi_bench"].interval == pytest.approx(wilson_interval(10, 50))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda names: [report(name, 0.5) for name in names[:2]], "of each of"),
        (lambda names: [report(name, 0.5) for name in (*names[:2], "another@0")], "'another@0'"),
        (lambda names: [report(name, 0.5, limit=number) for number, name in enumerate(names)], "same settings"),
        (lambda names: [report(name, 0.5, sights=["blank"]) for name in names], "no scores with images"),
    ],
)  # fmt: skip
def test_results_that_do_not_fit_are_rejected(
    run: TransferRun, tmp_path: Path, wrong: Callable[[list[str]], list[SpatialReport]], message: str
) -> None:
    reports = wrong([model_fingerprint(path) for path in run.models])
    with pytest.raises(ConfigError, match=message):
        transfer.study(benchmarked(run, tmp_path, reports), tmp_path)


def test_a_folder_without_results_says_to_run_the_benchmark(run: TransferRun, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="benchmark spatial"):
        transfer.study(replace(run, shards=None, benchmark_results=(tmp_path / "none",)), tmp_path)


# --- reporting ------------------------------------------------------------------------------------------------------


def results(*found: RankCorrelation | None) -> TransferResults:
    """Two checkpoints, and a score with each of these correlations."""
    task = "Tabletop-v0:base"
    rows = tuple(
        ModelRow(f"state-{k}@0", {f"score {n}": Rate.of([1] * (k + 1) + [0] * 8) for n in range(len(found))},
                 {task: Rate.of([1] * (k + 4) + [0] * 2)})
        for k in range(2)
    )  # fmt: skip
    return TransferResults({}, rows, links=tuple(Link(f"score {n}", task, one) for n, one in enumerate(found)))


def test_the_table_shows_checkpoints_and_correlations() -> None:
    found = results(RankCorrelation(0.5, -0.25, 1.0, 0.125), RankCorrelation(0.75, 0.5, 1.0, 0.01), None)
    assert found.headline() == (
        "Score and success over 2 checkpoints: Kendall's tau from 0.50 to 0.75; 1 of 2 with p < 0.05"
    )
    lines = found.table()
    assert "| state-0@0 | 11% (2 to 43, n = 9) |" in lines[2]  # Wilson (1927) for 1 of 9: 0.020 to 0.435
    assert lines[-3:] == [
        "| Tabletop-v0:base | score 0 | 0.50 (-0.25 to 1.00) | 0.12 |",
        "| Tabletop-v0:base | score 1 | 0.75 (0.50 to 1.00) | 0.01 |",
        "| Tabletop-v0:base | score 2 | – (all tie) | – |",
    ]
    assert results(None).headline() == "Score and success over 2 checkpoints: all of them tie"


def test_the_plot_has_labelled_axes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = draw(results(RankCorrelation(0.5, -0.25, 1.0, 0.125)), tmp_path / "transfer.png")
    assert (tmp_path / "transfer.png").read_bytes().startswith(b"\x89PNG")
    assert figure.axes[0].get_ylabel() == "success, % (95% interval)"
    assert figure.axes[0].get_title(loc="left") == "Tabletop-v0:base"
    assert figure.legends
