"""Images and depth from files, in the forms that cameras and other programs write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from si_embodied.errors import ObservationError, extra

T = TypeVar("T")

_DEPTH_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's, of one channel with more than 8 bits
M_PER_MM = 0.001


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A colour image as (H, W, 3), upright as its EXIF orientation says.

    Raises:
        ObservationError: no such file, or not an 8-bit image.
        MissingExtraError: Pillow is not installed.
    """
    return _image(path, rgb_of)


def read_depth(path: Path, *, integer_m: float = M_PER_MM) -> NDArray[np.float32]:
    """Depth in metres, (H, W).

    Floating-point files (.npy, TIFF) hold metres; integer files (16-bit PNG or TIFF, .npy) hold millimetres, as by
    REP 118 and the data sets that follow it, or units of `integer_m` metres.

    Raises:
        ObservationError: no such file, or not one channel of depth.
        MissingExtraError: Pillow is not installed.
    """
    values = _array(path) if path.suffix.lower() == ".npy" else _image(path, _depth)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu" or values.dtype.itemsize == 1:
        raise ObservationError(
            f"{str(path)!r} is not a depth image (it is {values.dtype}, {values.shape}); give one channel of "
            "millimetres (16-bit PNG, integer .npy) or metres (floating-point .npy or TIFF)"
        )
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float32: infinite, which is no return
            return values.astype(np.float32)
    return values.astype(np.float32) * np.float32(integer_m)


def rgb_of(image: Any) -> NDArray[np.uint8]:
    """A Pillow image as colours (H, W, 3): upright as its EXIF orientation says, and on white where it is transparent.

    Raises:
        ValueError: it has one channel of more than 8 bits, which Pillow would clip to white.
    """
    from PIL import Image, ImageOps

    if image.mode in _DEPTH_MODES:
        raise ValueError(f"it has one channel of mode {image.mode}, like a depth image; give 8 bits a channel")
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        opaque = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return np.asarray(upright.convert("RGB"), dtype=np.uint8)


def _depth(image: Any) -> NDArray[Any]:
    from PIL import ImageOps

    return np.asarray(ImageOps.exif_transpose(image))


def _image(path: Path, read: Callable[[Any], T]) -> T:
    """What `read` makes of an image file."""
    with extra("sim"):
        from PIL import Image
    try:
        with Image.open(path) as image:
            return read(image)
    except FileNotFoundError as error:
        raise ObservationError(f"no such image: {str(path)!r}") from error
    except Exception as error:  # Pillow raises a dozen types for damaged files, one for images that are too big
        raise ObservationError(
            f"{str(path)!r} is not an image that can be used ({error}); give PNG, JPEG or TIFF"
        ) from error


def _array(path: Path) -> NDArray[Any]:
    """The array in an .npy file; nothing is unpickled, and no more memory is taken than the file has bytes."""
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray):
            mapped.close()
            raise TypeError("it is an .npz archive")
        return np.array(mapped)
    except FileNotFoundError as error:
        raise ObservationError(f"no such depth file: {str(path)!r}") from error
    except Exception as error:  # numpy passes on what its header parser raises
        raise ObservationError(f"{str(path)!r} is not a numpy array file: {error}") from error
