"""Headlines, tables and plots are made from the results alone, and show their figures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("llguidance")

from si_embodied.cli.main import main
from si_embodied.errors import ConfigError
from si_embodied.runs import write_json
from si_embodied.studies.ablations import AblationsResults
from si_embodied.studies.generalisation import GeneralisationResults
from si_embodied.studies.latency import LatencyResults
from si_embodied.studies.plots import draw
from si_embodied.studies.reasoning import ReasoningResults
from si_embodied.studies.results import Results, Score
from si_embodied.studies.scaling import ScalingResults
from si_embodied.studies.shortcuts import ShortcutsResults
from si_embodied.studies.transfer import TransferResults

STUDIES = (
    ScalingResults, GeneralisationResults, ShortcutsResults, ReasoningResults, AblationsResults, LatencyResults,
    TransferResults,
)  # fmt: skip
PAGE = Path(__file__).parents[2] / "docs" / "studies" / "index.md"


def right(count: int, of: int) -> dict[str, float]:
    return asdict(Score.of([1.0] * count + [0.0] * (of - count)))


def questions(*entries: tuple[str, str, int, int]) -> list[dict[str, Any]]:
    return [{"kind": kind, "group": group, **right(count, of)} for kind, group, count, of in entries]


def size(images: int, seen: int, unseen: int, won: int) -> dict[str, Any]:
    asked = questions(
        ("point pick", "seen", seen, 10), ("point pick", "unseen", unseen, 10), ("base", "seen", seen, 10),
        ("base", "unseen", unseen, 10),
    )  # fmt: skip
    episodes = {"seen": right(won, 8), "unseen": right(0, 2)}
    return {"images": images, "steps": 9, "minutes": 1.0, "questions": asked, "episodes": episodes}


def type_row(name: str, form: str, **more: Any) -> dict[str, Any]:
    seen = {"images": right(8, 10), "blank": right(5, 10), "none": right(4, 10)}
    return {
        "type": name,
        "capability": name.split(".", maxsplit=1)[0],
        "form": form,
        "chance": 0.5,
        "scores": seen,
        **more,
    }


SIZES = [size(100, 2, 1, 0), size(400, 9, 6, 8)]
PLACES = [
    {"what": "places", "world": world, "place": place,
     "questions": questions(("point pick" if world == "tabletop" else "point goto", "all", 9, 10),
                            ("base" if world == "tabletop" else "goto", "all", 5, 10))}
    for world in ("tabletop", "apartment") for place in ("trained in", "new")
]  # fmt: skip
ARM = {"task": "base", "steps": 5, "seeds": [1, 2, 3, 4], "plans": 4, "plan_ms_p50": 30.0, "example": "{}"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "scaling": SIZES,
    "generalisation": [*({"what": "pairs", **row} for row in SIZES), *PLACES],
    "shortcuts": [
        type_row("relation.nearest", "choice", only_seeing=4, only_blank=1),
        type_row("metric.depth", "number"),
        *({"own": "tabletop", "sight": sight, **questions(("point pick", "all", count, 10))[0]}
          for sight, count in (("images", 9), ("blank", 1), ("none", 0))),
    ],
    "reasoning": [
        {**ARM, "arm": "without", "success": [1, 1, 1, 0], "completion_tokens": 19.6},
        {**ARM, "arm": "with", "success": [0, 0, 1, 0], "completion_tokens": 41.2},
    ],
}  # fmt: skip
WON, LOST = [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]


def played(success: list[int], spl: list[float]) -> dict[str, Any]:
    seeds = [*range(len(success))]
    return {"seeds": seeds, "success": success, "spl": spl, "steps": [20 for _ in seeds], "plans": [3 for _ in seeds],
            "plan_s_p50": 0.25}  # fmt: skip


ROWS |= {
    "ablations": [
        {"task": task, "policy": policy, "configuration": configuration, "played": figures}
        for policy in ("perfect-pixels", "planner")
        for task, configuration, figures in (
            ("Apartment-v0:objectnav", "full", played(WON, [0.8] * 6)),
            ("Apartment-v0:objectnav", "keyframes off", played(LOST, [0.0] * 5 + [0.8])),
            ("Tabletop-v0:base", "full", played(WON, [])),
            ("Tabletop-v0:base", "one view", played(WON, [])),
        )
    ],
    "latency": [
        {"task": "Apartment-v0:objectnav", "latency": latency, "played": played(success, [0.5] * 6)}
        for latency, success in ((0.0, WON), ("measured", WON), (0.5, WON), (4.0, LOST))
    ],
}
SETTINGS = {"episodes": {"task": "base", "seed": 90_000}}


@pytest.fixture
def found(request: pytest.FixtureRequest, tmp_path: Path) -> Results:
    """The results of a study, read from its file."""
    return read(request.param, tmp_path)


def read(study: str, folder: Path) -> Results:
    file = folder / f"{study}.json"
    write_json(file, {"study": study, "settings": SETTINGS, "rows": ROWS[study]})
    return next(kind for kind in STUDIES if kind.name == study).read(file)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ("scaling", "With 4 times the pictures, planner success goes from 0% to 80%"),
        ("generalisation", "Pointing: 90% for colour-shape pairs seen in training, 60% for pairs never seen"),
        (
            "shortcuts",
            (
                "Choices 80% with images, 50% with blank ones, 50% by chance; own plans and points 90% with images, "
                "10% with blank ones"
            ),
        ),
        # Two seeds were won without reasoning alone, none with it alone: p = 2 * (1/2)^2.
        ("reasoning", "Reasoning first: base 75% to 25% (p = 0.5), for 41 tokens a plan, not 20"),
        # Five seeds were won by the full planner alone: p = 2 * (1/2)^5.
        (
            "ablations",
            (
                "Largest change of success: perfect-pixels, keyframes off, Apartment-v0:objectnav from 100% to 17% "
                "(p = 0.062); planner, keyframes off, Apartment-v0:objectnav from 100% to 17% (p = 0.062)"
            ),
        ),
        ("latency", "Success: Apartment-v0:objectnav 100% at 0 s a plan, 17% at 4 s"),
    ],
    indirect=["found"],
)
def test_the_headline_shows_the_figures(found: Results, sentence: str) -> None:
    assert found.headline() == sentence


@pytest.mark.parametrize(
    ("found", "cells"),
    [
        ("scaling", ["| point at a thing | 20% (6 to 51, n = 10) | 90% (60 to 98, n = 10) |", "| 100 pictures | 400"]),
        ("generalisation", ["| pairs, 400 pictures: plans | 90% (60 to 98, n = 10) | 60% (31 to 83, n = 10) |"]),
        # Four alone against one alone: p = 2 * (1 + 5) / 2^5.
        ("shortcuts", ["| spatial relations | 50% | 80%", "| – | 0.38 |", "| metric measurement (numbers) | 50% |"]),
        ("reasoning", ["| base | without | 75% (30 to 95, n = 4) | 2 | 0.5 | 20 | 30 | 5 |"]),
        # SPL falls by 0.8 in five of six episodes; of the 2^5 flips, two are as extreme.
        (
            "ablations",
            [
                "| planner | keyframes off | 17% (3 to 56, n = 6) | 5 | 0 | 0.062 | 0.13 | -0.667 | 0.062 | 3.0 |",
                "| perfect-pixels | full | 100% (61 to 100, n = 6) | – | – | – | 0.80 | – | – | 3.0 |",
                "| one view | 100% (61 to 100, n = 6) | 0 | 0 | 1 | – | – | – | 3.0 |",
            ],
        ),
        # By length: the measured latency's median lies between 0 and 0.5 s.
        ("latency", ["| measured (0.25 s) | 100% (61 to 100, n = 6) | 0.50 | 20 | 3.0 |", "| 4 s | 17% (3 to 56"]),
    ],
    indirect=["found"],
)
def test_the_table_shows_figures_with_intervals_and_counts(found: Results, cells: list[str]) -> None:
    lines = found.table()
    assert len({line.count("|") for line in lines}) == 1, "every line has as many cells"
    assert all(any(cell in line for line in lines) for cell in cells), "\n".join(lines)


@pytest.mark.parametrize("study", ROWS)
def test_plots_have_labelled_axes(study: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = read(study, tmp_path)
    figure = draw(found, tmp_path / "new" / "plot.png")
    assert (tmp_path / "new" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert figure.get_suptitle() == found.headline()
    assert any(axes.get_ylabel() or axes.get_xlabel() for axes in figure.axes)
    assert figure.legends or all(axes.get_title(loc="left") for axes in figure.axes)


def test_scaling_shows_the_mean_over_the_trainings_of_a_size(tmp_path: Path) -> None:
    """Planner success 0%, 10% and 20%: standard deviation 10%, times 4.303 / sqrt(3)."""
    rows = [{**size(100, 2, 1, won), "seed": won} for won in (0, 1, 2)] + [size(400, 9, 6, 8)]
    write_json(tmp_path / "scaling.json", {"study": "scaling", "settings": SETTINGS, "rows": rows})
    found = ScalingResults.read(tmp_path / "scaling.json")
    assert found.table()[-1] == (
        "| **planner success** | **10% (0 to 35, 3 trainings)** | **80% (49 to 94, n = 10)** |"
    )
    assert found.headline() == "With 4 times the pictures, planner success goes from 10% to 80%"
    pytest.importorskip("matplotlib")
    draw(found, tmp_path / "scaling.png")


def test_a_block_is_placed_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page, found = tmp_path / "index.md", read("scaling", tmp_path)
    page.write_text("before\n<!-- scaling -->\nold\n<!-- end of scaling -->\nafter\n")
    for _ in range(2):
        found.fill(page)
    assert page.read_text() == f"before\n<!-- scaling -->\n{found.block()}\n<!-- end of scaling -->\nafter\n"
    with pytest.raises(ConfigError, match="lacks the marks <!-- reasoning -->"):
        read("reasoning", tmp_path).fill(page)


@pytest.mark.parametrize("kind", STUDIES)
def test_the_page_is_up_to_date_with_the_results(kind: type[Results]) -> None:
    file = PAGE.parent / f"{kind.name}.json"
    text = PAGE.read_text(encoding="utf-8")
    assert f"<!-- {kind.name} -->" in text
    if file.exists():
        remedy = f"run: si-embodied study {kind.name} --results docs/studies --report"
        assert kind.read(file).block() in text, remedy
        assert (PAGE.parent / f"{kind.name}.png").exists(), remedy


def test_report_redoes_plot_and_table_from_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    read("reasoning", tmp_path)
    assert main(["study", "reasoning", "--results", str(tmp_path), "--report"]) == 0
    assert (tmp_path / "reasoning.png").exists()
    said = capsys.readouterr().out
    assert "base 75% to 25%" in said
    assert "| base | with | 25%" in said


def test_report_without_results_says_to_run_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["study", "scaling", "--results", str(tmp_path), "--report"]) == 2
    assert "run the study first" in capsys.readouterr().err


def test_shortcuts_needs_something_to_ask(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["study", "shortcuts", "--model", str(tmp_path)]) == 2
    assert "--model and --data" in capsys.readouterr().err
