"""Images as data URLs, as chat clients send them."""

from __future__ import annotations

import base64
import binascii
import io
import re
import urllib.parse
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import MessageError, RequestRefused, extra, shown
from si_embodied.images.files import rgb_of

with extra("serve"):
    from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

MOST_PIXELS = 32 * 1280 * 720
"""Of all images in one request: the 32 frames of a video of VSI-Bench. Decoded, they take 88 MB."""
MOST_HELD_PIXELS = 8 * MOST_PIXELS
"""Of all requests that wait for the model or are being answered; they take 708 MB."""


_HEADER = re.compile(r"data:[^,]*; *base64", re.IGNORECASE)
_SPACE = b" \t\n\f\r"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


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

        As in browsers, the base64 may have white space in it and lack its padding; it may also be of the URL-safe kind.

        Raises:
            MessageError: it is something else, or there are too many pixels.
        """
        header, comma, data = url.partition(",")
        if not (comma and _HEADER.fullmatch(header)):
            raise MessageError(f"expected an image as a data URL (data:image/png;base64,…), got: {shown(url)}")
        plain = _plain(data)
        try:
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
        except UnidentifiedImageError:  # whose message shows an address in memory
            raise MessageError(f"not a PNG or JPEG image: {len(plain)} bytes that begin with {plain[:8]!r}") from None
        except Exception as error:  # noqa: BLE001 - Pillow raises a dozen types
            raise MessageError(f"not a PNG or JPEG image: {error}") from None


def _plain(text: str) -> bytes:
    """Decode base64 as a data URL has it: https://infra.spec.whatwg.org/#forgiving-base64-decode.

    Raises:
        MessageError: it is not base64.
    """
    data = urllib.parse.unquote_to_bytes(text).translate(_URL_SAFE, delete=_SPACE).rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error:
        wrong = re.search(rb"[^A-Za-z0-9+/]", data)
        why = f"{len(data)} characters, one too many or too few" if wrong is None else f"it contains {wrong[0]!r}"
        raise MessageError(f"the image's data are not base64: {why}") from None
