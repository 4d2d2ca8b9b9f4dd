"""Corners to a fraction of a pixel, and the reason when there is no board."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from rendered_boards import BOARD, LENS, PINHOLE, board_poses, projected_view, rendered

from si_embodied.calibration.board import Board
from si_embodied.calibration.detection import board_pose, find_board
from si_embodied.calibration.pictures import Picture
from si_embodied.errors import DataError


def picture(rgb: np.ndarray, name: str = "a.png") -> Picture:
    return Picture(name, math.inf, rgb)


def board_picture(pose: int = 5, board: Board = BOARD) -> np.ndarray:
    return rendered(PINHOLE, board_poses(PINHOLE, pose + 1)[pose], np.random.default_rng(1), board)


@pytest.mark.parametrize("camera", [PINHOLE, LENS])
def test_corners_are_where_they_were_rendered(camera) -> None:
    """Also the mean: OpenCV's own corners were half a pixel off."""
    rng, errors = np.random.default_rng(0), []
    for pose in board_poses(camera, 4):
        (view,), _ = find_board(BOARD, [picture(rendered(camera, pose, rng))], least=1)
        true = projected_view(camera, pose, rng, 0.0)
        pixels = dict(zip(true.ids.tolist(), true.pixels, strict=True))
        errors += [found - pixels[i] for i, found in zip(view.ids.tolist(), view.pixels, strict=True) if i in pixels]
    assert np.abs(np.mean(errors, axis=0)).max() < 0.05
    assert np.std(errors) < 0.2


def test_a_pose_is_found_to_a_millimetre() -> None:
    pose = board_poses(LENS, 6)[5]
    (view,), _ = find_board(BOARD, [picture(rendered(LENS, pose, np.random.default_rng(0)))], least=1)
    found = board_pose(LENS, BOARD, view)
    assert np.linalg.norm(found.T_camera_board.translation - pose.translation) < 0.001
    assert found.rms_px < 0.2


def test_a_picture_without_a_board_is_named_with_the_usual_causes() -> None:
    grey = np.full((300, 400, 3), 90, np.uint8)
    with pytest.raises(DataError, match=r"found in 0 of 1 pictures, but 1 are needed; not in: a.png.*motion blur"):
        find_board(BOARD, [picture(grey)], least=1)


def test_a_mirrored_picture_is_recognised() -> None:
    with pytest.raises(DataError, match="a.png is mirrored: turn off the flip"):
        find_board(BOARD, [picture(board_picture()[:, ::-1])], least=1)


def test_another_dictionary_is_named() -> None:
    printed = replace(BOARD, dictionary="DICT_6X6_250")
    with pytest.raises(DataError, match=r"markers of DICT_6X6_\d+, but the board file says DICT_4X4_50"):
        find_board(BOARD, [picture(board_picture(board=printed))], least=1)


def test_too_few_views_say_how_many_to_take() -> None:
    with pytest.raises(DataError, match="found in 1 of 1 pictures, but 3 are needed; take more"):
        find_board(BOARD, [picture(board_picture())], least=3)


def test_pictures_of_two_sizes_are_refused() -> None:
    small = np.zeros((30, 40, 3), np.uint8)
    with pytest.raises(DataError, match=r"one size, got: a.png of \(400, 300\) and b.png of \(40, 30\)"):
        find_board(BOARD, [picture(board_picture()), picture(small, "b.png")], least=1)
