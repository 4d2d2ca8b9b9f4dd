"""Decisions are collected with the teacher's answers, also where a student's mistakes lead, and survive the disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.plan import parse_plan, plan_schema
from si_embodied.planner import Planner
from si_embodied.skills import skills_of
from si_embodied.training.dagger import DaggerBackend, Shares, disturbed
from si_embodied.training.decisions import TaughtEpisode, read_decisions, write_decisions
from si_embodied.training.lessons import Lesson, collect, plan_lessons
from si_embodied.training.pictures import Picture
from si_embodied.training.questions import plan_json, subgoal
from si_embodied.types import Observation, Prompt

GOTO = plan_json([subgoal("goto", "red chair", [512, 7])], done=False)
EXPLORE = plan_json([{"skill": "explore"}], done=False)


def prompt(*images: np.ndarray) -> Prompt:
    return Prompt("nav/v1", "You plan.", ("Task: find it\n", *images), plan_schema("navigation", max(1, len(images))))


def picture(seed: int, side: int = 224) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def dagger(student: str | None, shares: Shares) -> DaggerBackend:
    acting = None if student is None else ScriptedBackend(lambda _: student)
    return DaggerBackend(ScriptedBackend(lambda _: GOTO, name="teacher"), acting, np.random.default_rng(0), shares)


def test_the_student_acts_and_the_teachers_answer_is_recorded() -> None:
    backend = dagger(EXPLORE, Shares())
    assert backend.generate(prompt(picture(0)), deadline_s=1).text == EXPLORE
    (decision,) = backend.decisions
    assert (decision.system, decision.content[0], decision.answer) == ("You plan.", "Task: find it\n", GOTO)
    assert backend.info.model == "scripted"


def test_the_teacher_acts_in_its_share_of_the_decisions() -> None:
    backend = dagger(EXPLORE, Shares(teacher=0.25))
    said = [backend.generate(prompt(), deadline_s=1).text for _ in range(400)]
    assert 0.18 < said.count(GOTO) / 400 < 0.32


def test_without_a_student_some_answers_are_disturbed_and_none_is_recorded_so() -> None:
    backend = dagger(None, Shares(disturbed=0.5))
    said = [backend.generate(prompt(), deadline_s=1).text for _ in range(400)]
    assert 0.4 < sum(text != GOTO for text in said) / 400 < 0.6
    assert {decision.answer for decision in backend.decisions} == {GOTO}


@pytest.mark.parametrize("kind", ["navigation", "manipulation", "rearrangement"])
@pytest.mark.parametrize("answer", [GOTO, '{"subgoals":[],"done":true}'])
def test_a_disturbed_plan_is_well_formed_and_ends_nothing(kind: str, answer: str) -> None:
    rng, seen = np.random.default_rng(1), set()
    for _ in range(300):
        if kind == "manipulation":
            answer = answer.replace("goto", "pick")
        schema = plan_schema(kind, 3, shown=("keyframes", "objects"))  # type: ignore[arg-type]
        plan = parse_plan(disturbed(answer, schema, rng), kind, 3)  # type: ignore[arg-type]
        assert not plan.done
        seen |= {one.skill for one in plan.subgoals}
    skills = {str(skill.model_fields["skill"].default) for skill in skills_of(kind)}  # type: ignore[arg-type]
    assert seen == skills - {"stop"}


def test_a_share_beyond_one_is_an_error() -> None:
    with pytest.raises(ConfigError, match="teacher from 0 to 1, got: 2"):
        Shares(teacher=2)


def test_decisions_survive_the_disk_and_each_picture_is_stored_once(tmp_path: Path) -> None:
    backend = dagger(EXPLORE, Shares())
    first, second = picture(1), picture(2, 112)
    for images in ((first,), (second, first)):
        backend.generate(prompt(*images), deadline_s=1)
    episode = TaughtEpisode("si_embodied/Apartment-v0", "objectnav", 7, True, tuple(backend.decisions))
    write_decisions(tmp_path / "one.json", [episode])
    assert read_decisions([tmp_path / "one.json"]) == (episode,)
    sizes = [(part.height, part.width) for part in episode.decisions[1].content if isinstance(part, Picture)]
    assert sizes == [(120, 120), (220, 220)]
    with np.load(tmp_path / "one.npz") as arrays:
        assert len(arrays["sizes"]) == 2


def test_no_shards_is_an_error() -> None:
    with pytest.raises(ConfigError, match="collect some first"):
        read_decisions([])


def test_a_lesson_is_a_function_of_its_name_and_is_collected_once(tmp_path: Path) -> None:
    config = EvaluationConfig("si_embodied/Tabletop-v0", "perfect-pixels", task="base", episodes=3, seed=81_000)
    lessons = plan_lessons(config, Shares(disturbed=0.3), size=2)
    assert [(one.config.seed, one.config.episodes) for one in lessons] == [(81_000, 2), (81_002, 1)]
    counts: dict[str, int] = {}
    collect(lessons[1:], tmp_path / "a", done=counts.__setitem__)
    collect(lessons[1:], tmp_path / "a", done=lambda *_: pytest.fail("collected twice"))
    collect(lessons[1:], tmp_path / "b")
    (episode,), again = (read_decisions([tmp_path / name / f"{lessons[1].name}.json"]) for name in "ab")
    assert (episode,) == again
    assert counts == {lessons[1].name: len(episode.decisions)}
    assert Lesson(config).name != Lesson(config, Shares(disturbed=0.1)).name


def test_an_episode_that_ends_by_itself_also_teaches_to_be_done(tmp_path: Path) -> None:
    config = EvaluationConfig("si_embodied/Tabletop-v0", "perfect-pixels", task="base", episodes=1, seed=81_000)
    episode = taught(Lesson(config, Shares(disturbed=0.0)), tmp_path)
    assert episode.success
    answers = [json.loads(one.answer) for one in episode.decisions]
    assert [[s["skill"] for s in one["subgoals"]] for one in answers] == [["pick"], ["place"], []]
    assert answers[-1]["done"]
    assert "1. pick" in "".join(part for part in episode.decisions[-1].content if isinstance(part, str))


def taught(lesson: Lesson, folder: Path) -> TaughtEpisode:
    collect([lesson], folder)
    (episode,) = read_decisions([folder / f"{lesson.name}.json"])
    return episode


def test_an_arm_withdraws_before_it_learns_what_comes_after_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment ends at the moment of success, with the hand over the object; a robot looks after its goal."""
    heights: list[float] = []
    plan = Planner.plan

    def seen(planner: Planner, task: Any, observation: Observation, *args: Any, **named: Any) -> Any:
        assert observation.arm is not None
        heights.append(observation.arm.T_map_tool.translation[2])
        return plan(planner, task, observation, *args, **named)

    monkeypatch.setattr(Planner, "plan", seen)
    config = EvaluationConfig("si_embodied/Tabletop-v0", "perfect-pixels", task="base", episodes=1, seed=81_000)
    taught(Lesson(config, Shares(disturbed=0.0)), tmp_path)
    _, holding, after = heights
    assert after > holding - 0.02  # it holds the object above all others before it places it


