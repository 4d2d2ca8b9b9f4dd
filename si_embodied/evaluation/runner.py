"""Episodes over a range of seeds, here or in worker processes, recorded as they end."""

from __future__ import annotations

import concurrent.futures
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.backends.config import BackendConfig
from si_embodied.errors import EvaluationError
from si_embodied.evaluation.episode import EpisodeResult, run_episode
from si_embodied.evaluation.registry import MakePolicy, PolicySettings, find_policy, make_env, observe
from si_embodied.policies.base import Policy
from si_embodied.processes import worker_pool

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.records import RecordFile
    from si_embodied.evaluation.video import EpisodeVideo, VideoShelf

OnEpisode = Callable[[EpisodeResult], None]

MOST_LOST = 5
"""Episodes in a row whose simulator was lost: another one would be too."""


@dataclass(frozen=True, slots=True)
class Run:
    """What an evaluation has to report on."""

    config: EvaluationConfig
    episodes: tuple[EpisodeResult, ...]  # by seed; fewer than asked for where it was interrupted
    resumed: int = 0  # of them, how many an earlier run had left
    interrupted: bool = False


class EpisodeRunner:
    """One process's environment and policy; what is costly is made once."""

    def __init__(self, config: EvaluationConfig, *, render: bool = False) -> None:
        """Make the environment and load the model.

        Args:
            config: what to run.
            render: whether videos may be asked for.
        """
        self._config = config
        self._make_policy: MakePolicy | None = None
        self._env: gymnasium.Env[Any, Any] = make_env(config, render=render)

    def run(self, seed: int, video: Path | None = None) -> EpisodeResult:
        """Run the episode of a seed, and leave its video at a path."""
        policy = self._policy(seed)
        watcher = None if video is None else _video(video, self._config.policy)
        result = None
        try:
            result = run_episode(self._env, policy, seed, observe=observe, watcher=watcher)
            return result
        finally:
            if watcher is not None:
                watcher.close(keep=result is not None and result.ended != "lost")
            policy.close()

    def close(self) -> None:
        """Give the renderer back; MuJoCo's complains when the interpreter does it."""
        self._env.close()

    def _policy(self, seed: int) -> Policy:
        if self._make_policy is None:
            config = self._config
            settings = PolicySettings(config.backend or BackendConfig(), config.control, config.latency, config.planner)
            self._make_policy = find_policy(config.policy).prepare(settings)
        return self._make_policy(self._env, seed)


def _video(path: Path, title: str) -> EpisodeVideo:
    from si_embodied.evaluation.video import EpisodeVideo

    return EpisodeVideo(path, title=title)


def evaluate(
    config: EvaluationConfig,
    records: RecordFile,
    *,
    shelf: VideoShelf | None = None,
    workers: int = 1,
    on_episode: OnEpisode = lambda _: None,
) -> Run:
    """Run the episodes that the records lack.

    Ctrl-C ends the run after what is recorded; the report is then made of that.

    Args:
        config: what to run.
        records: gets every episode as it ends, and has those of an earlier run.
        shelf: keeps the videos, where some are wanted.
        workers: processes; 1 runs here.
        on_episode: told of every new episode.

    Raises:
        EvaluationError: the simulator was lost in several episodes in a row.
        SiEmbodiedError: an episode could not be run; those before it are in the records.
    """
    find_policy(config.policy)
    missing = [seed for seed in config.seeds if seed not in records.episodes]
    resumed = config.episodes - len(missing)
    source = _in_processes(config, missing, shelf, workers) if workers > 1 else _here(config, missing, shelf)
    interrupted, lost = False, 0
    try:
        # Closed here: a generator left to the garbage collector would keep its environment open past the report.
        for result in source:
            records.add(result)
            if shelf is not None:
                shelf.put(result)
            on_episode(result)
            lost = lost + 1 if result.ended == "lost" else 0
            if lost >= MOST_LOST:
                raise EvaluationError(
                    f"the simulator was lost in {lost} episodes in a row, the last of seed {result.seed}; see its last "
                    "words above. The same command tries them again"
                )
    except KeyboardInterrupt:
        interrupted = True
    finally:
        source.close()
        if shelf is not None:
            shelf.tidy()
    episodes = tuple(records.episodes[seed] for seed in config.seeds if seed in records.episodes)
    return Run(config, episodes, resumed, interrupted)


def _here(config: EvaluationConfig, seeds: Sequence[int], shelf: VideoShelf | None) -> _Results:
    if not seeds:
        return
    runner = EpisodeRunner(config, render=shelf is not None)
    try:
        for seed in seeds:
            yield runner.run(seed, shelf.place(seed) if shelf is not None else None)
    finally:
        runner.close()


def _in_processes(
    config: EvaluationConfig, seeds: Sequence[int], shelf: VideoShelf | None, workers: int
) -> _Results:  # fmt: skip
    with worker_pool(min(workers, len(seeds) or 1), _start_worker, (config, shelf is not None)) as pool:
        waiting = list(reversed(seeds))
        running: set[concurrent.futures.Future[EpisodeResult | _Failure]] = set()
        while waiting or running:
            # Few at a time: whether a video is still wanted depends on the results so far.
            while waiting and len(running) < workers:
                seed = waiting.pop()
                running.add(pool.submit(_work, seed, shelf.place(seed) if shelf is not None else None))
            done, running = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
            for future in done:
                yield _checked(future)


if TYPE_CHECKING:
    from collections.abc import Generator

    _Results = Generator[EpisodeResult, None, None]


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a worker process raised; exceptions themselves do not all survive pickling."""

    message: str
    trace: str


@dataclass(slots=True)
class _Worker:
    """What a worker process has, once it was started."""

    config: EvaluationConfig | None = None
    render: bool = False
    runner: EpisodeRunner | None = field(default=None)


_worker = _Worker()


def _start_worker(config: EvaluationConfig, render: bool) -> None:
    _worker.config, _worker.render = config, render


def _work(seed: int, video: Path | None) -> EpisodeResult | _Failure:
    assert _worker.config is not None  # the pool has called _start_worker
    try:
        if _worker.runner is None:
            import atexit

            _worker.runner = EpisodeRunner(_worker.config, render=_worker.render)
            atexit.register(_worker.runner.close)
        return _worker.runner.run(seed, video)
    except Exception as error:  # noqa: BLE001 - carried to the parent, which raises it
        return _Failure(f"the episode of seed {seed} failed: {type(error).__name__}: {error}", traceback.format_exc())


def _checked(future: concurrent.futures.Future[EpisodeResult | _Failure]) -> EpisodeResult:
    try:
        result = future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise EvaluationError(
            "a worker process died, most likely for want of memory; try fewer --workers, the same command goes on"
        ) from error
    if isinstance(result, _Failure):
        raise EvaluationError(result.message) from EvaluationError(result.trace)
    return result
