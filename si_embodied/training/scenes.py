"""Render training images ahead of time: shards of images and annotations, written by worker processes.

A shard is a function of its name alone, so an interrupted run can resume and a repeated one writes the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from si_embodied.errors import SceneError
from si_embodied.grounding import point_of
from si_embodied.processes import worker_pool
from si_embodied.runs import write_text
from si_embodied.training.annotations import (
    Annotation,
    ApartmentAnnotation,
    Container,
    FreeSpot,
    HouseholdAnnotation,
    Point,
    TabletopAnnotation,
    VisibleObject,
)
from si_embodied.training.pictures import fitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from si_embodied.data.views import LabelledView, TabletopStage
    from si_embodied.ground_truth import ManipulationStep

World: TypeAlias = Literal["tabletop", "apartment", "household"]
WORLDS: tuple[World, ...] = ("tabletop", "apartment", "household")

RENDER_PX = 224  # the worlds' default image size
NOTHING = 255  # pixels of an instance image that show no object

TABLETOP_TASKS = ("base", "spatial", "sort", "spatial", "complex", "spatial", "stack", "sort", "visual", "stack")
VIEWS_PER_APARTMENT = 12
HELD_OUT_SEED = 80_000
"""Seeds from here to 99,999 are for measuring during training."""
UNSEEN_SEED = 100_000
"""Training never uses seeds from here on."""

_FREE_M = 0.075  # least distance from a free spot to the centre of the nearest object


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of work: `count` images of a world from consecutive seeds."""

    world: World
    first_seed: int
    count: int

    @property
    def name(self) -> str:
        """The name of its two files, without suffix."""
        return f"{self.world}-{self.first_seed:05d}-{self.count}"


def plan_shards(world: World, count: int, *, first_seed: int, size: int = 240) -> list[Shard]:
    """Shards of `size` images that hold `count` in total; an apartment gives several images per seed."""
    seeds_per_shard = size if world == "tabletop" else size // VIEWS_PER_APARTMENT
    return [
        Shard(world, first_seed + index * seeds_per_shard, min(size, count - index * size))
        for index in range((count + size - 1) // size)
    ]


def write_shards(shards: list[Shard], directory: Path, *, workers: int, done: Callable[[int], None]) -> None:
    """Write the shards that are missing; `done` is called with each shard's number of images."""
    directory.mkdir(parents=True, exist_ok=True)
    missing = [shard for shard in shards if not (directory / f"{shard.name}.json").exists()]
    if workers == 1 or len(missing) < 2:
        for shard in missing:
            done(write_shard(shard, directory))
        return
    with worker_pool(min(workers, len(missing))) as pool:
        for count in pool.map(write_shard, missing, [directory] * len(missing)):
            done(count)


def write_shard(shard: Shard, directory: Path) -> int:
    """Render one shard. Its annotations are written last, so a shard that has them is complete."""
    render = {"tabletop": _tabletops, "apartment": _apartments, "household": _households}[shard.world]
    views = render(shard)
    images, instances, annotations = zip(*views, strict=True)
    np.savez(directory / f"{shard.name}.npz", images=np.stack(images), instances=np.stack(instances))
    described = {"world": shard.world, "images": [asdict(one) for one in annotations]}
    write_text(directory / f"{shard.name}.json", json.dumps(described))
    return len(images)


def digest(directory: Path) -> str:
    """A checksum of all shards for the model card: CRC-32 over the annotation files and their names."""
    mark = 0
    for file in sorted(directory.glob("*.json")):
        mark = zlib.crc32(file.name.encode() + file.read_bytes(), mark)
    return f"{mark:08x}"


if TYPE_CHECKING:
    _Example: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8], Annotation]  # image, instance image, annotation


def _arrays(view: LabelledView) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The image at the model's resolution, and the instance image (RENDER_PX, RENDER_PX)."""
    instances = np.where(view.instances < 0, NOTHING, view.instances).astype(np.uint8)
    return fitted(view.frame.rgb), instances


def _objects(view: LabelledView) -> tuple[VisibleObject, ...]:
    return tuple(
        VisibleObject(
            o.id, o.name, o.category, o.colour, o.pixels, _relative(*o.point_px), o.unique,
            (round(float(o.T_map_object.translation[0]), 4), round(float(o.T_map_object.translation[1]), 4)),
        )
        for o in view.objects
    )  # fmt: skip


def _relative(u: float, v: float) -> Point:
    return point_of(u, v, RENDER_PX, RENDER_PX)


