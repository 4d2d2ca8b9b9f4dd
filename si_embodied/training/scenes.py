"""Pictures to train on, ahead of time: shards of images with what is where, written by worker processes.

A shard is a function of its name alone, so an interrupted generation goes on and a repeated one gives the same bytes.
"""

from __future__ import annotations

import json
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from si_embodied.errors import SceneError, extra
from si_embodied.runs import write_text

with extra("sim"):
    from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from si_embodied.data.views import LabelledView, TabletopStage

World: TypeAlias = Literal["tabletop", "apartment"]
WORLDS: tuple[World, ...] = ("tabletop", "apartment")

RENDER_PX = 224  # what the worlds show by default
IMAGE_PX = 220  # what the model sees of it: a multiple of its merged cells of 20 px
NOTHING = 255  # in an instance image

TABLETOP_TASKS = ("base", "spatial", "base", "spatial", "base", "spatial", "stack", "base", "spatial", "stack")
VIEWS_AN_APARTMENT = 12
HELD_OUT_SEED = 80_000
"""Seeds from here to 99,999 are for measuring while training; 100,000 and more are never touched by training."""

_FREE_M = 0.075  # between a place to put something and the middle of the nearest thing


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of work: `count` images of a world from consecutive seeds."""

    world: World
    first_seed: int
    count: int

    @property
    def name(self) -> str:
        """Of its two files, without the suffixes."""
        return f"{self.world}-{self.first_seed:05d}-{self.count}"


def plan_shards(world: World, count: int, *, first_seed: int, size: int = 240) -> list[Shard]:
    """Shards that hold `count` images, the last one maybe fewer; an apartment gives several images a seed."""
    seeds_a_shard = size if world == "tabletop" else size // VIEWS_AN_APARTMENT
    return [
        Shard(world, first_seed + index * seeds_a_shard, min(size, count - index * size))
        for index in range((count + size - 1) // size)
    ]


def write_shards(shards: list[Shard], directory: Path, *, workers: int, done: Callable[[int], None]) -> None:
    """Write what is missing; `done` is told how many images came with each shard."""
    directory.mkdir(parents=True, exist_ok=True)
    missing = [shard for shard in shards if not (directory / f"{shard.name}.json").exists()]
    if workers == 1:
        for shard in missing:
            done(write_shard(shard, directory))
        return
    with ProcessPoolExecutor(workers) as pool:
        for count in pool.map(write_shard, missing, [directory] * len(missing)):
            done(count)


def write_shard(shard: Shard, directory: Path) -> int:
    """Render one shard; the description is written last, so that a shard that has one is complete."""
    views = _tabletops(shard) if shard.world == "tabletop" else _apartments(shard)
    images, instances, descriptions = [], [], []
    for image, instance, description in views:
        images.append(image)
        instances.append(instance)
        descriptions.append(description)
    np.savez(directory / f"{shard.name}.npz", images=np.stack(images), instances=np.stack(instances))
    write_text(directory / f"{shard.name}.json", json.dumps({"world": shard.world, "images": descriptions}))
    return len(images)


def model_pixels(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 3) as the checkpoint's image processor reduces it."""
    return np.asarray(Image.fromarray(rgb).resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BICUBIC))


def digest(directory: Path) -> str:
    """A short mark of all shards, for the model card: file names and checksums of the descriptions."""
    mark = 0
    for file in sorted(directory.glob("*.json")):
        mark = zlib.crc32(file.name.encode() + file.read_bytes(), mark)
    return f"{mark:08x}"


def _packed(view: LabelledView) -> tuple[NDArray[np.uint8], NDArray[np.uint8], dict[str, Any]]:
    objects = [
        {
            "id": seen.id, "name": seen.name, "category": seen.category, "colour": seen.colour,
            "pixels": seen.pixels, "point": _relative(*seen.point_px), "unique": seen.unique,
            "xy": [round(float(v), 4) for v in seen.T_map_object.translation[:2]],
        }
        for seen in view.objects
    ]  # fmt: skip
    instances = np.where(view.instances < 0, NOTHING, view.instances).astype(np.uint8)
    return model_pixels(view.frame.rgb), instances, {"objects": objects}


