"""Privileged knowledge of a rearrangement: the next skill, and the pixel that shows its target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from si_embodied.envs.ground_truth import floor_plan, inner_pixel
from si_embodied.envs.habitat.rearrange_tasks import At, holds
from si_embodied.errors import ConfigError
from si_embodied.grounding import pixel_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from si_embodied.envs.habitat.rearrange_tasks import Skill
    from si_embodied.envs.habitat.rearrange_world import RearrangeWorld
    from si_embodied.ground_truth import FloorPlan, Pixel, Pointed

_MIN_VISIBLE_PX_AT_224 = 12  # a mug two metres away

_Handling: TypeAlias = Literal["pick", "place", "open", "close"]


class RearrangeGroundTruth:
    """Where everything is, and so which skill comes next."""

    def __init__(
        self, world: RearrangeWorld, skills: tuple[Skill, ...], mask: Callable[[str], NDArray[np.bool_]]
    ) -> None:
        """Watch one episode.

        Args:
            world: the apartment and its items.
            skills: of the episode, by number.
            mask: returns the pixels (H, W) of the last observation that show an item or a piece of furniture.
        """
        self._world, self._skills, self._mask = world, skills, mask

    def next_action(self) -> int:
        """The number of the next skill towards the first condition that does not hold.

        Raises:
            ConfigError: the task is done.
        """
        step = self._next()
        if step is None:
            raise ConfigError("every condition of the task holds; there is nothing left to do")
        verb, target, place = step
        wanted = (verb, target) if self._world.near(place) else ("navigate", place)
        return next(i for i, skill in enumerate(self._skills) if (skill.verb, skill.target) == wanted)

    def seen_step(self) -> tuple[str, str, Pixel | None] | None:
        """(skill, words, pixel) of the next step given perfect perception; None when the task is done.

        What the instruction says is known, including where it says that objects are; everything else must come into
        view first. The pixel is None for "navigate" and "explore", which point at nothing.
        """
        step = self._next()
        if step is None:
            return None
        verb, target, place = step
        world, pixel = self._world, self._pixel_of(target)
        words = target.replace("_", " ") if verb == "pick" else world.task.places[place]
        if pixel is not None and world.near(place):
            return verb, words, pixel
        if verb != "pick":
            return "navigate", words, None
        if pixel is not None:
            return "goto", words, pixel
        told = world.task.places[place] in world.task.instruction and not world.near(place)
        return ("navigate", world.task.places[place], None) if told else ("explore", "", None)

    def target_in_view(self) -> bool | None:
        """Whether the next skill's object or furniture is visible; None when the task is done."""
        step = self._next()
        return None if step is None else self._pixel_of(step[1]) is not None

    def pointed_at(self, view: int, point: tuple[int, int]) -> Pointed | None:
        """What lies at a point (0..1000) of the last image; None when the task is done.

        Both the object or furniture that the next skill handles and the furniture where that happens are the target.
        """
        step = self._next()
        if step is None or view != 0:
            return None
        if any(self._shows(name, point) for name in step[1:]):
            return "target"
        names = {skill.target for skill in self._skills} - {""}
        return "other" if any(self._shows(name, point) for name in names) else "nothing"

    def _shows(self, name: str, point: tuple[int, int]) -> bool:
        mask = self._mask(name)
        u, v = pixel_of(point, mask.shape[1], mask.shape[0])
        return bool(mask[round(v), round(u)])

    def floor_plan(self) -> FloorPlan:
        """The apartment from above. There is no one shortest path through a task of several skills."""
        return floor_plan(self._world.stage.grid, np.zeros((0, 2)), np.zeros((0, 2)))

    def _next(self) -> tuple[_Handling, str, str] | None:
        """The next skill, the object or furniture that it handles, and the furniture where it happens."""
        world, task = self._world, self._world.task
        if world.held is not None:
            wanted = (c.place for c in task.conditions if isinstance(c, At) and c.item == world.held)
            place = next(wanted, task.start[world.held])
            return "place", place, place
        for condition in task.conditions:
            if holds(condition, world.where, frozenset(world.opened)):
                continue
            if not isinstance(condition, At):
                return "close", condition.place, condition.place
            source = world.where[condition.item]
            for place in (condition.place, source):  # while the gripper is empty, before fetching the object
                if world.shut(place):
                    return "open", place, place
            return "pick", condition.item, source
        return None

    def _pixel_of(self, name: str) -> Pixel | None:
        """A pixel of the last observation well inside an object or furniture; None if too little of it is visible."""
        mask = self._mask(name)
        fewest = max(1, round(_MIN_VISIBLE_PX_AT_224 * mask.size / 224**2))
        return None if int(mask.sum()) < fewest else (0, *inner_pixel(mask))
