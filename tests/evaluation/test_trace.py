from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.registry import make_env
from si_embodied.evaluation.runner import evaluate
from si_embodied.evaluation.trace import Floor, Still, Trace, TraceFolder
from si_embodied.evaluation.tracing import MOST_STILLS, EpisodeTrace
from si_embodied.types import Task

FREE = np.array([[True, False, True], [False, False, True]])
TRACE = Trace(
    ((0.0, 1.25), (0.5, 1.5)),
    (Still(3, 0, "goto <chair> é \udcff", b"\xff\xd8jpeg"), Still(9, None, "", b"")),
    Floor(0.05, (-1.5, 2.0), FREE, ((0.0, 1.0), (2.0, 3.0)), ((2.5, 3.5),)),
)


def test_a_trace_survives_its_file(tmp_path: Path) -> None:
    folder = TraceFolder(tmp_path / "traces")
    folder.put(7, TRACE)
    read = folder.get(7)
    assert read is not None
    assert read.floor is not None
    assert (read.path_m, read.stills) == (TRACE.path_m, TRACE.stills)
    assert (read.floor.free == FREE).all()
    assert (read.floor.origin_m, read.floor.resolution_m) == ((-1.5, 2.0), 0.05)
    assert (read.floor.shortest_path_m, read.floor.goals_m) == (TRACE.floor.shortest_path_m, TRACE.floor.goals_m)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"path_m": 3, "stills": [], "floor": null}', "\x00"])
def test_a_damaged_or_missing_trace_is_no_trace(content: str, tmp_path: Path) -> None:
    folder = TraceFolder(tmp_path)
    assert folder.get(0) is None
    (tmp_path / "seed-000000.json").write_text(content)
    assert folder.get(0) is None


def test_a_run_leaves_a_trace_of_every_episode_with_each_plan_drawn(fake_world: str, tmp_path: Path) -> None:
    config = EvaluationConfig(env=fake_world, policy="thinker", episodes=2)
    folder = TraceFolder(tmp_path / "traces")
    run = evaluate(config, RecordFile(tmp_path / "records.jsonl", config.identity()), traces=folder)
    assert all(episode.trace is None for episode in run.episodes)  # not kept in memory
    for seed in (0, 1):
        trace = folder.get(seed)
        assert trace is not None
        assert [still.plan for still in trace.stills] == [0, 1]
        assert "NO_DEPTH" in trace.stills[0].caption
        assert trace.stills[0].caption.endswith("(head camera)")  # by name; the number depends on the prompt
        with Image.open(io.BytesIO(trace.stills[0].jpeg)) as image:
            assert image.format == "JPEG"
            assert image.size == (192, 192)
        assert (trace.path_m, trace.floor) == ((), None)  # it never moved, and the world has no ground truth


def test_a_long_episode_keeps_few_views_from_first_to_last(fake_world: str) -> None:
    import fake_world as world

    env = make_env(EvaluationConfig(env=fake_world, policy="walker"))
    raw, _ = env.reset(seed=0)
    from si_embodied.evaluation.registry import observe

    trace, policy, observation = EpisodeTrace(), world.Walker(), observe(raw, ("head",))
    for step in range(300):
        trace.acted(env, policy, Task("walk", "navigation"), observation, step)
    steps = [still.step for still in trace.trace().stills]
    assert len(steps) == MOST_STILLS
    assert (steps[0], steps[-1]) == (0, 299)
    assert np.diff(steps).max() <= 100  # spread over the episode


def test_views_that_plans_point_into_are_kept_rather_than_others(fake_world: str) -> None:
    from si_embodied.evaluation.registry import observe
    from si_embodied.plan import Plan
    from si_embodied.policies.base import Execution
    from si_embodied.skills import Explore, Goto
    from si_embodied.types import Code, Hold, PlanRecord

    env = make_env(EvaluationConfig(env=fake_world, policy="walker"))
    observation = observe(env.reset(seed=0)[0], ("head",))

    class Planning:
        decisions: list = []
        execution = Execution(planned_from=observation)

    trace, record = EpisodeTrace(), PlanRecord(0.0, "nav/v2", "m", "k", "d", (), 0, 0, {}, Code.UNSURE, "")
    for step in range(60):
        first = Goto(object="chair", view=0, point=(500, 500)) if step in (21, 40) else Explore()
        Planning.decisions.append(Hold(record, Plan(subgoals=(first,), done=False)))
        trace.acted(env, Planning, Task("find a chair", "navigation"), observation, step)
    stills = trace.trace().stills
    assert len(stills) <= MOST_STILLS
    assert {0, 21, 40, 59} <= {still.step for still in stills}
    with Image.open(io.BytesIO(next(s for s in stills if s.step == 21).jpeg)) as image:
        drawn = np.asarray(image.convert("RGB")).astype(int)
    rows, columns = np.nonzero(drawn[..., 0] > 150)  # the ring of a refused plan is red; the view is black
    assert abs(rows.mean() - 96) < 3
    assert abs(columns.mean() - 96) < 3
