"""Pictures to calibrate from, and where they come from: a folder, or a robot's recording."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

from typing_extensions import Doc

from si_embodied.errors import ConfigError, TransformError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.geometry import Pose
    from si_embodied.ros_nodes.sensing.camera_models import CameraModel


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image as the camera took it, lens distortion included."""

    name: str  # the file's, or the stamp
    stamp_s: float  # NaN if unknown
    rgb: NDArray[np.uint8]  # (H, W, 3)
    depth_m: NDArray[np.float32] | None = None  # (H, W), metres along the optical axis, 0 = no return
    T_fixed_mount: Pose | None = None  # of the link that the camera is mounted on, or that holds the board

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """Which pictures, and in which frames."""

    source: Annotated[Path, Doc("a folder of pictures, or a recording (a folder or its .mcap or .db3 file)")]
    camera: Annotated[
        Path | None, Doc("the camera_info to check, in ROS's YAML; default: camera.yaml in the folder, or as recorded")
    ] = None
    image: Annotated[str, Doc("recordings: the topic of the images, where there are several")] = ""
    depth: Annotated[str, Doc("recordings: the topic of the depth images, where there are several")] = ""
    depth_scale: Annotated[float, Doc("the metres per unit of integer depth that are set now")] = 0.001
    rectified: Annotated[bool, Doc("recordings: the images are rectified already; use P of camera_info")] = False
    fixed: Annotated[str, Doc("recordings: the frame that stands still")] = "odom"
    mount: Annotated[
        str,
        Doc("recordings: the link that the camera is mounted on, or with --board-held the one that holds the board"),
    ] = "base_link"

    def __post_init__(self) -> None:
        """Check the depth scale."""
        if not 0 < self.depth_scale < math.inf:
            raise ConfigError(f"expected depth_scale to be positive, got: {self.depth_scale}; millimetres are 0.001")


class Source(Protocol):
    """Where pictures come from."""

    @property
    def camera(self) -> CameraModel | None:
        """The camera's calibration; None if none is given."""
        ...

    @property
    def camera_frame(self) -> str:
        """The camera's optical frame."""
        ...

    def pictures(self, *, depth: bool = False, still: bool = False, every: bool = False) -> Iterator[Picture]:
        """The pictures in order.

        Args:
            depth: with depth, where there is any.
            still: only such at which the mount stood still, one for each place.
            every: all of a recording's, instead of `MOST_PICTURES` spread evenly.

        Raises:
            DataError: there are none.
        """
        ...

    def pose_at(self, stamp_s: float) -> Pose:
        """`T_fixed_mount` at a time.

        Raises:
            TransformError: it is not known then.
        """
        ...

    def published(self, *, held: bool) -> Pose | None:
        """`T_mount_camera` (of a held board: `T_fixed_camera`) as the robot publishes it; None if it does not."""
        ...


MOST_PICTURES = 60
"""Of a recording: more add seconds, and hardly any accuracy."""


def moved(source: Source, a_s: float, b_s: float, *, by_m: float, by_rad: float) -> bool:
    """Whether the mount moved between two times; also if that is not known."""
    try:
        return source.pose_at(a_s).differs(source.pose_at(b_s), by_m=by_m, by_rad=by_rad)
    except TransformError:
        return True
