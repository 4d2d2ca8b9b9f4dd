"""Goals in a place of one's own: from a YAML file, or points drawn from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.config import from_mapping, load_yaml
from si_embodied.envs.habitat.instructions import point_words
from si_embodied.errors import ConfigError, SceneError
from si_embodied.geometry import Pose
from si_embodied.robots import FETCH_BASE

if TYPE_CHECKING:
    from si_embodied.envs.own.place import BasePose, Paths, Place

GOALS_FILE = "goals.yaml"
POINT_RADIUS_M = 0.36
"""Success of a point goal: that of Habitat's PointNav challenges."""
_LEAST_DRIVE_M = 2.0  # from a start that is drawn
_POINTS_TRIED = 50


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal of a goals file."""

    instruction: str  # what the robot is told
    position: tuple[float, ...]  # map x, y and optionally z of what it has to find, metres
    radius: float = FETCH_BASE.success_distance_m  # success: the robot stops within it
    object: str = ""  # what is there: "fridge"; empty: the instruction
    size: float = 0.6  # of the object, metres: depth in a box of this size around the position shows it
    start: tuple[float, ...] = ()  # map x, y and heading in degrees; empty: drawn from the seed

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.instruction.strip():
            raise ConfigError("expected a goal's instruction to say something, got an empty one")
        if len(self.position) not in (2, 3):
            raise ConfigError(f"expected a position of x and y, or x, y and z, got: {list(self.position)}")
        if len(self.start) not in (0, 3):
            raise ConfigError(f"expected a start of x, y and degrees, got: {list(self.start)}")
        if not (0.05 <= self.radius <= 20 and 0.05 <= self.size <= 20):
            raise ConfigError(f"expected a radius and a size of 0.05 to 20 m, got: {self.radius} and {self.size}")


@dataclass(frozen=True, slots=True)
class GoalsFile:
    """What is in a goals file."""

    goals: tuple[Goal, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The goal of an episode, where it starts, and the paths between."""

    goal: Goal
    is_point: bool  # the robot is told where it is
    start: BasePose
    paths: Paths

    def reached(self, pose: BasePose) -> bool:
        """Whether a robot that stops at a pose succeeds."""
        away = math.hypot(pose[0] - self.goal.position[0], pose[1] - self.goal.position[1])
        return away <= self.goal.radius


def goals_path(world: Path) -> Path:
    """Where the goals of a place are looked for: in its folder, or beside its file (`house.goals.yaml`)."""
    return world / GOALS_FILE if world.is_dir() else world.with_name(f"{world.stem}.{GOALS_FILE}")


def read_goals(path: Path) -> tuple[Goal, ...]:
    """The goals of a file.

    Raises:
        ConfigError: the file is missing, or has unknown or invalid settings.
    """
    try:
        goals = from_mapping(GoalsFile, load_yaml(path)).goals
    except ConfigError as error:
        raise ConfigError(f"{str(path)!r}: {error}") from error
    if not goals:
        raise ConfigError(f"{str(path)!r} has no goals; give at least one")
    return goals


def ask_goal(place: Place, goals: tuple[Goal, ...], seed: int) -> Asked:
    """The goal whose turn it is, from its own start or one drawn from the seed.

    Raises:
        SceneError: no path leads to the goal.
    """
    goal = goals[seed % len(goals)]
    paths = place.paths_to(goal.position[0], goal.position[1], goal.radius)
    start = _given(goal) or _drawn(place, paths, np.random.default_rng(seed), 0.0)
    if start is None or not math.isfinite(paths.distance(start)):
        x, y = goal.position[:2]
        raise SceneError(
            f"no path leads to the goal {goal.instruction!r}: nothing that the robot can reach lies within "
            f"{goal.radius:g} m of ({x:g}, {y:g}); look at the picture from above and correct its position or radius"
        )
    return Asked(goal, False, start, paths)


def ask_point(place: Place, seed: int) -> Asked:
    """A point drawn from the seed, at least 2 m of driving from its start.

    Raises:
        SceneError: no two points are as far apart.
    """
    rng = np.random.default_rng(seed)
    for _ in range(_POINTS_TRIED):
        x, y = (float(value) for value in place.starts[int(rng.integers(len(place.starts))), :2])
        paths = place.paths_to(x, y, POINT_RADIUS_M)
        start = _drawn(place, paths, rng, _LEAST_DRIVE_M)
        if start is not None:
            ahead, left, _ = (float(value) for value in Pose.planar(*start).inverse().apply((x, y, 0.0)))
            return Asked(Goal(point_words(ahead, left), (x, y, 0.0), POINT_RADIUS_M, "floor"), True, start, paths)
    raise SceneError(
        f"no two points that the robot can reach are {_LEAST_DRIVE_M:g} m apart; the place is too small, or its "
        "images are too far apart to drive from one to the next"
    )


def _given(goal: Goal) -> BasePose | None:
    return (goal.start[0], goal.start[1], math.radians(goal.start[2])) if goal.start else None


def _drawn(place: Place, paths: Paths, rng: np.random.Generator, least_m: float) -> BasePose | None:
    """A start with a path of at least this length; with none that long, one of half the longest path or more."""
    distances = paths.start_distances()
    reachable = np.isfinite(distances) & (distances > 0)
    if not reachable.any():
        return None
    far = reachable & (distances >= max(least_m, min(_LEAST_DRIVE_M, 0.5 * float(distances[reachable].max()))))
    if not far.any():
        return None
    index = np.flatnonzero(far)
    x, y, yaw = (float(value) for value in place.starts[int(index[int(rng.integers(len(index)))])])
    return x, y, yaw
