"""One moment of an episode, as whoever plays it knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from si_embodied.policies.base import Execution

if TYPE_CHECKING:
    from si_embodied.embodiment import Embodiment
    from si_embodied.live.frame import Outline, Xy
    from si_embodied.types import Decision, Observation, Prompt


LISTED_PLANS = 40
"""How many decisions the page lists, the latest."""


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One moment of an episode; references, no copies, so that making one costs nothing."""

    title: str
    seed: int | None
    instruction: str
    step: int
    status: str
    observation: Observation
    decisions: Sequence[Decision] = ()  # the latest last
    execution: Execution = Execution()  # without memory for a policy that does not plan
    prompt: Prompt | None = None  # the latest, as the model was given it
    robot: Embodiment | None = None
    trail: Sequence[Xy] = ()
    outlines: tuple[Outline, ...] = ()  # of what stands around the robot, where the world tells it
    earlier: int = 0  # decisions before these
