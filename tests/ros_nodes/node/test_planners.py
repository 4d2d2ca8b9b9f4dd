"""The backend and the planner created from a node's settings."""

from __future__ import annotations

import json

import numpy as np
import pytest

from si_embodied.backends import ServerBackend
from si_embodied.backends.config import BackendConfig, ServerOptions
from si_embodied.backends.retries import Retries
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.errors import BackendError, ConfigError, UnknownNameError
from si_embodied.ros_nodes.node.perfect_pixels import Truth
from si_embodied.ros_nodes.node.planners import make_asker, make_backend, make_planner
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.types import Prompt


def test_the_shipped_model_uses_its_own_prompts_and_answers_questions() -> None:
    pytest.importorskip("torch")
    settings = NodeSettings(planner=PlannerConfig(deadline_s=7.0))
    backend = make_backend(settings)
    planner = make_planner(settings, backend)
    assert planner.config.prompts.navigation == "nav/nano2"
    assert planner.config.deadline_s == 7.0
    assert make_asker(settings, backend) is not None
    other = NodeSettings(planner=PlannerConfig(Prompts(navigation="nav/v1")))
    assert make_planner(other, backend).config.prompts.navigation == "nav/v1", "the user's choice wins"


def test_failing_questions_to_a_model_server_do_not_stop_the_plans() -> None:
    pytest.importorskip("httpx")
    settings = NodeSettings(backend="server", url="http://127.0.0.1:1", model="si")  # nothing listens there
    backend = ServerBackend(settings.url, settings.model, retries=Retries(attempts=1))
    asker = make_asker(settings, backend)
    assert asker is not None
    for words in (*["cannot connect"] * 3, "not asked"):
        with pytest.raises(BackendError, match=words):
            asker.ask([np.zeros((8, 8, 3), np.uint8)], "is it red?", deadline_s=5.0)
    with pytest.raises(BackendError, match="cannot connect"):
        backend.generate(Prompt("nav/v1", "", ("go",), {}), deadline_s=5.0)
    backend.close()


def test_parameters_become_one_backend_config() -> None:
    settings = NodeSettings(backend="server", url="http://host:8000", model="si", family="internvl", script_delay_s=1.0)
    wanted = BackendConfig(
        "server", "si", url="http://host:8000", server=ServerOptions(family="internvl"), script_delay_s=1.0
    )
    assert settings.backend_config == wanted
    scripted = NodeSettings(backend="scripted", script="one\n\ntwo\n")
    assert scripted.backend_config.script == ("one", "two")


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"backend": "server", "model": "si"}, ConfigError, "needs the server's URL"),
        ({"backend": "server", "url": "http://host"}, ConfigError, "name of a served model"),
        ({"backend": "remote"}, ConfigError, "ws://"),
        ({"backend": "scripted", "script": " "}, ConfigError, "at least one answer"),
        ({"weights": "3bit"}, UnknownNameError, "3bit"),
        ({"backend": "server", "url": "http://host", "model": "si", "family": "gpt"}, UnknownNameError, "model family"),
    ],
)
def test_conflicting_parameters_are_named(values: dict[str, str], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        NodeSettings(**values)  # type: ignore[arg-type]


TRUTH = {"stamp_s": 9.5, "visible": [0, 31.5, 20.0], "name": "chair", "at_goal": False}


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{}", "[" * 5000, json.dumps({**TRUTH, "stamp_s": 10**400}),
        json.dumps({**TRUTH, "visible": [float("inf"), 1, 2]}), json.dumps({**TRUTH, "skill": {}}),
    ],
)  # fmt: skip
def test_what_is_not_ground_truth_is_a_backend_error(text: str) -> None:
    assert Truth.from_json(json.dumps(TRUTH)).visible == (0, 31.5, 20.0)
    with pytest.raises(BackendError, match="ground truth") as error:
        Truth.from_json(text)
    assert len(str(error.value)) < 400