def _relative(u: float, v: float) -> list[int]:
    from si_embodied.grounding import point_of

    return list(point_of(u, v, RENDER_PX, RENDER_PX))


# --- apartments -----------------------------------------------------------------------------------------------------


def _apartments(shard: Shard) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], dict[str, Any]]]:
    from si_embodied.data.views import ApartmentStage

    left, seed = shard.count, shard.first_seed
    while left > 0:
        count = min(VIEWS_AN_APARTMENT, left)
        with ApartmentStage(seed, image_size=RENDER_PX) as stage:
            names = [thing.name for thing in stage.things if thing.unique]
            poses = stage.poses(np.random.default_rng((seed, 7)))
            for (x, y, yaw, tilt), _ in zip(poses, range(count), strict=False):
                image, instances, description = _packed(stage.view(x, y, yaw, tilt))
                yield image, instances, {**description, "scene_names": names, "camera_xy": [round(x, 3), round(y, 3)]}
        left, seed = left - count, seed + 1


# --- tabletops ------------------------------------------------------------------------------------------------------


def _tabletops(shard: Shard) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], dict[str, Any]]]:
    from si_embodied.data.views import TabletopStage

    for seed in range(shard.first_seed, shard.first_seed + shard.count):
        try:
            with TabletopStage(seed, task=TABLETOP_TASKS[seed % len(TABLETOP_TASKS)], image_size=RENDER_PX) as stage:
                image, instances, description = _packed(stage.view())
                yield image, instances, {**description, **_table_points(stage)}
        except SceneError:
            continue  # rare; the shard then has one image less


def _table_points(stage: TabletopStage) -> dict[str, Any]:
    """Where to pick each thing and where to put one: relative points of the head view.

    `pick`: by name. `into`: by the container's key. `onto`: by the supporting thing's name. `beside`: by moved thing,
    anchor and direction, only where there is room.
    """
    from si_embodied.envs.scenes.tabletop_tasks import DIRECTIONS, Beside, Inside, OnTop

    truth, scene, seen = stage.truth, stage.task.scene, {thing.id: thing for thing in stage.view().objects}
    found: dict[str, Any] = {"pick": {}, "into": {}, "onto": {}, "beside": [], "containers": []}

    def pixel(step: Any) -> list[int] | None:
        hit = truth.pixel_of(step)
        return None if hit is None else _relative(*hit[1:])

    for thing in scene.objects:
        if point := pixel(truth.pick_step(thing.name)):
            found["pick"][thing.name] = point
    any_thing = scene.objects[0].name
    for offset, container in enumerate(scene.containers):
        index = len(scene.objects) + offset
        point = (
            pixel(truth.place_step(Inside(any_thing, container.key), any_thing))
            if container.kind != ("shape sorter")
            else None
        )
        if point is None and index in seen:
            point = _relative(*seen[index].point_px)
        found["into"][container.key] = point
        found["containers"].append(
            {"id": index, "key": container.key, "name": container.name, "kind": container.kind,
             "xy": [container.x_m, container.y_m]}
        )  # fmt: skip
    for support in scene.objects:
        other = next(o.name for o in scene.objects if o.name != support.name)
        if point := pixel(truth.place_step(OnTop(other, support.name), other)):
            found["onto"][support.name] = point
    middles = {o.name: stage.world.pose(o.name).translation[:2] for o in scene.objects}
    for moved in scene.objects:
        taken = [xy for name, xy in middles.items() if name != moved.name]
        taken += [np.array([c.x_m, c.y_m]) for c in scene.containers]
        for anchor in scene.objects:
            if anchor.name == moved.name or anchor.shape == "ball":
                continue
            for direction in DIRECTIONS:
                step = truth.place_step(Beside(moved.name, anchor.name, direction), moved.name)
                room = min(float(np.hypot(*(xy - step.position_m[:2]))) for xy in taken)
                if room > _FREE_M and (point := pixel(step)):
                    found["beside"].append([moved.name, anchor.name, direction, point])
    return found
