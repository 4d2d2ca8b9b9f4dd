"""Watching a run through its folder."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import Watcher, run_episode
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.registry import make_env, observe
from si_embodied.evaluation.runner import evaluate
from si_embodied.live.episodes import LiveEpisode, live_episodes
from si_embodied.live.folder import OPEN_S, FolderScreen, FolderSource
from si_embodied.live.frame import Frame
from si_embodied.parallel.placement import Placement

pytest.importorskip("PIL")


class Kept:
    """A screen that keeps its frames."""

    def __init__(self, *, wanted: bool = True, breaks: bool = False) -> None:
        self.frames: list[Frame] = []
        self.is_wanted, self.breaks, self.asked = wanted, breaks, 0

    def wanted(self) -> bool:
        self.asked += 1
        return self.is_wanted

    def show(self, frame: Frame) -> None:
        if self.breaks:
            raise OSError("the disk is gone")
        self.frames.append(frame)


def config(world: str, policy: str = "thinker", episodes: int = 3) -> EvaluationConfig:
    return EvaluationConfig(env=world, policy=policy, episodes=episodes)


def run(world: str, folder: Path, **options: Any) -> None:
    settings = config(world)
    evaluate(
        settings,
        RecordFile(folder / "records.jsonl", settings.identity()),
        audiences=[partial(live_episodes, folder)],
        **options,
    )


def play(world: str, watcher: Watcher, policy: str = "Thinker", seed: int = 4) -> None:
    import fake_world

    run_episode(make_env(config(world)), getattr(fake_world, policy)(), seed, observe=observe, watchers=[watcher])


def test_a_run_that_nobody_watches_writes_no_frames(fake_world: str, tmp_path: Path) -> None:
    run(fake_world, tmp_path)
    assert not (tmp_path / "live").exists()


def test_a_run_is_watched_through_its_folder(fake_world: str, tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    assert told(source) == ["state"]
    shown: list[dict[str, Any]] = []
    run(fake_world, tmp_path, on_episode=lambda _: shown.extend(frames(source)))
    assert [each["frame"]["seed"] for each in shown] == [0, 1, 2]
    assert [each["frame"]["status"] for each in shown] == ["succeeded", "failed (terminated)", "succeeded"]
    assert shown[0]["worker"].endswith(str(os.getpid()))
    assert shown[0]["frame"]["plans"][0]["code_name"] == "NO_DEPTH"
    assert told(source) == ["runs", "state"], "a process that has ended shows nothing"


def test_a_page_is_told_when_nothing_acts_any_more(fake_world: str, tmp_path: Path) -> None:
    """Whether the run has ended or was interrupted: its processes take their files away."""
    source, acting = FolderSource(tmp_path), []

    def look(_: object = None) -> None:
        acting.extend(json.loads(news.data)["acting"] for news in source.news({}) if news.topic == "state")
        if len(acting) == 3:
            raise KeyboardInterrupt

    look()
    run(fake_world, tmp_path, on_episode=look)
    look_again = [json.loads(news.data) for news in source.news({}) if news.topic == "state"]
    assert (acting, look_again) == ([0, 1, 1], [{"acting": 0}])


def told(source: FolderSource) -> list[str]:
    return [news.topic for news in source.news({})]


def frames(source: FolderSource) -> list[dict[str, Any]]:
    return [json.loads(news.data) for news in source.news({}) if news.topic == "frame"]


@pytest.mark.slow
def test_worker_processes_are_watched_the_same_way(fake_world: str, tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    source.news({})
    shown: list[dict[str, Any]] = []
    run(fake_world, tmp_path, placement=Placement(2), on_episode=lambda _: shown.extend(frames(source)))
    assert shown
    assert not any(each["worker"].endswith(f"-{os.getpid()}") for each in shown)


def test_a_page_that_was_closed_or_has_died_stops_the_frames(tmp_path: Path) -> None:
    screen, source = FolderScreen(tmp_path), FolderSource(tmp_path)
    assert not screen.wanted()
    source.news({})
    assert screen.wanted()
    source.pages(0)
    assert not screen.wanted()
    source.news({})
    before_s = time.time() - OPEN_S - 1
    os.utime(tmp_path / "live" / "open", (before_s, before_s))
    assert not screen.wanted(), "its server was killed"


def test_news_are_told_once(tmp_path: Path) -> None:
    screen, source = FolderScreen(tmp_path), FolderSource(tmp_path)
    screen.show(frame := Frame("a", 0, "go", 0, 0.0, "acting"))
    news, state = source.news({})
    assert json.loads(news.data)["frame"]["title"] == "a"
    known = {state.key: state.version}
    assert source.news({news.key: news.version, **known}) == []
    time.sleep(0.02)
    screen.show(dataclasses.replace(frame, title="b"))
    (later,) = source.news({news.key: news.version, **known})
    assert json.loads(later.data)["frame"]["title"] == "b"
    assert later.key == news.key


def test_frames_keep_a_distance_except_for_new_decisions(fake_world: str) -> None:
    screen = Kept()
    play(fake_world, LiveEpisode(screen, title="t", seed=4, clock=lambda: 0.0), "Walker")
    assert [frame.step for frame in screen.frames] == [0, 8], "the first, and the end"
    screen = Kept()
    play(fake_world, LiveEpisode(screen, title="t", seed=4, clock=lambda: 0.0))
    assert [len(frame.plans) for frame in screen.frames] == [1, 2, 2]


def test_an_episode_goes_on_when_it_cannot_be_shown(
    fake_world: str, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    screen = Kept(breaks=True)
    play(fake_world, LiveEpisode(screen, title="t", seed=4))
    assert [record.getMessage() for record in caplog.records] == [
        "the live page shows no more of this episode: OSError: the disk is gone"
    ]


def test_success_so_far_is_read_while_it_is_written(fake_world: str, tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    told: list[list[dict[str, Any]]] = []

    def read(_: object) -> None:
        told.extend(json.loads(news.data) for news in source.news({}) if news.topic == "runs")

    run(fake_world, tmp_path, on_episode=read)
    assert [(runs[0]["successes"], runs[0]["episodes"]) for runs in told] == [(1, 1), (1, 2), (2, 3)]
    assert told[-1][0]["holds"] == {"NO_DEPTH": 3}
    assert told[-1][0]["plan_s"][0] == pytest.approx(0.03)  # every episode decides twice, in 20 and in 40 ms
    low, high = told[-1][0]["interval"]
    assert 0 < low < 2 / 3 < high < 1
    assert [row["seed"] for row in told[-1][0]["latest"]] == [0, 1, 2]
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"type": "episode", "seed')  # still being written
    assert FolderSource(tmp_path).news({})[0].data == json.dumps(told[-1])
