"""What only the oracle may know of a rearrangement, and what of it a perfect perceiver sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from si_embodied.envs.ground_truth import inner_pixel
from si_embodied.envs.habitat.rearrange_tasks import At, holds
from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from si_embodied.envs.habitat.rearrange import HabitatRearrangeEnv

_MIN_VISIBLE_PX_AT_224 = 12  # of a mug two metres away

_Handling: TypeAlias = Literal["pick", "place", "open", "close"]
Pixel: TypeAlias = tuple[int, float, float]  # view, u, v


class RearrangeGroundTruth:
    """Where everything is, and so which skill comes next."""

    def __init__(self, env: HabitatRearrangeEnv) -> None:
        """Look into `env`."""
        self._env = env

    def next_action(self) -> int:
        """The number of the next skill on the way to the first condition that does not hold.

        Raises:
            ConfigError: there is none: the task is done.
        """
        step = self._next()
        if step is None:
            raise ConfigError("every condition of the task holds; there is nothing left to do")
        verb, target, place = step
        wanted = (verb, target) if self._env.world.near(place) else ("navigate", place)
        return next(i for i, skill in enumerate(self._env.skills) if (skill.verb, skill.target) == wanted)

    def seen_step(self) -> tuple[str, str, Pixel | None] | None:
        """(skill, words, pixel) of what one does who sees perfectly, None when nothing remains.

        The instruction's words are known, and where it says that things are; the rest has to come into view. The pixel
        is None for "navigate" and "explore", which point at nothing.
        """
        step = self._next()
        if step is None:
            return None
        verb, target, place = step
        world, pixel = self._env.world, self._pixel_of(target)
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
        """What to do next, with which thing or piece of furniture, and at which piece."""
        world, task = self._env.world, self._env.world.task
        if world.held is not None:
            wanted = (c.place for c in task.conditions if isinstance(c, At) and c.thing == world.held)
            place = next(wanted, task.start[world.held])
            return "place", place, place
        for condition in task.conditions:
            if holds(condition, world.where, frozenset(world.opened)):
                continue
            if not isinstance(condition, At):
                return "close", condition.place, condition.place
            source = world.where[condition.thing]
            for place in (condition.place, source):  # with a free hand, before the thing is fetched
                if world.shut(place):
                    return "open", place, place
            return "pick", condition.thing, source
        return None

    def _pixel_of(self, name: str) -> Pixel | None:
        """A pixel well inside a thing or a piece of furniture as last observed, None where too little is seen."""
        mask = self._env.mask(name)
        fewest = max(1, round(_MIN_VISIBLE_PX_AT_224 * mask.size / 224**2))
        return None if int(mask.sum()) < fewest else (0, *inner_pixel(mask))
