"""Questions to the planning model."""

from __future__ import annotations

import numpy as np
import pytest

from si_embodied.backends import ScriptedBackend
from si_embodied.backends.questions import Asker
from si_embodied.errors import BackendError, RegionParseError
from si_embodied.types import Prompt

PICTURE = np.zeros((10, 20, 3), dtype=np.uint8)
PROMPT = Prompt("nav/v1", "", ("where?",), {})


def test_json_answers_are_parsed() -> None:
    asker = Asker(ScriptedBackend(['{"answer": "two"}', '[{"bbox_2d": [100, 200, 300, 400]}]']))
    assert asker.ask([PICTURE], "how many?", deadline_s=1.0) == "two"
    assert asker.locate(PICTURE, "the cup", deadline_s=1.0)[1].point == (200, 300)


def test_malformed_answers_raise() -> None:
    asker = Asker(ScriptedBackend(["two", '[{"bbox_2d": [300, 200, 100, 400]}]']))
    with pytest.raises(BackendError, match='with an "answer"'):
        asker.ask([PICTURE], "how many?", deadline_s=1.0)
    with pytest.raises(RegionParseError):
        asker.locate(PICTURE, "the cup", deadline_s=1.0)
