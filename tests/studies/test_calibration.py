"""Certainty is compared with what perfect pixels decides and with what the simulator shows at the point."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("llguidance")

from si_embodied.backends.base import BackendInfo
from si_embodied.certainty import Certainty
from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import run_episode
from si_embodied.evaluation.registry import beside_perfect_pixels, make_env, observe
from si_embodied.policies.comparing import Answer
from si_embodied.policies.perfect_pixels import perfect_pixels_backend
from si_embodied.studies import calibration
from si_embodied.studies.calibration import CalibrationResults, Judged
from si_embodied.studies.plots import draw
from si_embodied.studies.settings import CalibrationRun
from si_embodied.types import Completion, Prompt

DONE = '{"subgoals":[],"done":true}'


class Sure:
    """A backend whose text is a function of the prompt, as sure as it is told to be."""

    info = BackendInfo("sure", "none", "none")

    def __init__(self, text: Callable[[Prompt], str], sure: Sequence[float] = (0.75,)) -> None:
        self.text, self.sure, self.asked = text, itertools.cycle(sure), 0

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        self.asked += 1
        return Completion(self.text(prompt), certainty=Certainty(next(self.sure), 0.25))

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


def play(env: Any, backend: Sure, seed: int) -> list[Answer]:
    policy, compared = beside_perfect_pixels(backend, env)
    run_episode(env, policy, seed, observe=observe, step_limit=200)
    return compared.answers


@pytest.mark.parametrize(("world", "task"), [("Apartment-v0", "objectnav"), ("Tabletop-v0", "spatial")])
def test_perfect_pixels_agrees_with_itself_and_points_at_the_target(world: str, task: str) -> None:
    env = make_env(EvaluationConfig(env=f"si_embodied/{world}", policy="planner", task=task))
    teacher = perfect_pixels_backend(env)
    answers = play(env, Sure(lambda prompt: teacher.generate(prompt, deadline_s=1).text), 90_000)
    assert len(answers) > 1
    assert all(answer.agrees for answer in answers)
    assert {answer.on_target for answer in answers} <= {True, None}
    assert any(answer.on_target for answer in answers)
    env.close()


def test_the_right_decision_may_point_at_the_wrong_place() -> None:
    env = make_env(EvaluationConfig(env="si_embodied/Tabletop-v0", policy="planner", task="base"))
    teacher = perfect_pixels_backend(env)

    def aside(prompt: Prompt) -> str:
        """What perfect pixels decides, pointing at a corner of the image."""
        return re.sub(r"\[\d+,\d+\]", "[0,0]", teacher.generate(prompt, deadline_s=1).text)

    assert play(env, Sure(aside), 90_000)[0] == Answer(0.75, True, 0.25, False)
    env.close()


def test_another_decision_is_wrong_and_its_point_is_not_judged() -> None:
    env = make_env(EvaluationConfig(env="si_embodied/Tabletop-v0", policy="planner", task="base"))
    pick = '{"subgoals":[{"skill":"pick","object":"no such thing","view":1,"point":[500,500]}],"done":false}'
    assert play(env, Sure(lambda _: pick), 90_000)[0] == Answer(0.75, False, 0.25, None)
    assert play(env, Sure(lambda _: DONE), 90_000) == [Answer(0.75, False, 0.25, None)]
    assert play(env, Sure(lambda _: "no plan"), 90_000) == []
    env.close()


# --- figures --------------------------------------------------------------------------------------------------------


def test_the_calibration_error_weighs_each_bin_by_its_answers() -> None:
    """By hand: (0.1, 0.15) hold one right answer of two; (0.9, 1.0) two of two; 0.55 is wrong."""
    judged = Judged((0.1, 0.15, 0.9, 1.0, 0.55), (1, 0, 1, 1, 0))
    gaps = 2 * abs(0.125 - 0.5) + 2 * abs(0.95 - 1.0) + 1 * abs(0.55 - 0.0)
    assert judged.calibration_error() == pytest.approx(gaps / 5)
    assert [len(one.right) for one in judged.bins()] == [0, 2, 0, 0, 0, 1, 0, 0, 0, 2]
    assert Judged().calibration_error() == 0


def test_a_threshold_and_a_share_keep_the_surest_answers() -> None:
    judged = Judged((0.1, 0.15, 0.9, 1.0, 0.55), (1, 0, 1, 1, 0))
    assert judged.at_least(0.55) == Judged((0.9, 1.0, 0.55), (1, 1, 0))
    assert judged.surest(0.4) == Judged((1.0, 0.9), (1, 1))
    assert judged.surest(1.0).score == judged.score


# --- the study ------------------------------------------------------------------------------------------------------


def test_a_study_resumes_and_draws_what_it_found(
    monkeypatch: pytest.MonkeyPatch, planner: Path, tmp_path: Path, heard: tuple[list[str], Callable[[str], None]]
) -> None:
    model = Sure(lambda _: DONE, (0.25, 0.9))
    monkeypatch.setattr(calibration, "LocalBackend", lambda *_, **__: model)
    run = CalibrationRun(planner, tmp_path / "out", tasks=("Tabletop-v0:base", "Apartment-v0:objectnav"), count=1)
    first = calibration.study(run, tmp_path, report=heard[1])
    assert model.asked == 2
    more = CalibrationRun(planner, tmp_path / "out", run.tasks, count=2)
    found = calibration.study(more, tmp_path)
    assert model.asked == 4
    assert found == CalibrationResults.read(tmp_path / "calibration.json")
    assert [len(row.decisions.right) for row in first.rows] == [1, 1]
    assert found.decisions() == Judged((0.25, 0.25, 0.9, 0.9), (0, 0, 0, 0))
    assert found.points() == Judged()
    assert "| 0.2 to 0.3 | 25%: 0% (0 to 66, n = 2) | 25%: 0%" in "\n".join(found.table())
    draw(found, tmp_path / "calibration.png")
    assert (tmp_path / "calibration.png").stat().st_size > 1000


def test_a_task_without_a_world_is_refused() -> None:
    with pytest.raises(ConfigError, match="Tabletop-v0:base, got: 'base'"):
        CalibrationRun(Path(), Path(), tasks=("base",))
