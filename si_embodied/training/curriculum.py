"""What the small model is taught: episodes of every task, first as the teacher acts, then as the student does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.backends.config import BackendConfig
from si_embodied.config import PlannerConfig
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.training.dagger import Shares
from si_embodied.training.lessons import plan_lessons
from si_embodied.training.scenes import HELD_OUT_SEED

if TYPE_CHECKING:
    from si_embodied.config import Prompts
    from si_embodied.training.lessons import Lesson

_TEACHER_SHARE = 0.3
"""Of the decisions in the student's episodes: without it, a student that knows little sees little."""
_SEEDS_A_ROUND = 2000
_LESSON_EPISODES = 10


@dataclass(frozen=True, slots=True)
class Course:
    """A task, how many of its episodes a round has, and how often its decisions are drawn.

    A task needs a larger share the more its decisions depend on what was tried, or on relations between things.
    """

    env: str
    task: str
    episodes: int
    share: float = 1.0


COURSES = (
    Course("Tabletop-v0", "base", 80),
    Course("Tabletop-v0", "stack", 120),
    Course("Tabletop-v0", "sort", 100, 3.0),
    Course("Tabletop-v0", "spatial", 140, 2.0),
    Course("Tabletop-v0", "visual", 100, 2.0),
    Course("Tabletop-v0", "complex", 80, 3.0),
    Course("Apartment-v0", "objectnav", 32),
    Course("Apartment-v0", "spatial", 32),
    Course("Apartment-v0", "route", 24, 2.0),
    Course("HabitatPointNav-v0", "pointnav", 32, 2.0),
    Course("HabitatObjectNav-v0", "objectnav", 24),
    Course("HabitatInstructionNav-v0", "instructionnav", 24, 2.0),
    Course("HabitatImageNav-v0", "imagenav", 24),
    Course("HabitatRearrange-v0", "base", 40),
    Course("HabitatRearrange-v0", "swap", 80, 3.0),
    Course("HabitatRearrange-v0", "clear", 60, 3.0),
    Course("HabitatRearrange-v0", "store", 40, 2.0),
)
SHARES = {f"si_embodied/{course.env} {course.task}": course.share for course in COURSES}


def lessons_of(number: int, prompts: Prompts, student: Path | None, *, scale: float = 1.0) -> list[Lesson]:
    """The lessons of a round.

    Args:
        number: of the round, from 0; each has seeds of its own.
        prompts: those of the small model.
        student: its checkpoint, which acts; None: the teacher acts.
        scale: of the numbers of episodes; below 1 for tests.
    """
    return _lessons(number * _SEEDS_A_ROUND, prompts, student, scale)


def held_out_lessons(prompts: Prompts, *, scale: float = 0.1) -> list[Lesson]:
    """The teacher's episodes of held-out seeds, to measure on."""
    return _lessons(HELD_OUT_SEED, prompts, None, scale)


def _lessons(first_seed: int, prompts: Prompts, student: Path | None, scale: float) -> list[Lesson]:
    shares = Shares() if student is None else Shares(teacher=_TEACHER_SHARE)
    backend = None if student is None else BackendConfig(model=str(student))
    policy = "perfect-pixels" if student is None else "planner"
    planner = PlannerConfig(prompts=prompts, confirm_done=True)
    return [
        lesson
        for course in COURSES
        for lesson in plan_lessons(
            EvaluationConfig(
                f"si_embodied/{course.env}", policy, course.task, backend, planner=planner, seed=first_seed,
                episodes=max(1, round(course.episodes * scale)),
            ),
            shares,
            size=_LESSON_EPISODES,
        )
    ]  # fmt: skip
