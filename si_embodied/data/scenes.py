"""Scenes to ask about: a few views of each, and a function that renders another view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from si_embodied.data.demonstrations import Demonstration, apartment_demonstrations, tabletop_demonstrations
from si_embodied.data.views import ApartmentStage, LabelledView, TabletopStage
from si_embodied.envs.scenes.tabletop_tasks import TASKS, draw_task
from si_embodied.envs.scenes.tasks import NAVIGATION_TASKS

if TYPE_CHECKING:
    from si_embodied.envs.scenes.occupancy import Grid

Source: TypeAlias = Literal["apartment", "tabletop", "sorter", "figures", "apartment plans", "tabletop plans"]
SOURCES: tuple[Source, ...] = get_args(Source)

_VIEWS, _POSES_TRIED = 10, 24
_INFORMATIVE_PX_AT_224, _INFORMATIVE_OBJECTS = 150, 2
_DEMONSTRATIONS = 8


@dataclass(frozen=True, eq=False)
class Scene:
    """One scene, as the question types see it."""

    source: Source
    seed: int
    views: tuple[LabelledView, ...] = ()  # several of an apartment, or the head camera's of a tabletop
    look: Callable[[float, float, float, float], LabelledView] | None = None  # apartment: view from x, y, yaw, tilt
    grid: Grid | None = None  # apartment: where the robot can stand
    demonstrations: tuple[Demonstration, ...] = ()
    image_size: int = 224


def is_worth_opening(source: Source, seed: int) -> bool:
    """Whether the scene fits its source: only half of the sorting tables have a shape sorter."""
    if source != "sorter":
        return True
    drawn = draw_task("sort", np.random.default_rng([seed, TASKS.index("sort")]))
    return any(container.kind == "shape sorter" for container in drawn.scene.containers)


@contextmanager
def open_scene(source: Source, seed: int, *, image_size: int = 224) -> Iterator[Scene]:
    """Open the scene of a seed, a function of source, seed and size. Its renderer closes with the block."""
    if source == "apartment":
        with ApartmentStage(seed, image_size=image_size) as stage:
            yield Scene(source, seed, _informative(stage, seed), stage.view, stage.grid, (), image_size)
    elif source in ("tabletop", "sorter"):
        task = "sort" if source == "sorter" else TASKS[seed % len(TASKS)]
        with TabletopStage(seed, task=task, image_size=image_size) as table:
            yield Scene(source, seed, (table.view("head"),), image_size=image_size)
    elif source == "figures":
        yield Scene(source, seed, image_size=image_size)
    elif source == "apartment plans":
        names = NAVIGATION_TASKS
        made = tuple(apartment_demonstrations(seed, names[seed % len(names)], _DEMONSTRATIONS, image_size=image_size))
        yield Scene(source, seed, demonstrations=made, image_size=image_size)
    else:
        made = tuple(tabletop_demonstrations(seed, TASKS[seed % len(TASKS)], image_size=image_size))
        yield Scene(source, seed, demonstrations=made, image_size=image_size)


def _informative(stage: ApartmentStage, seed: int) -> tuple[LabelledView, ...]:
    """Views that show at least two objects well, rather than a bare wall."""
    views: list[LabelledView] = []
    for _, pose in zip(range(_POSES_TRIED), stage.poses(np.random.default_rng((seed, 5))), strict=False):
        view = stage.view(*pose)
        enough = _INFORMATIVE_PX_AT_224 * (view.instances.size / 224**2)
        if sum(o.pixels >= enough and o.category != "rug" for o in view.objects) >= _INFORMATIVE_OBJECTS:
            views.append(view)
        if len(views) == _VIEWS:
            break
    return tuple(views)
