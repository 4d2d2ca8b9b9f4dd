"""Rearrangement in habitat-sim: the same episodes and images as in the embedded simulator."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy.ndimage import binary_erosion

import si_embodied.envs  # noqa: F401 - registers the environments
from si_embodied.envs.habitat.lab import has_habitat_sim
from si_embodied.envs.habitat.rearrange import HabitatRearrangeEnv
from si_embodied.envs.habitat.rearrange_tasks import REARRANGE_TASKS
from si_embodied.envs.mujoco.selection import ENVIRONMENT_VARIABLE

pytestmark = [pytest.mark.habitat_sim, pytest.mark.timeout(600)]
if not has_habitat_sim() or importlib.util.find_spec("habitat") is None:
    pytest.skip(
        "habitat-sim and habitat-lab are not both in this Python: docs/habitat.md says how to install them",
        allow_module_level=True,
    )

Pair = SimpleNamespace  # of the same episode in both simulators


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with pytest.MonkeyPatch.context() as patch:
        # When habitat-sim closes an OpenGL context, it closes all EGL contexts of this process.
        patch.setenv(ENVIRONMENT_VARIABLE, "rays")
        both = Pair(ours=HabitatRearrangeEnv("store"), theirs=HabitatRearrangeEnv("store", simulator="habitat-sim"))
        yield both
        both.ours.close()
        both.theirs.close()


@pytest.fixture(scope="module", params=range(3))
def seen(pair: Pair, request: pytest.FixtureRequest) -> list[Pair]:
    """Both simulators' observations and masks of all objects, over an episode of the oracle."""
    moments = []

    def look(observations: tuple[Any, Any]) -> None:
        ours, theirs = pair.ours, pair.theirs
        names = [*ours.world.movable, *ours.world.task.places]
        masks = {name: (ours.mask(name), theirs.mask(name)) for name in names}
        moments.append(Pair(observations=observations, masks=masks, opened=set(ours.world.opened)))

    look((pair.ours.reset(seed=request.param)[0], pair.theirs.reset(seed=request.param)[0]))
    over = False
    while not over:
        action = pair.ours.ground_truth.next_action()
        assert action == pair.theirs.ground_truth.next_action()
        ours, theirs = pair.ours.step(action), pair.theirs.step(action)
        assert ours[1:] == theirs[1:]  # reward, end and info
        look((ours[0], theirs[0]))
        over = ours[2] or ours[3]
    return moments


def test_all_but_the_pictures_is_the_same(seen: list[Pair]) -> None:
    for moment in seen:
        ours, theirs = moment.observations
        assert set(ours) == set(theirs)
        for key in sorted(set(ours) - {"rgb", "depth"}):
            if isinstance(ours[key], str):
                assert ours[key] == theirs[key]
            else:
                np.testing.assert_allclose(ours[key], theirs[key], atol=1e-6, err_msg=key)


def test_the_same_thing_is_in_the_same_pixels_within_two(seen: list[Pair]) -> None:
    compared = 0
    for moment in seen:
        for name, (a, b) in moment.masks.items():
            if a.sum() < 30:
                continue
            compared += 1
            (ax, ay), (bx, by) = (np.argwhere(mask).mean(axis=0) for mask in (a, b))
            assert math.hypot(ax - bx, ay - by) < 2.0, name
            # And nowhere more than two pixels from where the other simulator shows it.
            grown = binary_erosion(~a, np.ones((5, 5)), border_value=1)
            assert not (b & grown).any(), name
    assert compared > 10


def test_depths_are_the_same_within_a_centimetre_where_both_see_a_surface(seen: list[Pair]) -> None:
    for moment in seen:
        ours, theirs = (observation["depth"][0] for observation in moment.observations)
        inside = np.zeros(ours.shape, bool)
        for a, b in moment.masks.values():
            inside |= binary_erosion(a & b, np.ones((5, 5)))
        smooth = np.abs(np.gradient(ours)).max(axis=0) < 0.05  # not at an edge, nor along a surface
        both = inside & smooth & (ours > 0) & (theirs > 0)
        if both.sum() > 200:
            assert np.percentile(np.abs(ours - theirs)[both], 99) < 0.01


def test_colours_are_alike(seen: list[Pair]) -> None:
    """As in navigation, except for the camera's light, which is baked."""
    differences = []
    for moment in seen:
        ours, theirs = (observation["rgb"][0].astype(int) for observation in moment.observations)
        difference = np.abs(ours - theirs)
        differences += [difference[a & b] for a, b in moment.masks.values()]
        for name, (a, b) in moment.masks.items():
            if (a & b).sum() >= 30:
                assert difference[a & b].mean() < 58, name
    assert np.concatenate(differences).mean() < 20


def test_an_open_container_shows_its_tray_and_a_closed_one_does_not(seen: list[Pair]) -> None:
    shown = False
    for moment in seen:
        for name, (a, b) in moment.masks.items():
            if not name.startswith("tray_"):
                continue
            if name.removeprefix("tray_") in moment.opened:
                shown |= bool(a.sum() > 30 and b.sum() > 30)
            else:
                assert not a.any()
                assert not b.any()
    assert shown


def test_things_are_bullets_bodies_where_the_world_has_them(pair: Pair) -> None:
    import habitat_sim

    from si_embodied.envs.habitat.frames import to_habitat

    env = pair.theirs
    env.reset(seed=0)
    assert env._view.simulator.get_physics_simulation_library() == (
        habitat_sim.physics.PhysicsSimulationLibrary.Bullet
        if habitat_sim.built_with_bullet
        else habitat_sim.physics.PhysicsSimulationLibrary.NoPhysics
    )
    manager = env._view.simulator.get_rigid_object_manager()
    assert manager.get_num_objects() == len(env.world.movable) + len(env.world.stage.apartment.furniture)
    for name, place in env.world.layout().places.items():
        (handle,) = (h for h in manager.get_object_handles() if h.startswith(f"{name}_:"))
        body = manager.get_object_by_handle(handle)
        assert body.motion_type == habitat_sim.physics.MotionType.KINEMATIC
        if place is not None:
            np.testing.assert_allclose(np.array(body.translation), to_habitat(place), atol=1e-5)


def test_gymnasiums_checker_passes() -> None:
    env = gymnasium.make(
        "si_embodied/HabitatRearrange-v0", simulator="habitat-sim", image_size=32, render_mode="rgb_array"
    )
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def oracle(task: str, seeds: range) -> list[bool]:
    """Which episodes succeed, without an invalid action."""
    env = HabitatRearrangeEnv(task, simulator="habitat-sim", image_size=32)
    ended = []
    for seed in seeds:
        env.reset(seed=seed)
        over = False
        while not over:
            *_, terminated, truncated, info = env.step(env.ground_truth.next_action())
            over = terminated or truncated
        ended.append(info["success"] and info["invalid_actions"] == 0)
    env.close()
    return ended


@pytest.mark.parametrize("task", REARRANGE_TASKS)
def test_the_oracle_does_what_is_asked(task: str) -> None:
    assert all(oracle(task, range(2)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("task", REARRANGE_TASKS)
def test_the_oracle_over_fifty_episodes(task: str, record_property: Callable[[str, object], None]) -> None:
    success = float(np.mean(oracle(task, range(50))))
    record_property("success", success)  # the figures are in pytest's --junitxml
    assert success == 1.0
