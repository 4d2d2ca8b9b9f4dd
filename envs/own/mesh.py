"""A scanned or modelled building from a file, as triangles in the map with the colours that they are drawn in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from si_embodied.envs.own.cloud import Cloud, check_extent
from si_embodied.errors import SceneError, extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

UpAxis: TypeAlias = Literal["y", "z"]
SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
"""File types that trimesh reads with what pip installs here."""
_Y_UP = (".glb", ".gltf")  # by their specification; the others have none, and scanners write z
_POINTS_PER_M2 = 900
_MOST_POINTS = 8_000_000
_LEVEL = 0.7  # z of a normal from which on a surface may be floor
_TEXTURE_LIMIT_PX = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Triangles with one texture."""

    vertices: NDArray[np.float32]  # (N, 3), map, metres
    faces: NDArray[np.int32]  # (M, 3), counter-clockwise seen from outside
    uv: NDArray[np.float32]  # (K, 2), of the texture; (0, 0) is its lower left corner
    uv_faces: NDArray[np.int32]  # (M, 3), indices into `uv`
    texture: NDArray[np.uint8]  # (H, W, 3), the first row is the top


def read_surfaces(path: Path, *, up: UpAxis | None = None, scale: float = 1.0) -> list[Surface]:
    """The triangles of a file, z up.

    Args:
        path: GLB, glTF, OBJ, PLY, STL or OFF.
        up: the file's vertical axis; None for y in GLB and glTF, z otherwise.
        scale: metres per unit of the file.

    Raises:
        SceneError: the file is missing, cannot be read, or has no triangles.
        MissingExtraError: trimesh is not installed.
    """
    with extra("sim"):
        import trimesh
    if not path.is_file():
        raise SceneError(f"no such file: {str(path)!r}")
    if not path.stat().st_size:
        raise SceneError(f"{str(path)!r} is empty; export it again")
    if path.suffix.lower() not in SUFFIXES:
        raise SceneError(f"{str(path)!r} is not a kind of file that is read ({', '.join(SUFFIXES)}); convert it to GLB")
    try:
        scene = trimesh.load_scene(path)
    except Exception as error:  # trimesh passes on what a dozen parsers raise
        raise SceneError(f"{str(path)!r} cannot be read: {error}; open it in Blender and export it as GLB") from error
    turned = _to_map(up or ("y" if path.suffix.lower() in _Y_UP else "z"), scale)
    surfaces = [_surface(mesh, turned @ placed) for mesh, placed in _meshes(scene, trimesh.Trimesh)]
    if not surfaces:
        raise SceneError(f"{str(path)!r} has no triangles; a point cloud needs a mesh: reconstruct its surface first")
    return surfaces


def _meshes(scene: Any, kind: type[Any]) -> Iterator[tuple[Any, NDArray[np.float64]]]:
    """Every mesh with triangles, and its pose in the file's frame."""
    for node in scene.graph.nodes_geometry:
        placed, name = scene.graph[node]
        mesh = scene.geometry[name]
        if isinstance(mesh, kind) and len(mesh.faces):
            yield mesh, np.asarray(placed, np.float64)


def _to_map(up: UpAxis, scale: float) -> NDArray[np.float64]:
    """(4, 4) from the file's frame to the map; y up becomes z up as in Habitat."""
    turn = np.eye(4)
    if up == "y":
        turn[:3, :3] = [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]
    turn[:3, :3] *= scale
    return turn


def _surface(mesh: Any, transform: NDArray[np.float64]) -> Surface:
    vertices = np.asarray(mesh.vertices) @ transform[:3, :3].T + transform[:3, 3]
    faces = np.asarray(mesh.faces, np.int32)
    if np.linalg.det(transform[:3, :3]) < 0:  # mirrored: keep the outside outside
        faces = faces[:, ::-1]
    image, factor = _material(mesh.visual)
    uv = getattr(mesh.visual, "uv", None)
    if image is not None and uv is not None and len(uv) == len(vertices):
        texture = np.rint(image * factor).astype(np.uint8)
        coordinates, corners = np.asarray(uv, np.float32), faces
    else:
        texture, coordinates, corners = _palette(_face_colours(mesh) * factor)
    return Surface(vertices.astype(np.float32), faces, coordinates, corners, texture)


def _material(visual: Any) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
    """The texture (H, W, 3), None if there is none, and the colour (3,) that it is multiplied by."""
    material = getattr(visual, "material", None)
    if material is None:
        return None, np.ones(3, np.float32)
    pbr = material if hasattr(material, "baseColorTexture") else material.to_pbr()
    factor = np.ones(3, np.float32)
    if pbr.baseColorFactor is not None:
        given = np.asarray(pbr.baseColorFactor)
        factor = (given[:3] / (255.0 if given.dtype.kind in "iu" else 1.0)).astype(np.float32)
    image = pbr.baseColorTexture if pbr.baseColorTexture is not None else pbr.emissiveTexture
    if image is None:
        return None, factor
    image = image.convert("RGB")
    image.thumbnail((_TEXTURE_LIMIT_PX, _TEXTURE_LIMIT_PX))
    return np.asarray(image, np.float32), factor


