"""Runs episodes over a range of seeds, here or in worker processes, and records each as it ends."""

from __future__ import annotations

import atexit
import concurrent.futures
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.tapped import Tap
from si_embodied.errors import EvaluationError
from si_embodied.evaluation.episode import EpisodeResult, Watcher, Watchers, run_episode
from si_embodied.evaluation.registry import MakePolicy, PolicySettings, find_policy, make_env, observe
from si_embodied.live.episodes import LiveEpisode
from si_embodied.live.folder import FolderScreen
from si_embodied.policies.base import Policy
from si_embodied.processes import worker_pool

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.records import RecordFile
    from si_embodied.evaluation.video import VideoShelf
    from si_embodied.policies.base import Policy

    _Results = Generator[EpisodeResult, None, None]

OnEpisode = Callable[[EpisodeResult], None]

MOST_LOST = 5
"""After this many lost simulators in a row, an evaluation gives up: the next one would be lost, too."""


@dataclass(frozen=True, slots=True)
class Run:
    """The episodes of an evaluation."""

    config: EvaluationConfig
    episodes: tuple[EpisodeResult, ...]  # by seed; fewer than asked for if it was interrupted
    resumed: int = 0  # how many of them an earlier run had recorded
    interrupted: bool = False


class EpisodeRunner:
    """The environment and policy of one process; the environment is made and the model loaded only once."""

    def __init__(self, config: EvaluationConfig, *, render: bool = False, live: Path | None = None) -> None:
        """Make the environment and load the model.

        Args:
            config: what to run.
            render: whether `run` may be asked for videos.
            live: the run's folder, in which the episodes can be watched (`si-embodied watch`).
        """
        self._config, self._tap = config, Tap()
        self._screen = None if live is None else FolderScreen(live)
        self._make_policy: MakePolicy | None = None
        self._env: gymnasium.Env[Any, Any] = make_env(config, render=render)

    def run(self, seed: int, video: Path | None = None) -> EpisodeResult:
        """Run the episode of a seed; write its video if a path is given."""
        policy = self._policy(seed)
        live = self._live(seed)
        try:
            if video is None:
                return run_episode(self._env, policy, seed, observe=observe, watcher=live)
            return self._filmed(policy, seed, video, live)
        finally:
            policy.close()

    def _live(self, seed: int) -> Watcher:
        """Shows the episode to whoever watches the run."""
        if self._screen is None:
            return Watcher()
        config = self._config
        title = f"{config.policy} on {config.env} {config.task or ''}".strip()
        robot: Any = getattr(self._env.unwrapped, "embodiment", None)
        return LiveEpisode(self._screen, title=title, seed=seed, robot=robot, tap=self._tap)

    def _filmed(self, policy: Policy, seed: int, path: Path, live: Watcher) -> EpisodeResult:
        from si_embodied.evaluation.video import EpisodeVideo

        video, ended = EpisodeVideo(path, title=self._config.policy), False
        try:
            result = run_episode(self._env, policy, seed, observe=observe, watcher=Watchers((video, live)))
            ended = result.ended != "lost"
            return result
        finally:
            video.close(keep=ended)

    def close(self) -> None:
        """Release the renderer; MuJoCo's complains if that is left to the interpreter's exit."""
        self._env.close()
        if self._screen is not None:
            self._screen.close()

    def _policy(self, seed: int) -> Policy:
        if self._make_policy is None:
            config = self._config
            settings = PolicySettings(
                config.backend or BackendConfig(), config.control, config.latency, config.planner,
                dict(config.policy_args), self._tap,
            )  # fmt: skip
            self._make_policy = find_policy(config.policy).prepare(settings)
        return self._make_policy(self._env, seed)


