"""The skills. Each is defined once: the answer's format, its prompt line, its metric goal and that goal's bounds.

To add a skill, write a `Goal` and a `Subgoal` and call `register_skill`. Then register an executor for the goal with
`si_embodied.policies.skills.register_executor`. examples/follow_the_wall.py is a complete example.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from si_embodied.errors import ConfigError
from si_embodied.skills.base import Goal, PointedSubgoal, Shown, Subgoal
from si_embodied.skills.calling import CallSkill
from si_embodied.skills.manipulation import GoHome, Grasp, Home, Pick, Place, Push, PushAlong, Release
from si_embodied.skills.navigation import (
    Drive,
    Explore,
    ExploreFrontier,
    ExploreTowards,
    ExploreView,
    Finish,
    Forward,
    Goto,
    Look,
    LookAround,
    NavigateTo,
    Rotate,
    Stop,
    TiltCamera,
    Turn,
)
from si_embodied.skills.rearrangement import Close, Navigate, Open

if TYPE_CHECKING:
    from collections.abc import Collection

    from si_embodied.embodiment import TaskKind

__all__ = [
    "CallSkill", "Close", "Drive", "Explore", "ExploreFrontier", "ExploreTowards", "ExploreView", "Finish",
    "Forward", "GoHome", "Goal", "Goto", "Grasp", "Home", "Look", "LookAround", "Navigate", "NavigateTo", "Open",
    "Pick", "Place", "PointedSubgoal", "Push", "PushAlong", "Release", "Rotate", "Shown", "Stop", "Subgoal",
    "TiltCamera", "Turn", "goal_types", "register_skill", "skill_list", "skills_of", "skills_offered",
]  # fmt: skip

_SKILLS: list[type[Subgoal]] = [
    Navigate, Goto, Turn, LookAround, Forward, Look, Pick, Place, Push, Open, Close, Home, ExploreTowards, Explore,
    Stop,
]  # fmt: skip
"""In the order of prompts and grammars."""


def register_skill(subgoal: type[Subgoal]) -> type[Subgoal]:
    """Add a skill to the plan schema and the prompts, before `explore` and `stop`. Usable as a decorator.

    Raises:
        ConfigError: the name is taken, or `prompt` or `goals` is empty.
    """
    name = subgoal.model_fields["skill"].default
    if name in [known.model_fields["skill"].default for known in _SKILLS]:
        raise ConfigError(f"a skill named {name!r} is registered already; choose another name")
    if not subgoal.prompt or not subgoal.goals:
        raise ConfigError(f"the skill {name!r} needs a prompt line for at least one kind of task, and a goal type")
    _SKILLS.insert(-2, subgoal)
    return subgoal


def skills_of(kind: TaskKind | None = None) -> tuple[type[Subgoal], ...]:
    """The skills of a kind of task, or all of them."""
    return tuple(skill for skill in _SKILLS if kind is None or kind in skill.prompt)


def skills_offered(kind: TaskKind, shown: Collection[Shown] = ()) -> tuple[type[Subgoal], ...]:
    """The skills of a kind of task that a prompt offers if it shows this of the planner's memory."""
    return tuple(skill for skill in skills_of(kind) if skill.needs.get(kind) in (None, *shown))


def goal_types() -> tuple[type[Goal], ...]:
    """The goal types of all skills, without duplicates."""
    return tuple(dict.fromkeys(goal for skill in _SKILLS for goal in skill.goals))


def skill_list(kind: TaskKind, shown: Collection[Shown] = ()) -> str:
    """The prompt's list of skills on offer, one per line: "turn: turn on the spot by degrees, left is positive."."""
    return _skill_list(skills_offered(kind, shown), kind)


@functools.cache
def _skill_list(listed: tuple[type[Subgoal], ...], kind: TaskKind) -> str:
    names: dict[str, list[str]] = {}
    for skill in listed:
        names.setdefault(skill.prompt[kind], []).append(str(skill.model_fields["skill"].default))
    return "\n".join(f"{', '.join(skills)}: {text}" for text, skills in names.items())
