"""An apartment as habitat-sim's files: a stage, an object per piece of furniture, and configs that combine them.

    FOLDER/NAME.scene_dataset_config.json     the files of the dataset
    FOLDER/NAME.scene_instance.json           the stage, and the pose of each object
    FOLDER/NAME.semantics.json                furniture and category of each semantic id
    FOLDER/stages/NAME.glb, .stage_config.json
    FOLDER/objects/PIECE.glb, .object_config.json

A dataset has one apartment, because habitat-sim reads all configs of a dataset when it starts. Colours are those of the
MuJoCo world: its light is baked into the vertices, which are rendered unlit. The bytes are a function of the apartment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.envs.habitat.frames import to_habitat
from si_embodied.envs.scenes.catalogue import CATALOGUE
from si_embodied.envs.scenes.glb import part_mesh, shell
from si_embodied.envs.scenes.mjcf import AMBIENT, HEADLIGHT, LIGHTS
from si_embodied.runs import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.scenes.apartment import Apartment, Furniture, Part

_UPRIGHT = {"up": [0, 1, 0], "front": [0, 0, -1]}  # otherwise habitat-sim assumes z up and lays the GLB on its side
_FLAT = {"shader_type": "flat"}
_OBJECT_CONFIG = "objects/{}.object_config.json"
# Cosines between a surface's normal and the direction to the camera. Baked light cannot follow the camera, so they are
# fixed. For level surfaces the value is exact while the camera looks down by 0.35 rad; for upright surfaces it is the
# mean over the views in apartments 20 to 31, with a spread of 0.24.
_HEADLIGHT_ON_LEVEL, _HEADLIGHT_ON_UPRIGHT = 0.34, 0.73


@dataclass(frozen=True, slots=True)
class SceneFiles:
    """habitat-sim's settings to load an exported apartment."""

    dataset_config: Path  # SimulatorConfiguration.scene_dataset_config_file
    scene: str  # SimulatorConfiguration.scene_id


def export_scene(
    apartment: Apartment,
    folder: str | Path,
    name: str,
    movable: Mapping[str, Sequence[Part]] = MappingProxyType({}),
) -> SceneFiles:
    """Write an apartment's files.

    Semantic ids are indices into `Apartment.furniture`, from 1; 0 is walls, floors and ceilings.

    Args:
        apartment: the apartment to export.
        folder: target, created if necessary; files of the same names are overwritten.
        name: name of the scene, for example `apartment-7-0`.
        movable: objects to add to the scene later, with their parts about their own origins; their semantic ids follow
            the furniture's.

    Raises:
        RecordError: a file cannot be written.
        MissingExtraError: trimesh is not installed.
    """
    target = Path(folder)
    files: dict[str, bytes] = {f"stages/{name}.glb": _glb(_stage_meshes(apartment))}
    files[f"stages/{name}.stage_config.json"] = _json(
        {"render_asset": f"{name}.glb", "collision_asset": f"{name}.glb", **_UPRIGHT, **_FLAT}
    )
    for number, piece in enumerate(apartment.furniture, start=1):
        about = {"category": piece.category, "colour": piece.colour, "phrase": piece.phrase}
        files |= _object(piece.name, _piece_mesh(piece), number, about)
    for number, (item, parts) in enumerate(movable.items(), start=len(apartment.furniture) + 1):
        files |= _object(item, _joined(parts), number, {})
    files[f"{name}.semantics.json"] = _json(_semantics(apartment))
    files[f"{name}.scene_instance.json"] = _json(_scene_instance(apartment, name))
    files[f"{name}.scene_dataset_config.json"] = _json(_dataset_config(name))
    _write(target, files)
    return SceneFiles(target / f"{name}.scene_dataset_config.json", name)


def export_glb(apartment: Apartment, path: str | Path) -> Path:
    """Write an apartment with its furniture as one GLB file, and return the file's path.

    Raises:
        RecordError: the file cannot be written.
        MissingExtraError: trimesh is not installed.
    """
    target = Path(path)
    furniture = {piece.name: _joined(piece.world_parts) for piece in apartment.furniture}
    _write(target.parent, {target.name: _glb({**_stage_meshes(apartment), **furniture})})
    return target


# --- configs --------------------------------------------------------------------------------------------------------


def object_config(files: SceneFiles, name: str) -> Path:
    """The config file of an exported scene's object, which is habitat-sim's handle of its template."""
    return files.dataset_config.parent / _OBJECT_CONFIG.format(name)


def _object(name: str, mesh: Any, number: int, about: Mapping[str, Any]) -> dict[str, bytes]:
    config = {
        "render_asset": f"{name}.glb",
        "collision_asset": f"{name}.glb",
        **_UPRIGHT,
        **_FLAT,
        "COM": [0, 0, 0],  # so that an object's position is that of its file's origin
        "semantic_id": number,
        "user_defined": about,
    }
    return {f"objects/{name}.glb": _glb({name: mesh}), _OBJECT_CONFIG.format(name): _json(config)}


