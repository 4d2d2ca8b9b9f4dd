"""Episodes whose simulator is lost are reported, excluded from all figures, and repeated."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from si_embodied import task
from si_embodied.backends.config import BackendConfig
from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.errors import BackendError, EvaluationError, SimulatorError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import EpisodeResult
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.registry import PolicySpec, make_env, policies, register_policy
from si_embodied.evaluation.report import compare, detail_lines, make_report
from si_embodied.evaluation.runner import Run, evaluate
from si_embodied.policies.base import Policy
from si_embodied.types import Completion, Prompt

pytest.importorskip("gymnasium")
pytestmark = pytest.mark.timeout(120)


class Walker(Policy):
    """Always walks."""

    def reset(self, task):
        pass

    def act(self, observation):
        return 1


if "brittle-walker" not in policies():
    register_policy(PolicySpec("brittle-walker", "walks on", False, lambda _: lambda env, seed: Walker()))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The brittle world, in another Python whose path contains it."""
    worlds = Path(__file__).parents[1] / "worlds"
    import si_embodied.envs.process.interpreter as interpreter

    clean = interpreter.clean_environment
    monkeypatch.setattr(interpreter, "clean_environment", lambda *given: {**clean(*given), "PYTHONPATH": str(worlds)})
    return "brittle_world:brittle/World-v0"


def run(config: EvaluationConfig, path: Path, **options) -> Run:
    return evaluate(config, RecordFile(path / "records.jsonl", config.identity()), **options)


def config(world: str, **changes) -> EvaluationConfig:
    return EvaluationConfig(env=world, policy="brittle-walker", python=Path(sys.executable), **changes)


def test_a_lost_episode_affects_no_other_and_is_repeated_by_the_same_command(world: str, tmp_path: Path) -> None:
    result = run(config(world, episodes=4), tmp_path)  # its simulator crashes in the episode of seed 1
    assert [(e.seed, e.ended, e.success) for e in result.episodes] == [
        (0, "terminated", True), (1, "lost", False), (2, "terminated", True), (3, "terminated", True),
    ]  # fmt: skip
    report = make_report(result)
    assert (report.episodes, report.asked, report.lost, report.success_rate) == (3, 4, 1, 1.0)
    assert report.to_json()["lost"] == 1
    assert any("1 episode lost by the simulator" in line for line in detail_lines(report))
    assert compare("same", result, result).episodes == 3
    seen: list[int] = []
    again = run(config(world, episodes=4), tmp_path, on_episode=lambda episode: seen.append(episode.seed))
    assert (seen, again.resumed) == ([1], 3)


def test_a_run_ends_when_the_simulator_is_lost_every_time(
    world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("si_embodied.evaluation.runner.MOST_LOST", 2)
    lost = EpisodeResult(0, "", "", False, 0, "lost", 0.0, 0.0, {})
    monkeypatch.setattr(
        "si_embodied.evaluation.runner.run_episode", lambda env, policy, seed, **_: replace(lost, seed=seed)
    )
    with pytest.raises(EvaluationError, match="lost in 2 episodes in a row, the last with seed 8"):
        run(config(world, episodes=20, seed=7), tmp_path)


def test_a_world_that_cannot_be_made_is_an_error_and_not_a_lost_episode(world: str) -> None:
    with pytest.raises(SimulatorError, match="NameNotFound|UnregisteredEnv|brittle"):
        make_env(EvaluationConfig(env="brittle_world:brittle/Other-v0", policy="random", python=Path(sys.executable)))


def test_the_python_that_runs_the_world_is_part_of_the_identity(world: str) -> None:
    assert config(world).digest() != EvaluationConfig(env=world, policy="brittle-walker").digest()


def test_an_episode_without_its_model_is_not_recorded_and_is_run_again(
    fake_world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = '{"subgoals": [{"skill": "stop"}], "done": false}'
    planner = EvaluationConfig(fake_world, "planner", backend=BackendConfig("scripted", script=(stop,)), episodes=3)

    def give_up(self: ScriptedBackend, prompt: Prompt, *, deadline_s: float) -> Completion:
        raise BackendError("the server has gone")

    run(replace(planner, episodes=1), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(task, "_LONGEST_PAUSE_S", 0.0)
        patch.setattr(ScriptedBackend, "generate", give_up)
        with pytest.raises(EvaluationError, match=r"seed 1, which is not recorded: the server has gone; repeat"):
            run(planner, tmp_path)
    again = run(planner, tmp_path)
    assert (again.resumed, [episode.seed for episode in again.episodes]) == (1, [0, 1, 2])
    assert not any(episode.outage for episode in again.episodes)
