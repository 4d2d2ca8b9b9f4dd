"""A suite's run: rows, controls, resuming, results; and two runs compared in pairs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from si_embodied.cli.main import main
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.evaluation.episode import EpisodeResult
from si_embodied.evaluation.records import RecordFile
from si_embodied.run_lock import locked
from si_embodied.suites.comparison import compare_suites, table
from si_embodied.suites.rows import rows_of
from si_embodied.suites.run import SuiteReport, run_suite
from si_embodied.suites.settings import Suite, SuiteWorld

EPISODE = EpisodeResult(0, "objectnav", "find it", False, 3, "terminated", 1.5, 0.1, {})


def suite(world: str, *policies: str, **changes: Any) -> Suite:
    return Suite(
        (SuiteWorld(world, ("objectnav",)),), "mine", policies=policies, **{"episodes": 4, "seed": 0, **changes}
    )


def run(asked: Suite, out: Path) -> SuiteReport:
    return run_suite(asked, rows_of(asked, []), out)


def test_results_have_every_row_and_name_its_records(fake_world: str, tmp_path: Path, shown: Any) -> None:
    report = run(suite(fake_world, "stopper", "thinker"), tmp_path)
    assert [(score.name, score.report.episodes, score.report.success_rate) for score in report.scores] == [
        ("World objectnav, stopper", 4, 0.5), ("World objectnav, thinker", 4, 0.5),
    ]  # fmt: skip
    assert not report.interrupted
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == report.to_json()
    for row in written["rows"]:
        assert (tmp_path / row["records"]).is_file()
    assert "| World objectnav | thinker | 4 | 0.50 [0.15, 0.85] |" in (tmp_path / "results.md").read_text()
    assert [work.label for work in shown.begun] == [
        "suite mine", f"stopper on {fake_world} objectnav", f"thinker on {fake_world} objectnav",
    ]  # fmt: skip
    assert ("suite mine", 2) in shown.changes


def test_an_interrupted_suite_says_so_and_continues(fake_world: str, tmp_path: Path) -> None:
    cut_short = suite(fake_world, "interrupter", "stopper")  # Ctrl-C in its third episode
    first = run(cut_short, tmp_path)
    assert first.interrupted
    assert [score.report.episodes for score in first.scores] == [2]
    assert json.loads((tmp_path / "results.json").read_text())["interrupted"] is True
    rest = run(replace(cut_short, episodes=2), tmp_path)
    assert [(score.report.episodes, score.report.resumed) for score in rest.scores] == [(2, 2), (2, 0)]
    assert not rest.interrupted


def test_a_misspelt_task_fails_before_the_first_episode(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    asked = Suite((SuiteWorld("si_embodied/Tabletop-v0", ("base", "stak")),), "mine", policies=("random",), episodes=1)
    with pytest.raises(UnknownNameError, match="Did you mean 'stack'"):
        run(asked, tmp_path)
    assert not list(tmp_path.iterdir())


def test_controls_stand_below_their_row_with_a_paired_test(fake_world: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"worlds: [{{env: '{fake_world}', tasks: [objectnav]}}]\npolicies: [planner]\n"
        "controls: [walker]\nepisodes: 4\nseed: 0\n"
    )
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("si_embodied.suites.rows.located", lambda config: config)
        patch.setattr("si_embodied.backends.opening.located", lambda config: config)
        import si_embodied.evaluation.registry as registry

        stopping = registry.find_policy("stopper")
        patch.setitem(registry._POLICIES, "planner", replace(stopping, name="planner", needs_model=True))
        patch.setattr("si_embodied.evaluation.config.model_fingerprint", lambda _: "model")
        assert main(["suite", "run", str(file), "--out", str(out)]) == 0
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["World objectnav, planner", "World objectnav, planner, walker"]
    assert rows[0]["paired"] is None
    assert rows[1]["paired"] == {"only_first": 2, "only_second": 0, "p_value": 0.5}  # of 2 pairs: 2 * 1/4


def test_a_row_that_the_suite_no_longer_has_is_not_dropped_from_its_results(fake_world: str, tmp_path: Path) -> None:
    run(suite(fake_world, "stopper", "thinker", episodes=1), tmp_path)
    before = (tmp_path / "results.json").read_text()
    with pytest.raises(ConfigError, match="does not have now: World objectnav, thinker"):
        run(suite(fake_world, "stopper", "walker", episodes=1), tmp_path)
    assert (tmp_path / "results.json").read_text() == before
    more = run(suite(fake_world, "stopper", "thinker", "walker", episodes=2), tmp_path)
    assert [score.report.resumed for score in more.scores] == [1, 1, 0], "rows and episodes can be added"


def test_a_suite_that_runs_keeps_another_one_out(fake_world: str, tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ConfigError, match="another run is writing into"):
        run(suite(fake_world, "stopper", episodes=1), tmp_path)


# --- comparing ------------------------------------------------------------------------------------------------------


def write_run(folder: Path, rows: dict[str, list[tuple[int, float | None]]], **settings: Any) -> Path:
    """A suite's folder with these outcomes, from seed 0 on: success and SPL."""
    listed = []
    for number, (name, outcomes) in enumerate(rows.items()):
        records = RecordFile(folder / "rows" / f"{number}.jsonl", {"policy": "planner", "model": "m", **settings})
        for seed, (won, spl) in enumerate(outcomes):
            records.add(replace(EPISODE, seed=seed, success=bool(won), metrics={} if spl is None else {"spl": spl}))
        listed.append({"name": name, "records": f"rows/{number}.jsonl"})
    (folder / "results.json").write_text(json.dumps({"rows": listed}))
    return folder


