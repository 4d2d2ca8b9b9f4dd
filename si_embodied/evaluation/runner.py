"""Runs episodes over a range of seeds, here, in worker processes or on a cluster, and records each as it ends."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.tapped import Tap
from si_embodied.errors import EvaluationError
from si_embodied.evaluation.episode import Audience, EpisodeResult, run_episode
from si_embodied.evaluation.registry import MakePolicy, PolicySettings, find_policy, make_env, observe
from si_embodied.parallel.placement import HERE, Place
from si_embodied.parallel.work import WorkError, work_through
from si_embodied.policies.base import Policy
from si_embodied.progress import track

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.records import RecordFile
    from si_embodied.evaluation.steps import StepFolder
    from si_embodied.evaluation.trace import TraceFolder
    from si_embodied.evaluation.video import VideoShelf
    from si_embodied.policies.base import Policy

    _Outcomes = Generator["Outcome", None, None]

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
    others: int = 0  # episodes of other seeds in the same records


@dataclass(frozen=True, slots=True)
class EpisodeTask:
    """An episode to run."""

    seed: int
    video: Path | None = None  # where to write its video
    send_video: bool = False  # with the outcome instead, from a machine that may have another disk

    def __str__(self) -> str:
        return f"the episode with seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """An episode that was run."""

    result: EpisodeResult
    video: bytes | None = None  # the mp4 file, if it was to be sent


class EpisodeRunner:
    """The environment and policy of one process; the environment is made and the model loaded only once."""

    def __init__(
        self,
        config: EvaluationConfig,
        *,
        render: bool = False,
        traced: bool = False,
        keep_steps: bool = False,
        audiences: Sequence[Audience] = (),
    ) -> None:
        """Make the environment and load the model.

        Args:
            config: what to run.
            render: whether `run` may be asked for videos.
            traced: whether results have a trace.
            keep_steps: whether they have their steps.
            audiences: watch every episode.
        """
        self._config, self._tap = config, Tap()
        self._traced, self._keep_steps = traced, keep_steps
        self._make_policy: MakePolicy | None = None
        self._env: gymnasium.Env[Any, Any] = make_env(config, render=render)
        self._open = ExitStack()
        self._make_watchers = [self._open.enter_context(audience(config, self._tap)) for audience in audiences]

    def do(self, task: EpisodeTask) -> Outcome:
        """Run an episode as a task among others."""
        if task.video is None or not task.send_video:
            return Outcome(self.run(task.seed, task.video))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / task.video.name
            result = self.run(task.seed, path)
            return Outcome(result, path.read_bytes() if path.exists() else None)

    def run(self, seed: int, video: Path | None = None) -> EpisodeResult:
        """Run the episode of a seed; write its video if a path is given."""
        policy = self._policy(seed)
        try:
            return self._watched(policy, seed, video)
        finally:
            policy.close()

    def _watched(self, policy: Policy, seed: int, path: Path | None) -> EpisodeResult:
        watchers = [make(seed) for make in self._make_watchers]
        with ExitStack() as stack:
            if path is not None:
                from si_embodied.evaluation.video import EpisodeVideo

                video, ended = EpisodeVideo(path, title=self._config.policy), False
                stack.callback(lambda: video.close(keep=ended))
                watchers.append(video)
            if self._traced:
                from si_embodied.evaluation.tracing import EpisodeTrace

                watchers.append(trace := EpisodeTrace())
            if self._keep_steps:
                from si_embodied.evaluation.step_recorder import StepRecorder

                watchers.append(steps := StepRecorder())
            result = run_episode(self._env, policy, seed, observe=observe, watchers=watchers)
            if ended := result.ended != "lost":
                result = replace(result, trace=trace.trace()) if self._traced else result
                result = replace(result, kept_steps=steps.steps()) if self._keep_steps else result
            return result

    def close(self) -> None:
        """Release the renderer; MuJoCo's complains if that is left to the interpreter's exit."""
        self._env.close()
        self._open.close()

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
    traces: TraceFolder | None = None,
    steps: StepFolder | None = None,
    audiences: Sequence[Audience] = (),
    placement: Place = HERE,
    label: str = "",
    on_episode: OnEpisode = lambda _: None,
) -> Run:
    """Run the episodes that the records lack.

    Ctrl-C ends the run; the report then covers the episodes recorded so far.

    Args:
        config: what to run.
        records: takes every episode as it ends, and holds those of an earlier run.
        shelf: keeps videos, if any are wanted.
        traces: takes what the episodes looked like, if a report is wanted.
        steps: takes every step of the episodes, if a data set is to be made of them.
        audiences: watch every episode while it runs.
        placement: where the episodes run, and how many at once; the results do not depend on it.
        label: names the run where its progress is shown.
        on_episode: called with every new episode.

    Raises:
        EvaluationError: the simulator was lost in several episodes in a row; the model or its server failed; an episode
            failed in another process, or its process was lost again and again.
        SiEmbodiedError: an episode could not be run; those before it are recorded.
    """
    find_policy(config.policy)
    missing = [seed for seed in config.seeds if seed not in records.episodes]
    render, traced, keep_steps = (each is not None for each in (shelf, traces, steps))
    make = partial(
        EpisodeRunner, config, render=render, traced=traced, keep_steps=keep_steps, audiences=audiences
    )  # fmt: skip
    outcomes = _outcomes(make, missing, shelf, placement)
    won = ran = 0
    interrupted = False
    try:
        with track(label or config.title, config.episodes, done=config.episodes - len(missing)) as work:
            for outcome in _until_lost(_until_outage(outcomes)):
                result = outcome.result
                if traces is not None and result.trace is not None:
                    traces.put(result.seed, result.trace)
                if steps is not None and result.kept_steps is not None:
                    steps.put(result.seed, result.kept_steps)
                records.add(replace(result, trace=None, kept_steps=None))
                if shelf is not None:
                    shelf.put(result, outcome.video)
                on_episode(result)
                won, ran = won + result.success, ran + 1
                work.advance(note=f"{won}/{ran} succeeded")
    except KeyboardInterrupt:
        interrupted = True
    except WorkError as error:
        raise EvaluationError(str(error)) from error.__cause__
    finally:
        outcomes.close()  # now: the garbage collector would keep its environment open past the report
        if shelf is not None:
            shelf.tidy()
    episodes = tuple(records.episodes[seed] for seed in config.seeds if seed in records.episodes)
    others = len(records.episodes) - len(episodes)
    return Run(config, episodes, config.episodes - len(missing), interrupted, others)


def _until_lost(outcomes: _Outcomes) -> _Outcomes:
    """Pass outcomes on, and give up after `MOST_LOST` lost simulators in a row."""
    lost = 0
    for outcome in outcomes:
        yield outcome
        result = outcome.result
        lost = lost + 1 if result.ended == "lost" else 0
        if lost >= MOST_LOST:
            raise EvaluationError(
                f"the simulator was lost in {lost} episodes in a row, the last with seed {result.seed}; see its last "
                "output above. Repeat the command to run them again"
            )


def _until_outage(outcomes: _Outcomes) -> _Outcomes:
    """Pass outcomes on up to an episode that ended without its model, which says nothing about the model."""
    for outcome in outcomes:
        result = outcome.result
        if result.outage:
            raise EvaluationError(
                f"the model or its server failed until the end of the episode with seed {result.seed}, which is not "
                f"recorded: {result.outage}; repeat the command to run it again"
            )
        yield outcome


def _outcomes(
    make: Callable[[], EpisodeRunner], seeds: list[int], shelf: VideoShelf | None, placement: Place
) -> _Outcomes:  # fmt: skip
    if not seeds:
        return

    def tasks() -> Iterator[EpisodeTask]:
        for seed in seeds:  # whether a video is still wanted depends on the episodes so far
            video = None if shelf is None else shelf.place(seed)
            yield EpisodeTask(seed, video, send_video=not placement.shares_disk)

    with placement.pool() as pool:
        yield from work_through(pool, make, tasks())
