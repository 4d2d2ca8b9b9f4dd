"""A camera's calibration in a file, in the YAML of ROS's camera_calibration and camera_info_manager."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.config import load_yaml
from si_embodied.errors import ConfigError, ObservationError
from si_embodied.ros_nodes.sensing.bridge import camera_model_of

if TYPE_CHECKING:
    from si_embodied.ros_nodes.sensing.camera_models import CameraModel

_NO_REGION = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)


def read_camera(path: Path) -> CameraModel:
    """Read a camera's calibration.

    Raises:
        ConfigError: the file is missing, or is not such a calibration.
    """
    values = load_yaml(path)
    try:
        info = SimpleNamespace(
            header=SimpleNamespace(frame_id=str(values.get("camera_name", "camera"))),
            width=int(values["image_width"]),
            height=int(values["image_height"]),
            k=[float(each) for each in values["camera_matrix"]["data"]],
            p=[],
            distortion_model=str(values.get("distortion_model", "")),
            d=[float(each) for each in values.get("distortion_coefficients", {}).get("data", [])],
            binning_x=0,
            binning_y=0,
            roi=_NO_REGION,
        )
        return camera_model_of(info)
    except ObservationError as error:
        raise ConfigError(f"{str(path)!r}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{str(path)!r} is not a camera's calibration ({type(error).__name__}: {error}); expected ROS's YAML with "
            "image_width, image_height, camera_matrix, distortion_model and distortion_coefficients"
        ) from error


def camera_yaml(model: CameraModel) -> str:
    """A camera's calibration as ROS reads it from a file; P is that of images undistorted with the same matrix."""
    import yaml

    k = model.intrinsics.matrix()
    return yaml.safe_dump(
        {
            "image_width": model.intrinsics.width,
            "image_height": model.intrinsics.height,
            "camera_name": "camera",
            "camera_matrix": _matrix(k),
            "distortion_model": model.distortion_model or "plumb_bob",
            "distortion_coefficients": _matrix(np.array([model.distortion or (0.0,) * 5])),
            "rectification_matrix": _matrix(np.eye(3)),
            "projection_matrix": _matrix(np.hstack([k, np.zeros((3, 1))])),
        },
        sort_keys=False,
        default_flow_style=None,
        width=1000,
    )


def _matrix(values: Any) -> dict[str, object]:
    rows, columns = values.shape
    return {"rows": rows, "cols": columns, "data": [round(float(each), 8) for each in values.ravel()]}
