"""`si-embodied calibrate`: check a robot's camera with a printed board: by how much is it off, and what to set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typing_extensions import Doc
from tyro.conf import Positional

from si_embodied.calibration.board import LEAST_SQUARES, Board
from si_embodied.calibration.hand_eye import HandEyeSettings
from si_embodied.calibration.pictures import SourceSettings
from si_embodied.cli.options import EndWithJson
from si_embodied.cli.output import print_findings, print_table, say
from si_embodied.cli.parsing import all_flags, flags, reader, whole_number

if TYPE_CHECKING:
    from si_embodied.findings import Report

BoardFile = Annotated[Path, Doc("the board's geometry, as `calibrate board` writes it")]
_BOARD = Path("board.yaml")
_SQUARES = reader(partial(whole_number, minimum=LEAST_SQUARES, example=5), "N")
_SOURCE = {"source": Positional}


@dataclass(frozen=True, slots=True)
class DrawBoard:
    """Write a ChArUco board to print, and its geometry for the other commands.

    Print it at 100%, glue it to something flat and stiff, and measure a square.
    """

    board: Annotated[Board, all_flags(Board, columns=_SQUARES, rows=_SQUARES)] = Board()
    paper: Annotated[Literal["A4", "A3", "letter"], Doc("size of the page")] = "A4"
    out: Annotated[Path, Doc("the page, .pdf or .png; the geometry is written beside it as .yaml")] = Path("board.pdf")

    def run(self) -> int:
        """Write both files."""
        from si_embodied.calibration.board import write_board

        description = write_board(self.board, self.out, self.paper)
        say(f"{self.out}: {self.board.words}, on {self.paper}; print it at 100%", f"{description}: its geometry")
        return 0


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """Check a camera's camera_info with pictures of the board.

    Take 15 to 20 pictures: near and far, tilted in each direction, and at every edge of the image. The exit code is 1
    if something is off or not determined.
    """

    pictures: Annotated[SourceSettings, flags("camera", "image", "rectified", **_SOURCE)]
    board: BoardFile = _BOARD
    out: Annotated[Path | None, Doc("write the fitted camera_info to this file, in ROS's YAML")] = None
    json: EndWithJson = False

    def run(self) -> int:
        """Fit the intrinsics, and compare."""
        from si_embodied.calibration.board import read_board
        from si_embodied.calibration.camera_info import camera_yaml
        from si_embodied.calibration.detection import find_board
        from si_embodied.calibration.intrinsics import LEAST_VIEWS, check_intrinsics, fit_intrinsics
        from si_embodied.calibration.sources import open_source
        from si_embodied.runs import write_text

        source, board = open_source(self.pictures), read_board(self.board)
        views, without = find_board(board, source.pictures(), least=LEAST_VIEWS)
        report = check_intrinsics(views, board, source.camera)
        code = _show(report, without, json_too=self.json)
        if self.out is None:
            return code
        if report.figures["determined"]:
            write_text(self.out, camera_yaml(fit_intrinsics(views, board, source.camera).camera))
            say(f"{self.out}: the fitted camera_info")
        else:
            say(f"{self.out}: not written, as these pictures do not determine the camera_info; take those named above")
        return code


@dataclass(frozen=True, slots=True)
class HandEye:
    """Check where the camera is mounted, with pictures of the board and the robot's poses.

    The camera moves and the board stands still, or with --board-held the arm holds the board in front of the camera.
    Take 12 or more pictures at standstill, with turns of 30° about two axes. The exit code is 1 if something is off or
    not determined.
    """

    pictures: Annotated[SourceSettings, flags("camera", "image", "rectified", "fixed", "mount", **_SOURCE)]
    setup: Annotated[HandEyeSettings, flags()] = HandEyeSettings()
    board: BoardFile = _BOARD
    json: EndWithJson = False

    def run(self) -> int:
        """Fit the mount, and compare."""
        from si_embodied.calibration.board import read_board
        from si_embodied.calibration.detection import find_board
        from si_embodied.calibration.hand_eye import LEAST_VIEWS, check_hand_eye
        from si_embodied.calibration.sources import camera_of, open_source

        source, board = open_source(self.pictures), read_board(self.board)
        camera = camera_of(source)
        views, without = find_board(board, source.pictures(still=True), least=LEAST_VIEWS)
        published = self.setup.mount() or source.published(held=self.setup.board_held)
        parent = self.pictures.fixed if self.setup.board_held else self.pictures.mount
        report = check_hand_eye(views, board, camera, self.setup, published, (parent, source.camera_frame))
        return _show(report, without, json_too=self.json)


@dataclass(frozen=True, slots=True)
class Depth:
    """Check depth's scale, offset, noise and registration to colour, with the board, or a wall at a known distance.

    Hold the board in front of a background that is farther away, at several distances. The exit code is 1 if something
    is off or not determined.
    """

    pictures: Annotated[SourceSettings, flags("camera", "image", "depth", "depth_scale", "rectified", **_SOURCE)]
    board: BoardFile = _BOARD
    wall: Annotated[float | None, Doc("no board: a wall fills the middle of the image at this distance, metres")] = None
    json: EndWithJson = False

    def run(self) -> int:
        """Compare depth with the board's plane, or with the wall."""
        from si_embodied.calibration.board import read_board
        from si_embodied.calibration.depth import LEAST_VIEWS, board_planes, check_depth
        from si_embodied.calibration.detection import find_board
        from si_embodied.calibration.registration import check_registration
        from si_embodied.calibration.sources import camera_of, open_source
        from si_embodied.calibration.wall import wall_planes

        source = open_source(self.pictures)
        camera, pictures, scale_m = camera_of(source), source.pictures(depth=True), self.pictures.depth_scale
        if self.wall is not None:
            report = check_depth(wall_planes(pictures, camera, self.wall), scale_m, None)
            return _show(report, [], json_too=self.json)
        board = read_board(self.board)
        views, without = find_board(board, pictures, least=LEAST_VIEWS)
        report = check_depth(board_planes(views, board, camera), scale_m, board)
        registration = check_registration(views, board, camera, report.figures["scale"])
        return _show(replace(report, findings=(*report.findings, registration)), without, json_too=self.json)


@dataclass(frozen=True, slots=True)
class TimeOffset:
    """Measure the time between the camera's stamps and the transforms, from a recorded turn. Needs no board.

    Turn the base or the head to and fro for 20 s, with quick starts and stops, in a textured place. The exit code is 1
    if the stamps are off or the turn does not determine the offset.
    """

    pictures: Annotated[SourceSettings, flags("camera", "image", "rectified", "fixed", "mount", **_SOURCE)]
    json: EndWithJson = False

    def run(self) -> int:
        """Compare both rotations."""
        from si_embodied.calibration.rotation import camera_turns
        from si_embodied.calibration.sources import camera_of, open_source
        from si_embodied.calibration.time_offset import check_time_offset

        source = open_source(self.pictures)
        turns = camera_turns(source.pictures(every=True), camera_of(source))
        return _show(check_time_offset(turns, source.pose_at), [], json_too=self.json)


SUBCOMMANDS = {
    "board": DrawBoard,
    "intrinsics": Intrinsics,
    "hand-eye": HandEye,
    "depth": Depth,
    "time-offset": TimeOffset,
}


def _show(report: Report, without: list[str], *, json_too: bool) -> int:
    """Print a report, and return the exit code."""
    if report.rows:
        print_table(report.columns, report.rows)
    if without:
        say(f"No board in {len(without)} pictures: {', '.join(without[:5])}{', …' if len(without) > 5 else ''}")
    return print_findings(report, json_too=json_too)