def test_two_runs_are_compared_in_pairs(tmp_path: Path) -> None:
    """By hand: of 10 seeds, B alone wins 5 and A alone 1."""
    won_a = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    won_b = [0, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    spl_a, spl_b = [0.5 * won for won in won_a], [0.8 * won for won in won_b]
    a = write_run(tmp_path / "a", {"row": list(zip(won_a, spl_a, strict=True))})
    b = write_run(tmp_path / "b", {"row": list(zip(won_b, spl_b, strict=True))}, model="n")
    comparison = compare_suites(a, b)
    (row,) = comparison.rows
    found = row.success
    assert (row.episodes, found.a, found.b, found.only_a, found.only_b) == (10, 0.4, 0.8, 1, 5)
    assert found.difference == pytest.approx(0.4)
    assert found.low < 0.4 < found.high
    assert found.p_value == pytest.approx(stats.binomtest(1, 6).pvalue)
    assert found.effect == pytest.approx(5 / 6 - 1 / 2)
    assert row.spl is not None
    differences = [second - first for first, second in zip(spl_a, spl_b, strict=True)]
    expected = stats.ttest_1samp(differences, 0.0)
    assert row.spl.effect == pytest.approx(expected.statistic / math.sqrt(10))
    interval = expected.confidence_interval()
    assert (row.spl.low, row.spl.high) == pytest.approx((interval.low, interval.high))
    assert comparison.settings == {"model": ("m", "n")}
    assert "no row shows a difference" in comparison.verdict()


def test_several_rows_are_held_to_a_stricter_p(tmp_path: Path) -> None:
    """B alone wins 6 of 6 in the first row (p = 1/32), which is a finding alone, and none among two rows."""
    all_lost, all_won = [(0, None)] * 6, [(1, None)] * 6
    a = write_run(tmp_path / "a", {"first": all_lost, "second": all_lost, "only a": all_lost})
    b = write_run(tmp_path / "b", {"first": all_won, "second": all_lost, "only b": all_lost})
    comparison = compare_suites(a, b)
    first, second = comparison.rows
    assert (first.success.p_value, first.p_holm) == pytest.approx((1 / 32, 2 / 32))
    assert (second.success.p_value, second.p_holm, second.spl) == (1.0, 1.0, None)
    assert math.isnan(second.success.effect)
    assert comparison.together is not None
    assert (comparison.together.only_b, comparison.together.difference) == (6, 0.5)
    assert comparison.alone == ("only a", "only b")
    assert "no row shows" in comparison.verdict()
    alone = compare_suites(
        write_run(tmp_path / "c", {"first": all_lost}), write_run(tmp_path / "d", {"first": all_won})
    )
    assert alone.verdict().startswith("B succeeds more often on first, and less often on no row")
    assert any("| all rows | 12 |" in line for line in table(comparison))


def test_the_comparison_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_run(tmp_path / "a", {"first": [(0, 0.0), (1, 0.9)]})
    b = write_run(tmp_path / "b", {"first": [(1, 0.5), (1, 0.9)]})
    assert main(["suite", "compare", str(a), str(b), "--out", str(tmp_path / "out"), "--json"]) == 0
    out = capsys.readouterr().out
    row = json.loads(out.splitlines()[-1])["rows"][0]
    assert row["success"]["only_b"] == 1
    assert row["spl"]["difference"] == 0.25
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == json.loads(out.splitlines()[-1])
    assert "| first | 2 | 0.50 | 1.00 | +50.0 [" in (tmp_path / "out" / "comparison.md").read_text()


def test_folders_without_a_common_episode_are_rejected(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", {"x": [(1, None)]}), write_run(tmp_path / "b", {"y": [(1, None)]})
    with pytest.raises(ConfigError, match="have no episode in common"):
        compare_suites(a, b)
    with pytest.raises(ConfigError, match="is not a suite's run"):
        compare_suites(a, tmp_path)


def test_reading_records_leaves_a_line_that_is_being_written(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {"x": [(1, None), (0, None)]})
    file = a / "rows" / "0.jsonl"
    with file.open("a") as stream:
        stream.write('{"type": "episode", "seed": 2')
    size = file.stat().st_size
    comparison = compare_suites(a, a)
    assert comparison.rows[0].episodes == 2
    assert file.stat().st_size == size


def test_other_seeds_are_listed_among_the_differences(tmp_path: Path) -> None:
    won = (1, None)
    a = write_run(tmp_path / "a", {"row": [won] * 3})
    b = write_run(tmp_path / "b", {"row": [won] * 2})
    comparison = compare_suites(a, b)
    assert comparison.settings == {"seeds": ("0 to 2", "0 to 1")}
    assert "differs: seeds: 0 to 2 / 0 to 1" in table(comparison)


def test_the_folder_of_an_evaluation_is_not_a_suites_run(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"groups": []}')
    with pytest.raises(
        ConfigError, match=r"is not a suite's run: its results.json has no rows.*`si-embodied suite run`"
    ):
        compare_suites(tmp_path, tmp_path)
