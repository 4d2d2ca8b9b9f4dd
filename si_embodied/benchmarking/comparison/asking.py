"""Shows two models the same: in episodes that the first one plays, or along a robot's recording."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from si_embodied.backends.opening import open_backend, open_planner
from si_embodied.benchmarking.comparison.decisions import Decided, Pair
from si_embodied.benchmarking.results import typed_rows
from si_embodied.errors import ConfigError, DataError, EvaluationError
from si_embodied.evaluation.episode import run_episode
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.registry import make_env, observe
from si_embodied.evaluation.report import versions
from si_embodied.policies.planner_policy import SpatialPlannerPolicy, embodiment_of
from si_embodied.ros_nodes.recording.reader import Recording
from si_embodied.ros_nodes.recording.replay import Replayer
from si_embodied.runs import JsonLines, write_text
from si_embodied.types import Code

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.backends.base import BackendInfo
    from si_embodied.backends.config import BackendConfig
    from si_embodied.benchmarking.comparison.settings import ComparisonRun
    from si_embodied.config import PlannerConfig
    from si_embodied.embodiment import Embodiment, TaskKind
    from si_embodied.evaluation.episode import EpisodeResult
    from si_embodied.guard import Guard
    from si_embodied.memory import Memory
    from si_embodied.planner import AnyPlanner
    from si_embodied.types import Decision, Observation, Task

PAIRS, RECORDS = "pairs.jsonl", "records.jsonl"
_NEVER_S = 1e9


class AskedTwice:
    """A planner that also asks a second one. The robot carries out the first one's decisions.

    The second one sees the observations and the memory that came of them, so that one other decision does not make
    every later observation another one.
    """

    def __init__(self, first: AnyPlanner, second: AnyPlanner) -> None:
        """Both plan for the same robot."""
        self._first, self._second = first, second
        self.decisions: list[tuple[Decided, Decided]] = []
        self.failure = ""  # of a model or its server, the first one

    @property
    def config(self) -> PlannerConfig:
        """The first planner's settings."""
        return self._first.config

    @property
    def embodiment(self) -> Embodiment:
        """The robot that both plan for."""
        return self._first.embodiment

    @property
    def guard(self) -> Guard:
        """The first planner's guard."""
        return self._first.guard

    @property
    def info(self) -> BackendInfo:
        """The first model."""
        return self._first.info

    def plan(
        self, task: Task, observation: Observation, memory: Memory, *, now_s: float | None = None
    ) -> Decision:  # fmt: skip
        """The first planner's decision; both are kept."""
        decision = self._first.plan(task, observation, memory, now_s=now_s)
        other = self._second.plan(task, observation, memory, now_s=now_s)
        self.decisions.append((Decided.of(decision), Decided.of(other)))
        self.failure = self.failure or _failure(decision, other)  # raised later: a policy outlives a failed plan
        return decision

    def cancel(self) -> None:
        """Abort both plans in progress."""
        self._first.cancel()
        self._second.cancel()

    def close(self) -> None:
        """Close both."""
        self._first.close()
        self._second.close()


def pairs_of_episodes(
    run: ComparisonRun, on_episode: Callable[[EpisodeResult], None] = lambda _: None
) -> tuple[list[Pair], TaskKind]:
    """Play the first model's episodes that the folder lacks, and ask the second model beside it.

    Returns:
        The pairs of all episodes, in order, and the kind of robot.

    Raises:
        EvaluationError: the simulator was lost, or a model or its server failed, which is no decision.
        SiEmbodiedError: a model or the world cannot be opened.
    """
    config = run.evaluation
    records = RecordFile(run.out / RECORDS, config.identity(), versions())
    kept = JsonLines(run.out / PAIRS)
    pairs = _by_episode(run.out / PAIRS, kept.rows)
    with ExitStack() as opened:
        env = opened.enter_context(closing(make_env(config)))
        body = embodiment_of(env)
        missing = [seed for seed in config.seeds if not _is_whole(records.episodes.get(seed), pairs.get(seed, ()))]
        if missing:
            first, second = (
                opened.enter_context(closing(open_planner(each, body, config.planner)))
                for each in (run.model, run.against)
            )
            asked = AskedTwice(first, second)
            policy = opened.enter_context(closing(SpatialPlannerPolicy(asked, latency=config.latency)))
            for seed in missing:
                asked.decisions = []
                result = run_episode(env, policy, seed, observe=observe)
                if result.ended == "lost":
                    raise EvaluationError(f"the simulator was lost with seed {seed}; repeat the command to resume")
                if asked.failure:
                    raise EvaluationError(f"in the episode with seed {seed}, {asked.failure}")
                pairs[seed] = [Pair(seed, index, *two) for index, two in enumerate(asked.decisions)]
                kept.append(*map(asdict, pairs[seed]))
                records.add(result)
                on_episode(result)
    return [pair for seed in config.seeds for pair in pairs.get(seed, ())], body.kind


