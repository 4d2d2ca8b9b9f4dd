"""A recording's images as posed frames, from stand-ins of messages."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_in import EARLIER_S, MIDDLE_S, STAMP_S, StandIn, remembering

from si_embodied.errors import DataError, UnknownNameError
from si_embodied.images.posed import read_posed_images, write_posed_images
from si_embodied.ros_nodes.recording.posed import RecordedFrames


class Frames(RecordedFrames):
    """The images of a stand-in for a recording."""

    def __init__(self, recording: StandIn, **settings: float | str) -> None:
        self._messages = recording._messages  # type: ignore[method-assign]
        super().__init__(Path("stand-in"), **settings)  # type: ignore[arg-type]


def test_every_image_has_its_own_depth_and_the_pose_of_its_stamp() -> None:
    frames = list(Frames(remembering()).frames())
    assert [frame.stamp_s for frame in frames] == [EARLIER_S, MIDDLE_S, STAMP_S]
    assert [float(frame.T_map_camera.translation[0]) for frame in frames] == [0.5, 1.0, 1.25]
    assert all(frame.depth_m is not None for frame in frames)


def test_images_taken_close_together_are_left_out() -> None:
    frames = list(Frames(remembering(), apart_m=0.4).frames())
    assert [frame.stamp_s for frame in frames] == [EARLIER_S, MIDDLE_S]


def test_a_recording_becomes_a_folder_of_posed_images(tmp_path: Path) -> None:
    assert write_posed_images(tmp_path / "images", Frames(remembering()).frames()) == 3
    images = read_posed_images(tmp_path / "images").images
    assert [float(image.T_map_camera.translation[0]) for image in images] == [0.5, 1.0, 1.25]


def test_an_unknown_camera_is_refused_and_no_images_say_why() -> None:
    with pytest.raises(UnknownNameError, match="head"):
        Frames(remembering(), camera="wrist")
    no_images = StandIn(*(each for each in remembering()._all if each[0] != "/head/image_raw"))
    with pytest.raises(DataError, match="no image of the camera 'head'"):
        list(Frames(no_images).frames())
