"""An environment in another Python behaves as in this one; its failures are reported, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from si_embodied.embodiment import MobileBase
from si_embodied.envs import APARTMENT_ID
from si_embodied.envs.process import ProcessEnv
from si_embodied.envs.process.interpreter import clean_environment
from si_embodied.errors import ConfigError, MessageError, SimulatorError, SimulatorLost

pytestmark = pytest.mark.timeout(120)

WORLDS = Path(__file__).parents[2] / "worlds"
BRITTLE = "brittle_world:brittle/World-v0"


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(*pids: int) -> bool:
    """Whether all processes end within 20 s."""
    end = time.monotonic() + 20
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(alive(pid) for pid in pids)


@pytest.fixture(scope="module")
def world() -> Iterator[ProcessEnv]:
    """A world that does not fail, shared by tests that do not change it."""
    env = ProcessEnv(
        BRITTLE, python=sys.executable, environ={"PYTHONPATH": str(WORLDS)}, breaks=(), render_mode="rgb_array"
    )
    yield env
    env.close()


@pytest.fixture
def brittle() -> Iterator[Callable[..., ProcessEnv]]:
    """Creates brittle worlds in another process, and closes them."""
    made: list[ProcessEnv] = []

    def make(python: str = sys.executable, **arguments: Any) -> ProcessEnv:
        arguments.setdefault("environ", {"PYTHONPATH": str(WORLDS)})
        made.append(ProcessEnv(BRITTLE, python=python, **arguments))
        return made[-1]

    yield make
    for env in made:
        env.close()


def pid_of(env: ProcessEnv) -> int:
    return env.reset(seed=0)[1]["pid"]


# --- the same world ---------------------------------------------------------------------------------------------------


def test_an_episode_is_the_same_there_as_here(world, monkeypatch):
    monkeypatch.syspath_prepend(str(WORLDS))
    here, there = gymnasium.make(BRITTLE).unwrapped, world
    assert there.observation_space == here.observation_space
    assert there.action_space == here.action_space
    assert there.metadata == here.metadata
    (seen, info), (wanted, _) = there.reset(seed=5, options={"level": 2}), here.reset(seed=5, options={"level": 2})
    assert info["options"] == {"level": 2}
    for _ in range(4):
        assert all(np.array_equal(seen[key], wanted[key]) for key in wanted)
        assert seen["rgb"].dtype == np.uint8
        (seen, *rest), (wanted, *wanted_rest) = there.step(1), here.step(1)
        assert rest == wanted_rest
    assert rest[1] is True


def test_an_observation_is_not_overwritten_by_the_next(world):
    first, _ = world.reset(seed=0)
    kept = first["rgb"].copy()
    world.step(1)
    assert (first["rgb"] == kept).all()


def test_attributes_and_methods_are_asked_for_there(world):
    assert world.kind == "navigation"
    assert world.embodiment == MobileBase(
        ("head",), "discrete", 0.2, 1.0, 0.25, 0.26, 0.26, (-0.5, 0.5), 0.5, 1.0, 0.5, 1.0
    )
    assert world.ground_truth.add(2, b=3) == 5
    step = world.ground_truth.step()
    assert (step.name, step.position_m.tolist()) == ("cup", [1.0, 2.0, 3.0])
    assert world.ground_truth.name_of(step) == "cup"
    assert not hasattr(world, "nothing_of_that_name")


def test_gymnasiums_checker_is_content(world):
    check_env(world)


def test_our_worlds_are_made_there_by_gymnasium_itself():
    env = gymnasium.make(APARTMENT_ID, python=sys.executable, image_size=32)
    assert isinstance(env.unwrapped, ProcessEnv)
    assert env.observation_space["rgb"].shape == (1, 32, 32, 3)
    env.close()


# --- what goes wrong there --------------------------------------------------------------------------------------------


def test_an_exception_there_is_shown_here_with_its_traceback_and_the_episode_goes_on(brittle):
    env = brittle(how="exception")
    env.reset(seed=1)
    env.step(1), env.step(1)
    with pytest.raises(SimulatorError, match="RuntimeError: no navmesh") as caught:
        env.step(1)
    assert not isinstance(caught.value, SimulatorLost)
    assert 'brittle_world.py", line' in str(caught.value.__cause__)
    env.step(1)


def test_an_environment_that_cannot_be_made_says_why(brittle):
    with pytest.raises(SimulatorError, match="ValueError: no scene of that name"):
        brittle(how="cannot be made")


def test_what_cannot_cross_is_named(brittle):
    env = brittle(how="object")
    env.reset(seed=1)
    env.step(1), env.step(1)
    with pytest.raises(SimulatorError, match=r"\['rgb'\] is a builtins.object"):
        env.step(1)


def test_an_argument_that_cannot_cross_is_refused_here_and_the_episode_goes_on(world):
    world.reset(seed=0)
    with pytest.raises(MessageError, match="builtins.object"):
        world.step(object())
    world.step(1)


@pytest.mark.parametrize(
    ("how", "words"),
    [("exit", "exit status 7.*the scene graph is inconsistent"), ("segfault", "SIGSEGV.*string_at")],
)
def test_a_crash_says_how_it_ended_and_its_last_words_and_the_next_reset_starts_anew(brittle, how, words):
    env = brittle(how=how)
    before = env.reset(seed=1)[1]["pid"]
    env.step(1), env.step(1)
    with pytest.raises(SimulatorLost, match=f"(?s){words}"):
        env.step(1)
    with pytest.raises(SimulatorLost, match="reset"):
        env.step(1)
    assert pid_of(env) != before
    assert env.step(1)[4] == {"success": False, "nested": {"a": [1, (2, None)]}}
    assert gone(before)


def test_a_simulator_that_hangs_is_ended_at_its_deadline(brittle):
    env = brittle(how="hang", deadline_s=30.0)
    pid = env.reset(seed=1)[1]["pid"]
    env.step(1), env.step(1)
    env._deadline_s = 0.3  # the start may take longer on a busy machine
    start = time.monotonic()
    with pytest.raises(SimulatorLost, match=r"no answer to 'step'.*within 0\.3 s"):
        env.step(1)
    assert time.monotonic() - start < 10
    assert gone(pid)


def test_ctrl_c_while_waiting_ends_the_simulator(brittle, monkeypatch):
    """Otherwise its late answer would be taken for the next request's."""
    env = brittle()
    pid = pid_of(env)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(env._interpreter._channel, "receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        env.step(1)
    assert gone(pid)
    env.reset(seed=0)


@pytest.mark.parametrize("python", ["/nowhere/bin/python", __file__])
def test_a_python_that_is_none_is_refused(python):
    with pytest.raises(ConfigError, match="no Python at"):
        ProcessEnv(BRITTLE, python=python)


def test_a_python_without_what_is_needed_says_what_to_install(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    with pytest.raises(SimulatorLost, match=r"bare/bin/python -m pip install numpy gymnasium"):
        ProcessEnv(BRITTLE, python=tmp_path / "bare" / "bin" / "python")


# --- the other Python's surroundings ----------------------------------------------------------------------------------


def test_the_other_python_does_not_inherit_what_is_this_ones():
    inherited = {
        "HOME": "/home/me",
        "MY_DATA": "/data",
        "PYTHONPATH": "/opt/ros/kilted/lib/python3.12/site-packages",
        "PYTHONHOME": "/usr",
        "ROS_DISTRO": "kilted",
        "AMENT_PREFIX_PATH": "/opt/ros/kilted:/ws/install/mine",
        "VIRTUAL_ENV": "/ws/.venv",
        "MUJOCO_GL": "osmesa",
        "LD_LIBRARY_PATH": "/opt/ros/kilted/lib:/usr/lib/nvidia",
        "PATH": "/opt/ros/kilted/bin:/ws/.venv/bin:/usr/bin",
    }
    assert clean_environment(inherited, Path("/conda/envs/habitat/bin/python")) == {
        "HOME": "/home/me",
        "MY_DATA": "/data",
        "LD_LIBRARY_PATH": "/usr/lib/nvidia",
        "PATH": "/conda/envs/habitat/bin:/usr/bin",
    }


def test_variables_can_be_set_there_and_only_there(brittle, monkeypatch):
    monkeypatch.setenv("PYTHONSTARTUP", "/mine")
    env = brittle(environ={"PYTHONPATH": str(WORLDS), "HABITAT_DATA": "/data"})
    there = env.variables()
    assert (there["HABITAT_DATA"], "PYTHONSTARTUP" in there) == ("/data", False)
    assert "HABITAT_DATA" not in os.environ


def test_this_package_is_found_there_by_its_path_and_nothing_else_that_lies_beside_it(tmp_path):
    """As if installed in site-packages, among packages built for this Python."""
    import si_embodied

    (tmp_path / "si_embodied").symlink_to(Path(si_embodied.__file__).parent)
    (tmp_path / "built_for_this_python.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from si_embodied.envs.process import ProcessEnv\n"
        f"env = ProcessEnv('built_for_this_python:x/X-v0', python={sys.executable!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "No module named 'built_for_this_python'" in done.stderr


def test_a_simulator_that_prints_a_lot_neither_blocks_nor_fills_the_disk(world):
    for _ in range(3):
        world.print("x" * 1000, 2000)
    world.reset(seed=0)
    assert world._interpreter._output_size() < 4_000_000


# --- nothing is left behind -------------------------------------------------------------------------------------------


def test_closing_ends_the_process_and_what_it_started(brittle):
    env = brittle()
    pid, helper = pid_of(env), env.start_process()
    env.close()
    assert gone(pid, helper)
    env.close()
    assert pid_of(env) != pid  # and a closed environment can be reset again


def test_an_environment_that_is_forgotten_ends_its_process(brittle):
    env = ProcessEnv(BRITTLE, python=sys.executable, environ={"PYTHONPATH": str(WORLDS)})
    pid = pid_of(env)
    del env
    gc.collect()
    assert gone(pid)


PARENT = f"""
import signal, sys, threading, time
from si_embodied.envs.process import ProcessEnv

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits that it is ignored
made = []
def make():
    made.append(ProcessEnv({BRITTLE!r}, python=sys.executable, environ={{"PYTHONPATH": {str(WORLDS)!r}}}, how="hang"))
thread = threading.Thread(target=make)
thread.start()
thread.join()
env = made[0]
print(env.reset(seed=1)[1]["pid"], env.start_process(), flush=True)
env.step(1), env.step(1)
print("hanging", flush=True)
env.step(1)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_simulator_ends_with_its_parent_even_when_it_hangs(tmp_path, ending):
    """But not with the thread that created it."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert parent.stdout.readline() == "hanging\n"
    assert all(alive(pid) for pid in pids)
    time.sleep(0.2)
    os.kill(parent.pid, ending)
    parent.communicate(timeout=20)
    assert gone(*pids)


def traces() -> tuple[int, int, int]:
    """Numbers of this process's open files, child processes and shared memory blocks."""
    me = Path(f"/proc/{os.getpid()}")
    children = (me / "task" / str(os.getpid()) / "children").read_text().split()
    maps = [line for line in (me / "maps").read_text().splitlines() if "memfd:si_embodied" in line]
    return len([*(me / "fd").iterdir()]), len(children), len(maps)


def creations(count: int) -> list[int]:
    pids = []
    for index in range(count):
        env = ProcessEnv(BRITTLE, python=sys.executable, environ={"PYTHONPATH": str(WORLDS)}, breaks=(0,))
        pids.append(pid_of(env))
        if index % 3 == 0:
            env.step(1), env.step(1)
            with pytest.raises(SimulatorLost):
                env.step(1)
        if index % 2:
            env.close()
        del env
    return pids


def test_creations_leave_nothing_behind():
    before = traces()
    assert gone(*creations(4))
    assert traces() == before


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_creations_leave_nothing_behind():
    before = traces()
    assert gone(*creations(200))
    assert traces() == before
