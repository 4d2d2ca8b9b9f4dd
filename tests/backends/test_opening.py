"""Opening a backend and a planner from settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import si_embodied
from si_embodied.backends import BackendConfig, ScriptedBackend, open_backend
from si_embodied.backends.opening import backend_config, located
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.embodiment import MobileBase
from si_embodied.errors import BackendError, CheckpointError, ConfigError
from si_embodied.memory import Memory
from si_embodied.models.checkpoints import shipped_checkpoint
from si_embodied.planner import Planner
from si_embodied.types import Execute, Observation, Task

EXPLORE = '{"subgoals": [{"skill": "explore"}], "done": false}'
STOP = '{"subgoals": [{"skill": "stop"}], "done": false}'
FIND = Task("find the red chair", "navigation")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("1.4-InternVL3-8B", BackendConfig(model="1.4-InternVL3-8B")),
        ("owner/name@main", BackendConfig(model="owner/name@main")),
        (Path("/models/mine"), BackendConfig(model="/models/mine")),
        ("ws://workstation:8421", BackendConfig("remote", url="ws://workstation:8421")),
    ],
)
def test_a_bare_model_name_selects_the_backend(model: str | Path, expected: BackendConfig) -> None:
    assert backend_config(model) == expected


def test_three_lines_plan_with_a_checkpoint_directory(base: MobileBase, wall_ahead: Observation) -> None:
    pytest.importorskip("torch")
    planner = si_embodied.open_planner(shipped_checkpoint(), base)
    decision = planner.plan(FIND, wall_ahead, Memory())
    planner.close()
    assert decision.record.model == "nano"
    assert decision.record.prompt_version == "nav/nano2", "its own prompts, by default"


def test_a_script_answers_in_order_and_repeats_its_last_answer(base: MobileBase, wall_ahead: Observation) -> None:
    planner = si_embodied.open_planner(BackendConfig("scripted", script=(EXPLORE, STOP)), base)
    decisions = [planner.plan(FIND, wall_ahead, Memory()) for _ in range(3)]
    skills = [decision.subgoals[0].skill for decision in decisions if isinstance(decision, Execute)]
    assert skills == ["explore", "stop", "stop"]


def test_prompts_default_to_the_models_and_then_to_the_package(base: MobileBase) -> None:
    backend = ScriptedBackend([])
    assert Planner(backend, base).config.prompts.navigation == "nav/v2"
    backend.info = dataclasses.replace(backend.info, prompts=Prompts(navigation="nav/nano2", reasoning=True))
    prompts = Planner(backend, base).config.prompts
    assert prompts == Prompts("nav/nano2", "manip/v2", "rearrange/v2", reasoning=True)
    given = PlannerConfig(Prompts(navigation="nav/imagenav_v1"))
    assert Planner(backend, base, given).config.prompts.navigation == "nav/imagenav_v1"


def test_a_missing_model_is_named() -> None:
    with pytest.raises(CheckpointError, match="/no/such"):
        located(BackendConfig(model="/no/such"))


@pytest.mark.parametrize("exported", [False, True])
def test_a_folder_without_a_model_is_found_out_before_anything_is_opened(tmp_path: Path, exported: bool) -> None:
    if exported:
        (tmp_path / "si_embodied_onnx.json").write_text("{}")
    with pytest.raises(CheckpointError, match="format" if exported else r"no config\.json"):
        located(BackendConfig(model=str(tmp_path)))


def test_a_planning_server_is_not_a_backend() -> None:
    with pytest.raises(ConfigError, match="open_planner"):
        open_backend(BackendConfig("remote", url="ws://127.0.0.1:9"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ws://127.0.0.1:9"])
def test_an_unreachable_server_fails_at_once(base: MobileBase, url: str) -> None:
    pytest.importorskip("httpx")
    pytest.importorskip("websockets")
    with pytest.raises(BackendError, match="127.0.0.1:9"):
        si_embodied.open_planner(url, base)


def test_a_planning_server_has_thinking_tokens_of_its_own() -> None:
    with pytest.raises(ConfigError, match="start the server with it"):
        BackendConfig("remote", url="ws://127.0.0.1:9", thinking_tokens=10)


@pytest.mark.parametrize("name", ["thinking_tokens", "cache_mb"])
def test_a_negative_number_is_rejected(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} to be at least 0, got: -1"):
        BackendConfig(**{name: -1})
