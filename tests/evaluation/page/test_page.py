from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import fields
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from stored_runs import episode, plan, write_run

from si_embodied.backends.config import BackendConfig
from si_embodied.cli.main import main, parse
from si_embodied.errors import ConfigError
from si_embodied.evaluation.page import write_card, write_report
from si_embodied.evaluation.page.episodes import Budget, episode_lists
from si_embodied.evaluation.page.groups import by_difficulty, grouped
from si_embodied.evaluation.page.reading import find_runs
from si_embodied.evaluation.report import Report
from si_embodied.reasons import MEANINGS
from si_embodied.types import Code

SCHEMA = json.loads(files("si_embodied.evaluation.page").joinpath("schema.json").read_text(encoding="utf-8"))


class Page(HTMLParser):
    """The tags of a page, and its text by tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planner that won two of four, its blank control that won one, and the oracle that won all."""
    folder = tmp_path_factory.mktemp("runs") / "nav-planner"
    own = [
        episode(0, True, plan(pointed_at="target")),
        episode(1, False, plan(Code.TOO_FAR), plan(pointed_at="other")),
        episode(2, True, plan()),
        episode(3, False, plan(Code.TOO_FAR)),
    ]
    model = {"backend": BackendConfig("server", url="http://x", model="si-nano")}
    write_run(folder, own, stills=2, **model)
    write_run(
        folder, [episode(seed, seed == 1, plan()) for seed in range(4)], suffix="-blank", control="blank", **model
    )
    write_run(folder, [episode(seed, True) for seed in range(4)], suffix="-oracle", policy="oracle", stills=1)
    (folder / "videos").mkdir()
    (folder / "videos" / "seed-000001-failure.mp4").write_bytes(b"mp4")
    return folder


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    """The page of that run; `results.json` lies beside it."""
    assert write_report([run]) == run / "report.html"
    return (run / "report.html").read_text(encoding="utf-8")


def test_the_page_is_one_file_without_scripts_or_foreign_resources(html: str) -> None:
    page = Page(html)
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("iframe")
    addresses = [a.get(name) for _, a in page.tags for name in ("src", "href", "xlink:href") if a.get(name)]
    own = re.compile(r"data:image/(png|jpeg);base64,|#|videos/")
    assert len(addresses) > 20
    assert all(own.match(str(address)) for address in addresses), [a[:60] for a in addresses]
    assert "default-src 'none'" in str(page.all("meta"))


def test_text_of_the_model_and_of_the_world_is_escaped(html: str) -> None:
    assert "<script" not in html
    assert 'alert("x")' in Page(html).text  # shown, not run
    assert html.count("&lt;script&gt;") >= 12  # instructions, messages, captions and answers


def test_scores_controls_and_the_paired_test_stand_side_by_side(run: Path, html: str) -> None:
    text = re.sub(r"\s+", " ", Page(html).text)
    assert "0.50 [0.15, 0.85]" in text  # 2 of 4, Wilson's interval by hand in test_statistics
    assert "planner (blank)" in text
    assert "oracle" in text
    (group,) = grouped(find_runs([run]))
    assert [row.report.title for row in group.rows] == ["planner", "planner (blank)", "oracle"]
    blank = group.rows[1].comparison
    assert blank is not None
    # won alone: seeds 0 and 2; lost alone: seed 1; McNemar of 2 against 1: p = 1
    assert (blank.paired.only_first, blank.paired.only_second, blank.paired.p_value) == (2, 1, 1.0)


def test_failures_come_first_with_their_kind_views_map_video_and_records(run: Path) -> None:
    (group,) = grouped(find_runs([run]))
    first = episode_lists([group], run / "report.html", Budget())[0].episodes
    assert [(e.seed, e.outcome) for e in first] == [(1, "failure"), (3, "failure"), (0, "success"), (2, "success")]
    assert [e.failure and e.failure.kind for e in first] == ["wrong object", "unreachable", None, None]
    assert first[0].video == "videos/seed-000001-failure.mp4"
    assert (run / first[0].video).exists()
    assert all(len(e.frames) == 2 and e.map is not None for e in first)
    assert [p.verdict for p in first[0].plans] == ["TOO_FAR", "executed"]
    assert first[0].plans[0].meaning == MEANINGS[Code.TOO_FAR]


