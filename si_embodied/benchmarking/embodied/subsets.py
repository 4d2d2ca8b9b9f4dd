"""EmbodiedBench's subsets, as far as our worlds have tasks for them, and instructions that need common sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from si_embodied.envs.scenes.tabletop_tasks import LIKE, Inside

if TYPE_CHECKING:
    from si_embodied.envs.scenes.tabletop import ContainerKind, Shape
    from si_embodied.envs.scenes.tabletop_tasks import TabletopTask

Subsets = Mapping[str, tuple[str, ...]]

TABLETOP: Subsets = {
    "base": ("base", "stack", "sort"),
    "common_sense": ("base",),
    "complex": ("complex",),
    "visual": ("visual",),
    "spatial": ("spatial",),
}
"""Tasks of the Tabletop in each subset; seeds take them in turn. It has no table to wipe."""

REARRANGE: Subsets = {"base": ("base", "store"), "long_horizon": ("swap", "clear")}
"""Tasks of the Rearrange world in each subset; it has none for EB-Habitat's other four."""

_SHAPED_LIKE: Mapping[Shape, str] = {
    "cube": "a die",
    "cylinder": "a tin can",
    "triangular prism": "a tent",
    "hexagonal prism": "the nut of a bolt",
    "long block": "a brick",
    "cross": "the sign of a pharmacy",
    "ball": "something to play football with",
}
_USED_FOR: Mapping[ContainerKind, str] = {
    "bowl": "what soup is served in",
    "bin": "what waste paper is thrown into",
}


def common_sense(task: TabletopTask) -> str:
    """The instruction of a task of putting one object into a container, without naming either.

    Shape and colour together identify the object; the container is the only one of its kind.
    """
    (condition,) = task.conditions
    assert isinstance(condition, Inside)  # draw_task's "base"
    item, container = task.scene.object(condition.object), task.scene.container(condition.container)
    looks = f"the thing that is shaped like {_SHAPED_LIKE[item.shape]} and has the colour of {LIKE[item.colour]}"
    return f"put {looks} into {_USED_FOR[container.kind]}"
