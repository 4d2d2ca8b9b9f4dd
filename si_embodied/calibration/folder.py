"""A folder of pictures: NAME.png (or .jpg), its depth NAME_depth.png (or .npy), camera.yaml, and poses.txt."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.calibration.camera_info import read_camera
from si_embodied.calibration.pictures import Picture, SourceSettings
from si_embodied.errors import ConfigError, TransformError
from si_embodied.geometry import Pose
from si_embodied.images.files import read_depth, read_rgb
from si_embodied.ros_nodes.sensing.transform_buffer import TransformBuffer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.ros_nodes.sensing.camera_models import CameraModel

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_DEPTHS = ("_depth.png", "_depth.npy", "_depth.tif", "_depth.tiff")
_MOST_GAP_S = 0.5
"""Poses farther apart in time are not interpolated: robots report faster, and names like 0001 and 0003 are numbers."""
_SAME_M, _SAME_RAD = 0.01, 0.02
"""A second pose of the same picture or time may differ by so much."""


def picture_files(folder: Path) -> list[Path]:
    """The colour images in a folder, by name or, where names are stamps, by time."""
    return sorted(filter(is_picture, folder.iterdir()), key=lambda file: (_number(file.stem), file.name))


def is_picture(file: Path) -> bool:
    """Whether a file is a colour image, by its name."""
    return file.suffix.lower() in PICTURES and not file.stem.endswith("_depth")


class Folder:
    """A folder of pictures.

    poses.txt has a line for each pose of the mount in the fixed frame, `KEY x y z qx qy qz qw`. KEY is a picture's
    name, or a time in seconds (the trajectory format of the TUM RGB-D benchmark); then pictures are named by their time
    too, as in 12.345.png, and have the pose at it, interpolated between poses up to 0.5 s apart.
    """

    def __init__(self, settings: SourceSettings) -> None:
        """Find the files, and read the calibration and the poses.

        Raises:
            ConfigError: the calibration or the poses cannot be read.
        """
        self._folder, self._scale = settings.source, settings.depth_scale
        self._files = picture_files(self._folder)
        calibration = settings.camera or self._folder / "camera.yaml"
        self.camera: CameraModel | None = read_camera(calibration) if settings.camera or calibration.is_file() else None
        self.camera_frame = "camera_optical_frame"
        self._by_name: dict[str, Pose] = {}
        self._by_time = TransformBuffer(keep_s=math.inf, most_gap_s=_MOST_GAP_S)
        poses = self._folder / "poses.txt"
        if poses.is_file():
            self._read_poses(poses)

    def _read_poses(self, file: Path) -> None:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            key, *values = line.partition("#")[0].split() or [""]
            if not key:
                continue
            try:
                x, y, z, qx, qy, qz, qw = map(float, values)
                pose = Pose.from_quaternion((qx, qy, qz, qw), (x, y, z))
            except ValueError as error:
                raise ConfigError(
                    f"{str(file)!r}, line {number}: expected KEY x y z qx qy qz qw, got: {line.strip()!r} ({error})"
                ) from error
            name = key.removesuffix(Path(key).suffix) if key.lower().endswith(PICTURES) else key
            if pose.differs(self._by_name.setdefault(name, pose), by_m=_SAME_M, by_rad=_SAME_RAD):
                raise ConfigError(
                    f"{str(file)!r}, line {number}: a second pose of {key!r}, other than the first; leave the right one"
                )
            if math.isfinite(stamp_s := _number(key)):
                self._by_time.add("fixed", "mount", stamp_s, pose)

    def pictures(self, *, depth: bool = False, still: bool = False, every: bool = False) -> Iterator[Picture]:
        """All pictures; a folder's are taken to be still."""
        for file in self._files:
            metres = self._depth_of(file) if depth else None
            yield Picture(file.name, _number(file.stem), read_rgb(file), metres, self._pose_of(file))

    def _depth_of(self, file: Path) -> NDArray[np.float32] | None:
        for suffix in _DEPTHS:
            path = file.with_name(file.stem + suffix)
            if path.is_file():
                return read_depth(path, integer_m=self._scale)
        return None

    def _pose_of(self, file: Path) -> Pose | None:
        if file.stem in self._by_name:
            return self._by_name[file.stem]
        try:
            return self.pose_at(_number(file.stem))
        except TransformError:
            return None

    def pose_at(self, stamp_s: float) -> Pose:
        """`T_fixed_mount` at a time, from a poses.txt whose keys are times.

        Raises:
            TransformError: it is not known then.
        """
        if not math.isfinite(stamp_s):
            raise TransformError(f"the pictures in {str(self._folder)!r} are not named by their time in seconds")
        return self._by_time.lookup("fixed", "mount", stamp_s)

    def published(self, *, held: bool) -> Pose | None:
        """A folder has no transforms but the poses."""
        return None


def _number(text: str) -> float:
    """A file name that is a time in seconds; infinity for any other, so that those come last."""
    try:
        return float(text)
    except ValueError:
        return math.inf
