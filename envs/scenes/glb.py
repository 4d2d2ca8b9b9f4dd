"""An apartment as a GLB file (y up), for Habitat and for any viewer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.envs.scenes.apartment import WALL_HEIGHT_M, Apartment, Part
from si_embodied.errors import RecordError, extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

# (x, y, z) with z up to (x, z, -y) with y up.
_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def _trimesh() -> Any:
    with extra("sim"):
        import trimesh
    return trimesh


def part_mesh(part: Part) -> Any:
    """One primitive as a coloured mesh in the map.

    Raises:
        MissingExtraError: trimesh is not installed.
    """
    trimesh, half = _trimesh(), np.array(part.half)
    if part.shape == "box":
        mesh = trimesh.creation.box(extents=2 * half)
    elif part.shape in ("sphere", "ellipsoid"):
        mesh = trimesh.creation.icosphere(subdivisions=2)
        mesh.apply_scale(half)
    else:
        index = "xyz".index(part.axis)
        along, radius = float(half[index]), float(half[(index + 1) % 3])
        if part.shape == "cylinder":
            mesh = trimesh.creation.cylinder(radius=radius, height=2 * along, sections=24)
        else:
            mesh = trimesh.creation.capsule(height=2 * max(along - radius, 0.0), radius=radius)
        if part.axis != "z":
            turn = (math.pi / 2, [0, 1, 0]) if part.axis == "x" else (-math.pi / 2, [1, 0, 0])
            mesh.apply_transform(trimesh.transformations.rotation_matrix(*turn))
    mesh.apply_translation(part.centre)
    colour = [*(round(255 * c) for c in part.rgb), 255]
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=colour, metallicFactor=0.0, roughnessFactor=0.9)
    mesh.visual = trimesh.visual.TextureVisuals(material=material)
    return mesh


def _floors(apartment: Apartment) -> list[tuple[str, Part]]:
    slabs = []
    for room in apartment.rooms:
        middle = ((room.x0_m + room.x1_m) / 2, (room.y0_m + room.y1_m) / 2)
        half = ((room.x1_m - room.x0_m) / 2, (room.y1_m - room.y0_m) / 2, 0.02)
        name = room.name.replace(" ", "_")
        slabs.append((f"floor_{name}", Part("box", (*middle, -0.02), half, room.floor_rgb)))
        slabs.append((f"ceiling_{name}", Part("box", (*middle, WALL_HEIGHT_M + 0.02), half, (0.95, 0.95, 0.94))))
    return slabs


def shell(apartment: Apartment) -> list[tuple[str, Part]]:
    """All but the furniture, with names: floors, ceilings, walls and what is over the doors."""
    walls = [(f"wall_{i}", part) for i, part in enumerate(apartment.walls)]
    return [*_floors(apartment), *walls, *((f"lintel_{i}", part) for i, part in enumerate(apartment.lintels))]


def apartment_scene(apartment: Apartment) -> Any:
    """The apartment as a `trimesh.Scene`, y up; nodes are named as the furniture, with `/` and a number for each part.

    Raises:
        MissingExtraError: trimesh is not installed.
    """
    trimesh = _trimesh()
    scene = trimesh.Scene()
    parts = shell(apartment)
    parts += [(f"{p.name}/{i}", part) for p in apartment.furniture for i, part in enumerate(p.world_parts)]
    for name, part in parts:
        scene.add_geometry(part_mesh(part), node_name=name, geom_name=name)
    scene.apply_transform(_Y_UP)
    return scene


def export_glb(apartment: Apartment, path: str | Path) -> Path:
    """Write the apartment to a GLB file and return its path.

    Raises:
        RecordError: the file cannot be written.
        MissingExtraError: trimesh is not installed.
    """
    target = Path(path)
    content: bytes = apartment_scene(apartment).export(file_type="glb")
    try:
        target.write_bytes(content)
    except OSError as error:
        raise RecordError(
            f"could not write {target}: {error}; check the folder, the rights and the free space"
        ) from error
    return target


def to_y_up(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map points (..., 3) in the frame of the GLB file."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)
