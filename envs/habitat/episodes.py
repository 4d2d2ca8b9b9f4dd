"""Our seeds' episodes in Habitat's dataset format; each is a function of its seed and the camera alone.

The episodes are plain JSON values, which habitat-lab's dataset classes parse; habitat itself is not imported.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import mujoco
import numpy as np
from numpy.typing import NDArray

from si_embodied.envs.episode import MIN_START_DISTANCE_M, CameraSetup, draw_start, goal_region
from si_embodied.envs.habitat.frames import agent_rotation, to_habitat
from si_embodied.envs.habitat.stage import Stage, load_stage, stage_name
from si_embodied.envs.scenes.apartment import Furniture
from si_embodied.envs.scenes.catalogue import CATALOGUE
from si_embodied.envs.scenes.tasks import family, task_candidates
from si_embodied.errors import RecordError, SceneError
from si_embodied.robots import FETCH_BASE

HabitatTask: TypeAlias = Literal["pointnav", "objectnav", "imagenav", "instructionnav"]
HABITAT_TASKS: tuple[HabitatTask, ...] = get_args(HabitatTask)

DATASET_TYPES: dict[HabitatTask, str] = {
    "pointnav": "PointNav-v1",
    "objectnav": "ObjectNav-v1",
    "imagenav": "PointNav-v1",
    "instructionnav": "R2RVLN-v1",
}
"""habitat-lab's dataset class for each task's episodes."""

_SCENES_TRIED = 50
Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Goal:
    """Where an episode may end, and its JSON."""

    region: NDArray[np.bool_]  # grid cells
    episode: Json  # goals, instruction, …
    shared: Json = field(default_factory=dict)  # for the dataset, outside its episodes: the goals of a category


_Goals: TypeAlias = Callable[[Stage, CameraSetup, np.random.Generator], Iterator[_Goal]]


def dataset(task: HabitatTask, seeds: Iterable[int], camera: CameraSetup | None = None, scene: str = "") -> Json:
    """The dataset of some seeds, one episode per seed, as JSON for habitat-lab's dataset class.

    Args:
        task: one of `HABITAT_TASKS`.
        seeds: of the episodes, and their ids, except in ObjectNav, where habitat-lab numbers the episodes.
        camera: the agent's, which determines from where an object is visible.
        scene: a building's file, for "pointnav" in it instead of in our apartments.

    Raises:
        SceneError: a seed has no episode; the generator should never let this happen.
    """
    made = [_draw(task, seed, camera or CameraSetup(), scene) for seed in seeds]
    content: Json = {"episodes": [episode for episode, _ in made]}
    if task == "objectnav":
        ids = {category: index for index, category in enumerate(sorted(CATALOGUE))}
        content |= {"category_to_task_category_id": ids, "category_to_scene_annotation_category_id": ids}
        content["goals_by_category"] = {key: goals for _, shared in made for key, goals in shared.items()}
    if task == "instructionnav":
        words = {word for episode, _ in made for word in episode["instruction"]["instruction_text"].split()}
        content["instruction_vocab"] = {"word_list": ["<pad>", "<unk>", *sorted(words)]}
    return content


def write_dataset(path: str | Path, task: HabitatTask, seeds: Iterable[int], camera: CameraSetup | None = None) -> Path:
    """Write `dataset` to a `.json.gz` file for any program that uses habitat-lab, and return the file's path.

    Raises:
        RecordError: the file cannot be written.
    """
    target = Path(path)
    content = json.dumps(dataset(task, seeds, camera)).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(content, mtime=0))  # bytes without a time stamp
    except OSError as error:
        raise RecordError(f"could not write {target}: {error}; check the folder, permissions and free space") from error
    return target


def _draw(task: HabitatTask, seed: int, camera: CameraSetup, scene: str) -> tuple[Json, Json]:
    for attempt in range(_SCENES_TRIED):
        stage = load_stage(scene or stage_name((seed, attempt)))
        rng = np.random.default_rng((seed, attempt, 2 + HABITAT_TASKS.index(task)))
        for goal in _GOALS[task](stage, camera, rng):
            distances = stage.grid.geodesic(goal.region)
            start = draw_start(rng, stage.grid, distances)
            if start is not None:
                x, y, yaw = start
                episode = {
                    "episode_id": str(seed),
                    "scene_id": stage.name,
                    "start_position": _position(x, y),
                    "start_rotation": agent_rotation(yaw),
                    **goal.episode,
                }
                episode["info"] = {"geodesic_distance": distances.at(x, y), **goal.episode.get("info", {})}
                if task == "instructionnav":
                    episode["reference_path"] = [_position(*point) for point in distances.path(x, y)[::10].tolist()]
                    episode["trajectory_id"] = seed
                return episode, goal.shared
    if scene:
        raise SceneError(f"no two points of {scene!r} that the robot can reach are {MIN_START_DISTANCE_M:g} m apart")
    raise SceneError(f"no {task} episode in {_SCENES_TRIED} apartments of seed {seed}; this is a bug, please report it")


def _position(x: float, y: float) -> list[float]:
    position: list[float] = to_habitat([x, y, 0.0]).tolist()
    return position


# --- the goals of each task -----------------------------------------------------------------------------------------


def _points(stage: Stage, camera: CameraSetup, rng: np.random.Generator) -> Iterator[_Goal]:
    """Goals: points clear of obstacles."""
    del camera
    cells = np.argwhere(stage.grid.free & (stage.grid.clearance_m >= FETCH_BASE.radius_m + 0.1))
    for index in rng.permutation(len(cells))[:5]:
        cell = (int(cells[index][0]), int(cells[index][1]))
        region = np.zeros(stage.grid.free.shape, bool)
        region[cell] = True
        yield _Goal(region, {"goals": [{"position": _position(*stage.grid.point(*cell)), "radius": None}]})


def _objects(stage: Stage, camera: CameraSetup, rng: np.random.Generator) -> Iterator[_Goal]:
    """Goals: all furniture of a category whose name fits no other furniture in the apartment."""
    pieces = [piece for piece in stage.apartment.furniture if not piece.walkable]
    categories = sorted({piece.category for piece in pieces})
    families = [family(category) for category in categories]
    clear = [category for category in categories if families.count(family(category)) == 1]
    for index in rng.permutation(len(clear)):
        goals, region = [], np.zeros(stage.grid.free.shape, bool)
        for piece in (piece for piece in pieces if piece.category == clear[index]):
            seen_from = _seen_from(stage, piece, camera)
            if seen_from.any():
                goals.append(_object_goal(stage, piece, seen_from))
                region |= seen_from
        if goals:
            key = f"{stage.name}_{clear[index]}"
            yield _Goal(region, {"goals": [], "object_category": clear[index]}, {key: goals})


def _object_goal(stage: Stage, piece: Furniture, seen_from: NDArray[np.bool_]) -> Json:
    view_points = []
    for x, y in _spread(stage, seen_from):
        facing = math.atan2(float(piece.centre[1]) - y, float(piece.centre[0]) - x)
        state = {"position": _position(x, y), "rotation": agent_rotation(facing)}
        view_points.append({"agent_state": state, "iou": None})
    low, high = piece.bounds
    number = _number(stage, piece)
    return {
        "position": to_habitat((low + high) / 2).tolist(),
        "radius": None,
        "object_id": str(number),
        "object_name": piece.name,
        "object_name_id": number,
        "object_category": piece.category,
        "room_id": str(piece.room),
        "room_name": stage.apartment.rooms[piece.room].name,
        "view_points": view_points,
    }


def _images(stage: Stage, camera: CameraSetup, rng: np.random.Generator) -> Iterator[_Goal]:
    """Goals: points from which furniture is visible, and the heading of the goal image that shows it."""
    pieces = [piece for piece in stage.apartment.furniture if not piece.walkable]
    for index in rng.permutation(len(pieces))[:5]:
        piece = pieces[index]
        cells = np.argwhere(_seen_from(stage, piece, camera))
        if not len(cells):
            continue
        row, column = (int(value) for value in cells[int(rng.integers(len(cells)))])
        x, y = stage.grid.point(row, column)
        region = np.zeros(stage.grid.free.shape, bool)
        region[row, column] = True
        facing = math.atan2(float(piece.centre[1]) - y, float(piece.centre[0]) - x)
        info = {"goal_rotation": agent_rotation(facing)}
        yield _Goal(region, {"goals": [{"position": _position(x, y), "radius": None}], "info": info})


def _instructions(stage: Stage, camera: CameraSetup, rng: np.random.Generator) -> Iterator[_Goal]:
    """Goals: furniture that a spatial instruction describes unambiguously."""
    for task in task_candidates(stage.apartment, "spatial", rng)[:3]:
        piece = stage.apartment.piece(task.goals[0])
        region = _seen_from(stage, piece, camera)
        goals = [{"position": _position(x, y), "radius": None} for x, y in _spread(stage, region)]
        if goals:
            instruction = {"instruction_text": task.instruction, "instruction_tokens": None}
            yield _Goal(
                region,
                {
                    "goals": goals,
                    "instruction": instruction,
                    "info": {"object_id": _number(stage, piece), "object_name": piece.category},
                },
            )


_GOALS: dict[HabitatTask, _Goals] = {
    "pointnav": _points,
    "objectnav": _objects,
    "imagenav": _images,
    "instructionnav": _instructions,
}


def _number(stage: Stage, piece: Furniture) -> int:
    """A piece's semantic id: its index into the apartment's furniture, from 1."""
    return 1 + [other.name for other in stage.apartment.furniture].index(piece.name)


def _seen_from(stage: Stage, piece: Furniture, camera: CameraSetup) -> NDArray[np.bool_]:
    data = mujoco.MjData(stage.model)
    mujoco.mj_kinematics(stage.model, data)
    return goal_region(stage.grid, stage.model, data, stage.scene, piece, camera)


def _spread(stage: Stage, region: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Map points 0.1 m apart that cover a region: each of its cells is within 0.1 m of one."""
    rows, columns = np.indices(region.shape)
    thinned = region & (rows % 2 == 0) & (columns % 2 == 0)
    points = stage.grid.centres(thinned if thinned.any() else region)
    return [(float(x), float(y)) for x, y in points]
