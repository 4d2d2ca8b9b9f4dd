"""One image with its depth and calibration as a `CameraFrame`: the node and a replay of its recording do the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.errors import ObservationError
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.encodings import DepthImageError, DepthLimits
from si_embodied.types import CameraFrame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.geometry import Pose
    from si_embodied.ros_nodes.node.settings import NodeSettings
    from si_embodied.ros_nodes.sensing.bridge import Message


def frame_of(
    name: str, image: Message, depth: Message | None, info: Message, settings: NodeSettings, T_map_camera: Pose
) -> CameraFrame:
    """Decode and undistort an image and its depth.

    Args:
        name: of the camera.
        image: `sensor_msgs/Image` or `CompressedImage`; its stamp is the frame's.
        depth: the depth image taken with it, if there is one.
        info: the camera's `sensor_msgs/CameraInfo`.
        settings: whether images are rectified, and what the depth sensor measures.
        T_map_camera: where the camera was at the image's stamp.

    Raises:
        ObservationError: something cannot be decoded, or sizes differ; `DepthImageError` if that is the depth.
    """
    size = bridge.image_size(image)
    model = bridge.camera_model_of(info, rectified=settings.rectified, size=size)
    expected = (model.intrinsics.width, model.intrinsics.height)
    if size != expected:  # before anything is decoded: the header of a compressed image may claim any size
        raise ObservationError(
            f"the image of the camera {name!r} is {size[0]} x {size[1]}, but its camera_info is for "
            f"{expected[0]} x {expected[1]}; publish the camera_info of these images, with its region and binning"
        )
    rgb = bridge.rgb_of(image) if hasattr(image, "encoding") else bridge.rgb_of_compressed(image)
    stamp_s = bridge.seconds(image.header.stamp)
    metres = None
    if depth is not None:
        metres = model.undistorted(_depth(name, depth, settings, expected))
    return CameraFrame(name, stamp_s, model.undistorted(rgb), metres, model.intrinsics, T_map_camera)


def _depth(name: str, depth: Message, settings: NodeSettings, expected: tuple[int, int]) -> NDArray[np.float32]:
    limits = DepthLimits(settings.depth_scale, settings.min_depth_m, settings.max_depth_m)
    try:
        metres = bridge.depth_of(depth, limits)
    except ObservationError as error:
        raise DepthImageError(f"the depth of the camera {name!r} is refused: {error}") from error
    if metres.shape[::-1] != expected:
        raise DepthImageError(
            f"the depth of the camera {name!r} is {metres.shape[1]} x {metres.shape[0]}, its image {expected[0]} x "
            f"{expected[1]}; register depth to the image"
        )
    return metres
