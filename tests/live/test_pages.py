"""Both pages in a real browser: Debian's chromium, driven by playwright."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mujoco")
pytest.importorskip("fastapi")
pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

from playwright import sync_api as playwright

from si_embodied.backends.config import BackendConfig
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.runner import evaluate
from si_embodied.live.address import PageAddress
from si_embodied.live.board import Board
from si_embodied.live.episodes import live_episodes
from si_embodied.live.server import PageServer
from si_embodied.live.watching import watch
from si_embodied.play.app import PlayApp
from si_embodied.play.session import PlaySession
from si_embodied.play.settings import PlaySettings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]

TABLE, APARTMENT = "si_embodied/Tabletop-v0", "si_embodied/Apartment-v0"
LONG_MS = 90_000
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Tab:
    """A page in the browser, and everything it complained about."""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def wait(self, selector: str, words: str) -> None:
        playwright.expect(self.page.locator(selector)).to_contain_text(words, timeout=LONG_MS)


def playing(out: Path, env: str = TABLE, task: str = "base", policy: str = "perfect-pixels", **more: Any) -> Any:
    config = EvaluationConfig(env=env, policy=policy, task=task, seed=3, episodes=1, **more)
    board = Board()
    session = PlaySession(PlaySettings(config, out), board)
    session.start()
    return session, PageServer(PlayApp(session, board), PageAddress(port=0)).start()


@pytest.fixture
def play(browser: Any, tmp_path: Path) -> Iterator[Tab]:
    session, server = playing(tmp_path)
    tab = Tab(browser, server.url)
    yield tab
    tab.context.close()
    server.close()
    session.close()


def test_an_instruction_is_typed_and_the_episode_succeeds(play: Tab, tmp_path: Path) -> None:
    play.wait("#connection", "live")
    play.wait("#status", "ready")
    own = play.page.locator("#text").input_value()
    play.page.fill("#text", own)
    play.page.click("#go")
    play.wait("#status", "succeeded")
    assert play.page.locator("#now img").count() == 3
    assert "execute" in play.text("#verdict")
    assert play.page.locator("#seen .mark").count() > 0, "the plan is drawn in"
    play.page.click("#save")
    play.wait("#say", "saved")
    assert len(list(tmp_path.glob("*/questions.jsonl"))) == 1
    assert play.complaints == []


def test_a_person_points_and_picks_by_hand(play: Tab) -> None:
    play.wait("#status", "ready")
    play.page.click("#by-hand")
    play.wait("#say", "you make the plans")
    play.page.click("#tools button[data-tool=pick]")
    box = play.page.locator("#now .shot").first.bounding_box()
    play.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    play.wait("#status", "your turn")
    play.wait("#plan", "person")
    assert '"skill":"pick"' in play.text("#plan pre")
    play.page.click("#stop")
    play.wait("#status", "stopped")
    assert play.complaints == []


def test_objects_move_on_the_map_and_a_bad_place_is_explained(play: Tab) -> None:
    play.wait("#status", "ready")
    thing = play.page.locator("#thing").input_value()
    play.page.select_option("#distance", "0.2")
    for _ in range(6):
        play.page.click('[data-move="1,0"]')
        play.page.wait_for_timeout(300)
    playwright.expect(play.page.locator("#say")).to_have_class("bad", timeout=LONG_MS)
    assert thing in play.text("#say")
    bad_requests = [text for text in play.complaints if "400" not in text]
    assert bad_requests == []


def test_the_apartment_is_driven_with_the_arrow_keys(browser: Any, tmp_path: Path) -> None:
    session, server = playing(tmp_path, APARTMENT, "objectnav")
    tab = Tab(browser, server.url)
    try:
        tab.wait("#status", "ready")
        tab.page.click("#by-hand")
        tab.wait("#say", "you make the plans")
        for key in ("ArrowLeft", "ArrowUp"):
            tab.page.keyboard.press(key)
            tab.wait("#say", "turn 15" if key == "ArrowLeft" else "forward 25")
            tab.wait("#status", "your turn")
        assert '"skill":"forward"' in tab.text("#plan pre")
        assert tab.page.locator("#map .robot").count() == 1
        assert tab.complaints == []
    finally:
        tab.context.close()
        server.close()
        session.close()


def test_a_stranger_sees_nothing(browser: Any, play: Tab) -> None:
    host = "/".join(play.page.url.split("/")[:3])
    for path in ("/", "/events", "/file/page.js", "/do", "/not-the-key-but-as-long-as-it/"):
        stranger = Tab(browser, f"{host}{path}")
        assert stranger.page.locator("img, script, svg").count() == 0
        assert "si-embodied" not in stranger.page.content()
        stranger.context.close()


def test_the_page_asks_no_other_host_for_anything(play: Tab) -> None:
    play.wait("#status", "ready")
    host = "/".join(play.page.url.split("/")[:3])
    assert all(url.startswith((host, "data:")) for url in play.requests)


def test_a_run_is_watched_with_its_images_and_its_plan(browser: Any, tmp_path: Path) -> None:
    with watch(tmp_path) as server:
        tab = Tab(browser, server.url)
        tab.wait("#connection", "no run is going on here now")
        config = EvaluationConfig(env=TABLE, policy="perfect-pixels", task="base", seed=3, episodes=3)
        records = RecordFile(tmp_path / "records.jsonl", config.identity())
        run = threading.Thread(target=lambda: evaluate(config, records, audiences=[partial(live_episodes, tmp_path)]))
        run.start()
        tab.wait("#status", "acting")
        tab.wait("#connection", "live")
        playwright.expect(tab.page.locator("#seen .mark").first).to_be_attached(timeout=LONG_MS)
        assert tab.page.locator("#now img").count() == 3
        assert tab.page.evaluate("document.querySelector('#now img').naturalWidth") == 224
        tab.wait("#latency", "total")
        tab.wait("#prompt", config.planner.prompts.manipulation or "manip/")
        assert tab.page.locator("#prompt img").count() > 0
        run.join()
        tab.wait("#runs", "of 3")
        tab.wait("#connection", "the run has ended or was interrupted")
        assert tab.complaints == []
        tab.context.close()


def test_what_a_model_says_is_text_and_never_part_of_the_page(browser: Any, tmp_path: Path) -> None:
    backend = BackendConfig("scripted", script=(HOSTILE,))
    session, server = playing(tmp_path, policy="planner", backend=backend)
    tab = Tab(browser, server.url)
    try:
        tab.wait("#status", "ready")
        tab.page.fill("#text", HOSTILE)
        tab.page.click("#go")
        tab.wait("#plan", "PLAN_INVALID")
        assert HOSTILE in tab.page.locator("#plan pre").first.inner_text()
        assert tab.page.locator("#plan img, #plan script").count() == 0
        assert tab.page.title() == "si-embodied: play"
        assert tab.complaints == []
    finally:
        tab.context.close()
        server.close()
        session.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_have_no_serious_finding_of_axe(browser: Any, play: Tab, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    play.page.emulate_media(color_scheme=scheme)
    play.wait("#status", "ready")
    own = play.page.locator("#text").input_value()
    play.page.fill("#text", own)
    play.page.click("#go")
    play.wait("#status", "succeeded")
    found = axe.Axe().run(play.page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(serious, indent=1)[:3000]


def test_the_pages_fit_a_narrow_window(browser: Any, play: Tab) -> None:
    play.page.set_viewport_size({"width": 400, "height": 800})
    play.wait("#status", "ready")
    assert play.page.evaluate("document.documentElement.scrollWidth") <= 400