def test_a_student_that_goes_on_after_success_is_taught_the_end_again(tmp_path: Path) -> None:
    config = EvaluationConfig("si_embodied/Tabletop-v0", "perfect-pixels", task="base", episodes=1, seed=81_000)
    pick, place, done = (one.answer for one in taught(Lesson(config, Shares(disturbed=0.0)), tmp_path).decisions)
    home = plan_json([{"skill": "home"}], done=False)
    student = BackendConfig("scripted", script=(pick, place, home, home, home))
    episode = taught(Lesson(replace(config, policy="planner", backend=student)), tmp_path)
    assert [one.answer for one in episode.decisions] == [pick, place, done, done, done]
    assert "3-4. home: done" in "".join(part for part in episode.decisions[-1].content if isinstance(part, str))


def test_a_numbered_prompt_is_recorded_as_the_family_writes_it(checkpoints: dict[str, Path]) -> None:
    pytest.importorskip("torch")
    from si_embodied.models.loading import load_checkpoint

    numbered = replace(prompt(picture(0), picture(1)), numbered=True)
    backend = dagger(EXPLORE, Shares())
    backend.generate(numbered, deadline_s=1)
    (decision,) = backend.decisions
    family = load_checkpoint(checkpoints["qwen3_vl"], device="cpu").family
    content = tuple(part.pixels() if isinstance(part, Picture) else part for part in decision.content)
    written = Prompt("mine", decision.system, content, {})
    assert "".join(part for part in content if isinstance(part, str)) == "Task: find it\nImage-1: \nImage-2: \n"
    sizes = [220, 220]
    shown = replace(numbered, content=("Task: find it\n", *(np.zeros((side, side, 3), np.uint8) for side in sizes)))
    assert family.encode(written).input_ids.tolist() == family.encode(shown).input_ids.tolist()


def test_a_student_acts_in_a_lesson(tmp_path: Path) -> None:
    home = plan_json([{"skill": "home"}], done=False)
    student = BackendConfig("scripted", script=(home,))
    config = EvaluationConfig("si_embodied/Tabletop-v0", "planner", task="base", episodes=1, seed=81_000)
    (taught,) = plan_lessons(replace(config, backend=student), Shares())
    assert taught.name != Lesson(replace(config, backend=None)).name
    collect([taught], tmp_path)
    (episode,) = read_decisions([tmp_path / f"{taught.name}.json"])
    assert not episode.success
    assert len(episode.decisions) > 2
    assert {json.loads(one.answer)["subgoals"][0]["skill"] for one in episode.decisions} == {"pick"}
    assert "1. home: done" in "".join(part for part in episode.decisions[1].content if isinstance(part, str))