def evaluate(
    config: EvaluationConfig,
    records: RecordFile,
    *,
    shelf: VideoShelf | None = None,
    live: Path | None = None,
    workers: int = 1,
    on_episode: OnEpisode = lambda _: None,
) -> Run:
    """Run the episodes that the records lack.

    Ctrl-C ends the run; the report then covers the episodes recorded so far.

    Args:
        config: what to run.
        records: takes every episode as it ends, and holds those of an earlier run.
        shelf: keeps videos, if any are wanted.
        live: the run's folder, in which the episodes can be watched while they run.
        workers: processes; 1 runs the episodes here.
        on_episode: called with every new episode.

    Raises:
        EvaluationError: the simulator was lost in several episodes in a row.
        SiEmbodiedError: an episode could not be run; those before it are recorded.
    """
    find_policy(config.policy)
    missing = [seed for seed in config.seeds if seed not in records.episodes]
    settings = _Settings(config, shelf is not None, live)
    source = _in_processes(settings, missing, shelf, workers) if workers > 1 else _here(settings, missing, shelf)
    interrupted = False
    try:
        for result in _until_lost(source):
            records.add(result)
            if shelf is not None:
                shelf.put(result)
            on_episode(result)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        source.close()  # now: the garbage collector would keep its environment open past the report
        if shelf is not None:
            shelf.tidy()
    episodes = tuple(records.episodes[seed] for seed in config.seeds if seed in records.episodes)
    return Run(config, episodes, config.episodes - len(missing), interrupted)


def _until_lost(results: _Results) -> _Results:
    """Pass results on, and give up after `MOST_LOST` lost simulators in a row."""
    lost = 0
    for result in results:
        yield result
        lost = lost + 1 if result.ended == "lost" else 0
        if lost >= MOST_LOST:
            raise EvaluationError(
                f"the simulator was lost in {lost} episodes in a row, the last with seed {result.seed}; see its last "
                "output above. Repeat the command to run them again"
            )


@dataclass(frozen=True, slots=True)
class _Settings:
    """What every process of a run makes its runner from."""

    config: EvaluationConfig
    render: bool
    live: Path | None

    def runner(self) -> EpisodeRunner:
        """A runner for this process."""
        return EpisodeRunner(self.config, render=self.render, live=self.live)


def _here(settings: _Settings, seeds: Sequence[int], shelf: VideoShelf | None) -> _Results:
    if not seeds:
        return
    runner = settings.runner()
    try:
        for seed in seeds:
            yield runner.run(seed, shelf.place(seed) if shelf is not None else None)
    finally:
        runner.close()


def _in_processes(
    settings: _Settings, seeds: Sequence[int], shelf: VideoShelf | None, workers: int
) -> _Results:  # fmt: skip
    with worker_pool(min(workers, len(seeds) or 1)) as pool:
        waiting = list(reversed(seeds))
        running: set[concurrent.futures.Future[EpisodeResult | _Failure]] = set()
        while waiting or running:
            # One per worker: whether a video is still wanted depends on the results so far.
            while waiting and len(running) < workers:
                seed = waiting.pop()
                video = None if shelf is None else shelf.place(seed)
                running.add(pool.submit(_work, settings, seed, video))
            done, running = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
            for future in done:
                yield _checked(future)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An exception in a worker process, as text: not every exception can be pickled."""

    message: str
    trace: str


_runners: list[EpisodeRunner] = []
"""In a worker process, its runner, once it has run an episode."""


def _work(settings: _Settings, seed: int, video: Path | None) -> EpisodeResult | _Failure:
    try:
        if not _runners:
            _runners.append(settings.runner())
            atexit.register(_runners[0].close)
        return _runners[0].run(seed, video)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return _Failure(f"the episode with seed {seed} failed: {type(error).__name__}: {error}", traceback.format_exc())


def _checked(future: concurrent.futures.Future[EpisodeResult | _Failure]) -> EpisodeResult:
    try:
        result = future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise EvaluationError(
            "a worker process died, most likely out of memory; repeat the command with fewer --workers to resume"
        ) from error
    if isinstance(result, _Failure):
        raise EvaluationError(result.message) from EvaluationError(result.trace)
    return result
