"""Compressed images (image_transport's plugins `compressed` and `compressedDepth`), refused by size before decoding."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import ObservationError
from si_embodied.ros_nodes.sensing.encodings import DepthImageError
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_PIXELS = 4096 * 4096
"""Per image: 50 MB of RGB. A PNG of 20 kB can claim a hundred times as much."""

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_DEPTH_HEADER = struct.Struct("<iff")  # compressed_depth_image_transport's ConfigHeader: format, quantisation a and b
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; the three are no frame headers
_JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length


def size_of(image: Any, *, skip: int = 0) -> tuple[int, int]:
    """Width and height that the header of a JPEG or PNG `sensor_msgs/CompressedImage` claims, without decoding it.

    Args:
        image: the message.
        skip: bytes before the header.

    Raises:
        ObservationError: neither a JPEG nor a whole PNG, or larger than `MOST_PIXELS`.
    """
    data = memoryview(image.data).cast("B")[skip:]
    size = None
    if bytes(data[:8]) == _PNG and bytes(data[12:16]) == b"IHDR" and _is_whole_png(data):
        size = struct.unpack(">II", data[16:24])
    elif bytes(data[:2]) == _JPEG:
        size = _jpeg_size(data)
    if size is None:
        raise ObservationError(
            f"cannot decode a compressed image of format {image.format!r}: its {len(data)} bytes are neither JPEG nor "
            "PNG, or are cut short; fix its source"
        )
    width, height = size
    if not 0 < width * height <= MOST_PIXELS:
        raise ObservationError(
            f"expected a compressed image of 1 to {MOST_PIXELS} pixels, got: {width} x {height} in {len(data)} bytes"
        )
    return width, height


def _is_whole_png(data: memoryview) -> bool:
    """Whether all chunks up to the last lie within the data; OpenCV reserves the length that a chunk claims."""
    at = len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if bytes(data[at + 4 : at + 8]) == b"IEND":
            return end <= len(data)
        at = end
    return False


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """Width and height of the frame header (ITU-T T.81, B.2.2); None if there is none before the image data."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        elif marker == 0xDA:  # the image data begins
            return None
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def colour(image: Any) -> NDArray[np.uint8]:
    """See `bridge.rgb_of_compressed`."""
    cv2 = import_opencv()
    size_of(image)
    # A camera's pixels are where its calibration says, whatever orientation the file header asks for.
    bgr = _decoded(image, 0, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    rgb: NDArray[np.uint8] = bgr[..., ::-1]
    return rgb


def depth_values(image: Any) -> NDArray[np.uint16] | NDArray[np.float32]:
    """The numbers (H, W) of a depth `sensor_msgs/CompressedImage`: integers in the camera's unit, or metres.

    Takes `compressedDepth` in PNG (12 bytes of header before it; 32FC1 is quantised as inverse depth, a / (value - b))
    and a plain 16-bit PNG.

    Raises:
        ObservationError: another format, a damaged image, or one that is too large.
    """
    cv2 = import_opencv()
    data = bytes(memoryview(image.data).cast("B")[: _DEPTH_HEADER.size + len(_PNG)])
    skip = 0 if data.startswith(_PNG) else _DEPTH_HEADER.size
    if data[skip:] != _PNG and not data.startswith(_PNG):
        raise DepthImageError(
            f"expected depth in PNG, got a compressed image of format {image.format!r}; set the publisher's parameter "
            "format to png"
        )
    size_of(image, skip=skip)
    values = _decoded(image, skip, cv2.IMREAD_UNCHANGED)
    if values.dtype != np.uint16 or values.ndim != 2:
        raise DepthImageError(f"expected 16-bit depth, got: {values.dtype} with shape {values.shape}; {image.format!r}")
    if not (skip and image.format.strip().startswith("32FC1")):
        return values
    _, a, b = _DEPTH_HEADER.unpack_from(data)
    with np.errstate(all="ignore"):
        depth = np.where(values > 0, np.float32(a) / (values - np.float32(b)), np.float32(0))
    return depth.astype(np.float32)


def _decoded(image: Any, skip: int, flags: int) -> NDArray[Any]:
    """What OpenCV makes of the bytes after `skip`."""
    cv2 = import_opencv()
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(image.data, np.uint8)[skip:], flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ObservationError(f"cannot decode a compressed image of format {image.format!r}; fix its source")
    return pixels