def _scene_instance(apartment: Apartment, name: str) -> dict[str, Any]:
    objects = [
        {
            # The full file name: habitat-sim matches substrings of a path, and chair_1 is a substring of chair_10.
            "template_name": _OBJECT_CONFIG.format(piece.name),
            "translation": to_habitat([piece.x_m, piece.y_m, 0.0]).tolist(),
            "rotation": [1, 0, 0, 0],  # w, x, y, z; the files are already rotated, because their light is
            "translation_origin": "asset_local",
            "motion_type": "STATIC",
        }
        for piece in apartment.furniture
    ]
    return {
        "stage_instance": {"template_name": f"stages/{name}.stage_config.json"},
        "default_lighting": "no_lights",
        "object_instances": objects,
        "semantic_scene_instance": name,
    }


def _semantics(apartment: Apartment) -> dict[str, Any]:
    categories = sorted(CATALOGUE)

    def row(number: int, piece: Furniture) -> dict[str, Any]:
        low, high = (to_habitat(corner) for corner in piece.bounds)
        box = {"center": ((low + high) / 2).tolist(), "sizes": np.abs(high - low).tolist()}
        upright = {"translation": [0, 0, 0], "rotation": [0, 0, 0, 1]}
        class_id = 1 + categories.index(piece.category)
        return {"id": number, "class_id": class_id, "oriented_bbox": {"abb": box, "orientation": upright}}

    return {
        "classes": [{"id": 0, "name": "unknown"}, *({"id": i, "name": n} for i, n in enumerate(categories, start=1))],
        "objects": [row(number, piece) for number, piece in enumerate(apartment.furniture, start=1)],
    }


def _dataset_config(name: str) -> dict[str, Any]:
    return {
        "stages": {"paths": {".json": ["stages"]}},
        "objects": {"paths": {".json": ["objects"]}},
        "scene_instances": {"paths": {".json": [f"{name}.scene_instance.json"]}},
        "semantic_scene_descriptor_instances": {name: f"{name}.semantics.json"},
    }


# --- meshes ---------------------------------------------------------------------------------------------------------


def _stage_meshes(apartment: Apartment) -> dict[str, Any]:
    return {name: _joined([part]) for name, part in shell(apartment)}


def _piece_mesh(piece: Furniture) -> Any:
    """A piece about its own origin, in its orientation in the map."""
    x, y = piece.x_m, piece.y_m
    return _joined([replace(p, centre=(p.centre[0] - x, p.centre[1] - y, p.centre[2])) for p in piece.world_parts])


def _joined(parts: Sequence[Part]) -> Any:
    """Parts as one mesh (one draw call), y up, with lit colours."""
    import trimesh

    vertices: list[NDArray[np.float64]] = []
    colours: list[NDArray[np.uint8]] = []
    for part in parts:
        mesh = part_mesh(part)
        triangles = np.asarray(mesh.triangles)  # (N, 3, 3): vertices are not shared, so that edges stay sharp
        shaded = np.asarray(part.rgb)[None] * brightness(np.asarray(mesh.face_normals))[:, None]
        vertices.append(to_habitat(triangles.reshape(-1, 3)))
        rgba = np.pad(np.rint(255 * np.clip(shaded, 0, 1)), ((0, 0), (0, 1)), constant_values=255)
        colours.append(rgba.astype(np.uint8).repeat(3, axis=0))
    points = np.concatenate(vertices)
    faces = np.arange(len(points)).reshape(-1, 3)
    return trimesh.Trimesh(points, faces, vertex_colors=np.concatenate(colours), process=False)


def brightness(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factor (N,) on the colour of surfaces with these normals (N, 3), map, under the MuJoCo world's light."""
    upright = np.linalg.norm(normals[:, :2], axis=1)
    facing = _HEADLIGHT_ON_LEVEL * normals[:, 2] + _HEADLIGHT_ON_UPRIGHT * upright
    light: NDArray[np.float64] = AMBIENT + HEADLIGHT * np.maximum(facing, 0.0)
    for direction, strength in LIGHTS:
        towards = -np.asarray(direction) / np.linalg.norm(direction)
        light += strength * np.maximum(normals @ towards, 0.0)
    return light


def _glb(meshes: Mapping[str, Any]) -> bytes:
    import trimesh

    scene = trimesh.Scene()
    for name, mesh in meshes.items():
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    content: bytes = scene.export(file_type="glb", tree_postprocessor=_give_material)
    return content


def _give_material(tree: dict[str, Any]) -> None:
    """Give every mesh a white unlit material: habitat-sim lights a mesh without one, whatever its config says."""
    tree["extensionsUsed"] = ["KHR_materials_unlit"]
    tree["materials"] = [{"pbrMetallicRoughness": {"metallicFactor": 0}, "extensions": {"KHR_materials_unlit": {}}}]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0


# --- files ----------------------------------------------------------------------------------------------------------


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files, the dataset's config last: a folder that has it is complete."""
    for name, content in files.items():
        with replacing(folder / name) as part:
            part.write_bytes(content)
