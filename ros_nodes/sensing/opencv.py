"""OpenCV, imported where it is needed, with an error that says what to install."""

from __future__ import annotations

from typing import Any

from si_embodied.errors import BrokenPackageError, MissingExtraError, extra

_FIXES = {
    "libGL.so.1": "apt install libgl1",  # a minimal container image lacks this library and the next
    "libgthread-2.0.so.0": "apt install libglib2.0-0",
    "numpy": "pip install 'numpy<2'",  # the distribution's python3-opencv is built with NumPy 1
    "": "pip install --force-reinstall 'opencv-python<5'",
}
"""By a part of the error's message."""


def import_opencv() -> Any:
    """The module `cv2`: from the extras `ros` and `bags`, or the distribution's python3-opencv beside an installed ROS.

    Raises:
        MissingExtraError: OpenCV is not installed.
        BrokenPackageError: OpenCV is installed but cannot be imported; most often a system library is missing.
    """
    try:
        with extra("bags"):
            import cv2
    except MissingExtraError:
        raise
    except ImportError as error:
        fix = next(fix for part, fix in _FIXES.items() if part in str(error))
        raise BrokenPackageError("opencv-python", error, fix) from error
    return cv2
