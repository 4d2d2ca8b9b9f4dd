"""Playing in the apartment: other instructions in the same rooms, and furniture that can be moved."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from si_embodied.envs.episode import build_episode
from si_embodied.envs.scenes.apartment import WALL_THICKNESS_M
from si_embodied.envs.scenes.generator import connected
from si_embodied.envs.scenes.occupancy import Outlines
from si_embodied.envs.scenes.tasks import NAVIGATION_TASKS, task_candidates, unique_phrases
from si_embodied.errors import ConfigError
from si_embodied.live.frame import Outline
from si_embodied.play.scenes import MOST_SUGGESTIONS, Begun, plain_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from si_embodied.envs.navigation import ApartmentEnv
    from si_embodied.envs.scenes.apartment import Apartment, Furniture
    from si_embodied.envs.scenes.tasks import NavigationTask
    from si_embodied.play.scenes import Env

_VERBS = ("find", "go to", "drive to", "look for")


class ApartmentScene:
    """One apartment, which keeps its rooms, its furniture and the robot's place from one instruction to the next."""

    def __init__(self, env: Env) -> None:
        """Play in an `ApartmentEnv`."""
        self._env = env
        self._world = cast("ApartmentEnv", env.unwrapped)

    def reset(self, seed: int) -> Begun:
        """The apartment of a seed, with the seed's own instruction and start."""
        raw, _ = self._env.reset(seed=seed)
        return Begun(raw, str(raw["instruction"]), True)

    def instruct(self, instruction: str) -> Begun:
        """Another instruction from where the robot stands."""
        return self._begin(self._world.episode.apartment, instruction)

    def suggestions(self) -> tuple[str, ...]:
        """Every unambiguous task of the apartment, in the order of their kinds."""
        return tuple(task.instruction for task in self._tasks(self._world.episode.apartment))[:MOST_SUGGESTIONS]

    def outlines(self) -> tuple[Outline, ...]:
        """Walls, and furniture that can be moved."""
        apartment = self._world.episode.apartment
        walls = (Outline("wall", *each.centre[:2], 2 * each.half[0], 2 * each.half[1]) for each in apartment.walls)
        return (*walls, *(_outline(piece) for piece in apartment.furniture))

    def move(self, name: str, x_m: float, y_m: float) -> Mapping[str, Any]:
        """Move a piece of furniture; the robot and its instruction stay."""
        apartment = self._world.episode.apartment
        piece = next((each for each in apartment.furniture if label(each) == name), None)
        if piece is None:
            raise ConfigError(f"no furniture called {name!r} here; choose it on the map")
        moved = dataclasses.replace(piece, x_m=round(piece.x_m + x_m, 3), y_m=round(piece.y_m + y_m, 3))
        room = apartment.room_at(*(float(value) for value in moved.centre))
        moved = dataclasses.replace(moved, room=piece.room if room is None else room)
        others = [each for each in apartment.furniture if each is not piece]
        self._check(apartment, moved, others)
        furnished = dataclasses.replace(apartment, furniture=(*others, moved))
        if not connected(furnished):
            raise ConfigError(f"the {moved.phrase} would be in the robot's way there; leave room to drive past it")
        return self._begin(furnished, self._world.episode.task.instruction).raw

    def _begin(self, apartment: Apartment, instruction: str) -> Begun:
        """Begin an episode where the robot stands. An instruction that is no task of the apartment is not measured."""
        world, start = self._world, self._world.pose
        task = next((each for each in self._tasks(apartment) if _means(each, instruction, apartment)), None)
        measured = task is not None
        if task is None:  # some goal, which nobody looks at
            task = dataclasses.replace(world.episode.task, instruction=instruction)
        episode = build_episode(apartment, task, world.camera, np.random.default_rng(0), start)
        if episode is None:
            raise ConfigError(f"nothing in this apartment shows whether {instruction!r} has succeeded; move it back")
        world.start_episode(episode)
        return Begun(world.observe(), task.instruction, measured)

    def _tasks(self, apartment: Apartment) -> list[NavigationTask]:
        """The tasks of all kinds; the same ones for the same apartment."""
        rng = np.random.default_rng(0)
        return [task for name in NAVIGATION_TASKS for task in task_candidates(apartment, name, rng)]

    def _check(self, apartment: Apartment, piece: Furniture, others: list[Furniture]) -> None:
        """Refuse a place outside a room, in other furniture, or on the robot."""
        (x0, y0, _), (x1, y1, _) = piece.bounds
        room, wall = apartment.rooms[piece.room], WALL_THICKNESS_M
        inside = room.x0_m + wall <= x0 and room.y0_m + wall <= y0 and x1 <= room.x1_m - wall and y1 <= room.y1_m - wall
        if not inside:
            raise ConfigError(f"the {piece.phrase} would stand in a wall there; keep it within a room")
        for other in others:
            (a0, b0, _), (a1, b1, _) = other.bounds
            if not other.walkable and x0 < a1 and a0 < x1 and y0 < b1 and b0 < y1:
                raise ConfigError(f"the {piece.phrase} would stand in the {other.phrase} there; move that first")
        if Outlines.of(piece.world_parts).distance(*self._world.pose[:2]) < self._world.embodiment.radius_m:
            raise ConfigError(f"the {piece.phrase} would stand where the robot is; drive the robot away first")


def label(piece: Furniture) -> str:
    """The name of a piece of furniture on the map, which no other has: "red chair (chair 2)"."""
    return f"{piece.phrase} ({piece.name.replace('_', ' ')})"


def _outline(piece: Furniture) -> Outline:
    (x0, y0, _), (x1, y1, _) = piece.bounds
    red, green, blue = (round(255 * value) for value in max(piece.parts, key=_area).rgb)
    return Outline(
        label(piece), round((x0 + x1) / 2, 3), round((y0 + y1) / 2, 3), round(x1 - x0, 3), round(y1 - y0, 3),
        f"rgb({red} {green} {blue})", round=all(part.is_round for part in piece.parts), movable=not piece.walkable,
    )  # fmt: skip


def _area(part: Any) -> float:
    return float(part.half[0] * part.half[1])


def _means(task: NavigationTask, instruction: str, apartment: Apartment) -> bool:
    """Whether an instruction is a task's, in its words or, for one piece of furniture, with another verb."""
    said = plain_words(instruction)
    if said == plain_words(task.instruction):
        return True
    if task.name != "objectnav":
        return False
    words = unique_phrases(apartment)[task.goals[0]]
    return said in {f"{verb} the {words}" for verb in _VERBS}
