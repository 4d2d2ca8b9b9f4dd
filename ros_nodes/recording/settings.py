"""Parameters of the recorder node."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc

from si_embodied.errors import ConfigError
from si_embodied.ros_nodes.recording.bags import COMPRESSIONS

IMAGE_FORMATS = ("jpeg", "png", "raw")


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """The recorder node."""

    output: Annotated[str, Doc("folder to create; empty: recording_ and the time, in the working directory")] = ""
    cameras: Annotated[
        tuple[str, ...], Doc("the planner's cameras; NAME/depth and NAME/camera_info are recorded too")
    ] = ("head",)
    image_format: Annotated[
        str, Doc("jpeg, png (lossless) or raw; images published compressed are kept as they are")
    ] = "jpeg"
    jpeg_quality: Annotated[int, Doc("1 to 100")] = 90
    depth_compressed: Annotated[bool, Doc("record NAME/depth/compressedDepth instead of NAME/depth")] = False
    compression: Annotated[str, Doc("of the MCAP file: zstd, lz4 or none")] = "zstd"
    topics: Annotated[
        tuple[str, ...], Doc("besides the cameras' topics; recorded once published; replay needs planner/record")
    ] = (
        "planner/record", "planner/plan", "planner/status", "planner/markers", "planner/objects",
        "planner/object_markers", "planner/annotated", "instruction", "emergency_stop", "/tf", "/tf_static",
        "/diagnostics", "odom", "scan", "goal_pose", "navigation/outcome", "arm/goal", "arm/outcome", "gripper/goal",
        "gripper/opening",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check the values."""
        if self.image_format not in IMAGE_FORMATS:
            raise ConfigError(f"expected image_format to be {', '.join(IMAGE_FORMATS)}, got: {self.image_format!r}")
        if self.compression not in COMPRESSIONS:
            raise ConfigError(f"expected compression to be {', '.join(COMPRESSIONS)}, got: {self.compression!r}")
        if not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f"expected jpeg_quality to be 1 to 100, got: {self.jpeg_quality}")

    @property
    def folder(self) -> Path:
        """The folder to create now."""
        now = time.strftime("%Y_%m_%d-%H_%M_%S")
        return Path(self.output).expanduser() if self.output else Path(f"recording_{now}")
