"""When two models count as the same, and how many observations that takes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from si_embodied.benchmarking.comparison.decisions import Decided, Pair
from si_embodied.benchmarking.comparison.settings import ComparisonRun, Thresholds
from si_embodied.benchmarking.comparison.verdict import Criterion, criteria_of, explained, verdict_of
from si_embodied.errors import ConfigError
from si_embodied.evaluation.statistics import PairedComparison, mcnemar_counts


def decided(**changes: Any) -> Decided:
    """A decision to go to a chair two metres ahead."""
    told = {
        "skill": "goto", "object": "red chair", "done": False, "plan": "[]", "place_m": (2.0, 0.0, 0.0),
        "seconds": 0.1, "model": "m", "prompt_version": "nav/v2",
    }  # fmt: skip
    return Decided(**(told | changes))


def pairs(same: int, other: int = 0, **changes: Any) -> list[Pair]:
    """So many pairs that are equal, and others whose second decision is changed."""
    equal = [Pair(0, k, decided(), decided()) for k in range(same)]
    return equal + [Pair(0, same + k, decided(), decided(**changes)) for k in range(other)]


def by_name(found: list[Pair]) -> dict[str, Criterion]:
    return {each.name: each for each in criteria_of(found, Thresholds(), "navigation")}


def test_73_equal_decisions_are_needed_for_the_same() -> None:
    """Wilson's lower bound of n in n is n / (n + 1.96^2); it reaches 0.95 at n = 19 * 3.84 = 73."""
    assert verdict_of([*by_name(pairs(72)).values()]) == "undecided"
    assert verdict_of([*by_name(pairs(73)).values()]) == "the same"
    assert by_name(pairs(10))["skill"].needed == 73


@pytest.mark.parametrize(
    ("changes", "criterion"),
    [
        ({"skill": "explore", "object": None, "place_m": None}, "skill"),
        ({"object": "blue sofa"}, "object"),
        ({"done": True}, "done"),
        ({"place_m": (2.0, 0.26, 0.0)}, "goal within 0.25 m"),
    ],
)
def test_what_differs_is_named(changes: dict[str, Any], criterion: str) -> None:
    found = by_name(pairs(50, 50, **changes))
    assert found[criterion].outcome == "different"
    assert verdict_of([*found.values()]) == "different"
    assert criterion in explained([*found.values()])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([{"skill": "turn", "degrees": 90}], [{"skill": "turn", "degrees": 100}], True),
        ([{"skill": "turn", "degrees": 90}], [{"skill": "turn", "degrees": -90}], False),
        ([{"skill": "forward", "centimetres": 30}], [{"skill": "forward", "centimetres": 150}], False),
        ([{"skill": "look", "direction": "up"}], [{"skill": "look", "direction": "down"}], False),
        (
            [{"skill": "pick", "object": "cube"}, {"skill": "place", "object": "red bowl"}],
            [{"skill": "pick", "object": "cube"}, {"skill": "place", "object": "green bowl"}],
            False,
        ),
        ([{"skill": "explore"}, {"skill": "explore"}], [{"skill": "explore"}], False),
    ],
)
def test_a_robot_that_does_the_opposite_does_not_decide_the_same(one: Any, other: Any, same: bool) -> None:
    first, second = (
        decided(skill=plan[0]["skill"], object=plan[0].get("object"), place_m=None, plan=json.dumps(plan))
        for plan in (one, other)
    )
    found = by_name([Pair(0, k, first, second) for k in range(100)])
    assert verdict_of([*found.values()]) == ("the same" if same else "different")


def test_a_later_goal_in_another_place_is_found() -> None:
    later = {"place_m": (1.0, 0.0, 0.0), "later_m": [(2.0, 0.0, 0.0)]}
    found = by_name(
        [Pair(0, k, decided(**later), decided(**(later | {"later_m": [(2.0, 1.0, 0.0)]}))) for k in range(80)]
    )
    assert found["goal within 0.25 m"].outcome == "different"


def test_goals_within_the_limit_are_in_the_same_place() -> None:
    found = by_name(pairs(0, 80, place_m=(2.0, 0.24, 0.0)))
    assert found["goal within 0.25 m"].outcome == "the same"


def test_equal_plans_of_which_a_model_is_less_sure_are_found() -> None:
    """exp(0.04) = 1.041 and exp(0.05) = 1.051; other plans are not compared, nor is what is not known."""
    surely, name = math.log(0.9), "certainty within 1.05x"
    for shift, outcome in ((0.04, "the same"), (0.05, "different")):
        found = by_name([Pair(0, k, decided(log_probability=surely), decided(log_probability=surely - shift))
                         for k in range(80)])  # fmt: skip
        assert found[name].outcome == outcome
    assert explained([*found.values()]).endswith("expected 95.0%; all else is the same")
    other = Pair(0, 0, decided(log_probability=0.0), decided(log_probability=-3.0, skill="stop"))
    unknown = Pair(0, 1, decided(), decided(log_probability=0.0))
    assert name not in by_name([other, unknown])


def test_goals_of_different_skills_are_not_compared() -> None:
    """They would count one difference twice."""
    found = by_name(pairs(80, 20, skill="place", place_m=(9.0, 0.0, 0.0)))
    assert found["goal within 0.25 m"].count == 80


def test_nothing_that_neither_model_named_is_compared() -> None:
    holding = decided(skill="hold EMPTY_PLAN", object=None, place_m=None, plan=None)
    assert set(by_name([Pair(0, 0, holding, holding)])) == {"skill", "done"}


def test_ten_equal_episodes_do_not_show_that_success_is_the_same() -> None:
    """McNemar's test finds no difference (p = 1), but a loss of 5 points cannot be excluded."""
    few = Criterion.of_success(mcnemar_counts(0, 0), 10, 0.05)
    assert few.outcome == "undecided"
    assert few.needed == 73
    assert "about 73 episodes are needed, 10 were compared" in explained([few])
    assert Criterion.of_success(mcnemar_counts(0, 0), 73, 0.05).outcome == "the same"


def test_a_clear_loss_is_different_and_a_gain_is_not() -> None:
    lost, won = PairedComparison(40, 0, 0.0), PairedComparison(0, 40, 0.0)
    assert Criterion.of_success(lost, 100, 0.05).outcome == "different"
    assert Criterion.of_success(won, 100, 0.05).outcome == "the same"


def test_the_episodes_needed_follow_the_usual_formula() -> None:
    """n = (1.96 + 0.842)^2 (share of differing pairs) / margin^2, here 7.849 * 0.2 / 0.01, without a difference."""
    criterion = Criterion.of_success(mcnemar_counts(5, 5), 50, 0.1)
    assert criterion.needed == math.ceil(7.8489 * 0.2 / 0.1**2)


def test_no_number_is_promised_if_the_loss_is_at_the_limit() -> None:
    assert Criterion.of_success(mcnemar_counts(2, 1), 20, 0.05).needed is None


@pytest.mark.parametrize(
    "values", [{"agreement": 0.0}, {"agreement": 1.0}, {"margin": -0.1}, {"goal_m": 0.0}, {"certainty": 1.0}]
)
def test_thresholds_out_of_range_are_rejected(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        Thresholds(**values)


def test_one_source_of_observations_is_needed(tmp_path: Any) -> None:
    from si_embodied.backends.config import BackendConfig
    from si_embodied.evaluation.config import EvaluationConfig

    config = EvaluationConfig("", "planner", backend=BackendConfig())
    with pytest.raises(ConfigError, match="--env ID or --recording PATH"):
        ComparisonRun(config, BackendConfig(), tmp_path)