def test_pictures_stay_within_the_page_s_budget(run: Path) -> None:
    groups = grouped(find_runs([run]))
    whole = episode_lists(groups, run / "p.html", Budget())
    one = sum(len(f.jpeg) for f in whole[0].episodes[0].frames) + whole[0].episodes[0].map.characters
    few = episode_lists(groups, run / "p.html", Budget(characters=one, episodes=3))
    assert [bool(e.frames) for e in few[0].episodes] == [True, False, False]  # the failure of the main run
    assert ([e.left_out for e in few], [len(e.episodes) for e in few]) == ([1, 4, 4], [3, 0, 0])


def test_runs_in_folders_of_a_folder_are_found_and_compared(tmp_path: Path) -> None:
    write_run(tmp_path / "demo" / "nav-oracle", [episode(s, True) for s in range(3)], policy="oracle")
    write_run(tmp_path / "demo" / "nav-planner", [episode(s, s > 0, plan()) for s in range(3)])
    write_run(tmp_path / "demo" / "nav-noisy", [episode(s, s > 0, plan()) for s in range(3)], latency=1.5)
    page = write_report([tmp_path / "demo"], tmp_path / "elsewhere" / "mine.html")
    results = json.loads((tmp_path / "elsewhere" / "mine.json").read_text())
    assert page.exists()
    assert [(r["policy"], r["latency"], r["compared_with_first_of_its_task"] is None) for r in results["runs"]] == [
        ("planner", 1.5, True), ("planner", 0.0, True), ("oracle", 0.0, False),
    ]  # fmt: skip


def test_a_run_in_progress_is_read_and_left_as_it_is(run: Path, tmp_path: Path) -> None:
    records = shutil.copytree(run, tmp_path / "copy") / "records.jsonl"
    with records.open("a") as stream:
        stream.write('{"type": "plan", "seed": 9, "ind')
    before = records.read_bytes()
    by_suffix = {each.suffix: len(each.episodes) for each in find_runs([records.parent])}
    assert by_suffix == {"": 4, "-blank": 4, "-oracle": 4}
    assert records.read_bytes() == before


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        write_report([tmp_path])
    with pytest.raises(ConfigError, match="no such folder"):
        write_report([tmp_path / "no"])
    (tmp_path / "records.jsonl").write_text('{"type": "episode"}\n')
    with pytest.raises(ConfigError, match="does not begin with a run line"):
        write_report([tmp_path])


def test_the_page_of_a_run_without_episodes_says_so(tmp_path: Path) -> None:
    text = Page(write_report([write_run(tmp_path, [])]).read_text(encoding="utf-8")).text
    assert "0 episodes" in text
    assert "No episode failed" in text


