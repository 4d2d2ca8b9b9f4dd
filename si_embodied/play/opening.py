"""The scene of any environment: one that goes on where the last episode ended, if the world can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.envs import APARTMENT_ID, TABLETOP_ID
from si_embodied.errors import ConfigError
from si_embodied.play.scenes import Begun, same_words

if TYPE_CHECKING:
    from si_embodied.live.frame import Outline
    from si_embodied.play.scenes import Env, Raw, Scene


class AnyScene:
    """A world that only knows the episodes of its seeds: an instruction starts the seed's episode again."""

    def __init__(self, env: Env) -> None:
        """Play in an environment."""
        self._env, self._seed, self._own = env, 0, ""

    def reset(self, seed: int) -> Begun:
        """The episode of a seed."""
        raw, _ = self._env.reset(seed=seed)
        self._seed, self._own = seed, str(raw["instruction"])
        return Begun(raw, self._own, True)

    def instruct(self, instruction: str) -> Begun:
        """The seed's episode from its start, with this instruction."""
        begun = self.reset(self._seed)
        return begun if same_words(instruction, self._own) else Begun(begun.raw, instruction, False)

    def suggestions(self) -> tuple[str, ...]:
        """The seed's own instruction."""
        return (self._own,)

    def outlines(self) -> tuple[Outline, ...]:
        """Nothing: the world does not tell."""
        return ()

    def move(self, name: str, x_m: float, y_m: float) -> Raw:
        """Refused."""
        raise ConfigError("nothing can be moved in this world; play in si_embodied/Apartment-v0 or Tabletop-v0")


def make_scene(env: Env) -> Scene:
    """The scene of an environment."""
    name = "" if env.spec is None else env.spec.id
    if name == APARTMENT_ID:
        from si_embodied.play.apartment import ApartmentScene

        return ApartmentScene(env)
    if name == TABLETOP_ID:
        from si_embodied.play.table import TableScene

        return TableScene(env)
    return AnyScene(env)
