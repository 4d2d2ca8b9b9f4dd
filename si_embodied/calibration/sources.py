"""Opens pictures, whether they are in a folder or in a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.calibration.folder import Folder, picture_files
from si_embodied.calibration.pictures import Source, SourceSettings
from si_embodied.calibration.recorded import RecordedPictures
from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from si_embodied.ros_nodes.sensing.camera_models import CameraModel


def open_source(settings: SourceSettings) -> Source:
    """Open a folder of pictures, or a recording.

    Raises:
        ConfigError: the path does not exist, or its camera's calibration cannot be read.
        DataError: it holds neither pictures nor a recording.
    """
    path = settings.source
    if not path.exists():
        raise ConfigError(f"no such folder or recording: {str(path)!r}")
    if path.is_dir() and picture_files(path):
        return Folder(settings)
    return RecordedPictures(settings)


def camera_of(source: Source) -> CameraModel:
    """The camera's calibration, for the checks that need one.

    Raises:
        ConfigError: there is none.
    """
    if source.camera is None:
        raise ConfigError(
            "this check needs the camera's calibration; put camera.yaml (ROS's format) into the folder, or give "
            "--camera FILE. `si-embodied calibrate intrinsics` writes one with --out"
        )
    return source.camera
