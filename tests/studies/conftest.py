"""Handmade shards in the format of `train nano`, and a checkpoint with the smallest sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

COLOURED = ("red cube", "green cube", "blue ball", "orange cross", "yellow cylinder")
"""Training never shows the red cube and the orange cross."""


def table(names: tuple[str, ...]) -> dict[str, Any]:
    """A row of objects, and a bowl."""
    objects = [
        {"id": k, "name": name, "category": name.split(" ", 1)[1], "colour": name.split(" ", 1)[0], "pixels": 400,
         "unique": True, "point": [100 + 150 * k, 500], "xy": [0.6, 0.3 - 0.15 * k]}
        for k, name in enumerate((*names, "purple bowl"))
    ]  # fmt: skip
    return {
        "objects": objects,
        "pick": {thing["name"]: thing["point"] for thing in objects[:-1]},
        "into": {"bowl 0": objects[-1]["point"]},
        "onto": {},
        "beside": [],
        "containers": [{"id": len(names), "key": "bowl 0", "name": "purple bowl", "kind": "bowl", "xy": [0.6, 0.0]}],
    }


def room() -> dict[str, Any]:
    """A red chair in view, and a blue stool out of view."""
    chair = {"id": 0, "name": "red chair", "category": "chair", "colour": "red", "pixels": 900, "unique": True,
             "point": [300, 600], "xy": [1.0, 0.0]}  # fmt: skip
    return {"objects": [chair], "scene_names": ["red chair", "blue stool"], "camera_xy": [0.0, 0.0]}


def write(directory: Path, world: str, first_seed: int, notes: list[dict[str, Any]]) -> None:
    """Write a shard whose images show each object as a square."""
    rng = np.random.default_rng(first_seed)
    instances = np.full((len(notes), 224, 224), 255, np.uint8)
    for picture, note in zip(instances, notes, strict=True):
        for thing in note["objects"]:
            u, v = (int(value * 0.224) for value in thing["point"])
            picture[v - 10 : v + 10, max(u - 10, 0) : u + 10] = thing["id"]
    images = rng.integers(0, 256, (len(notes), 220, 220, 3), dtype=np.uint8)
    base = directory / f"{world}-{first_seed:05d}-{len(notes)}"
    np.savez(base.with_suffix(".npz"), images=images, instances=instances)
    base.with_suffix(".json").write_text(json.dumps({"world": world, "images": notes}))


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training tables, two with unseen pairs; two held-out tables, one with unseen pairs; and one room for each."""
    directory = tmp_path_factory.mktemp("data")
    plain, unseen = table(("green cube", "blue ball", "yellow cylinder")), table(COLOURED)
    for part, seed, notes in (
        ("train", 0, [plain, unseen, plain, plain, unseen, plain]), ("held_out", 80_000, [plain, unseen])
    ):  # fmt: skip
        (directory / part).mkdir()
        write(directory / part, "tabletop", seed, notes)
        write(directory / part, "apartment", seed, [room()])
    return directory


@pytest.fixture(scope="session")
def micro() -> Any:
    """The recipe of the smallest model."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from si_embodied.training.architecture import MICRO
    from si_embodied.training.nano import Recipe

    return Recipe(sizes=MICRO, cycle="td", batch_images=2, kept_cells=(12, 12), late_cells=(12, 12), threads=1)


@pytest.fixture(scope="session")
def planner(micro: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained checkpoint of the smallest model."""
    from si_embodied.training.export import Story, export
    from si_embodied.training.nano import Training

    return export(Training(micro).mean, tmp_path_factory.mktemp("micro") / "planner", Story({}, "none", 0, 0, 0.0))


@pytest.fixture
def heard() -> tuple[list[str], Callable[[str], None]]:
    """The lines that a study reports, and the function that takes them."""
    lines: list[str] = []
    return lines, lines.append
