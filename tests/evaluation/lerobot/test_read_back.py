"""lerobot's own loader reads what was exported: frames, actions, tasks and videos equal what was recorded."""

from __future__ import annotations

import io
import os
import subprocess
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("mujoco")
pytest.importorskip("pyarrow")

from si_embodied.embodiment import BaseAction
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.lerobot.form import Images
from si_embodied.evaluation.lerobot.writing import export
from si_embodied.evaluation.records import read_records
from si_embodied.evaluation.session import Session
from si_embodied.evaluation.steps import EpisodeSteps, RecordedStep, StepFolder
from si_embodied.geometry import Pose

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

VERSION = "0.4.4"
PROGRAM = Path(__file__).with_name("read_with_lerobot.py")
SEEDS = (7, 8)
NAV = EvaluationConfig("si_embodied/Apartment-v0", "perfect-pixels", "objectnav", image_size=128, episodes=2, seed=7)
DRIVE = EvaluationConfig(
    "si_embodied/Apartment-v0", "oracle", "objectnav", action_mode="continuous", episodes=2, seed=7
)
TABLE = EvaluationConfig("si_embodied/Tabletop-v0", "perfect-pixels", "base", image_size=128, episodes=2, seed=7)


@pytest.fixture(scope="module")
def lerobot() -> Path:
    """The Python of the environment that LEROBOT_ENVIRONMENT names; it is made there if there is none.

    lerobot's torch (below 2.11) and huggingface-hub (below 0.36) keep it out of ours.
    """
    named = os.environ.get("LEROBOT_ENVIRONMENT")
    if not named:
        pytest.skip(f"set LEROBOT_ENVIRONMENT to a folder for lerobot {VERSION}, which takes 6 GB and is made once")
    place = Path(named).expanduser()
    python = place / "bin" / "python"
    known = [str(python), "-c", "import importlib.metadata as m; print(m.version('lerobot'))"]
    if python.exists() and subprocess.run(known, capture_output=True, text=True, check=False).stdout.strip() == VERSION:
        return python
    venv.EnvBuilder(with_pip=True).create(place)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"lerobot=={VERSION}"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot install lerobot {VERSION}: {done.stderr.strip()[-300:]}")
    return python


