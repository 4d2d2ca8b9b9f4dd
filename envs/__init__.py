"""Simulated worlds as Gymnasium environments; scenes are values, MuJoCo draws and moves them.

Importing this registers the environments and loads nothing heavier than gymnasium.
"""

from __future__ import annotations

from si_embodied.errors import MissingExtraError

APARTMENT_ID = "si_embodied/Apartment-v0"
TABLETOP_ID = "si_embodied/Tabletop-v0"

_ENTRY_POINTS = {
    APARTMENT_ID: "si_embodied.envs.navigation:ApartmentEnv",
    TABLETOP_ID: "si_embodied.envs.manipulation:TabletopEnv",
}

__all__ = ["APARTMENT_ID", "TABLETOP_ID", "register_all"]


def register_all() -> None:
    """Register every environment of this package with Gymnasium; calling it again changes nothing.

    Raises:
        MissingExtraError: gymnasium is not installed.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise MissingExtraError("gymnasium", "sim") from error
    for env_id, entry_point in _ENTRY_POINTS.items():
        if env_id not in gymnasium.registry:
            # The episode limit is the environments' own (`max_episode_steps`), so that no wrapper hides their state.
            gymnasium.register(id=env_id, entry_point=entry_point)


register_all()