def _face_colours(mesh: Any) -> NDArray[np.float32]:
    """(M, 3), 0..255, from colours of vertices or faces; white where the file has none."""
    visual, count = mesh.visual, len(mesh.faces)
    attributes = getattr(visual, "vertex_attributes", {})
    colours = attributes.get("color")
    if colours is None and getattr(visual, "defined", False) and visual.kind in ("vertex", "face"):
        return np.asarray(visual.face_colors, np.float32)[:, :3]
    if colours is None:
        return np.full((count, 3), 255.0, np.float32)
    values = np.asarray(colours)
    values = values.astype(np.float32) * (1.0 if values.dtype.kind in "iu" else 255.0)
    return np.asarray(values[np.asarray(mesh.faces)].mean(axis=1)[:, :3], np.float32)


def _palette(
    colours: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32]]:
    """Colours of faces (M, 3) as a texture with a pixel for each, its coordinates, and each face's three of them."""
    unique, of_face = np.unique(np.rint(colours).astype(np.uint8), axis=0, return_inverse=True)
    side = math.ceil(math.sqrt(len(unique)))
    texture = np.zeros((side * side, 3), np.uint8)
    texture[: len(unique)] = unique
    row, column = np.divmod(np.arange(len(unique)), side)
    uv = np.stack([(column + 0.5) / side, 1.0 - (row + 0.5) / side], axis=1).astype(np.float32)
    corners = np.repeat(of_face.reshape(-1, 1).astype(np.int32), 3, axis=1)
    return texture.reshape(side, side, 3), uv, corners


def read_building(path: Path, *, up: UpAxis | None = None, scale: float = 1.0) -> tuple[list[Surface], Cloud]:
    """The surfaces of a file and points of them, kept for whoever opens the same file again; see `read_surfaces`."""
    changed_ns = path.stat().st_mtime_ns if path.is_file() else 0
    return _building(path.absolute(), changed_ns, up, scale)


@lru_cache(maxsize=2)
def _building(path: Path, changed_ns: int, up: UpAxis | None, scale: float) -> tuple[list[Surface], Cloud]:
    del changed_ns  # part of the key
    surfaces = read_surfaces(path, up=up, scale=scale)
    corners = np.concatenate([surface.vertices[:, :2] for surface in surfaces]).astype(np.float64)
    check_extent(corners.min(axis=0), corners.max(axis=0), str(path))
    return surfaces, cloud_of(surfaces)


def cloud_of(surfaces: list[Surface]) -> Cloud:
    """Points drawn evenly from all surfaces; the same ones every time."""
    rng = np.random.default_rng(0)
    areas = [_areas(surface) for surface in surfaces]
    density = min(_POINTS_PER_M2, _MOST_POINTS / max(sum(float(a.sum()) for a in areas), 1e-9))
    clouds = [_sampled(surface, area, density, rng) for surface, area in zip(surfaces, areas, strict=True)]
    return Cloud(*(np.concatenate(parts) for parts in zip(*clouds, strict=True)))


def _areas(surface: Surface) -> NDArray[np.float64]:
    corners = surface.vertices[surface.faces].astype(np.float64)
    return np.asarray(
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    )


def _sampled(
    surface: Surface, areas: NDArray[np.float64], density: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.bool_]]:
    """Points, colours, and which lie on a level surface."""
    total = float(areas.sum())
    if total <= 0:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, bool)
    # Evenly along the cumulated area, so that no small face is missed by chance.
    count = max(1, math.ceil(total * density))
    along = (np.arange(count) + rng.random(count)) / count * total
    face = np.minimum(np.searchsorted(np.cumsum(areas), along), len(areas) - 1)
    a, b = rng.random((2, count))
    flip = a + b > 1
    a[flip], b[flip] = 1 - a[flip], 1 - b[flip]
    weights = np.stack([1 - a - b, a, b], axis=1)[..., None]
    points = (surface.vertices[surface.faces[face]] * weights).sum(axis=1)
    uv = (surface.uv[surface.uv_faces[face]] * weights).sum(axis=1)
    height, width = surface.texture.shape[:2]
    column = np.floor(uv[:, 0] % 1.0 * width).astype(np.intp) % width
    row = np.floor((1.0 - uv[:, 1]) % 1.0 * height).astype(np.intp) % height
    corners = surface.vertices[surface.faces[face]].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    level = normal[:, 2] > _LEVEL * np.linalg.norm(normal, axis=1)
    return points.astype(np.float32), surface.texture[row, column], level