def _is_whole(episode: EpisodeResult | None, pairs: Sequence[Pair]) -> bool:
    """Whether an episode was played, and the pairs of its decisions were not lost since."""
    return episode is not None and len(pairs) >= len(episode.plans)


def pairs_of_recording(run: ComparisonRun) -> tuple[list[Pair], TaskKind]:
    """Show both models what a robot saw, with its memory of what it had done, and write the pairs.

    Decisions depend on the map that earlier ones built, so an interrupted comparison starts anew.

    Returns:
        The pairs, and the kind of robot.

    Raises:
        ConfigError: one of the models is a planning server, which decides with settings of its own.
        DataError: no decision of the recording can be made again.
        EvaluationError: a model or its server failed.
    """
    assert run.recording is not None  # the caller's choice
    recording = Recording(run.recording)
    with ExitStack() as opened:
        first, second = (_replayer(each, run.evaluation.planner, opened) for each in (run.model, run.against))
        pairs = []
        in_turns = zip(first.replay(recording), second.replay(recording), strict=True)
        for index, (one, other) in enumerate(in_turns):
            if one.replayed is None or other.replayed is None:
                continue
            if failure := _failure(one.replayed, other.replayed):
                raise EvaluationError(f"at decision {index} of the recording, {failure}")
            pairs.append(Pair(0, index, Decided.of(one.replayed), Decided.of(other.replayed)))
    if not pairs:
        raise DataError(
            f"no decision of {str(run.recording)!r} can be made again; `si-embodied replay` says why for each"
        )
    write_text(run.out / PAIRS, "".join(json.dumps(asdict(pair)) + "\n" for pair in pairs))
    return pairs, recording.records[0].settings.embodiment.kind


def _failure(first: Decision, second: Decision) -> str:
    """What to say of models that failed: that both did is no agreement, and that one did no difference."""
    for whose, decision in (("first", first), ("second", second)):
        if decision.record.code is Code.BACKEND_FAILED:
            return (
                f"the {whose} model or its server failed ({decision.record.message}): mend that, and repeat the command"
            )
    return ""


def _replayer(backend: BackendConfig, planner: PlannerConfig, opened: ExitStack) -> Replayer:
    """Asks this model, which `opened` closes."""
    if backend.kind == "remote":
        raise ConfigError(
            f"a recording's decisions are made again with its settings, but the planning server {backend.url} has its "
            "own; give the model itself, or compare in a world with --env"
        )

    def adapt(recorded: PlannerConfig) -> PlannerConfig:
        """The robot's settings with the model's own prompts; a model that is slow here is not refused for it."""
        guard = replace(recorded.guard, max_plan_age_s=_NEVER_S)
        return replace(recorded, prompts=planner.prompts, guard=guard)

    return Replayer(opened.enter_context(closing(open_backend(backend))), adapt)


def _by_episode(path: Path, rows: Sequence[Mapping[str, Any]]) -> dict[int, list[Pair]]:
    """Pairs by seed. An episode that was interrupted was played again; its later pairs count."""
    found: dict[int, list[Pair]] = {}
    for pair in typed_rows(Pair, path, rows):
        if pair.index == 0:
            found[pair.episode] = []
        found.setdefault(pair.episode, []).append(pair)
    return found
