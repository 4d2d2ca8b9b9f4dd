"""A room of 6 x 4 m as a file, whose floor is 1 m above the file's origin: every wall has a colour of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from si_embodied.envs.episode import CameraSetup
from si_embodied.envs.own.scan import ScanPlace
from si_embodied.images.posed import write_posed_images
from si_embodied.robots import FETCH_BASE

FLOOR_M = 1.0
RED, GREEN, BLUE, YELLOW, GREY, PINK = (
    (200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (128, 128, 128), (250, 100, 180),
)  # fmt: skip
_PARTS = (  # middle and size in the map, and colour
    ((3, 2, -0.05), (6.2, 4.2, 0.1), GREY),  # floor
    ((6.05, 2, 1.25), (0.1, 4, 2.5), RED),  # east, ahead of heading 0
    ((-0.05, 2, 1.25), (0.1, 4, 2.5), GREEN),  # west
    ((3, 4.05, 1.25), (6.2, 0.1, 2.5), BLUE),  # north
    ((3, -0.05, 1.25), (6.2, 0.1, 2.5), YELLOW),  # south
    ((3, 2, 0.5), (0.6, 0.6, 1.0), PINK),  # a pillar in the middle
)
_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
CAMERA = CameraSetup()


def write_room(path: Path, *, scale: float = 1.0, z_up: bool = False) -> Path:
    scene = trimesh.Scene()
    for middle, size, rgb in _PARTS:
        mesh = trimesh.creation.box(extents=size)
        mesh.apply_translation((middle[0], middle[1], middle[2] + FLOOR_M))
        mesh.visual.face_colors = (*rgb, 255)
        mesh.apply_transform(np.eye(4) if z_up else _Y_UP)
        mesh.apply_scale(scale)
        scene.add_geometry(mesh)
    scene.export(path)
    return path


def room(path: Path, size: int = 32) -> ScanPlace:
    return ScanPlace(path, FETCH_BASE, CAMERA, size)


def write_recording(folder: Path, place: ScanPlace, poses: list[tuple[float, float, float]]) -> Path:
    def shot(pose: tuple[float, float, float], number: int):
        place.put(pose)
        return place.frame(float(number))

    write_posed_images(folder, (shot(pose, number) for number, pose in enumerate(poses)))
    return folder
