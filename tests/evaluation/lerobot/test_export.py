"""Episodes as a LeRobot data set: what is in its files, read without lerobot."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("pyarrow")
pytest.importorskip("imageio_ffmpeg")

import imageio_ffmpeg
import pyarrow.parquet as pq

from si_embodied.errors import ConfigError
from si_embodied.evaluation.episode import EpisodeResult
from si_embodied.evaluation.lerobot import writing
from si_embodied.evaluation.lerobot.columns import frames_per_second
from si_embodied.evaluation.lerobot.writing import export
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.steps import Body, EpisodeSteps, RecordedStep, StepFolder
from si_embodied.geometry import Intrinsics, Pose

CAMERAS = {"head": Intrinsics(32, 24, 20.0, 20.0, 15.5, 11.5), "wrist": Intrinsics(16, 16, 8.0, 8.0, 7.5, 7.5)}
BASE, ARM = Body("navigation", "discrete", 0.5), Body("manipulation", "pose", 3.0)
TILTED = Pose.from_rpy(-2.0, 0.0, -1.5, (0.0, 0.0, 1.1))


def picture(camera: Intrinsics, number: int) -> NDArray[np.uint8]:
    """A bar that moves, so that no two steps look the same; on whole pairs of pixels, which share their colour."""
    rgb = np.full((camera.height, camera.width, 3), (40, 90, 160), np.uint8)
    rgb[:, 4 * number : 4 * number + 4] = (220, 40 + 10 * number, 30)
    return rgb


def png(rgb: NDArray[np.uint8]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(rgb).save(data, "PNG")
    return data.getvalue()


def base_step(number: int, *, last: bool) -> RecordedStep:
    return RecordedStep(
        stamp_s=10 + 0.5 * number,
        T_map_base=Pose.planar(1.0 + number, -2.0, 0.25 * number).matrix(),
        T_map_camera=np.stack([TILTED.matrix()] * 2),
        T_map_tool=None,
        gripper_opening_m=None,
        action=np.array(0.0 if last else 1.0 + number % 2),
        plan=0,
        subgoal="done" if last else ("look_around", "goto red bed")[number % 2],
        reward=0.125 * number,
        terminated=last,
        truncated=False,
        success=last,
    )


def arm_step(number: int, *, last: bool) -> RecordedStep:
    tool = Pose.from_rpy(np.pi, 0.0, 0.5, (0.5, 0.1 * number, 0.8))
    return dataclasses.replace(
        base_step(number, last=last),
        stamp_s=0.3 * number**2,
        T_map_tool=tool.matrix(),
        gripper_opening_m=0.02 * number,
        action=np.array([0.5, 0.1, 0.8, 3.14, 0.0, 0.5, float(number % 2)], np.float32).astype(np.float64),
    )


def episode(count: int, body: Body = BASE, cameras: dict[str, Intrinsics] = CAMERAS) -> EpisodeSteps:
    make = base_step if body is BASE else arm_step
    steps = (make(number, last=number == count - 1) for number in range(count))
    return EpisodeSteps(
        body, cameras, (), tuple(dataclasses.replace(s, T_map_camera=s.T_map_camera[: len(cameras)]) for s in steps),
        {name: tuple(png(picture(each, number)) for number in range(count)) for name, each in cameras.items()},
    )  # fmt: skip


def record(folder: Path, *episodes: EpisodeSteps | None, success: bool = True) -> Path:
    """A run with these episodes; None for one whose steps were not kept."""
    records = RecordFile(folder / "records.jsonl", {"env": "si_embodied/Apartment-v0", "policy": "planner"})
    for seed, steps in enumerate(episodes):
        records.add(EpisodeResult(seed, "objectnav", f"find chair {seed}", success, 1, "terminated", 1.0, 1.0, {}))
        if steps is not None:
            StepFolder(folder / "steps").put(seed, steps)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("run"), episode(4), episode(3))


@pytest.fixture(scope="module")
def videos(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "videos"
    export([run], out)
    return out


def table(folder: Path, pattern: str) -> dict[str, list[Any]]:
    (file,) = folder.glob(pattern)
    columns: dict[str, list[Any]] = pq.read_table(file).to_pydict()
    return columns


def info(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "meta/info.json").read_text())
    return found


def frames(file: Path) -> Iterator[NDArray[np.uint8]]:
    reader = imageio_ffmpeg.read_frames(str(file))
    width, height = next(reader)["size"]
    for data in reader:
        yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def test_rows_are_the_recorded_steps(videos: Path) -> None:
    rows = table(videos, "data/*/*.parquet")
    steps = [base_step(n, last=n == 3) for n in range(4)] + [base_step(n, last=n == 2) for n in range(3)]
    assert rows["stamp_s"] == [step.stamp_s for step in steps]
    assert rows["next.reward"] == [step.reward for step in steps]
    assert rows["next.done"] == rows["next.success"] == [False, False, False, True, False, False, True]
    assert rows["discrete_action"] == [1, 2, 1, 0, 1, 2, 0]
    names = info(videos)["features"]["action"]["names"]
    assert [names[int(np.argmax(row))] for row in rows["action"]][:4] == ["forward", "turn_left", "forward", "stop"]
    assert all(sum(row) == 1 for row in rows["action"])
    state = [(1.0 + n, -2.0, 0.25 * n) for n in (0, 1, 2, 3, 0, 1, 2)]
    np.testing.assert_allclose([row[:3] for row in rows["observation.state"]], state, atol=1e-6)
    tilts = np.array([row[3:] for row in rows["observation.state"]])
    np.testing.assert_allclose(np.sin(tilts), TILTED.rotation[2, 2], atol=1e-6)
    pose = Pose.from_quaternion(rows["camera_pose.wrist"][0][3:], rows["camera_pose.wrist"][0][:3])
    np.testing.assert_allclose(pose.matrix(), TILTED.matrix(), atol=1e-12)
    assert info(videos)["features"]["observation.state"]["names"] == [
        "base_x_m", "base_y_m", "base_yaw_rad", "head_tilt_rad", "wrist_tilt_rad"
    ]  # fmt: skip


def test_rows_say_which_step_of_which_episode_they_are(videos: Path) -> None:
    rows = table(videos, "data/*/*.parquet")
    assert rows["index"] == list(range(7))
    assert rows["episode_index"] == [0, 0, 0, 0, 1, 1, 1]
    assert rows["frame_index"] == [0, 1, 2, 3, 0, 1, 2]
    assert rows["timestamp"] == [0.0, 0.5, 1.0, 1.5, 0.0, 0.5, 1.0]
    about = info(videos)
    assert (about["codebase_version"], about["fps"]) == ("v3.0", 2)
    assert (about["total_episodes"], about["total_frames"], about["total_tasks"]) == (2, 7, 2)
    listed = table(videos, "meta/episodes/*/*.parquet")
    assert listed["length"] == [4, 3]
    assert list(zip(listed["dataset_from_index"], listed["dataset_to_index"], strict=True)) == [(0, 4), (4, 7)]
    spans = [listed[f"videos/observation.images.head/{end}_timestamp"] for end in ("from", "to")]
    assert spans == [[0.0, 2.0], [2.0, 3.5]]


def test_instructions_are_tasks_and_subgoals_are_subtasks(videos: Path) -> None:
    rows, tasks = table(videos, "data/*/*.parquet"), table(videos, "meta/tasks.parquet")
    assert tasks == {"task_index": [0, 1], "__index_level_0__": ["find chair 0", "find chair 1"]}
    assert rows["task_index"] == [0, 0, 0, 0, 1, 1, 1]
    subtasks = table(videos, "meta/subtasks.parquet")["__index_level_0__"]
    words = [subtasks[number] for number in rows["subtask_index"]]
    assert words[:4] == ["look_around", "goto red bed", "look_around", "done"]
    assert table(videos, "meta/episodes/*/*.parquet")["tasks"] == [["find chair 0"], ["find chair 1"]]


def test_a_camera_has_one_video_of_all_steps_in_order(videos: Path) -> None:
    for name, camera in CAMERAS.items():
        (file,) = videos.glob(f"videos/observation.images.{name}/chunk-000/*.mp4")
        expected = [picture(camera, number) for number in (0, 1, 2, 3, 0, 1, 2)]
        shown = list(frames(file))
        assert len(shown) == len(expected)
        for number, (frame, own) in enumerate(zip(shown, expected, strict=True)):
            off = [np.abs(frame.astype(int) - other.astype(int)).mean() for other in expected]
            assert off[number] == min(off)
            assert off[number] < 2  # of 255
            assert own.shape == frame.shape


def test_png_loses_nothing_and_only_halved_colours_need_an_even_size(tmp_path: Path) -> None:
    odd = {"head": Intrinsics(33, 25, 20.0, 20.0, 16.0, 12.0)}
    run = record(tmp_path / "run", episode(3, cameras=odd))
    with pytest.raises(ConfigError, match="even sizes.*head.*--images video"):
        export([run], tmp_path / "out", images="video-420")
    export([run], tmp_path / "video")
    assert [frame.shape for frame in frames(next(tmp_path.glob("video/**/*.mp4")))] == [(25, 33, 3)] * 3
    export([run], tmp_path / "out", images="png")
    cells = table(tmp_path / "out", "data/*/*.parquet")["observation.images.head"]
    for number, cell in enumerate(cells):
        with Image.open(io.BytesIO(cell["bytes"])) as image:
            np.testing.assert_array_equal(np.asarray(image), picture(odd["head"], number))
    assert info(tmp_path / "out")["features"]["observation.images.head"]["dtype"] == "image"
    assert not list(tmp_path.glob("out/videos/*"))


def test_statistics_are_those_of_all_steps_and_pixels(videos: Path) -> None:
    found = json.loads((videos / "meta/stats.json").read_text())
    states = np.array(table(videos, "data/*/*.parquet")["observation.state"])
    for name, of in (("mean", np.mean), ("std", np.std), ("min", np.min), ("max", np.max), ("q50", np.median)):
        np.testing.assert_allclose(found["observation.state"][name], of(states, axis=0), atol=1e-6)
    assert found["observation.state"]["count"] == [7]
    pixels = np.stack([picture(CAMERAS["head"], number) for number in (0, 1, 2, 3, 0, 1, 2)]).reshape(-1, 3) / 255
    images = found["observation.images.head"]
    for name, of in (("mean", np.mean), ("std", np.std), ("min", np.min), ("max", np.max)):
        np.testing.assert_allclose(np.array(images[name]), of(pixels, axis=0).reshape(3, 1, 1), atol=1e-9)
    low = np.quantile(pixels, 0.1, axis=0, method="inverted_cdf")
    np.testing.assert_allclose(np.array(images["q10"]).ravel(), low)


def test_an_arm_has_its_tool_and_steps_of_any_length(tmp_path: Path) -> None:
    run = record(tmp_path / "run", episode(4, ARM))
    done = export([run], tmp_path / "out", images="png")
    assert (done.fps, done.true_rate) == (1, False)
    rows = table(tmp_path / "out", "data/*/*.parquet")
    np.testing.assert_allclose(rows["stamp_s"], [0.0, 0.3, 1.2, 2.7])
    np.testing.assert_allclose([row[1] for row in rows["observation.state"]], [0.0, 0.1, 0.2, 0.3], atol=1e-6)
    np.testing.assert_allclose([row[-1] for row in rows["observation.state"]], [0.0, 0.02, 0.04, 0.06], atol=1e-6)
    assert rows["action"][1] == np.array([0.5, 0.1, 0.8, 3.14, 0.0, 0.5, 1.0], np.float32).tolist()
    features = info(tmp_path / "out")["features"]
    assert features["observation.state"]["names"] == [*features["action"]["names"][:6], "gripper_opening_m"]


def test_where_episodes_come_from_stands_beside_them(videos: Path) -> None:
    run, *episodes = map(json.loads, (videos / "meta/si_embodied.jsonl").read_text().splitlines())
    assert run["settings"]["env"] == "si_embodied/Apartment-v0"
    assert [(each["episode_index"], each["seed"], each["success"]) for each in episodes] == [(0, 0, True), (1, 1, True)]
    assert episodes[0]["intrinsics"]["wrist"]["fx"] == 8.0
    assert "| `observation.state` | base_x_m" in (videos / "README.md").read_text()


@pytest.mark.parametrize(
    ("stamps", "rate"),
    [
        ([[0.0, 0.25, 0.5], [7.0, 7.25]], (4, True)),
        ([[0.0, 0.3, 0.6]], (3.333333, True)),
        ([[5.0]], (2, True)),  # by the period of an action, 0.5 s
        ([[0.0, 0.5, 1.5]], (1, False)),
        ([[0.0, 0.0, 0.0]], (1, False)),
    ],
)
def test_the_rate_is_that_of_the_steps_or_counts_them(stamps: list[list[float]], rate: tuple[float, bool]) -> None:
    assert frames_per_second([np.array(each) for each in stamps], 0.5) == rate


# --- what it refuses ------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="choose another --out"):
        export([run], tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*.*")] == ["mine.txt"]


def test_steps_that_were_not_kept_say_how_to_keep_them(tmp_path: Path) -> None:
    run = record(tmp_path / "run", episode(3), None)
    with pytest.raises(
        ConfigError, match=r"run', seeds 1; .*--keep-steps and another --out.*other 1 with --with-steps"
    ):
        export([run], tmp_path / "out")
    assert export([run], tmp_path / "out", images="png", with_steps=True).frames == 3
    run = record(tmp_path / "none", None)
    with pytest.raises(ConfigError, match="seeds 0; .*another --out$"):
        export([run], tmp_path / "nothing", with_steps=True)


def test_failed_episodes_can_be_left_out(tmp_path: Path) -> None:
    record(tmp_path / "runs" / "a", episode(3), success=False)
    with pytest.raises(ConfigError, match="none of 1 episode succeeded"):
        export([tmp_path / "runs"], tmp_path / "out", successful=True)
    record(tmp_path / "runs" / "b", episode(4))
    assert export([tmp_path / "runs"], tmp_path / "out", images="png", successful=True).frames == 4


def test_episodes_of_different_robots_are_not_mixed(tmp_path: Path) -> None:
    runs = record(tmp_path / "a", episode(3)), record(tmp_path / "b", episode(3, ARM))
    with pytest.raises(ConfigError, match=r"observation\.state, action.*one by one"):
        export(runs, tmp_path / "out")
    small = {**CAMERAS, "head": Intrinsics(16, 16, 20.0, 20.0, 7.5, 7.5)}
    with pytest.raises(ConfigError, match="its cameras"):
        export([runs[0], record(tmp_path / "c", episode(3, cameras=small))], tmp_path / "out")


def test_an_export_that_fails_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(writing.DatasetWriter):
        def finish(self) -> writing.Exported:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "DatasetWriter", Full)
    with pytest.raises(writing.RecordError, match="No space left"):
        export([run], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
