"""An apartment's primitives as coloured meshes, for export to GLB files."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from si_embodied.envs.scenes.apartment import WALL_HEIGHT_M, Apartment, Part
from si_embodied.errors import extra


def part_mesh(part: Part) -> Any:
    """One primitive as a coloured `trimesh.Trimesh` in the map.

    Raises:
        MissingExtraError: trimesh is not installed.
    """
    with extra("sim"):
        import trimesh
    half = np.array(part.half)
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
    """Everything but the furniture, with names: floors, ceilings, walls and lintels."""
    walls = [(f"wall_{i}", part) for i, part in enumerate(apartment.walls)]
    return [*_floors(apartment), *walls, *((f"lintel_{i}", part) for i, part in enumerate(apartment.lintels))]
