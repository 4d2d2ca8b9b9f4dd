"""Simulated worlds as Gymnasium environments: scenes are values, MuJoCo simulates and renders them.

Importing this package registers the environments and loads nothing heavier than gymnasium.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra

if TYPE_CHECKING:
    import gymnasium

APARTMENT_ID = "si_embodied/Apartment-v0"
TABLETOP_ID = "si_embodied/Tabletop-v0"
OWN_WORLD_ID = "si_embodied/OwnWorld-v0"
HABITAT_POINTNAV_ID = "si_embodied/HabitatPointNav-v0"
HABITAT_OBJECTNAV_ID = "si_embodied/HabitatObjectNav-v0"
HABITAT_IMAGENAV_ID = "si_embodied/HabitatImageNav-v0"
HABITAT_INSTRUCTIONNAV_ID = "si_embodied/HabitatInstructionNav-v0"
HABITAT_REARRANGE_ID = "si_embodied/HabitatRearrange-v0"

_ENTRY_POINTS = {
    APARTMENT_ID: "si_embodied.envs.navigation:ApartmentEnv",
    TABLETOP_ID: "si_embodied.envs.manipulation:TabletopEnv",
    OWN_WORLD_ID: "si_embodied.envs.own.env:OwnWorldEnv",
    HABITAT_POINTNAV_ID: "si_embodied.envs.habitat.navigation:HabitatPointNavEnv",
    HABITAT_OBJECTNAV_ID: "si_embodied.envs.habitat.navigation:HabitatObjectNavEnv",
    HABITAT_IMAGENAV_ID: "si_embodied.envs.habitat.navigation:HabitatImageNavEnv",
    HABITAT_INSTRUCTIONNAV_ID: "si_embodied.envs.habitat.navigation:HabitatInstructionNavEnv",
    HABITAT_REARRANGE_ID: "si_embodied.envs.habitat.rearrange:HabitatRearrangeEnv",
}


@dataclass(frozen=True)
class Maker:
    """Gymnasium's entry point for one of our environments: in this process, or in another Python with `python=`."""

    env_id: str
    entry_point: str

    def world(self) -> type[gymnasium.Env[Any, Any]]:
        """The environment's class."""
        from gymnasium.envs.registration import load_env_creator

        world: Any = load_env_creator(self.entry_point)
        return world  # type: ignore[no-any-return]

    def __call__(self, *, python: str | None = None, **arguments: Any) -> gymnasium.Env[Any, Any]:
        """Create the environment; `python` is the path of another Python's executable (see `ProcessEnv`)."""
        if python is None:
            return self.world()(**arguments)
        from si_embodied.envs.process import ProcessEnv

        return ProcessEnv(self.env_id, python=python, **arguments)


def register_all() -> None:
    """Register every environment of this package with Gymnasium; idempotent.

    Raises:
        MissingExtraError: gymnasium is not installed.
    """
    with extra("sim"):
        import gymnasium
    for env_id, entry_point in _ENTRY_POINTS.items():
        if env_id not in gymnasium.registry:
            # The environments limit their own episodes (`max_episode_steps`), so that no wrapper hides their state.
            gymnasium.register(id=env_id, entry_point=Maker(env_id, entry_point))


register_all()
