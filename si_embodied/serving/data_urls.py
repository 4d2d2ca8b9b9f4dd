"""Images as data URLs, as chat clients send them."""

from __future__ import annotations

import base64
import binascii
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import MessageError, RequestRefused, extra, shown
from si_embodied.images.files import rgb_of

with extra("serve"):
    from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

MOST_PIXELS = 32 * 1280 * 720
"""Of all images in one request: the 32 frames of a video of VSI-Bench. Decoded, they take 88 MB."""
MOST_HELD_PIXELS = 8 * MOST_PIXELS
"""Of all requests that wait for the model or are being answered; they take 708 MB."""


class HeldPixels:
    """Bounds the memory of the images that are decoded while their requests wait."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._pixels = 0

    @contextmanager
    def of(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[None]:
        """Count a request's images until its answer ends.

        Raises:
            RequestRefused: other requests hold too many.
        """
        pixels = sum(image.shape[0] * image.shape[1] for image in images)
        if self._pixels + pixels > MOST_HELD_PIXELS:
            raise RequestRefused(
                "busy", f"the images of waiting requests have {self._pixels} pixels already; retry in a while"
            )
        self._pixels += pixels
        try:
            yield
        finally:
            self._pixels -= pixels


class DataUrls:
    """Decodes the images of one request, up to a limit of pixels in all."""

    def __init__(self) -> None:
        self._pixels = 0  # so far

    def read(self, url: str) -> NDArray[np.uint8]:
        """Decode a data URL, (H, W, 3). The bytes say whether it is PNG or JPEG; some clients label one as the other.

        Raises:
            MessageError: it is something else, or there are too many pixels.
        """
        header, comma, data = url.partition(",")
        if not (header[:5].lower() == "data:" and header[-7:].lower() == ";base64" and comma):
            raise MessageError(f"expected an image as a data URL (data:image/png;base64,…), got: {shown(url)}")
        try:
            plain = base64.b64decode(data, validate=True)
            with Image.open(io.BytesIO(plain), formats=("PNG", "JPEG")) as image:
                self._pixels += image.width * image.height  # before decoding: a small file can be a huge image
                if self._pixels > MOST_PIXELS:
                    raise MessageError(
                        f"expected images of at most {MOST_PIXELS} pixels in all (32 of 1280 x 720), got at least "
                        f"{self._pixels}; send fewer or smaller images"
                    )
                return rgb_of(image)
        except MessageError:
            raise
        except binascii.Error as error:
            raise MessageError(f"not base64: {error}") from None
        except Exception as error:  # noqa: BLE001 - Pillow raises a dozen types
            raise MessageError(f"not a PNG or JPEG image: {error}") from None
