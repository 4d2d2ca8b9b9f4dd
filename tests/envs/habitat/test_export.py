"""The files for habitat-sim contain the apartment: its furniture with positions, sizes and colours."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from si_embodied.envs.habitat.export import SceneFiles, brightness, export_scene, object_config
from si_embodied.envs.habitat.frames import to_habitat
from si_embodied.envs.scenes.apartment import Apartment, Furniture, Part, Room
from si_embodied.envs.scenes.catalogue import CATALOGUE
from si_embodied.envs.scenes.generator import generate_apartment
from si_embodied.errors import RecordError

trimesh = pytest.importorskip("trimesh")
NAME = "apartment-7-0"


@pytest.fixture(scope="module")
def apartment() -> Apartment:
    return generate_apartment((7, 0))


@pytest.fixture(scope="module")
def files(apartment: Apartment, tmp_path_factory: pytest.TempPathFactory) -> SceneFiles:
    return export_scene(apartment, tmp_path_factory.mktemp("scene"), NAME)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def bounds(path: Path) -> np.ndarray:
    """Lowest and highest corner (2, 3) of a GLB file."""
    return trimesh.load(path, force="scene").bounds


def test_every_file_that_a_config_names_is_there_and_no_other(apartment: Apartment, files: SceneFiles) -> None:
    folder = files.dataset_config.parent
    named = {folder / f"{NAME}.{kind}" for kind in ("scene_dataset_config.json", "scene_instance.json")}
    instance, dataset = read(folder / f"{NAME}.scene_instance.json"), read(files.dataset_config)
    named.add(folder / dataset["semantic_scene_descriptor_instances"][instance["semantic_scene_instance"]])
    for row in [instance["stage_instance"], *instance["object_instances"]]:
        config = folder / row["template_name"]
        named |= {config, config.parent / read(config)["render_asset"], config.parent / read(config)["collision_asset"]}
    assert named == {path for path in folder.rglob("*") if path.is_file()}
    assert len(instance["object_instances"]) == len(apartment.furniture)


def test_each_piece_is_where_it_is_in_the_scene_and_as_large(apartment: Apartment, files: SceneFiles) -> None:
    folder = files.dataset_config.parent
    instance = read(folder / f"{NAME}.scene_instance.json")
    for row, piece in zip(instance["object_instances"], apartment.furniture, strict=True):
        assert (row["rotation"], row["motion_type"]) == ([1, 0, 0, 0], "STATIC")
        there = bounds(folder / "objects" / f"{piece.name}.glb") + row["translation"]
        corners = to_habitat(np.stack(piece.bounds))
        # A circle is exported as a polygon of 24 sides that lies within it.
        assert np.abs(there - np.sort(corners, axis=0)).max() < 0.01, piece.name


def test_the_stage_stands_on_a_floor_at_height_zero(apartment: Apartment, files: SceneFiles) -> None:
    stage = trimesh.load(files.dataset_config.parent / "stages" / f"{NAME}.glb", force="scene")
    (x0, _, z0), (x1, _, z1) = stage.bounds
    west, south, east, north = apartment.bounds
    assert x0 <= west < east <= x1
    assert z0 <= -north < -south <= z1
    floors = [name for name in stage.graph.nodes_geometry if name.startswith("floor_")]
    assert len(floors) == len(apartment.rooms)
    for name in floors:
        transform, geometry = stage.graph[name]
        assert stage.geometry[geometry].copy().apply_transform(transform).bounds[1, 1] == pytest.approx(0.0, abs=1e-6)


def test_stage_and_objects_say_which_way_is_up_and_are_drawn_flat(files: SceneFiles) -> None:
    """habitat-sim lays a bare GLB on its side, and takes half a minute to prepare the light of lit shaders."""
    folder = files.dataset_config.parent
    for config in [*folder.glob("stages/*.json"), *folder.glob("objects/*.json")]:
        values = read(config)
        assert (values["up"], values["front"], values["shader_type"]) == ([0, 1, 0], [0, 0, -1], "flat")


def test_semantic_ids_are_places_in_the_furniture_and_name_its_category(
    apartment: Apartment, files: SceneFiles
) -> None:
    folder = files.dataset_config.parent
    semantics = read(folder / f"{NAME}.semantics.json")
    names = {row["id"]: row["name"] for row in semantics["classes"]}
    assert set(names.values()) == {"unknown", *CATALOGUE}
    for number, piece in enumerate(apartment.furniture, start=1):
        assert read(folder / "objects" / f"{piece.name}.object_config.json")["semantic_id"] == number
        (row,) = (row for row in semantics["objects"] if row["id"] == number)
        assert names[row["class_id"]] == piece.category
        box = row["oriented_bbox"]["abb"]
        low, high = piece.bounds
        assert to_habitat((low + high) / 2) == pytest.approx(box["center"])
        assert [high[0] - low[0], high[2] - low[2], high[1] - low[1]] == pytest.approx(box["sizes"])


def test_what_can_be_moved_is_an_object_of_its_own_that_stands_nowhere(apartment: Apartment, tmp_path: Path) -> None:
    parts = (Part("box", (0.0, 0.1, 0.05), (0.02, 0.03, 0.05), (0.5, 0.1, 0.1)),)
    files = export_scene(apartment, tmp_path, NAME, {"red_box": parts})
    config = read(object_config(files, "red_box"))
    assert config["semantic_id"] == len(apartment.furniture) + 1
    (low, high) = bounds(tmp_path / "objects" / config["render_asset"])
    assert low == pytest.approx([-0.02, 0.0, -0.13])
    assert high == pytest.approx([0.02, 0.1, -0.07])
    assert len(read(tmp_path / f"{NAME}.scene_instance.json")["object_instances"]) == len(apartment.furniture)


@pytest.mark.parametrize("seed", range(4))
def test_the_name_of_no_piece_is_found_in_anothers(seed: int, tmp_path: Path) -> None:
    """habitat-sim takes the first path that contains the name: chair_1 is in chair_10 and in office_chair_1."""
    export_scene(generate_apartment((seed, 0)), tmp_path, "scene")
    paths = [str(path) for path in tmp_path.rglob("*.object_config.json")]
    for row in read(tmp_path / "scene.scene_instance.json")["object_instances"]:
        assert sum(row["template_name"] in path for path in paths) == 1


def test_the_same_apartment_gives_the_same_bytes(apartment: Apartment, files: SceneFiles, tmp_path: Path) -> None:
    export_scene(apartment, tmp_path, NAME)
    folder = files.dataset_config.parent
    for path in folder.rglob("*.*"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_colours_are_those_that_mujoco_draws(tmp_path: Path) -> None:
    """The top of a box, seen by the robot's camera, which looks down by 0.35 rad."""
    mujoco = pytest.importorskip("mujoco")
    from si_embodied.envs.mujoco.renderer import SceneRenderer
    from si_embodied.envs.scenes.mjcf import CAMERA, apartment_mjcf

    rgb, height = (0.2, 0.5, 0.7), 0.5
    box = Furniture(
        "box_1", "table", "blue", 0, 2.0, 2.0, 0, (Part("box", (0, 0, height / 2), (1, 1, height / 2), rgb),)
    )
    room = Room("office", 0.0, 0.0, 4.0, 4.0, "carpet", (0.5, 0.5, 0.5), (0.9, 0.9, 0.9))
    apartment = Apartment((0,), (room,), (), (), (), (box,))
    down = 0.35
    away = 0.5  # metres from the camera to the middle of the top, along the floor
    scene = apartment_mjcf(apartment, camera_height_m=height + away * math.tan(down), fov_y_rad=math.radians(40))
    model = mujoco.MjModel.from_xml_string(scene.xml)
    data = mujoco.MjData(model)
    data.mocap_pos[0] = 2.0 - away, 2.0, 0.0
    model.body_quat[model.body(CAMERA).id] = math.cos(down / 2), 0.0, math.sin(down / 2), 0.0
    mujoco.mj_forward(model, data)
    renderer = SceneRenderer(model, 33, 33)
    drawn = renderer.rgb(data, CAMERA)[16, 16]
    renderer.close()
    export_scene(apartment, tmp_path, "scene")
    (mesh,) = trimesh.load(tmp_path / "objects" / "box_1.glb").geometry.values()
    top = np.asarray(mesh.visual.vertex_attributes["color"])[mesh.faces[mesh.face_normals[:, 1] > 0.9]].reshape(-1, 4)
    assert np.abs(top[:, :3].astype(int) - drawn).max() <= 3
    assert (top[:, 3] == 255).all()


def test_surfaces_are_as_bright_as_they_face_the_lights() -> None:
    up, down = brightness(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))
    assert up > 1.0 > down  # two of the three lights shine from above
    # A camera that looks down neither sees nor lights it: only ambient light and the one light from below remain.
    assert down == pytest.approx(0.52 + 0.12 * 0.5 / math.sqrt(0.01 + 0.36 + 0.25))


def test_a_folder_that_cannot_be_written_is_named(apartment: Apartment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="file"):
        export_scene(apartment, tmp_path / "file", NAME)
