"""Every example runs, and none is longer than a screen."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from si_embodied import Task, skills
from si_embodied.backends import BackendConfig
from si_embodied.config import load_planner_config
from si_embodied.embodiment import MobileBase
from si_embodied.evaluation import registry
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.types import Execute, Observation

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
FIND = Task("find the red chair", "navigation")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def known() -> Iterator[None]:
    """What an example registers is forgotten after its test."""
    described, policies = list(skills._SKILLS), dict(registry._POLICIES)
    yield
    skills._SKILLS[:] = described
    registry._POLICIES.clear()
    registry._POLICIES.update(policies)


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.name)
def test_an_example_fits_on_a_screen(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 60


def test_a_skill_of_ones_own_is_planned_and_driven(known: None) -> None:
    """In one file: its description, its goal and its controller."""
    gymnasium = pytest.importorskip("gymnasium")
    pytest.importorskip("mujoco")
    import si_embodied.envs  # noqa: F401 - registers the worlds
    from si_embodied.policies.observation import from_gymnasium

    example = load("follow_the_wall")
    env = gymnasium.make("si_embodied/Apartment-v0", image_size=64)
    policy = SpatialPlannerPolicy.for_env(env, BackendConfig("scripted", script=(example.ANSWER,)))
    raw, _ = env.reset(seed=1)
    policy.reset(Task(raw["instruction"], "navigation"))
    start = raw["T_map_base"].copy()
    for _ in range(12):
        raw, *_ = env.step(policy.act(from_gymnasium(raw, env.unwrapped.embodiment.cameras)))
    env.close()
    policy.close()
    assert isinstance(policy.decisions[0], Execute)
    assert policy.decisions[0].goals[0].words == "follow the wall on the right for 1.00 m"
    assert "follow: follow the wall" in skills.skill_list("navigation")
    assert abs(raw["T_map_base"] - start).max() > 0.1, "the robot has moved"


def test_a_prompt_of_ones_own_is_shown(base: MobileBase, wall_ahead: Observation, monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    config = load_planner_config(EXAMPLES / "own_prompt.yaml")
    planner = Planner(load("own_backend").TurnAndLook(), base, config)
    decision = planner.plan(FIND, wall_ahead, Memory())
    assert decision.record.prompt_version == "examples/own_prompt.md"
    assert isinstance(decision, Execute)


def test_a_backend_of_ones_own_is_asked(base: MobileBase, wall_ahead: Observation) -> None:
    planner = Planner(load("own_backend").TurnAndLook(), base)
    decision = planner.plan(FIND, wall_ahead, Memory())
    assert isinstance(decision, Execute)
    assert decision.subgoals[0].words == "turn 90"
    assert decision.record.model == "turn-and-look"


def test_a_policy_of_ones_own_is_evaluated_in_a_world_of_ones_own(known: None, tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.episode import run_episode

    load("own_world")
    load("own_policy").register()
    env = registry.make_env(EvaluationConfig("Corridor-v0", "cautious"))
    make = registry.find_policy("cautious").prepare(registry.PolicySettings())
    result = run_episode(env, make(env, 0), 0, observe=registry.observe)
    assert not result.success, "it never says that it is there"
    assert result.steps == 100
    planned = SpatialPlannerPolicy.for_env(
        env,
        BackendConfig("scripted", script=('{"subgoals": [], "done": true}',)),
    )
    assert run_episode(env, planned, 0, observe=registry.observe).steps < 100


def test_a_plugin_is_found_by_its_entry_point(tmp_path: Path) -> None:
    """As pip would install it: its module and the entry point that it declares, on the path."""
    info = tmp_path / "my_lab_robots-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab-robots\nVersion: 0.1.0\n")
    declared = (EXAMPLES / "plugin" / "pyproject.toml").read_text().split("[project.entry-points.")[1]
    group, line = declared.splitlines()[0].strip('"]'), declared.splitlines()[1].replace('"', "")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line}\n")
    (tmp_path / "my_lab.py").write_text((EXAMPLES / "plugin" / "my_lab.py").read_text())
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    listed = subprocess.run(
        [sys.executable, "-m", "si_embodied.cli.main", "envs"],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert "patient" in listed.stdout, listed.stderr
    (tmp_path / "my_lab.py").write_text("raise OSError('no such robot')")
    failed = subprocess.run(
        [sys.executable, "-m", "si_embodied.cli.main", "envs"],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert failed.returncode == 2
    assert "plugin 'my_lab' (my_lab:register) failed: OSError: no such robot" in failed.stderr
