"""What a step of the worlds costs beyond the MuJoCo render and physics in it, as a ratio within one run.

Bare is what nobody can do without: the same physics steps, and for each camera one OpenGL pass that is read back as
colour and depth (224 px). The environment adds the task, the controller, poses, masks and the observation. Both sides
are timed alternately, step by step, and the ratio is of their medians. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import mujoco

import si_embodied.envs  # noqa: F401 - registers the worlds
from si_embodied.embodiment import BaseAction
from si_embodied.envs.mujoco.renderer import SceneRenderer
from si_embodied.policies.observation import from_gymnasium
from si_embodied.policies.oracle import OraclePolicy
from si_embodied.types import Task

LIMIT = 1.15


def timed(function: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def draw(renderer: SceneRenderer, data: mujoco.MjData, cameras: tuple[str, ...]) -> None:
    """One pass a camera, colour and depth."""
    for camera in cameras:
        renderer.rgbd(data, camera)


def apartment(steps: int) -> dict[str, float]:
    """A base that turns and drives, seeds 0 and on."""
    env = gymnasium.make("si_embodied/Apartment-v0", disable_env_checker=True)
    world: Any = env.unwrapped
    ours, bare, seed = [], [], 0
    while len(ours) < steps:
        env.reset(seed=seed)
        seed += 1
        renderer = SceneRenderer(world.episode.model, 224, 224)
        for k in range(min(40, steps - len(ours))):
            action = BaseAction.TURN_LEFT if k % 3 else BaseAction.FORWARD
            ours.append(timed(lambda a=action: env.step(int(a))))
            bare.append(timed(lambda r=renderer: bare_apartment_step(world, r)))
        renderer.close()
    env.close()
    return summary("Apartment-v0", ours, bare)


def bare_apartment_step(world: Any, renderer: SceneRenderer) -> None:
    """Kinematics and one camera: a kinematic base needs no dynamics."""
    model, data = world.episode.model, world._open_view.data
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    draw(renderer, data, ("head",))


def tabletop(steps: int) -> dict[str, float]:
    """The oracle's own actions, so that the arm does what it does in episodes."""
    env = gymnasium.make("si_embodied/Tabletop-v0", disable_env_checker=True)
    world: Any = env.unwrapped
    cameras = world.embodiment.cameras
    policy = OraclePolicy(env)
    ours, bare, seed = [], [], 0
    while len(ours) < steps:
        raw, _ = env.reset(seed=seed)
        seed += 1
        policy.reset(Task(str(raw["instruction"]), "manipulation"))
        model, data = world.world.model, world.world.data
        renderer, twin, over = SceneRenderer(model, 224, 224), mujoco.MjData(model), False
        while not over and len(ours) < steps:
            action = policy.act(from_gymnasium(raw, cameras))
            mujoco.mj_copyData(twin, model, data)
            start_s, started = data.time, time.perf_counter()
            raw, _, terminated, truncated, _ = env.step(action)
            ours.append(time.perf_counter() - started)
            count = round((data.time - start_s) / model.opt.timestep)
            bare.append(timed(lambda n=count, m=model, t=twin, r=renderer: bare_tabletop_step(m, t, r, cameras, n)))
            over = terminated or truncated
        renderer.close()
    env.close()
    return summary("Tabletop-v0", ours, bare)


def bare_tabletop_step(
    model: mujoco.MjModel, data: mujoco.MjData, renderer: SceneRenderer, cameras: tuple[str, ...], count: int
) -> None:
    """As many physics steps as the environment took from the same state, and its cameras."""
    mujoco.mj_step(model, data, count)
    draw(renderer, data, cameras)


def summary(world: str, ours: list[float], bare: list[float]) -> dict[str, float]:
    """Medians in milliseconds, and their ratio."""
    step_ms, bare_ms = statistics.median(ours) * 1e3, statistics.median(bare) * 1e3
    ratio = step_ms / bare_ms
    verdict = "within" if ratio <= LIMIT else "OVER"
    print(
        f"{world}: step {step_ms:.1f} ms, bare {bare_ms:.1f} ms, ratio {ratio:.2f} ({verdict} {LIMIT}), n={len(ours)}"
    )
    return {"step_ms": step_ms, "bare_ms": bare_ms, "ratio": ratio, "n": len(ours)}


def main() -> None:
    """Run both worlds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="of each world")
    steps = parser.parse_args().steps
    result = {"apartment": apartment(steps), "tabletop": tabletop(steps)}
    print(json.dumps({"benchmark": "env_step", "limit": LIMIT, **result}))


if __name__ == "__main__":
    main()
