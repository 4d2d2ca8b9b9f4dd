"""The settings of `si-embodied compare`: what is compared, and what counts as the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import Doc

from si_embodied.backends.config import BackendConfig
from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from si_embodied.embodiment import TaskKind
    from si_embodied.evaluation.config import EvaluationConfig

GOAL_M: Mapping[TaskKind, float] = {"navigation": 0.25, "manipulation": 0.02, "rearrangement": 0.25}
"""How far apart two goals may be and still be the same goal, metres.

A base cannot be placed more finely than its step, 0.25 m (Habitat's ObjectNav). A gripper that opens 0.1 m has about
2 cm to spare on each side of an object 5 cm wide.
"""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as the same.

    A share or a difference passes only if its whole 95% interval does: few observations prove nothing.
    """

    agreement: Annotated[
        float,
        Doc(
            "least share of decisions with the same skill, object and done, and of goals in the same place; at 0.95, "
            "six in ten tasks of ten decisions see no other decision"
        ),
    ] = 0.95
    goal_m: Annotated[
        float | None,
        Doc("most metres between goals in the same place; default: 0.25 for a base (its step), 0.02 for an arm"),
    ] = None
    certainty: Annotated[
        float,
        Doc(
            "most factor between the probabilities that two models give to equal plans; finds a damaged layer before "
            "it changes decisions. 1.02 finds smaller damage, 1.1 allows what four bits do: docs/evaluation.md"
        ),
    ] = 1.05
    margin: Annotated[
        float,
        Doc("most loss of success, as a share of episodes; 0.05 takes at least 73 episodes, a smaller one many more"),
    ] = 0.05

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, value in (("agreement", self.agreement), ("margin", self.margin)):
            if not 0 < value < 1:
                raise ConfigError(f"expected {name} above 0 and below 1, got: {value}")
        if not 1 < self.certainty < float("inf"):
            raise ConfigError(f"expected certainty above 1, got: {self.certainty}")
        if self.goal_m is not None and not 0 < self.goal_m < float("inf"):
            raise ConfigError(f"expected goal_m above 0, got: {self.goal_m}")

    def goal_of(self, kind: TaskKind) -> float:
        """How far apart goals of this kind of robot may be, metres."""
        return GOAL_M[kind] if self.goal_m is None else self.goal_m


@dataclass(frozen=True, slots=True)
class ComparisonRun:
    """Two models, and what both are shown: episodes that the first one plays, or a robot's recording."""

    evaluation: EvaluationConfig  # the first model's; `env` is empty with a recording
    against: BackendConfig
    out: Annotated[Path, Doc("folder for records and results; the same command continues there")]
    recording: Annotated[Path | None, Doc("show both a robot's recording: the folder, or its .mcap file")] = None
    decisions_only: Annotated[bool, Doc("the second model plays no episodes of its own: success is not compared")] = (
        False
    )
    no_memory: Annotated[bool, Doc("do not measure memory, for which each model is loaded once more")] = False
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        """Check that there is one source of observations."""
        if bool(self.evaluation.env) == (self.recording is not None):
            raise ConfigError("expected either --env ID or --recording PATH: episodes or a robot's recording")
        if self.evaluation.backend is None:
            raise ConfigError("expected a model to compare, got none; set 'backend'")

    @property
    def model(self) -> BackendConfig:
        """The first model."""
        assert self.evaluation.backend is not None  # checked above
        return self.evaluation.backend

    def identity(self) -> dict[str, Any]:
        """What the pairs are a function of; seeds are not among it, so that a run can be extended."""
        from si_embodied.evaluation.config import backend_identity

        recording = None if self.recording is None else str(self.recording.absolute())
        return {
            "first": self.evaluation.identity(), "against": backend_identity(self.against), "recording": recording,
        }  # fmt: skip
