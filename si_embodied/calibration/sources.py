"""Opens pictures, whether they are in a folder or in a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.calibration.folder import PICTURES, Folder, is_picture, picture_files
from si_embodied.calibration.pictures import Source, SourceSettings
from si_embodied.calibration.recorded import RecordedPictures
from si_embodied.errors import ConfigError, DataError
from si_embodied.ros_nodes.recording.bag_files import SUFFIXES

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
    if path.is_file() and is_picture(path):
        raise ConfigError(f"expected a folder of pictures, got the picture {str(path)!r}; give its folder")
    if path.is_dir() and not any(file.name.endswith(SUFFIXES) for file in path.iterdir()):
        kinds = sorted({file.suffix or file.name for file in path.iterdir()})
        holds = f"it holds {', '.join(kinds[:5])}{', …' if len(kinds) > 5 else ''}" if kinds else "it is empty"
        raise DataError(
            f"no pictures and no recording in {str(path)!r} ({holds}); expected NAME{', '.join(PICTURES)}, each with "
            "its depth NAME_depth.png or .npy for the checks that need it, beside camera.yaml and poses.txt; or a "
            "recording's .mcap or .db3 files"
        )
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
