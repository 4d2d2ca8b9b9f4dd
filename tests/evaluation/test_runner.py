from __future__ import annotations

from pathlib import Path

import pytest

from si_embodied.backends.config import BackendConfig
from si_embodied.errors import ConfigError, EvaluationError, ObservationError, UnknownNameError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import run_episode
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.registry import PolicySpec, find_policy, make_env, observe, register_policy
from si_embodied.evaluation.runner import Run, evaluate
from si_embodied.parallel.placement import Placement
from si_embodied.types import Code


def run(config: EvaluationConfig, path: Path, **options) -> Run:
    return evaluate(config, RecordFile(path / "records.jsonl", config.identity()), **options)


def test_an_episode_reports_the_environments_success_and_metrics(fake_world: str) -> None:
    env = make_env(EvaluationConfig(env=fake_world, policy="stopper"))
    import fake_world as world

    result = run_episode(env, world.Stopper(), 4, observe=observe)
    assert (result.success, result.steps, result.ended) == (True, 1, "terminated")
    assert (result.task, result.instruction) == ("objectnav", "find the chair of seed 4")
    assert result.simulated_s == 0.5
    assert result.metrics == {"spl": 0.5, "distance_to_goal": 2.0}


def test_an_episode_that_the_environment_never_ends_hits_the_step_limit(fake_world: str) -> None:
    env = make_env(EvaluationConfig(env=fake_world, policy="walker"))
    import fake_world as world

    assert run_episode(env, world.Walker(), 0, observe=observe).ended == "truncated"
    limited = run_episode(env, world.Walker(), 0, observe=observe, step_limit=3)
    assert (limited.ended, limited.steps) == ("step_limit", 3)


def test_seeds_are_consecutive(fake_world: str, tmp_path: Path) -> None:
    result = run(EvaluationConfig(env=fake_world, policy="stopper", episodes=4, seed=7), tmp_path)
    assert [episode.seed for episode in result.episodes] == [7, 8, 9, 10]
    assert [episode.success for episode in result.episodes] == [False, True, False, True]


def test_decisions_are_recorded_with_their_episode(fake_world: str, tmp_path: Path) -> None:
    result = run(EvaluationConfig(env=fake_world, policy="thinker", episodes=2), tmp_path)
    for episode in result.episodes:
        assert [(p.record.code, p.executed) for p in episode.plans] == [(Code.NO_DEPTH, False), (Code.OK, True)]


def test_a_run_resumes_where_it_was_interrupted(fake_world: str, tmp_path: Path) -> None:
    config = EvaluationConfig(env=fake_world, policy="interrupter", episodes=5)
    first = run(config, tmp_path)
    assert (first.interrupted, [e.seed for e in first.episodes]) == (True, [0, 1])
    find = RecordFile(tmp_path / "records.jsonl", config.identity())
    assert list(find.episodes) == [0, 1]
    seen: list[int] = []
    shorter = EvaluationConfig(env=fake_world, policy="interrupter", episodes=2)
    again = run(shorter, tmp_path, on_episode=lambda result: seen.append(result.seed))
    assert (again.resumed, seen, again.interrupted) == (2, [], False)


def test_a_run_can_grow(fake_world: str, tmp_path: Path) -> None:
    run(EvaluationConfig(env=fake_world, policy="stopper", episodes=2), tmp_path)
    seen: list[int] = []
    grown = EvaluationConfig(env=fake_world, policy="stopper", episodes=4)
    result = run(grown, tmp_path, on_episode=lambda episode: seen.append(episode.seed))
    assert (seen, len(result.episodes), result.resumed) == ([2, 3], 4, 2)


def test_a_failure_keeps_the_episodes_before_it(fake_world: str, tmp_path: Path) -> None:
    config = EvaluationConfig(env=fake_world, policy="breaker", episodes=4)
    with pytest.raises(ObservationError, match="a lens"):
        run(config, tmp_path)
    assert list(RecordFile(tmp_path / "records.jsonl", config.identity()).episodes) == [0, 1]


