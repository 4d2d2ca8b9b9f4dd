"""Images as data URLs, as chat clients send them."""

from __future__ import annotations

import base64
import binascii
import io
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import MessageError, extra, shown

with extra("serve"):
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_PIXELS = 16_000_000
"""Of all images in one request: fifty of 640 x 480."""


class DataUrls:
    """Decodes the images of one request, up to a limit of pixels in all."""

    def __init__(self) -> None:
        self._left = MOST_PIXELS

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
                self._left -= image.width * image.height  # counted before decoding: a small file can be a huge image
                if self._left < 0:
                    raise MessageError(f"expected images of at most {MOST_PIXELS} pixels in all; send smaller ones")
                return np.asarray(image.convert("RGB"))
        except MessageError:
            raise
        except binascii.Error as error:
            raise MessageError(f"not base64: {error}") from None
        except Exception as error:  # noqa: BLE001 - Pillow raises a dozen types
            raise MessageError(f"not a PNG or JPEG image: {error}") from None
