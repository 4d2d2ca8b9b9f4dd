"""Privileged knowledge of a rearrangement: the next skill, and the pixel that shows its target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from si_embodied.envs.ground_truth import inner_pixel
from si_embodied.envs.habitat.rearrange_tasks import At, holds
from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.envs.habitat.rearrange_tasks import Skill
    from si_embodied.envs.habitat.rearrange_world import RearrangeWorld
    from si_embodied.ground_truth import Pixel

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
