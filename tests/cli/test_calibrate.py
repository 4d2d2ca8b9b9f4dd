"""`si-embodied calibrate` from pictures in a folder to what it prints."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rendered_boards import (
    PINHOLE,
    board_poses,
    depth_of,
    mount_poses,
    panorama_frame,
    pose_line,
    rendered,
    swing,
    write_folder,
)

from si_embodied.calibration.camera_info import read_camera
from si_embodied.cli.main import main
from si_embodied.geometry import Pose

MOUNT = Pose.from_rpy(-1.7, 0.05, -1.5, (0.1, 0.03, 1.1))
PLACE = Pose.from_rpy(0.3, -0.2, 2.0, (1.5, 0.4, 0.9))
REAL = Path(__file__).parents[3] / "shared" / "data" / "realsense" / "rs_rgb.jpg"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of a board with depth and poses, and the board's file."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    boards = board_poses(PINHOLE, 12)
    write_folder(folder, PINHOLE, ((f"{i:02}.png", rendered(PINHOLE, each, rng)) for i, each in enumerate(boards)))
    for i, each in enumerate(boards):
        metres = depth_of(PINHOLE, each, rng, scale=1.04, noise_m=0.002)
        cv2.imwrite(str(folder / f"{i:02}_depth.png"), np.round(1000 * metres).astype(np.uint16))
    poses = mount_poses(MOUNT, PLACE, boards, held=False)
    (folder / "poses.txt").write_text("\n".join(pose_line(f"{i:02}.png", each) for i, each in enumerate(poses)))
    return folder


@pytest.fixture
def board(tmp_path: Path) -> list[str]:
    assert main(["calibrate", "board", "--out", str(tmp_path / "board.png")]) == 0
    return ["--board", str(tmp_path / "board.yaml")]


def test_intrinsics(pictures: Path, board: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted = tmp_path / "fitted.yaml"
    main(["calibrate", "intrinsics", str(pictures), *board, "--out", str(fitted), "--json"])
    lines = capsys.readouterr().out.splitlines()
    figures = json.loads(next(line for line in lines if line.startswith("{")))
    assert figures["fitted"]["fx"] == pytest.approx(PINHOLE.intrinsics.fx, rel=0.01)
    assert read_camera(fitted).intrinsics.fx == pytest.approx(figures["fitted"]["fx"])


def test_undetermined_intrinsics_are_not_written(
    pictures: Path, board: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few, fitted = tmp_path / "few", tmp_path / "fitted.yaml"
    few.mkdir()
    for i in range(4):
        shutil.copy(pictures / f"{i:02}.png", few)
    assert main(["calibrate", "intrinsics", str(few), *board, "--out", str(fitted)]) == 1
    shown = capsys.readouterr().out
    assert "pictures: take 15 to 20" in shown
    assert f"{fitted}: not written, as these pictures do not determine the camera_info" in shown.replace("\n", " ")
    assert "camera_matrix" not in shown
    assert not fitted.exists()


def test_hand_eye(pictures: Path, board: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    published = " ".join(str(each) for each in (*MOUNT.translation, *MOUNT.quaternion()))
    assert main(["calibrate", "hand-eye", str(pictures), *board, "--published", published]) == 0
    shown = capsys.readouterr().out
    assert "fine:    mount: within" in shown
    assert "static_transform_publisher --x " in shown
    xyz = [float(each) for each in shown.split('<origin xyz="')[1].split('"')[0].split()]
    assert xyz == pytest.approx(MOUNT.translation, abs=0.001)


def test_depth(pictures: Path, board: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "depth", str(pictures), *board]) == 1
    shown = capsys.readouterr().out
    assert "off:     depth scale: off by +" in shown
    assert "set depth_scale to 0.00096" in shown
    assert "fine:    registration" in shown


@pytest.mark.parametrize(("truth_m", "code"), [(1.5, 0), (1.56, 1)])
def test_depth_of_a_wall(tmp_path: Path, truth_m: float, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "wall", PINHOLE, ((f"{i}.png", np.zeros((300, 400, 3))) for i in range(3)))
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}_depth.png"), np.full((300, 400), round(1000 * truth_m), np.uint16))
    assert main(["calibrate", "depth", str(folder), "--wall", "1.5", "--json"]) == code
    shown = capsys.readouterr().out
    figures = json.loads(shown[shown.index("{") :], parse_constant=pytest.fail)  # NaN is not JSON
    assert figures["offset_m"] is None
    assert "depth offset" not in shown
    assert ("depth scale: off by +4.0%" in shown) == bool(code)
    assert main(["calibrate", "depth", str(folder), "--wall", "0"]) == 2
    assert "--wall" in capsys.readouterr().err


def test_time_offset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, late_s = np.random.default_rng(0), 0.05
    frames = ((f"{t + late_s:.4f}.png", panorama_frame(PINHOLE, swing(t), rng)) for t in np.arange(1, 4, 1 / 12))
    folder = write_folder(tmp_path / "turn", PINHOLE, frames)
    poses = [pose_line(f"{t:.3f}", Pose.planar(0, 0, float(swing(t)))) for t in np.arange(0, 5, 0.02)]
    (folder / "poses.txt").write_text("\n".join(poses))
    assert main(["calibrate", "time-offset", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "off:     time offset: off by -5" in shown or "off:     time offset: off by -4" in shown


def test_a_picture_without_a_board(tmp_path: Path, board: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    pixels = cv2.imread(str(REAL)) if REAL.is_file() else np.full((480, 640, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "room.png"), pixels)
    assert main(["calibrate", "intrinsics", str(tmp_path / "."), *board, "--camera", "none.yaml"]) == 2
    assert "none.yaml" in capsys.readouterr().err
    (tmp_path / "board.png").unlink()
    assert main(["calibrate", "intrinsics", str(tmp_path), *board]) == 2
    assert "not in: room.png. No marker is visible in room.png" in capsys.readouterr().err


def test_a_check_that_needs_a_calibration_says_how_to_get_one(
    tmp_path: Path, board: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    assert main(["calibrate", "hand-eye", str(tmp_path), *board]) == 2
    assert "calibrate intrinsics` writes one" in capsys.readouterr().err


def test_missing_opencv_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["calibrate", "board", "--out", str(tmp_path / "board.png")]) == 2
    assert "pip install 'si-embodied[bags]'" in capsys.readouterr().err
