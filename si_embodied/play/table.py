"""Playing at the table: other instructions about the same objects, and objects that can be moved."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from si_embodied.envs.scenes import tabletop as t
from si_embodied.envs.scenes.tabletop_tasks import Inside, OnTop, TabletopTask
from si_embodied.errors import ConfigError
from si_embodied.geometry import Pose
from si_embodied.live.frame import Outline
from si_embodied.play.scenes import MOST_SUGGESTIONS, Begun, plain_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from si_embodied.envs.manipulation import TabletopEnv
    from si_embodied.envs.scenes.tabletop_tasks import Condition
    from si_embodied.play.scenes import Env

_INSIDE = ("put the {0} in the {1}", "pick up the {0} and put it in the {1}", "place the {0} into the {1}")
_ON_TOP = ("stack the {0} on the {1}", "put the {0} on top of the {1}", "set the {0} down on the {1}")
_GAP_M = 0.005


class TableScene:
    """One table, whose objects stay where they are from one instruction to the next."""

    def __init__(self, env: Env) -> None:
        """Play in a `TabletopEnv`."""
        self._env = env
        self._world = cast("TabletopEnv", env.unwrapped)
        self._own: TabletopTask | None = None  # the seed's

    def reset(self, seed: int) -> Begun:
        """The table of a seed, with the seed's own instruction."""
        raw, _ = self._env.reset(seed=seed)
        self._own = self._world.episode
        return Begun(raw, str(raw["instruction"]), True)

    def instruct(self, instruction: str) -> Begun:
        """Another instruction about the objects as they lie."""
        task, measured = self._measurable().get(plain_words(instruction)), True
        if task is None:  # some conditions, which nobody looks at
            own = self._world.episode
            task, measured = TabletopTask(own.category, instruction, own.scene, own.conditions), False
        return Begun(self._world.give_task(task), task.instruction, measured)

    def suggestions(self) -> tuple[str, ...]:
        """The seed's own instruction, and one for each thing that can be put in or on another."""
        own = () if self._own is None else (self._own.instruction,)
        simple = (words for words, _ in _conditions(self._world.episode.scene, _INSIDE[:1], _ON_TOP[:1]))
        return tuple(dict.fromkeys((*own, *simple)))[:MOST_SUGGESTIONS]

    def outlines(self) -> tuple[Outline, ...]:
        """The table, the containers, and the objects, which can be moved."""
        scene, world = self._world.episode.scene, self._world.world
        (cx, cy), (width, depth) = t.TABLE_CENTRE_M, t.TABLE_SIZE_M
        found = [Outline("table", cx, cy, width, depth)]
        for container in scene.containers:
            size = 2 * t.CONTAINER_RADIUS_M[container.kind]
            found.append(Outline(container.name, container.x_m, container.y_m, size, size, _css(container.colour),
                                 round=container.kind == "bowl"))  # fmt: skip
        for item in scene.objects:
            x, y, _ = world.pose(item.name).translation
            size = round(2 * t.radius(item.shape), 3)
            found.append(Outline(item.name, round(float(x), 3), round(float(y), 3), size, size, _css(item.colour),
                                 round=True, movable=True))  # fmt: skip
        return tuple(found)

    def move(self, name: str, x_m: float, y_m: float) -> Mapping[str, Any]:
        """Move an object on the table."""
        world, scene = self._world.world, self._world.episode.scene
        item = next((each for each in scene.objects if each.name == name), None)
        if item is None:
            raise ConfigError(f"no object called {name!r} that can be moved; choose one on the map")
        if world.fingers_on(name):
            raise ConfigError(f"the {name} is in the gripper; put it down first")
        pose = world.pose(name)
        x, y = float(pose.translation[0]) + x_m, float(pose.translation[1]) + y_m
        self._check(item, x, y)
        low_m = float(world.corners(name)[:, 2].min())
        z = float(pose.translation[2]) - low_m + t.TABLE_TOP_M + 0.001
        world.place_object(name, Pose(pose.rotation, np.array([x, y, z])))
        world.rest()
        return self._world.observe()

    def _check(self, item: t.TableObject, x: float, y: float) -> None:
        """Refuse a place off the area for objects, out of reach, or taken."""
        (x0, y0), (x1, y1) = t.AREA_M
        if not (x0 <= x <= x1 and y0 <= y <= y1 and t.within_reach(x, y)):
            raise ConfigError(f"the arm could not reach the {item.name} there; keep it on the near part of the table")
        world, scene = self._world.world, self._world.episode.scene
        taken = [(c.name, c.x_m, c.y_m, t.CONTAINER_RADIUS_M[c.kind]) for c in scene.containers]
        for other in scene.objects:
            if other.name != item.name:
                ox, oy, _ = world.pose(other.name).translation
                taken.append((other.name, float(ox), float(oy), t.radius(other.shape)))
        for name, ox, oy, radius in taken:
            if math.hypot(x - ox, y - oy) < t.radius(item.shape) + radius + _GAP_M:
                raise ConfigError(f"the {item.name} would lie on the {name} there; choose a free spot")

    def _measurable(self) -> Mapping[str, TabletopTask]:
        """Every instruction that this scene can measure, by its plain words."""
        scene = self._world.episode.scene
        told = {} if self._own is None else {plain_words(self._own.instruction): self._own}
        for words, condition in _conditions(scene, _INSIDE, _ON_TOP):
            task = TabletopTask("play", words, scene, (condition,))
            told.setdefault(plain_words(words), task)
        return told


def _conditions(
    scene: t.TabletopScene, inside: tuple[str, ...], on_top: tuple[str, ...]
) -> Iterator[tuple[str, Condition]]:
    """What can be brought about with one object, in these wordings."""
    names = [container.name for container in scene.containers]
    for item, container in itertools.product(scene.objects, scene.containers):
        if names.count(container.name) == 1 and container.kind != "shape sorter":
            for words in inside:
                yield words.format(item.name, container.name), Inside(item.name, container.key)
    for item, support in itertools.permutations(scene.objects, 2):
        if support.shape in t.FLAT_SHAPES and item.shape != "ball":
            for words in on_top:
                yield words.format(item.name, support.name), OnTop(item.name, support.name)


def _css(colour: str) -> str:
    if colour not in t.COLOURS:
        return "rgb(170 130 90)"  # wood
    red, green, blue = (round(255 * value) for value in t.COLOURS[colour])
    return f"rgb({red} {green} {blue})"
