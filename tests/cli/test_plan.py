from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from si_embodied.cli.main import main

GOTO = '{"subgoals": [{"skill": "goto", "object": "red box", "view": 1, "point": [500, 600]}], "done": false}'


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A box two metres ahead of a wall."""
    rgb = np.zeros((120, 160, 3), np.uint8)
    depth = np.full((120, 160), 3.0, np.float32)
    rgb[60:100, 60:100], depth[60:100, 60:100] = (200, 30, 30), 2.0
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    np.save(tmp_path / "depth.npy", depth)
    return str(tmp_path / "rgb.png"), str(tmp_path / "depth.npy")


def plan(files: tuple[str, str], *arguments: str) -> int:
    return main(["plan", "--rgb", files[0], "--depth", files[1], "--instruction", "go to the red box", *arguments])


def test_an_answer_becomes_a_goal_in_metres(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(files, "--answer", GOTO) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "go to the red box" in shown
    # the box lies 2 m ahead on the optical axis, and the default stand-off is 0.6 m
    assert "drive to (1.40, " in shown
    assert "at (2.00, " in shown


def test_depth_in_millimetres_is_depth_in_metres(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    png = tmp_path / "depth.png"
    Image.fromarray((np.load(files[1]) * 1000).astype(np.uint16)).save(png)
    plan((files[0], str(png)), "--answer", GOTO)
    from_png = capsys.readouterr().out
    assert "drive to (1.40, " in from_png


def test_json_has_the_goals_in_metres(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The wall is 2 m ahead of a camera 1.1 m high; the base stands 0.6 m before it."""
    assert plan(files, "--answer", GOTO, "--json") == 0
    (goal,) = json.loads(capsys.readouterr().out.splitlines()[-1])["goals"]
    assert goal["words"].startswith("drive to (1.40, ")
    assert goal["place_m"][0] == pytest.approx(2.0, abs=0.01)


def test_a_models_plan_shows_its_probability(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A written answer has none."""
    pytest.importorskip("llguidance")
    assert plan(files) == 0
    shown = capsys.readouterr().out
    assert "probability" in shown
    point = re.search(r"; point (\S+), as it is shared", shown)
    assert point is not None
    assert float(point[1]) > 0  # it is small, and not shown as 0.00
    assert plan(files, "--answer", GOTO) == 0
    assert "probability" not in capsys.readouterr().out


def test_a_hold_is_an_answer_with_its_code(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(files, "--answer", "[bold]turn left[/bold]", "--json") == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (row["verdict"], row["code_name"], row["raw_text"][0]) == ("hold", "PLAN_INVALID", "[bold]turn left[/bold]")


def test_a_models_text_is_shown_as_it_is(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    plan(files, "--answer", "[bold]turn left[/bold]")
    assert "[bold]turn left[/bold]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--env ID or --rgb FILE"),
        (["--rgb", "x.png", "--env", "y"], "--env ID or --rgb FILE"),
        (["--rgb", "/no/such.png", "--instruction", "x"], "no such image: '/no/such.png'"),
        (["--rgb", __file__, "--instruction", "x"], "is not an image"),
        (["--rgb", "RGB"], "--instruction TEXT"),
        (["--rgb", "RGB", "--instruction", "x", "--depth", "RGB"], "16-bit PNG"),
        (["--rgb", "RGB", "--instruction", "x", "--depth", "/no/such.npy"], "no such depth file"),
        (["--rgb", "RGB", "--instruction", "x", "--intrinsics", "1,2,3"], "fx,fy,cx,cy"),
        (["--rgb", "RGB", "--instruction", "x", "--fov", "0"], "field of view"),
        (["--rgb", "RGB", "--instruction", "x", "--model", "/no/such"], "/no/such"),
    ],
)
def test_a_bad_request_names_its_fix(
    files: tuple[str, str], arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *(files[0] if word == "RGB" else word for word in arguments)]) == 2
    assert words in capsys.readouterr().err


def test_depth_of_another_size_is_refused(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "small.npy", np.ones((12, 16), np.float32))
    assert plan((files[0], str(tmp_path / "small.npy")), "--answer", GOTO) == 2
    assert "register depth to rgb" in capsys.readouterr().err
