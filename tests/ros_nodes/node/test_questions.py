"""Questions to a model that plans too."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from si_embodied.backends import ScriptedBackend
from si_embodied.errors import BackendError, DeadlineExceeded, RegionParseError
from si_embodied.ros_nodes.node.questions import Asker, SharedBackend
from si_embodied.types import Prompt

PICTURE = np.zeros((10, 20, 3), dtype=np.uint8)
PROMPT = Prompt("nav/v1", "", ("where?",), {})


def test_two_threads_never_ask_at_once() -> None:
    inside = []

    def answer(_: Prompt) -> str:
        inside.append(1)
        alone = len(inside) == 1
        time.sleep(0.02)
        inside.pop()
        return str(alone)

    shared = SharedBackend(ScriptedBackend(answer))
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(shared.generate(PROMPT, deadline_s=5.0).text)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["True"] * 5


def test_who_waits_for_the_model_keeps_to_its_own_deadline() -> None:
    leave, busy = threading.Event(), threading.Event()

    def answer(_: Prompt) -> str:
        busy.set()
        leave.wait(10.0)
        return "late"

    shared = SharedBackend(ScriptedBackend(answer))
    first = threading.Thread(target=lambda: shared.generate(PROMPT, deadline_s=10.0))
    first.start()
    busy.wait(10.0)
    with pytest.raises(DeadlineExceeded, match="busy"):
        shared.generate(PROMPT, deadline_s=0.05)
    leave.set()
    first.join()


def test_a_model_that_answers_in_json_is_read_in_json() -> None:
    asker = Asker(ScriptedBackend(['{"answer": "two"}', '[{"bbox_2d": [100, 200, 300, 400]}]']))
    assert asker.ask([PICTURE], "how many?", deadline_s=1.0) == "two"
    assert asker.locate(PICTURE, "the cup", deadline_s=1.0)[1].point == (200, 300)


def test_answers_that_are_none_are_errors() -> None:
    asker = Asker(ScriptedBackend(["two", '[{"bbox_2d": [300, 200, 100, 400]}]']))
    with pytest.raises(BackendError, match="with an answer"):
        asker.ask([PICTURE], "how many?", deadline_s=1.0)
    with pytest.raises(RegionParseError):
        asker.locate(PICTURE, "the cup", deadline_s=1.0)
