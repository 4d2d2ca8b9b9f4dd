"""Suites are files; those that come with the package name what exists."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from si_embodied.backends.config import BackendConfig
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.evaluation.registry import describe_environment, find_policy
from si_embodied.models.checkpoints import shipped_checkpoint
from si_embodied.suites.rows import models_of, rows_of
from si_embodied.suites.settings import OFFICIAL_SEED, load_suite, shipped_suites

pytest.importorskip("mujoco", reason="rows are checked against the worlds")

ROWS = {
    "smoke": 2 * 2,
    "nav": 3 * 2,
    "manip": 6 * 2,
    "habitat": 4 * 2,
    "rearrange": 4 * 2,
    "embodiedbench": 5 + 2,
    "sim2real": 4 * 2 * 4,
    "latency": 4 * 6,
}
"""Tasks times policies times conditions."""


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def test_these_suites_come_with_the_package() -> None:
    assert set(shipped_suites()) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_shipped_suite_names_worlds_tasks_and_policies_that_exist(name: str) -> None:
    if name in ("habitat", "rearrange", "embodiedbench") and find_spec("habitat") is None:
        pytest.skip("its worlds need habitat-lab")
    suite = load_suite(name)
    assert suite.name == name
    assert suite.description
    assert suite.seed == (0 if name == "smoke" else OFFICIAL_SEED)
    rows = rows_of(suite, [BackendConfig()] * len(suite.models))
    assert len(rows) == ROWS[name]
    for row in rows:
        for policy in (row.config.policy, *row.controls):
            assert policy == "blank" or find_policy(policy)
    for world in suite.worlds:
        if not suite.protocol:
            assert set(world.tasks) <= set(describe_environment(world.env).tasks)


def test_a_suite_is_every_policy_on_every_task_under_every_condition(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, """
        worlds: [{env: si_embodied/Apartment-v0, tasks: [objectnav], image_size: 96, args: {room_count: 3}}]
        policies: [planner, oracle]
        models: [one, two]
        noise: [none, zed]
        latency: [0, measured]
        controls: [blank, oracle]
        episodes: 7
        planner: {memory: {keyframes: 2}}
    """))  # fmt: skip
    assert suite.name == "mine"
    rows = rows_of(suite, [BackendConfig(model=f"runs/{name}") for name in suite.models])
    assert [row.name for row in rows] == [
        "Apartment objectnav, planner, one", "Apartment objectnav, planner, one, measured",
        "Apartment objectnav, planner, one, zed", "Apartment objectnav, planner, one, zed, measured",
        "Apartment objectnav, planner, two", "Apartment objectnav, planner, two, measured",
        "Apartment objectnav, planner, two, zed", "Apartment objectnav, planner, two, zed, measured",
        "Apartment objectnav, oracle", "Apartment objectnav, oracle, measured",
        "Apartment objectnav, oracle, zed", "Apartment objectnav, oracle, zed, measured",
    ]  # fmt: skip
    assert {row.controls for row in rows} == {("blank", "oracle"), ()}
    config = rows[3].config
    assert (config.noise and config.noise.name, config.latency, config.episodes) == ("zed", "measured", 7)
    assert (config.image_size, config.env_args, config.planner.memory.keyframes) == (96, (("room_count", 3),), 2)
    assert rows[3].folder == "apartment-objectnav-planner-one-zed-measured"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worlds: [{env: w}]\nepisode: 3", r"unknown setting 'episode'.*Did you mean 'episodes'"),
        ("worlds: [{env: w, task: [x]}]", r"unknown setting 'worlds\[0\].task'.*Did you mean 'tasks'"),
        ("worlds: [{tasks: [x]}]", r"expected 'worlds\[0\].env' to be set"),
        ("policies: [planner]", "expected 'worlds' to be set"),
        ("worlds: []", "worlds of a suite to name at least one"),
        ("worlds: [{env: w}]\nlatency: [soon]", r"'latency\[0\]' to be .*'measured', got: 'soon'"),
        ("worlds: [{env: w}]\nlatency: [-1]", "a latency of 0 s or more"),
        ("worlds: [{env: w}]\nprotocol: other", "'protocol' to be one of '', 'embodiedbench'"),
        ("worlds: [{env: w}]\nprotocol: embodiedbench\nnoise: [zed]", "leave out policies, noise and latency"),
        ("worlds: [{env: w}]\nplanner: {guard: {max_repeat: 3}}", "Did you mean 'max_repeats'"),
    ],
)
def test_what_a_suite_cannot_mean_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"\.yaml': .*{message}"):
        load_suite(write(tmp_path, text))


def test_an_unknown_suite_suggests_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown suite 'manp'. Did you mean 'manip'"):
        load_suite("manp")


def test_rows_of_the_same_name_are_rejected(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, "worlds: [{env: si_embodied/Tabletop-v0, tasks: [base]}]\nnoise: [none, none]"))
    with pytest.raises(ConfigError, match="two rows of the suite 'mine' are called 'Tabletop base, planner'"):
        rows_of(suite, [BackendConfig()])


def test_a_given_model_replaces_those_of_the_suite_and_a_device_does_not(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).symlink_to(shipped_checkpoint())
    suite = load_suite(write(tmp_path, f"worlds: [{{env: w}}]\nmodels: [{tmp_path / 'one'}]"))
    assert [model.model for model in models_of(suite)] == [str(tmp_path / "one")]
    (given,) = models_of(suite, BackendConfig(model=str(tmp_path / "other")))
    assert given.model == str(tmp_path / "other")
    (placed,) = models_of(suite, BackendConfig(device="cpu"))
    assert (placed.model, placed.device) == (str(tmp_path / "one"), "cpu")
