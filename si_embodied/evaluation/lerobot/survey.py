"""What episodes have in common, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import ConfigError
from si_embodied.evaluation.lerobot.columns import Layout, frames_per_second, layout_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.evaluation.lerobot.episodes import Source
    from si_embodied.evaluation.lerobot.form import Images


@dataclass(frozen=True, slots=True)
class Survey:
    """What the episodes of a data set have in common."""

    layout: Layout
    fps: float
    true_rate: bool
    plans: bool  # whether any episode has subgoals


def survey(sources: Sequence[Source], images: Images) -> Survey:
    """What the episodes have in common.

    Raises:
        ConfigError: they differ, or videos cannot have such a size.
    """
    first: Layout | None = None
    stamps_s: list[NDArray[np.float64]] = []
    plans, period_s = False, 1.0
    for source in sources:
        steps = source.steps(images=False)
        layout, period_s = layout_of(steps), steps.body.control_period_s
        first = first or layout
        if layout != first:
            raise ConfigError(
                f"{source} differs from {sources[0]} in {_difference(first, layout)}, and a data set has one form for "
                "all: export them one by one"
            )
        stamps_s.append(np.array([step.stamp_s for step in steps.steps]))
        plans = plans or any(step.subgoal for step in steps.steps)
    assert first is not None  # there is at least one episode
    odd = [name for name, height, width in first.cameras if height % 2 or width % 2]
    if images == "video-420" and odd:
        raise ConfigError(f"4:2:0 needs even sizes, and the images of {', '.join(odd)} have none; use --images video")
    return Survey(first, *frames_per_second(stamps_s, period_s), plans)


def _difference(one: Layout, other: Layout) -> str:
    if one.cameras != other.cameras:
        return f"its cameras (name, height, width: {list(other.cameras)} instead of {list(one.cameras)})"
    differing = [a.name for a in other.columns if a not in one.columns] or [a.name for a in one.columns]
    return f"what it has as {', '.join(differing)}"
