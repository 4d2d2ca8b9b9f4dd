"""The page to print, and the board's file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from si_embodied.calibration.board import Board, draw_page, read_board, write_board
from si_embodied.errors import ConfigError, UnknownNameError


def test_squares_on_the_page_have_their_stated_size() -> None:
    page, per_m = draw_page(Board(), "A4")
    assert page.shape[1] / per_m == pytest.approx(0.210, abs=1e-4)
    assert page.shape[0] / per_m == pytest.approx(0.297, abs=1e-4)
    corners, ids, _, _ = cv2.aruco.CharucoDetector(Board().opencv()).detectBoard(page)
    found = dict(zip(ids.ravel().tolist(), corners.reshape(-1, 2), strict=True))
    assert len(found) == 4 * 6
    assert np.linalg.norm(found[3] - found[0]) / per_m == pytest.approx(3 * 0.036, abs=5e-5)


def test_the_ruler_is_100_mm_long() -> None:
    page, per_m = draw_page(Board(), "A4")
    below = page[round(0.27 * per_m) :]  # the board ends above
    longest = max((np.flatnonzero(row == 0) for row in below), key=len)
    assert (longest[-1] - longest[0]) / per_m == pytest.approx(0.1, abs=1e-3)


def test_the_files_say_what_was_drawn(tmp_path: Path) -> None:
    board = Board(columns=4, rows=5, square_m=0.04, marker_m=0.03)
    description = write_board(board, tmp_path / "print" / "small.png", "A4")
    assert read_board(description) == board
    with Image.open(tmp_path / "print" / "small.png") as image:
        assert image.width / image.info["dpi"][0] * 25.4 == pytest.approx(210, abs=0.2)


def test_a_pdf_has_the_paper_s_size(tmp_path: Path) -> None:
    write_board(Board(), tmp_path / "board.pdf", "A4")
    text = (tmp_path / "board.pdf").read_bytes()
    _, _, width, height = (float(each) for each in text.split(b"/MediaBox [")[1].split(b"]")[0].split())
    assert width / 72 * 25.4 == pytest.approx(210, abs=0.2)
    assert height / 72 * 25.4 == pytest.approx(297, abs=0.2)


@pytest.mark.parametrize(
    ("settings", "paper", "words"),
    [
        ({"square_m": 0.05}, "A4", "250 x 350 mm does not fit on A4"),
        ({"dictionary": "DICT_4X4_50", "columns": 9, "rows": 12, "square_m": 0.02, "marker_m": 0.015}, "A4", "has 50"),
        ({"dictionary": "DICT_5X5"}, "A4", "Did you mean 'DICT_5X5_"),
        ({}, "A5", "unknown paper 'A5'"),
    ],
)
def test_a_board_that_cannot_be_drawn_is_named(settings: dict, paper: str, words: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=words):
        draw_page(Board(**settings), paper)


@pytest.mark.parametrize("wrong", [{"square_m": 36}, {"marker_m": 0.04}, {"rows": 2}])
def test_impossible_sizes_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        Board(**wrong)


def test_a_board_file_with_an_unknown_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_text(yaml.safe_dump({"square": 0.03}))
    with pytest.raises(ConfigError, match="square_m"):
        read_board(tmp_path / "board.yaml")
    with pytest.raises(ConfigError, match="calibrate board"):
        read_board(tmp_path / "other.yaml")