def _apartments(shard: Shard) -> Iterator[_Example]:
    from si_embodied.data.views import ApartmentStage

    left, seed = shard.count, shard.first_seed
    while left > 0:
        count = min(VIEWS_PER_APARTMENT, left)
        with ApartmentStage(seed, image_size=RENDER_PX) as stage:
            names = tuple(one.name for one in stage.objects if one.unique)
            poses = stage.poses(np.random.default_rng((seed, 7)))
            for (x, y, yaw, tilt), _ in zip(poses, range(count), strict=False):
                view = stage.view(x, y, yaw, tilt)
                yield *_arrays(view), ApartmentAnnotation(_objects(view), names, (round(x, 3), round(y, 3)))
        left, seed = left - count, seed + 1


def _households(shard: Shard) -> Iterator[_Example]:
    from si_embodied.data.household_views import HouseholdStage

    left, seed = shard.count, shard.first_seed
    while left > 0:
        count = min(VIEWS_PER_APARTMENT, left)
        with contextlib.closing(HouseholdStage(seed, image_size=RENDER_PX)) as stage:
            for view, _ in zip(stage.views(np.random.default_rng((seed, 19))), range(count), strict=False):
                yield *_arrays(view), HouseholdAnnotation(_objects(view), stage.items)
        left, seed = left - count, seed + 1


def _tabletops(shard: Shard) -> Iterator[_Example]:
    from si_embodied.data.views import TabletopStage

    for seed in range(shard.first_seed, shard.first_seed + shard.count):
        try:
            with TabletopStage(seed, task=TABLETOP_TASKS[seed % len(TABLETOP_TASKS)], image_size=RENDER_PX) as stage:
                view = stage.view()
                yield *_arrays(view), _annotate_table(stage, _objects(view))
        except SceneError:
            continue  # rare; the shard then has one image less


def _annotate_table(stage: TabletopStage, objects: tuple[VisibleObject, ...]) -> TabletopAnnotation:
    """Where the head camera sees places to pick up and put down each object."""
    from si_embodied.envs.scenes.tabletop_tasks import OnTop

    scene, truth = stage.task.scene, stage.truth
    pick, onto = {}, {}
    for one in scene.objects:
        if point := _pixel(stage, truth.pick_step(one.name)):
            pick[one.name] = point
    for support in scene.objects:
        other = next(o.name for o in scene.objects if o.name != support.name)
        if point := _pixel(stage, truth.place_step(OnTop(other, support.name), other)):
            onto[support.name] = point
    containers = tuple(
        Container(len(scene.objects) + k, c.key, c.name, c.kind, (c.x_m, c.y_m)) for k, c in enumerate(scene.containers)
    )
    return TabletopAnnotation(
        objects, pick, _openings(stage, containers, objects), onto, _free_spots(stage), containers
    )


def _pixel(stage: TabletopStage, step: ManipulationStep) -> Point | None:
    """Where the head camera sees a step's position, or None."""
    hit = stage.truth.pixel_of(step)
    return None if hit is None else _relative(*hit[1:])


def _openings(
    stage: TabletopStage, containers: tuple[Container, ...], objects: tuple[VisibleObject, ...]
) -> dict[str, Point | None]:
    """Where to release an object into each container: its opening, or else a point on its visible part."""
    from si_embodied.envs.scenes.tabletop_tasks import Inside

    any_object, visible = stage.task.scene.objects[0].name, {one.id: one.point for one in objects}
    found = {}
    for container in containers:
        # The holes of a shape sorter each fit one shape.
        sorter = container.kind == "shape sorter"
        step = None if sorter else stage.truth.place_step(Inside(any_object, container.key), any_object)
        point = None if step is None else _pixel(stage, step)
        found[container.key] = point or visible.get(container.id)
    return found


def _free_spots(stage: TabletopStage) -> tuple[FreeSpot, ...]:
    """Spots beside each object with room for another object."""
    from si_embodied.envs.scenes.tabletop_tasks import DIRECTIONS, Beside

    scene, found = stage.task.scene, []
    centres = {o.name: stage.world.pose(o.name).translation[:2] for o in scene.objects}
    for moved in scene.objects:
        taken = [xy for name, xy in centres.items() if name != moved.name]
        taken += [np.array([c.x_m, c.y_m]) for c in scene.containers]
        for anchor in scene.objects:
            if anchor.name == moved.name or anchor.shape == "ball":
                continue
            for direction in DIRECTIONS:
                step = stage.truth.place_step(Beside(moved.name, anchor.name, direction), moved.name)
                room = min(float(np.hypot(*(xy - step.position_m[:2]))) for xy in taken)
                if room > _FREE_M and (point := _pixel(stage, step)):
                    found.append(FreeSpot(moved.name, anchor.name, direction, point))
    return tuple(found)
