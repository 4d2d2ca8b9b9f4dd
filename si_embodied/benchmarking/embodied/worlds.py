"""Our worlds under EmbodiedBench's rules: what both have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from si_embodied.benchmarking.embodied.situation import INVALID, QUIT, Past, Situation
from si_embodied.envs.arguments import check_names
from si_embodied.errors import ConfigError, extra

with extra("sim"):
    import gymnasium

if TYPE_CHECKING:
    from si_embodied.benchmarking.embodied.subsets import Subsets
    from si_embodied.embodiment import Embodiment, TaskKind

REJECTED = "the last answer was not a plan, so that nothing was done"
EMPTY = "the plan was empty, which ends the task"


@dataclass(slots=True)
class Count:
    """The running episode's actions."""

    steps: int = 0  # environment steps: actions that were carried out or tried
    invalid: int = 0  # actions that could not be carried out, and answers without any
    rejected: int = 0  # of them, answers without any that took no step
    empty: bool = False  # whether an empty plan ended the episode
    replan: bool = False
    past: list[Past] = field(default_factory=list)


class ProtocolWorld(gymnasium.Env[dict[str, Any], Any]):
    """One subset of the benchmark. The seed chooses among the subset's tasks, in turn.

    An action is what the planner's answer says, or `INVALID` or `QUIT`.
    """

    SUBSETS: ClassVar[Subsets]
    kind: ClassVar[TaskKind]
    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012  (as gymnasium.Env has it)

    def __init__(self, task: str = "base", *, image_size: int = 500, render_mode: str | None = None) -> None:
        """Create the world; nothing is rendered before `reset`.

        Args:
            task: name of the subset.
            image_size: height and width of the picture, pixels; EmbodiedBench's is 500.
            render_mode: None or "rgb_array" (the picture that the planner sees).

        Raises:
            UnknownNameError: unknown subset.
        """
        check_names(("subset", task, self.SUBSETS))
        self.render_mode = render_mode
        self._tasks, self._image_size = self.SUBSETS[task], image_size
        self.count = Count()
        self._inner: Any = None

    # --- what each world defines -----------------------------------------------------------------------------------

    @abstractmethod
    def _make(self, task: str) -> Any:
        """Our own environment of a task."""

    @abstractmethod
    def _carry_out(self, action: Any) -> Past:
        """Carry out an action and count it; what was done, and the feedback."""

    @abstractmethod
    def _reject(self) -> None:
        """Count an answer without an action."""

    @abstractmethod
    def _limit_reached(self) -> bool:
        """Whether the episode is over by its limits."""

    @abstractmethod
    def situation(self) -> Situation:
        """What the planner is told now."""

    # --- Gymnasium -------------------------------------------------------------------------------------------------

    @property
    def embodiment(self) -> Embodiment:
        """The robot."""
        robot: Embodiment = self.inner.embodiment
        return robot

    @property
    def task(self) -> str:
        """The running episode's task."""
        return str(self.inner.task)

    @property
    def replan(self) -> bool:
        """Whether the rest of the plan is dropped: EB-Habitat's planner answers again after an invalid action."""
        return self.count.replan

    @property
    def inner(self) -> Any:
        """Our own environment, at the running episode; privileged.

        Raises:
            ConfigError: no episode has started.
        """
        if self._inner is None:
            raise ConfigError("no episode has started; call reset(seed=...) first")
        return self._inner

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the episode of `seed`; without a seed, of the next one drawn from `np_random`."""
        super().reset(seed=seed)
        seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self.close()
        self._inner = self._make(self._tasks[seed % len(self._tasks)])
        self.count = Count()
        self._observation, self._last = self.inner.reset(seed=seed)
        return self._told(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Carry out one action of a plan."""
        count = self.count
        count.replan = False
        code = int(action) if np.ndim(action) == 0 else 0
        if code == QUIT:
            count.empty = True
            count.past.append(Past("none", EMPTY))
        elif code == INVALID:
            self._reject()
            count.past.append(Past("none", REJECTED))
        else:
            count.past.append(self._carry_out(action))
        info = self._info()
        over = count.empty or self._limit_reached()
        return self._told(), float(info["success"]), info["success"], over and not info["success"], info

    def render(self) -> Any:
        """The picture (H, W, 3) that the planner sees; None without a render mode."""
        return None if self.render_mode is None else self.situation().picture

    def close(self) -> None:
        """Free the renderer; the world can be reset again."""
        if self._inner is not None:
            self._inner.close()

    def _told(self) -> dict[str, Any]:
        return {**self._observation, "instruction": self.instruction}

    @property
    def instruction(self) -> str:
        """The running episode's instruction."""
        return str(self._observation["instruction"])

    def _info(self) -> dict[str, Any]:
        count = self.count
        return {
            "success": bool(self._last["success"]),
            "progress": float(self._last["progress"]),
            "environment_steps": count.steps,
            "invalid_actions": count.invalid,
            "actions": count.steps + count.rejected,
            "empty_plan": float(count.empty),
        }
