from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import EpisodeResult, PlanEntry
from si_embodied.evaluation.report import compare, detail_lines, make_report, score_table
from si_embodied.evaluation.runner import Run
from si_embodied.evaluation.statistics import Percentiles
from si_embodied.types import Code, PlanRecord

CONFIG = EvaluationConfig(env="si_embodied/Apartment-v0", policy="planner", task="objectnav", episodes=4, seed=10)


def plan(total_s: float, code: Code = Code.OK, **parts: float) -> PlanEntry:
    latency_s = {**parts, "total": total_s}
    record = PlanRecord(0.0, "nav/v1", "tiny", "sdpa", "float32", ("{}",), 10, 6, latency_s, code, "")
    return PlanEntry(record, code is Code.OK, None)


def episode(seed: int, *plans: PlanEntry, success: bool = True, steps: int = 10, **metrics: float) -> EpisodeResult:
    return EpisodeResult(seed, "t", "find it", success, steps, "terminated", 5.0, 2.0, metrics, plans)


RUN = Run(
    CONFIG,
    (
        episode(10, plan(0.1), plan(0.3, Code.NO_DEPTH), spl=1.0),
        episode(11, plan(0.2, decode=0.05), success=False, steps=20, spl=0.0, collisions=4),
        episode(12, spl=0.5),
        episode(13, spl=0.9),
    ),
)


def test_json_has_the_promised_keys_and_values() -> None:
    row = make_report(RUN).to_json()
    assert (row["env"], row["task"], row["policy"]) == ("si_embodied/Apartment-v0", "objectnav", "planner")
    assert (row["model"], row["episodes"], row["seed"]) == ("tiny", 4, 10)
    assert row["success_rate"] == 0.75
    # by hand, with z = 1.96: centre (0.75 + z²/8) / (1 + z²/4), half width z/(1 + z²/4) sqrt(0.1875/4 + z²/64)
    assert row["wilson95"] == pytest.approx([0.3006, 0.9544], abs=1e-4)
    assert row["spl"] == pytest.approx(0.6)
    assert row["mean_steps"] == 12.5
    assert row["holds"] == {"NO_DEPTH": 1}
    assert row["plan_latency_ms"] == {"p50": pytest.approx(200), "p99": pytest.approx(298)}
    assert row["latency_ms_by_part"]["decode"]["p50"] == pytest.approx(50)
    assert row["plans"] == 3
    json.dumps(row, allow_nan=False)


def test_figures_that_do_not_apply_are_null() -> None:
    row = make_report(Run(CONFIG, (), interrupted=True)).to_json()
    assert row["success_rate"] is row["spl"] is row["plan_latency_ms"]["p50"] is None
    assert row["wilson95"] == [0.0, 1.0]


def test_a_metric_is_averaged_over_the_episodes_that_have_it() -> None:
    assert make_report(RUN).metrics == {"collisions": 4.0}


def test_a_control_is_paired_by_seed() -> None:
    control = Run(CONFIG, (episode(13, success=False), episode(11), episode(10, success=False)))
    comparison = compare("blank", RUN, control)
    # shared seeds 10, 11, 13: won alone 10 and 13, lost alone 11
    assert (comparison.episodes, comparison.paired.only_first, comparison.paired.only_second) == (3, 2, 1)
    row = make_report(RUN).to_json([comparison])["controls"]["blank"]
    assert (row["won_alone"], row["lost_alone"], row["shared_seeds"]) == (2, 1, 3)


def test_the_table_shows_success_interval_and_number_of_episodes() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(score_table([make_report(RUN), make_report(Run(CONFIG, ()))]))
    text = console.file.getvalue()
    assert "0.75 [0.30, 0.95]" in text
    assert "Apartment objectnav" in text
    assert "3/1" in text  # plans and holds


@pytest.mark.parametrize("width", [60, 80])
def test_nothing_in_the_table_is_cut(width: int) -> None:
    report = replace(
        make_report(RUN), policy="perfect-pixels", control="blank", noise="realsense", latency="measured", plans=112893,
        holds={"NO_DEPTH": 111102}, plan_latency_ms=Percentiles(12345.0, 12890.0), episodes=998, asked=1000,
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=width)
    console.print(score_table([report]))
    text = console.file.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    said = "".join(text.split())
    for part in ("998", "of1000", "12345/", "12890", "112893/", "111102", "(blank)"):
        assert part in said, part
    if width == 80:
        assert all(word in text for word in ("0.75 [0.30, 0.95]", "noise realsense,", "latency measured"))


def test_a_run_with_other_seeds_in_its_folder_says_that_the_page_has_more() -> None:
    assert any("2 episodes of other seeds" in line for line in detail_lines(make_report(replace(RUN, others=2))))
    assert not any("other seeds" in line for line in detail_lines(make_report(RUN)))


def test_the_details_name_what_a_score_depends_on() -> None:
    text = "\n".join(detail_lines(make_report(RUN)))
    for part in ("seeds 10 to 13", "model tiny", "nav/v1", "sdpa", "float32", "NO_DEPTH 1"):
        assert part in text


def test_an_empty_report_holds_nan() -> None:
    assert math.isnan(make_report(Run(CONFIG, ())).success_rate)
