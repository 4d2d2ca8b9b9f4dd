from __future__ import annotations

import pytest

pytest.importorskip("mujoco")

from si_embodied.data.demonstrations import Demonstration, apartment_demonstrations, tabletop_demonstrations
from si_embodied.data.views import ApartmentStage, TabletopStage
from si_embodied.plan import parse_plan
from si_embodied.skills import Explore, Goto, Home, Pick, Place

SIZE = 128


def pixel(point: tuple[int, int]) -> tuple[int, int]:
    return min(SIZE - 1, int(point[0] / 1000 * SIZE)), min(SIZE - 1, int(point[1] / 1000 * SIZE))


def test_a_pick_and_its_place_are_pointed_at() -> None:
    seed = 4
    (made,) = [d for d in tabletop_demonstrations(seed, "base", image_size=SIZE) if "failed" not in d.memory]
    with TabletopStage(seed, image_size=SIZE) as stage:
        view, condition = stage.view(), stage.task.conditions[0]
    pick, place = made.plan.subgoals
    assert isinstance(pick, Pick)
    assert isinstance(place, Place)
    assert made.plan.done
    names = {o.id: o.name for o in view.objects}
    u, v = pixel(pick.point)
    assert names[int(view.instances[v, u])] == pick.object == condition.object
    u, v = pixel(place.point)
    assert names[int(view.instances[v, u])] == place.object


def test_only_the_last_plan_for_two_objects_is_done() -> None:
    for seed in range(20):
        made = list(tabletop_demonstrations(seed, "complex", image_size=SIZE))
        moves = [d for d in made if not isinstance(d.plan.subgoals[0], Home)]
        if len(moves) == 2:
            break
    else:
        pytest.fail("no task of two moves in 20 seeds")
    assert [d.plan.done for d in moves] == [False, True]
    first = moves[0].plan.subgoals
    assert f"pick {first[0].object}: done" in moves[1].memory  # type: ignore[union-attr]
    assert f"place {first[1].object}: done" in moves[1].memory  # type: ignore[union-attr]


def test_the_text_parses_to_the_plan() -> None:
    for made in tabletop_demonstrations(0, "sort", image_size=SIZE):
        assert parse_plan(made.text, "manipulation", 1) == made.plan


@pytest.fixture(scope="module")
def drives() -> list[Demonstration]:
    return list(apartment_demonstrations(1, "objectnav", 12, image_size=SIZE))


def test_half_of_the_views_show_the_target(drives: list[Demonstration]) -> None:
    goes = [isinstance(d.plan.subgoals[0], Goto) for d in drives]
    assert 4 <= sum(goes) <= 8
    assert all(
        isinstance(d.plan.subgoals[0], Explore) and not d.plan.done for d, g in zip(drives, goes, strict=True) if not g
    )


def test_a_visible_target_is_named_and_pointed_at(drives: list[Demonstration]) -> None:
    for made in drives:
        goto = made.plan.subgoals[0]
        if isinstance(goto, Goto):
            assert made.instruction.endswith(f"the {goto.object}")
            assert made.plan.done


def test_only_the_last_leg_of_a_route_is_done() -> None:
    for made in apartment_demonstrations(0, "route", 12, image_size=SIZE):
        legs = made.instruction.count(" in the ")
        driven = made.memory.count("goto ")
        if isinstance(made.plan.subgoals[0], Goto):
            assert made.plan.done == (driven == legs - 1)


def test_the_same_seed_shows_the_same_apartment_as_its_views() -> None:
    with ApartmentStage(1, image_size=SIZE) as stage:
        names = {thing.name for thing in stage.objects if thing.unique}
    for made in apartment_demonstrations(1, "objectnav", 3, image_size=SIZE):
        assert any(made.instruction.endswith(f"the {name}") for name in names)