@pytest.mark.timeout(120)
def test_worker_processes_give_the_same_episodes(fake_world: str, tmp_path: Path) -> None:
    config = EvaluationConfig(env=fake_world, policy="thinker", episodes=6)
    here, there = run(config, tmp_path / "here"), run(config, tmp_path / "there", placement=Placement(2))
    assert [(e.seed, e.success, e.steps, len(e.plans)) for e in there.episodes] == [
        (e.seed, e.success, e.steps, len(e.plans)) for e in here.episodes
    ]


@pytest.mark.timeout(120)
def test_a_worker_process_that_dies_loses_nothing(
    fake_world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAKE_WORLD_MARK", str(tmp_path / "died"))
    config = EvaluationConfig(env=fake_world, policy="mortal", episodes=4)  # its process dies once, with seed 2
    result = run(config, tmp_path, placement=Placement(2))
    assert [(e.seed, e.success, e.steps) for e in result.episodes] == [
        (0, True, 1), (1, False, 1), (2, True, 1), (3, False, 1),
    ]  # fmt: skip
    assert (tmp_path / "died").exists()
    assert "lost the worker of the episode with seed 2" in caplog.text


@pytest.mark.timeout(120)
def test_a_failure_in_a_worker_names_the_seed(fake_world: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="seed 2 failed: ObservationError: expected a lens"):
        run(EvaluationConfig(env=fake_world, policy="breaker", episodes=4), tmp_path, placement=Placement(2))


def test_every_setting_but_the_seeds_changes_the_identity(tmp_path: Path) -> None:
    base = EvaluationConfig(env="e", policy="p")
    assert base.digest() == EvaluationConfig(env="e", policy="p", episodes=3, seed=9).digest()
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    with_model = EvaluationConfig(env="e", policy="p", backend=BackendConfig(model=str(model))).digest()
    (model / "config.json").write_text('{"a": 1}')
    others = [
        EvaluationConfig(env="e", policy="p", **change).digest()
        for change in (
            {"task": "t"}, {"latency": 1.0}, {"latency": "measured"}, {"control": "blank"},
            {"backend": BackendConfig(model=str(model))},
            {"backend": BackendConfig(model=str(model), weights="4bit")},
        )
    ]  # fmt: skip
    assert len({base.digest(), with_model, *others}) == 8


def test_a_model_of_the_hub_is_identified_by_its_id_and_commit(tmp_path: Path) -> None:
    """Its directory in the cache is named after the commit alone."""
    model = tmp_path / "models--owner--name" / "snapshots" / "0123456789abcdef"
    model.mkdir(parents=True)
    assert str(
        EvaluationConfig(env="e", policy="p", backend=BackendConfig(model=str(model))).identity()["model"]
    ).startswith("owner/name@0123456789ab@")


def test_an_unknown_policy_suggests_the_nearest_name(fake_world: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'random'"):
        run(EvaluationConfig(env=fake_world, policy="randon"), tmp_path)


def test_an_unknown_environment_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown environment 'CartPole-v9'"):
        make_env(EvaluationConfig(env="CartPole-v9", policy="random"))


def test_a_world_in_a_module_that_python_cannot_find_is_reported_with_the_fix() -> None:
    with pytest.raises(ConfigError, match=r"'nowhere:My-v0': No module named 'nowhere'; .* PYTHONPATH$"):
        make_env(EvaluationConfig(env="nowhere:My-v0", policy="random"))


def test_an_argument_that_the_environment_does_not_take_is_named(fake_world: str) -> None:
    with pytest.raises(ConfigError, match="action_mode"):
        make_env(EvaluationConfig(env=fake_world, policy="random", action_mode="pose"))


def test_a_policy_name_can_be_registered_once() -> None:
    with pytest.raises(ConfigError, match="registered already"):
        register_policy(PolicySpec("random", "", False, lambda _: lambda env, seed: None))
    assert find_policy("random").description


@pytest.mark.parametrize("change", [{"episodes": 0}, {"seed": -1}, {"image_size": 3}])
def test_impossible_numbers_are_rejected(change: dict) -> None:
    with pytest.raises(ConfigError, match="got:"):
        EvaluationConfig(env="e", policy="p", **change)
