"""An apartment as a place to navigate in: what is drawn, where a disc fits, and a name to build it again from."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import PurePath

from si_embodied.envs.mujoco.renderer import select_renderer
from si_embodied.envs.scenes.apartment import Apartment
from si_embodied.envs.scenes.generator import PATH_MARGIN_M, ROBOT_RADIUS_M, generate_apartment, solid_outlines
from si_embodied.envs.scenes.mjcf import MujocoScene, apartment_mjcf
from si_embodied.envs.scenes.occupancy import Grid, Outlines
from si_embodied.errors import UnknownNameError

select_renderer()  # before mujoco's first import, which reads the choice

import mujoco  # noqa: E402

_NAME = re.compile(r"apartment-(\d+)-(\d+)")


@dataclass(frozen=True, eq=False)
class Stage:
    """An apartment, compiled."""

    name: str  # "apartment-7-0": the apartment's seed
    apartment: Apartment
    scene: MujocoScene
    model: mujoco.MjModel  # its camera's place and field of view are the simulator's to set
    obstacles: Outlines
    grid: Grid  # for the Fetch-sized disc, with a margin


def stage_name(seed: tuple[int, ...]) -> str:
    """The name of the apartment of a seed (episode seed, attempt)."""
    return f"apartment-{seed[0]}-{seed[1]}"


def stage_of_scene(scene_id: str) -> str:
    """The stage's name in a scene id: `apartment-7-0`, alone or as a file's name with any ending."""
    return PurePath(scene_id).name.partition(".")[0]


def apartment_of(name: str) -> Apartment:
    """The apartment that a stage's name stands for.

    Raises:
        UnknownNameError: the name is of no apartment.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UnknownNameError("apartment", name, ["apartment-<seed>-<attempt>, for example apartment-7-0"])
    return generate_apartment((int(match[1]), int(match[2])))


@functools.lru_cache(maxsize=4)
def load_stage(name: str) -> Stage:
    """The stage of a name; the last few are kept, as drawing an episode and running it need the same one."""
    apartment = apartment_of(name)
    obstacles = solid_outlines(apartment)
    grid = Grid.of(apartment, obstacles, ROBOT_RADIUS_M + PATH_MARGIN_M)
    scene = apartment_mjcf(apartment, camera_height_m=1.1, fov_y_rad=1.2)
    return Stage(name, apartment, scene, mujoco.MjModel.from_xml_string(scene.xml), obstacles, grid)
