"""Folders of posed RGB-D images: written, read back, and refused with the file and the fix."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from si_embodied.errors import DataError
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.images.posed import read_posed_images, write_posed_images
from si_embodied.types import CameraFrame

CAMERA = Intrinsics(8, 6, 10.0, 11.0, 3.5, 2.5)


def frame(number: int, depth_m: float = 2.345) -> CameraFrame:
    rng = np.random.default_rng(number)
    rgb = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    pose = Pose.from_rpy(0.1 * number, 0.2, 0.3, (number, 2.0, 1.1))
    return CameraFrame("head", 10.0 + number, rgb, np.full((6, 8), depth_m, np.float32), CAMERA, pose)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_posed_images(tmp_path / "images", (frame(number) for number in range(3)))
    return tmp_path / "images"


def test_what_is_written_is_read_back(folder: Path) -> None:
    images = read_posed_images(folder)
    assert len(images.images) == 3
    for number in range(3):
        wanted, read = frame(number), images.frame(number, "head")
        assert np.array_equal(read.rgb, wanted.rgb)
        assert read.depth_m is not None
        np.testing.assert_allclose(read.depth_m, 2.345, atol=1e-6)
        np.testing.assert_allclose(read.T_map_camera.matrix(), wanted.T_map_camera.matrix(), atol=1e-8)
        assert (read.intrinsics, read.stamp_s) == (CAMERA, wanted.stamp_s)


def test_poses_may_name_their_images_in_any_order(folder: Path) -> None:
    lines = (folder / "poses.txt").read_text().splitlines()[1:]
    named = [f"{number:06d} {line.partition(' ')[2]}" for number, line in enumerate(lines)]
    (folder / "poses.txt").write_text("\n".join(reversed(named)))
    x = [float(image.T_map_camera.translation[0]) for image in read_posed_images(folder).images]
    assert x == [0.0, 1.0, 2.0]


def test_depth_in_other_units_is_scaled(folder: Path) -> None:
    """The TUM RGB-D benchmark counts in 1/5000 m."""
    camera = json.loads((folder / "intrinsics.json").read_text()) | {"depth_scale": 0.0002}
    (folder / "intrinsics.json").write_text(json.dumps(camera))
    depth_m = read_posed_images(folder).frame(0, "head").depth_m
    assert depth_m is not None
    np.testing.assert_allclose(depth_m, 2.345 / 5, atol=1e-6)


def cut(folder: Path) -> None:
    poses = folder / "poses.txt"
    poses.write_text("\n".join(poses.read_text().splitlines()[:-1]))


def replaced(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, r"poses.txt' has 2 poses, but there are 3 images"),
        (replaced("poses.txt", "0 1 2 3\n"), r"poses.txt:1 is not a pose .*expected: KEY x y z qx qy qz qw"),
        (replaced("poses.txt", "0 1 2 3 0 0 0 0\n"), r"poses.txt:1 is not a pose"),
        (replaced("intrinsics.json", '{"width": 8}'), r"intrinsics.json' is not a camera"),
        (lambda folder: (folder / "intrinsics.json").unlink(), r"has no intrinsics.json, and so is no folder of posed"),
        (lambda folder: (folder / "poses.txt").unlink(), r"cannot read .*poses.txt"),
        (lambda folder: (folder / "depth" / "000001.png").unlink(), r"no partner .*first is '000001'"),
        (lambda folder: (folder / "depth").rename(folder / "depths"), r"no such folder: .*depth'"),
    ],
)
def test_an_incomplete_folder_is_refused_with_the_file(folder: Path, damage, says: str) -> None:
    damage(folder)
    with pytest.raises(DataError, match=says):
        read_posed_images(folder)


def test_depth_that_no_room_has_asks_for_its_unit(folder: Path) -> None:
    np.save(folder / "depth" / "000000.npy", np.full((6, 8), 2345.0, np.float32))  # millimetres as floats
    (folder / "depth" / "000000.png").unlink()
    with pytest.raises(DataError, match=r"median depth of .*000000.npy' is 2345 m.*depth_scale"):
        read_posed_images(folder).frame(0, "head")


def test_an_image_of_another_size_is_refused(folder: Path) -> None:
    np.save(folder / "depth" / "000000.npy", np.ones((3, 4), np.float32))
    (folder / "depth" / "000000.png").unlink()
    with pytest.raises(DataError, match=r"is 4 x 3, but intrinsics.json is for 8 x 6"):
        read_posed_images(folder).frame(0, "head")


def test_a_folder_with_files_is_not_written_into(folder: Path) -> None:
    with pytest.raises(DataError, match="not empty"):
        write_posed_images(folder, [frame(0)])
