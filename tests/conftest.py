"""Shared fixtures: observations made by hand whose every depth is known in closed form, and the smallest world."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from si_embodied import CameraFrame, Intrinsics, Observation, Pose, Task
from si_embodied.embodiment import MobileBase, TableArm
from si_embodied.progress import Progress, shown_with

# Threads of one test wait for each other, and beside other processes for longer than one would take to do it all. The
# libraries read it as they load, here and in processes that tests start.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# How fast examples come says how busy the machine is, and nothing about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Columns of a camera that looks straight down: image right is map -y, image down is map -x.
LOOKING_DOWN = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
# A camera that looks along map x: image right is map -y, image down is map -z.
LOOKING_AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` say what they lack, also in files that know nothing of it."""
    if item.get_closest_marker("gpu") is not None:
        torch = pytest.importorskip("torch", reason="needs torch")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and torch sees none")


@pytest.fixture
def base() -> MobileBase:
    """A small differential base driven by Habitat's steps."""
    return MobileBase(
        cameras=("head",),
        action_mode="discrete",
        radius_m=0.2,
        height_m=1.2,
        forward_step_m=0.25,
        turn_step_rad=math.radians(15),
        tilt_step_rad=math.radians(15),
        tilt_range_rad=(-1.0, 1.0),
        max_speed_m_s=0.5,
        max_turn_rate_rad_s=1.0,
        control_period_s=0.5,
        success_distance_m=1.0,
    )


@pytest.fixture
def arm() -> TableArm:
    """An arm whose shoulder is above the map's origin."""
    return TableArm(
        cameras=("head",),
        action_mode="pose",
        workspace_m=((0.3, -0.5, 0.0), (1.0, 0.5, 0.6)),
        shoulder_m=(0.0, 0.0, 0.5),
        reach_m=1.0,
        max_opening_m=0.1,
        finger_depth_m=0.01,
        home_m=(0.4, 0.0, 0.5),
        control_period_s=2.0,
    )


@pytest.fixture
def wall_ahead() -> Observation:
    """A camera 1 m above the floor that looks along map x at a wall in 3 m; 100 x 100 pixels, f = 50."""
    depth = np.full((100, 100), 3.0, dtype=np.float32)
    frame = CameraFrame(
        name="head",
        stamp_s=10.0,
        rgb=np.zeros((100, 100, 3), dtype=np.uint8),
        depth_m=depth,
        intrinsics=Intrinsics(100, 100, 50.0, 50.0, 49.5, 49.5),
        T_map_camera=Pose(LOOKING_AHEAD, np.array([0.0, 0.0, 1.0])),
    )
    return Observation(10.0, (frame,), Pose.identity())


@pytest.fixture
def table_from_above() -> Callable[[list[tuple[float, float, float, float, float, float]]], Observation]:
    """A camera 1 m above a table's surface (map z = 0) at (0.6, 0), looking straight down; f = 200, 201 x 201 pixels.

    Boxes are (x, y, yaw, length, width, height) in map metres and radians; their tops are where the depth is less.
    """

    def observe(boxes: list[tuple[float, float, float, float, float, float]]) -> Observation:
        intrinsics = Intrinsics(201, 201, 200.0, 200.0, 100.0, 100.0)
        v, u = np.indices((201, 201))
        depth = np.ones((201, 201))
        for x, y, yaw, length, width, height in boxes:
            z = 1.0 - height  # a camera straight above sees the top face at this depth
            map_x, map_y = 0.6 - (v - 100.0) / 200.0 * z, -(u - 100.0) / 200.0 * z
            along = (map_x - x) * math.cos(yaw) + (map_y - y) * math.sin(yaw)
            across = -(map_x - x) * math.sin(yaw) + (map_y - y) * math.cos(yaw)
            depth[(np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)] = z
        frame = CameraFrame(
            name="head",
            stamp_s=1.0,
            rgb=np.zeros((201, 201, 3), dtype=np.uint8),
            depth_m=depth.astype(np.float32),
            intrinsics=intrinsics,
            T_map_camera=Pose(LOOKING_DOWN, np.array([0.6, 0.0, 1.0])),
        )
        return Observation(1.0, (frame,), Pose.identity())

    return observe


@pytest.fixture
def find_chair() -> Task:
    """A navigation task."""
    return Task("find the red chair", "navigation")


@pytest.fixture
def stack_cubes() -> Task:
    """A manipulation task."""
    return Task("stack the red cube on the green cube", "manipulation")


class Shown:
    """A display that keeps what it was told of progress. Opens as itself."""

    def __init__(self) -> None:
        self.begun: list[Progress] = []
        self.changes: list[tuple[str, int]] = []
        self.ended: list[Progress] = []

    def __call__(self) -> AbstractContextManager[Shown]:
        return nullcontext(self)

    def begin(self, work: Progress) -> None:
        self.begun.append(work)

    def change(self, work: Progress) -> None:
        self.changes.append((work.label, work.done))

    def end(self, work: Progress) -> None:
        self.ended.append(work)


@pytest.fixture
def shown() -> Iterator[Shown]:
    """What the test's work says of its progress."""
    display = Shown()
    with shown_with(display):
        yield display


@pytest.fixture
def fake_world(monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of tests/worlds/fake_world.py's environment, with its policies registered; workers find it too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "worlds"))
    importlib.import_module("fake_world")
    return "fake_world:fake/World-v0"


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of tiny untrained checkpoints, one of each family (tests/checkpoints/tiny_families.py)."""
    pytest.importorskip("transformers")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent / "checkpoints"))
        directories: dict[str, Path] = importlib.import_module("tiny_families").make_all(
            tmp_path_factory.mktemp("checkpoints")
        )
    return directories


@pytest.fixture(scope="session")
def ending_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny Qwen3-VL whose free text ends after a few tokens (tests/checkpoints/tiny_families.py)."""
    pytest.importorskip("transformers")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent / "checkpoints"))
        made: Path = importlib.import_module("tiny_families").make_ending(tmp_path_factory.mktemp("ending") / "ending")
    return made


@pytest.fixture(scope="session")
def original_internvl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny checkpoint in InternVL's original format (tests/checkpoints/original_internvl.py)."""
    return _original("internvl", tmp_path_factory)


@pytest.fixture(scope="session")
def original_bagel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny checkpoint in BAGEL's original format (tests/checkpoints/original_bagel.py)."""
    return _original("bagel", tmp_path_factory)


def _original(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent / "checkpoints"))
        made: Path = importlib.import_module(f"original_{name}").make_original(tmp_path_factory.mktemp(name))
    return made


@pytest.fixture(params=("qwen3_vl", "qwen2_5_vl", "internvl", "bagel"))
def family_name(request: pytest.FixtureRequest) -> str:
    """Each family in turn."""
    return str(request.param)