def test_success_by_difficulty_uses_the_world_s_measure_or_the_length_of_the_path() -> None:
    lengths = [(2.0, True), (3.9, False), (4.0, True), (8.0, False)]
    episodes = [episode(i, won, geodesic_distance=length) for i, (length, won) in enumerate(lengths)]
    assert [(s.label, s.successes, s.episodes) for s in by_difficulty(episodes)] == [
        ("path under 4 m", 1, 2), ("4 to 7 m", 1, 1), ("over 7 m", 0, 1),
    ]  # fmt: skip
    graded = [episode(i, i > 1, difficulty=float(i // 2)) for i in range(4)]
    assert [(s.label, s.successes, s.episodes) for s in by_difficulty(graded)] == [
        ("difficulty 0", 0, 2), ("difficulty 1", 2, 2),
    ]  # fmt: skip
    assert by_difficulty(graded[:1]) == ()


def test_the_results_fit_their_schema(run: Path, html: str) -> None:
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(results, SCHEMA)
    assert [r["failures"] for r in results["runs"]] == [
        {"wrong object": 1, "unreachable": 1}, {"unreachable": 3}, {},
    ]  # fmt: skip


def test_the_schema_knows_every_figure_of_a_report() -> None:
    known = SCHEMA["$defs"]["run"]
    assert {f.name for f in fields(Report)} <= set(known["properties"])
    assert known["required"] == sorted(known["properties"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"format": "si-embodied results 1", "runs": [{"env": "x"}]}, SCHEMA)


def test_the_command_of_a_run_is_understood(run: Path, html: str) -> None:
    for each in json.loads((run / "results.json").read_text(encoding="utf-8"))["runs"]:
        words = shlex.split(each["command"])
        command, _ = parse(words[1:])
        assert command.evaluation.env == each["env"]
        assert (command.evaluation.episodes, command.evaluation.seed) == (each["asked"], each["seed"])


def test_seeds_of_several_commands_have_a_command_each(tmp_path: Path) -> None:
    write_run(tmp_path, [episode(seed, True, plan()) for seed in (0, 1, 2, 3, 100, 101)])
    write_run(tmp_path, [episode(seed, True) for seed in (0, 1)], suffix="-oracle", policy="oracle")
    write_run(tmp_path, [episode(seed, True) for seed in (0, 1)], suffix="-random", policy="random")
    # The latest command asked for the seeds 100 to 102, with random as a control, and was interrupted.
    (tmp_path / "report.json").write_text('{"seed": 100, "asked": 3, "controls": {"random": {}}}')
    page = Page(write_report([tmp_path]).read_text(encoding="utf-8")).text
    ran = {run["policy"]: run for run in json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["runs"]}
    commands = [parse(shlex.split(line)[1:])[0].evaluation for line in ran["planner"]["command"].splitlines()]
    assert [list(each.seeds) for each in commands] == [[0, 1, 2, 3], [100, 101, 102]]
    assert ran["planner"]["seeds"] == "0 to 3 and 100 to 101"
    assert {name: (run["episodes"], run["asked"]) for name, run in ran.items()} == {
        "planner": (6, 7), "oracle": (2, 2), "random": (2, 5),
    }  # fmt: skip
    assert "several commands ran into this folder, with seeds 0 to 3 and 100 to 101" in page
    assert "planner: 6 of 7 episodes have been run" in page


def test_machine_and_versions_are_said_once(html: str, tmp_path: Path) -> None:
    assert html.count("processor a CPU") == 1
    assert "All runs" in html
    alone = write_report([write_run(tmp_path, [episode(0, True)])]).read_text(encoding="utf-8")
    assert alone.count("processor a CPU") == 1
    assert "All runs" not in alone


def test_a_head_says_what_is_a_mean_and_what_a_sum_and_in_which_unit(html: str) -> None:
    text = re.sub(r"\s+", " ", Page(html).text)
    for head in ("steps,mean", "plans,in all", "holds,in all", "distance_to_goal, m"):
        assert head in text, head
    assert "distance_to_goal 0.1 m" in text  # of an episode


def test_the_card_says_what_a_score_depends_on(run: Path) -> None:
    text = write_card([run]).read_text(encoding="utf-8")
    parts = ("si-nano", "float32", "sdpa", "nav/v2", "seeds 0 to 3", "0.50 [0.15, 0.85]", "planner (blank)", "a CPU")
    for part in (*parts, "si-embodied 0.1.0", "si-embodied eval --env si_embodied/Apartment-v0"):
        assert part in text, part


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Code)


def test_the_command_writes_page_and_card(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--card"]) == 0
    out = capsys.readouterr().out
    assert f"report: {run / 'report.html'}" in out
    assert f"card: {run / 'card.md'}" in out


def test_a_missing_run_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_an_evaluation_ends_with_its_page(fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--env", fake_world, "--policy", "thinker", "--episodes", "2", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"page: {tmp_path / 'report.html'}" in said
    assert f"\nrecords and report are in {tmp_path}\n" in said  # there are no videos
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(page.all("details")) == 2
    assert len(page.all("img")) == 4


def test_bibtex_has_the_software_and_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cite"]) == 0
    out = capsys.readouterr().out
    assert out.count("@") == 2
    assert out.count("{") == out.count("}")
    assert "doi = {10.48550/arXiv.2511.13719}" in out
    assert "author = {Cai, Zhongang and Wang, Ruisi" in out


@pytest.mark.parametrize("write", [write_report, write_card])
def test_a_report_on_no_run_is_refused(write: Callable[[list[Path]], Path]) -> None:
    with pytest.raises(ConfigError, match="at least one folder of a run"):
        write([])