@pytest.fixture(scope="module", params=[NAV, DRIVE, TABLE], ids=["discrete", "continuous", "arm"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    Session(folder, steps=True).run(request.param)
    return folder


def recorded(run: Path) -> list[EpisodeSteps]:
    kept = [StepFolder(run / "steps").get(seed) for seed in SEEDS]
    return [each for each in kept if each is not None]


def seen(episodes: list[EpisodeSteps], camera: str) -> NDArray[np.uint8]:
    """The images (T, H, W, 3) of all episodes."""
    return np.stack([np.asarray(Image.open(io.BytesIO(data))) for each in episodes for data in each.images[camera]])


def read(lerobot: Path, dataset: Path, out: Path, backend: str = "pyav") -> Mapping[str, NDArray[Any]]:
    """What lerobot's loader gives for every row."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(out.parent / "hf"), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(lerobot), str(PROGRAM), str(dataset), backend, str(out)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(out))


def images_of(loaded: Mapping[str, NDArray[Any]], camera: str) -> NDArray[np.uint8]:
    """The images (T, H, W, 3) that the loader gave as (T, 3, H, W) in 0..1."""
    return np.rint(loaded[f"observation.images.{camera}"].transpose(0, 2, 3, 1) * 255).astype(np.uint8)


def state(step: RecordedStep) -> list[float]:
    """By a second way: with numbers from the matrices."""
    if step.T_map_tool is not None:
        tool = Pose.from_matrix(step.T_map_tool)
        return [*tool.translation, *tool.roll_pitch_yaw(), float(step.gripper_opening_m or 0)]
    T = step.T_map_base
    tilt = np.arctan2(step.T_map_camera[0, 2, 2], np.hypot(*step.T_map_camera[0, :2, 2]))
    return [T[0, 3], T[1, 3], float(np.arctan2(T[1, 0], T[0, 0])), float(tilt)]


def test_lerobot_loads_what_was_recorded(run: Path, lerobot: Path, tmp_path: Path) -> None:
    export([run], tmp_path / "png", images="png")
    loaded = read(lerobot, tmp_path / "png", tmp_path / "png.npz")
    episodes = recorded(run)
    steps = [step for episode in episodes for step in episode.steps]
    for camera in episodes[0].cameras:
        np.testing.assert_array_equal(images_of(loaded, camera), seen(episodes, camera))
    np.testing.assert_allclose(loaded["observation.state"], np.array([state(each) for each in steps]), atol=1e-6)
    actions = np.array([step.action for step in steps])
    if actions.ndim == 1:
        np.testing.assert_array_equal(loaded["discrete_action"], actions)
        actions = np.eye(len(BaseAction))[actions.astype(int)]
    np.testing.assert_array_equal(loaded["action"], actions.astype(np.float32))
    np.testing.assert_array_equal(loaded["chunk"][:, 0], loaded["action"])
    last = np.cumsum([len(episode.steps) for episode in episodes]) - 1
    following = np.minimum(np.arange(len(steps)) + 1, np.where(np.arange(len(steps)) <= last[0], last[0], last[1]))
    np.testing.assert_array_equal(loaded["chunk"][:, 1], loaded["action"][following])
    # The file has 64 bits, and lerobot's loader gives 32.
    np.testing.assert_array_equal(loaded["stamp_s"], np.array([step.stamp_s for step in steps], np.float32))
    np.testing.assert_array_equal(loaded["next.reward"], np.array([step.reward for step in steps], np.float32))
    np.testing.assert_array_equal(loaded["next.success"], [step.success for step in steps])
    np.testing.assert_array_equal(np.flatnonzero(loaded["next.done"]), last)
    np.testing.assert_array_equal(loaded["only_second"], loaded["observation.state"][last[0] + 1 :])
    started = read_records(run / "records.jsonl").episodes
    said = [started[seed].instruction for seed, each in zip(SEEDS, episodes, strict=True) for _ in each.steps]
    assert loaded["task"].tolist() == said
    assert len(set(said)) == 2
    if "subtask" in loaded:
        assert loaded["subtask"].tolist() == [step.subgoal for step in steps]
    else:
        assert not any(step.subgoal for step in steps)
    np.testing.assert_allclose(loaded["stats action mean"], actions.mean(axis=0, keepdims=actions.ndim == 1), atol=1e-6)


@pytest.mark.parametrize(("images", "most_off", "least_db"), [("video", 2.0, 38), ("video-420", 4.0, 26)])
def test_videos_are_what_was_recorded_within_what_the_codec_loses(
    images: Images, most_off: float, least_db: float, run: Path, lerobot: Path, tmp_path: Path
) -> None:
    export([run], tmp_path / "video", images=images)
    episodes = recorded(run)
    loaded = read(lerobot, tmp_path / "video", tmp_path / "video.npz")
    for camera in episodes[0].cameras:
        was, now = seen(episodes, camera).astype(float), images_of(loaded, camera).astype(float)
        assert now.shape == was.shape
        off = np.abs(now - was).mean(axis=(1, 2, 3))
        noise_db = 10 * np.log10(255**2 / ((now - was) ** 2).mean(axis=(1, 2, 3)))
        assert off.max() < most_off, camera
        assert noise_db.min() > least_db, camera
        # Each is its own moment: nearest to its own image, or to one that looks the same.
        between = np.abs(now[:, None, ::4, ::4] - was[None, :, ::4, ::4]).mean(axis=(2, 3, 4))
        assert (np.diag(between) <= between.min(axis=1) + 0.3).all(), camera
