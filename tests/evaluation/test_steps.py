"""Every step of an episode on disk."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.runner import evaluate
from si_embodied.evaluation.session import Session
from si_embodied.evaluation.steps import Body, EpisodeSteps, RecordedStep, StepFolder
from si_embodied.geometry import Intrinsics

POSE = np.array([[0.0, -1.0, 0.0, 1 / 3], [1.0, 0.0, 0.0, -2e-17], [0.0, 0.0, 1.0, 1e6], [0.0, 0.0, 0.0, 1.0]])


def test_steps_survive_their_file_to_the_last_digit(tmp_path: Path) -> None:
    action = np.array([0.1, -1 / 3], np.float32).astype(np.float64)
    step = RecordedStep(0.1, POSE, POSE[None], POSE, 0.05, action, 0, "goto <chair> é", -0.25, False, True, True)
    other = RecordedStep(0.3, POSE, POSE[None], None, None, np.array(3.0), -1, "", 0.0, True, False, False)
    kept = EpisodeSteps(
        Body("navigation", "discrete", 0.5), {"head": Intrinsics(4, 3, 2.0, 2.0, 1.5, 1.0)}, ("open the fridge",),
        (step, other), {"head": (b"\x89PNG one", b"\x89PNG two")},
    )  # fmt: skip
    folder = StepFolder(tmp_path / "steps")
    folder.put(7, kept)
    read = folder.get(7)
    assert read is not None
    assert (read.body, read.cameras, read.skills, read.images) == (kept.body, kept.cameras, kept.skills, kept.images)
    for was, now in zip(kept.steps, read.steps, strict=True):
        for name in RecordedStep.__slots__:
            np.testing.assert_array_equal(getattr(now, name), getattr(was, name), err_msg=name)


def test_missing_steps_are_none_and_damaged_ones_name_their_file(tmp_path: Path) -> None:
    folder = StepFolder(tmp_path)
    assert folder.get(0) is None
    for content in (b"", b"PK\x03\x04 cut off"):
        folder.path(0).write_bytes(content)
        with pytest.raises(ConfigError, match="seed-000000.zip"):
            folder.get(0)


def test_a_run_keeps_what_was_seen_and_done_in_every_step(fake_world: str, tmp_path: Path) -> None:
    config = EvaluationConfig(env=fake_world, policy="thinker", episodes=2)
    folder = StepFolder(tmp_path / "steps")
    records = RecordFile(tmp_path / "records.jsonl", config.identity())
    run = evaluate(config, records, steps=folder)
    assert all(episode.kept_steps is None for episode in run.episodes)  # not kept in memory
    for seed in (0, 1):
        kept = folder.get(seed)
        assert kept is not None
        assert (kept.body, list(kept.cameras)) == (Body("navigation", "discrete", 0.5), ["head"])
        assert [(step.stamp_s, int(step.action), step.plan) for step in kept.steps] == [(0.0, 6, 0), (0.5, 0, 1)]
        assert [step.subgoal for step in kept.steps] == ["wait", "wait"]  # it executes nothing but its end
        assert [step.terminated for step in kept.steps] == [False, True]
        assert kept.steps[-1].success == (seed == 0)
        for data in kept.images["head"]:
            with Image.open(io.BytesIO(data)) as image:
                assert image.format == "PNG"
                np.testing.assert_array_equal(np.asarray(image), np.zeros((32, 32, 3)))


def test_a_run_without_steps_is_not_resumed_with_them(fake_world: str, tmp_path: Path) -> None:
    config = EvaluationConfig(env=fake_world, policy="thinker", episodes=1)
    Session(tmp_path).run(config)
    with pytest.raises(ConfigError, match=r"1 episode in.*seed 0\).*another --out"):
        Session(tmp_path, steps=True).run(config)
    assert len(Session(tmp_path / "new", steps=True).run(config).episodes) == 1
    assert Session(tmp_path / "new", steps=True).run(config).resumed == 1


def test_a_run_with_steps_is_not_resumed_without_them(fake_world: str, tmp_path: Path) -> None:
    config = EvaluationConfig(env=fake_world, policy="thinker", episodes=1)
    Session(tmp_path, steps=True).run(config)
    with pytest.raises(ConfigError, match=r"those of the next 2 would be missing: repeat --keep-steps"):
        Session(tmp_path).run(dataclasses.replace(config, episodes=3))
    assert Session(tmp_path).run(config).resumed == 1, "without new episodes, nothing would be missing"
