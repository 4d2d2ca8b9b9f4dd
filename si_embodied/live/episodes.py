"""Shows the episodes of an evaluation while they run."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from si_embodied.live.folder import FolderScreen
from si_embodied.live.following import Following

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from si_embodied.backends.tapped import Tap
    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.episode import EpisodeResult, MakeWatcher
    from si_embodied.live.board import Screen
    from si_embodied.policies.base import Policy
    from si_embodied.types import Observation, Task

_LOG = logging.getLogger(__name__)

PERIOD_S = 0.2
"""Frames are at least so far apart, except for those of a new decision."""


@contextmanager
def live_episodes(run: Path, config: EvaluationConfig, tap: Tap) -> Iterator[MakeWatcher]:
    """Show this process's episodes in a run's folder, to `si-embodied watch` (an `Audience`, once `run` is bound)."""
    screen = FolderScreen(run)
    try:
        yield lambda seed: LiveEpisode(screen, title=config.title, seed=seed, tap=tap)
    finally:
        screen.close()


class LiveEpisode(Following):
    """Shows one episode on a screen. It never ends the episode: what cannot be shown is logged once."""

    def __init__(
        self,
        screen: Screen,
        *,
        title: str,
        seed: int,
        tap: Tap | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch an episode.

        Args:
            screen: shows the frames.
            title: policy, world and task.
            seed: of the episode.
            tap: keeps the prompts as the model sees them.
            clock: in seconds; paces the frames.
        """
        super().__init__(title=title, seed=seed, tap=tap)
        self._screen, self._clock = screen, clock
        self._shown_s, self._shown_plans = -PERIOD_S, -1
        self._broken = False

    def acted(self, env: Any, policy: Policy, task: Task, observation: Observation, step: int) -> None:
        """Show the moment, if a page is open and it is time."""
        super().acted(env, policy, task, observation, step)
        now_s, plans = self._clock(), len(policy.decisions)
        if plans == self._shown_plans and now_s - self._shown_s < PERIOD_S:
            return
        if self._show("acting", step):
            self._shown_s, self._shown_plans = now_s, plans

    def end(self, result: EpisodeResult) -> None:
        """Show how it ended."""
        self._show("succeeded" if result.success else f"failed ({result.ended.replace('_', ' ')})", result.steps)

    def _show(self, status: str, step: int) -> bool:
        """Show the last moment; returns whether a page was open."""
        moment = None if self._broken else self.moment(status, step)
        if moment is None or not self._screen.wanted():
            return False
        try:
            from si_embodied.live.drawing import frame_of  # loads Pillow, once somebody looks

            self._screen.show(frame_of(moment))
        except Exception as error:  # noqa: BLE001 - whatever cannot be shown, the episode goes on
            self._broken = True
            _LOG.warning("the live page shows no more of this episode: %s: %s", type(error).__name__, error)
        return True
