"""The page in a real browser: accessible, quick and complete without a network."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stored_runs import episode, plan, write_run

from si_embodied.evaluation.page import write_report
from si_embodied.types import Code

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]
MOST_BYTES, MOST_S = 30_000_000, 2.0


def write_page(folder: Path, count: int) -> Path:
    """The page of a planner's episodes, with as many pictures as a run leaves, and of two controls."""
    rng, codes = np.random.default_rng(0), (Code.OK, Code.OK, Code.OK, Code.TOO_FAR, Code.DEPTH_INVALID)

    def plans(seed: int) -> list:
        pointed = ("target", "other", "nothing", None)
        return [plan(codes[(seed + i) % 5], pointed_at=pointed[(seed + i) % 4], total_s=0.1) for i in range(10)]

    own, blank = rng.random((2, count))
    write_run(folder, [episode(s, bool(own[s] < 0.6), *plans(s)) for s in range(count)], stills=6)
    write_run(
        folder, [episode(s, bool(blank[s] < 0.2), *plans(s)) for s in range(count)], suffix="-blank", control="blank"
    )
    write_run(folder, [episode(s, True) for s in range(count)], suffix="-oracle", policy="oracle")
    return write_report([folder])


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_a_run_of_200_episodes_is_small_and_opens_quickly(tmp_path: Path, browser) -> None:
    page_file = write_page(tmp_path, 200)
    assert page_file.stat().st_size < MOST_BYTES
    took_s, wall_s = [], []
    for _ in range(3):
        page = browser.new_page()
        session = page.context.new_cdp_session(page)
        # Of the processor: how many other programs share the machine is not the page's fault.
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        started_s = time.perf_counter()
        page.goto(page_file.as_uri(), wait_until="load")
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        wall_s.append(time.perf_counter() - started_s)
        found = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
        took_s.append(found["TaskDuration"])
        assert page.locator("details.episode").count() == 600
        page.close()
    logging.getLogger(__name__).info("%d bytes, %s s, wall clock %s s", page_file.stat().st_size, took_s, wall_s)
    assert 0 < min(took_s) < MOST_S


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small page with everything in it."""
    return write_page(tmp_path_factory.mktemp("run"), 5)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 400), ("dark", 400)])
def test_nothing_serious_is_wrong_for_those_who_do_not_see_well(
    page_file: Path, browser, scheme: str, width: int
) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(page_file.as_uri())
    page.evaluate("() => document.querySelectorAll('details').forEach((each, i) => each.open = i < 3)")
    found = axe.Axe().run(page).response["violations"]
    overflow = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    page.close()
    serious = {
        each["id"]: each["nodes"][0]["html"][:200] for each in found if each["impact"] in ("serious", "critical")
    }
    assert not serious
    assert overflow <= 0, "the page scrolls sideways"
    assert not complaints
    assert all(url.startswith(("data:", page_file.as_uri())) for url in asked)
