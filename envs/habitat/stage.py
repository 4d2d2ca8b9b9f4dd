"""An apartment or a building of one's own to navigate in: its model, its free space, and a name to rebuild it from."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from si_embodied.envs.arguments import IMAGE_SIZES_PX
from si_embodied.envs.base_motion import Obstacles
from si_embodied.envs.mujoco.renderer import select_renderer
from si_embodied.envs.own.mesh import SUFFIXES
from si_embodied.envs.scenes.apartment import Apartment, Room
from si_embodied.envs.scenes.generator import PATH_CLEARANCE_M, generate_apartment, solid_outlines
from si_embodied.envs.scenes.mjcf import MujocoScene, apartment_mjcf
from si_embodied.envs.scenes.occupancy import Grid
from si_embodied.errors import UnknownNameError
from si_embodied.robots import CAMERA_HEIGHT_M, FETCH_BASE

select_renderer()  # before mujoco is first imported, which reads the choice

import mujoco  # noqa: E402

from si_embodied.envs.episode import CameraSetup  # noqa: E402
from si_embodied.envs.own.scan import ScanPlace  # noqa: E402

_NAME = re.compile(r"apartment-(\d+)-(\d+)")


@dataclass(frozen=True, eq=False)
class Stage:
    """An apartment, compiled. A building of one's own is one room of its size, without furniture that it knows."""

    name: str  # "apartment-7-0": the apartment's seed; or the building's file
    apartment: Apartment
    scene: MujocoScene
    model: mujoco.MjModel  # the simulator sets the mount and field of view of its camera
    obstacles: Obstacles
    grid: Grid  # for the Fetch-sized disc, with a margin


def stage_name(seed: tuple[int, ...]) -> str:
    """The name of the apartment of a seed (episode seed, attempt)."""
    return f"apartment-{seed[0]}-{seed[1]}"


def stage_of_scene(scene_id: str) -> str:
    """The stage's name in a scene id: `apartment-7-0`, alone or as a file name with any extension; or another file."""
    name = PurePath(scene_id).name.partition(".")[0]
    return scene_id if _is_building(scene_id) and not _NAME.fullmatch(name) else name


def _is_building(name: str) -> bool:
    return PurePath(name).suffix.lower() in SUFFIXES


def apartment_of(name: str) -> Apartment:
    """The apartment of a stage's name.

    Raises:
        UnknownNameError: no apartment has this name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UnknownNameError("apartment", name, ["apartment-<seed>-<attempt>, for example apartment-7-0"])
    return generate_apartment((int(match[1]), int(match[2])))


@functools.lru_cache(maxsize=4)
def load_stage(name: str) -> Stage:
    """The stage of a name; the last few are cached, because drawing an episode and running it need the same one."""
    if _is_building(name):
        return _building(name)
    apartment = apartment_of(name)
    obstacles = solid_outlines(apartment)
    grid = Grid.of(apartment, obstacles, PATH_CLEARANCE_M)
    scene = apartment_mjcf(apartment, camera_height_m=CAMERA_HEIGHT_M, fov_y_rad=1.2)
    return Stage(name, apartment, scene, mujoco.MjModel.from_xml_string(scene.xml), obstacles, grid)


def _building(name: str) -> Stage:
    place = ScanPlace(Path(name), FETCH_BASE, CameraSetup(), IMAGE_SIZES_PX[0])  # of which nothing is rendered here
    low, high = (place.cloud.points[:, :2].min(axis=0), place.cloud.points[:, :2].max(axis=0))
    white = (1.0, 1.0, 1.0)
    hall = Room("hall", float(low[0]), float(low[1]), float(high[0]), float(high[1]), "carpet", white, white)
    apartment = Apartment((), (hall,), (), (), (), ())
    scene = MujocoScene("", {})
    return Stage(name, apartment, scene, place.model, place.floor.obstacles, place.floor.grid)
