"""The videos of a data set: one file for a camera, with one episode after another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import extra
from si_embodied.runs import cannot_write

with extra("sim"):
    import imageio_ffmpeg

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODEC = "h264"
_ENCODER = "libx264"
_QUALITY = 18
"""x264's constant rate factor; its own default is 23, and 17 to 18 are taken for visually lossless."""
_KEYFRAMES = 2
"""Every second frame is one, as LeRobot has it: a training loop reads frames in any order."""


@dataclass(frozen=True, slots=True)
class VideoSpan:
    """Where an episode is."""

    file: int
    from_s: float
    to_s: float


class CameraVideo:
    """Writes the frames of one camera; begins another file when one is full."""

    def __init__(
        self, path: Callable[[int], Path], size: tuple[int, int], *, fps: float, pixels: str, most_bytes: int
    ) -> None:
        """Prepare to write; a file is created with its first frame.

        Args:
            path: of the file of a number.
            size: height and width, pixels.
            fps: frames per second.
            pixels: ffmpeg's name of the pixel format.
            most_bytes: of a file before the next one is begun, at an episode's end.
        """
        self._path_of, self._size, self._fps, self._pixels, self._most_bytes = path, size, fps, pixels, most_bytes
        self._writer: Generator[None, Any, None] | None = None
        self._number, self._frames = 0, 0

    def add(self, frames: Iterable[NDArray[np.uint8]]) -> VideoSpan:
        """Append an episode of images (H, W, 3).

        Raises:
            RecordError: the file cannot be written.
        """
        # The file may not be there yet: ffmpeg has just been started.
        if self._writer is not None and self._path.exists() and self._path.stat().st_size >= self._most_bytes:
            self.close()
            self._number, self._frames = self._number + 1, 0
        first = self._frames
        try:
            for frame in frames:
                self._open().send(np.ascontiguousarray(frame))
                self._frames += 1
        except OSError as error:
            self._writer = None
            raise cannot_write(self._path, error) from error
        return VideoSpan(self._number, first / self._fps, self._frames / self._fps)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            if not self._path.exists() or self._path.stat().st_size == 0:
                raise cannot_write(self._path, OSError("nothing was written"))

    @property
    def _path(self) -> Path:
        return self._path_of(self._number)

    def _open(self) -> Generator[None, Any, None]:
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            height, width = self._size
            self._writer = imageio_ffmpeg.write_frames(
                str(self._path),
                (width, height),
                fps=self._fps,
                codec=_ENCODER,
                pix_fmt_out=self._pixels,
                macro_block_size=1,
                output_params=["-crf", str(_QUALITY), "-g", str(_KEYFRAMES), "-bf", "0", "-threads", "1"],
                ffmpeg_log_level="error",
            )
            self._writer.send(None)
        return self._writer
