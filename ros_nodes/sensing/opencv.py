"""OpenCV, imported where it is needed, with an error that says what to install."""

from __future__ import annotations

from typing import Any

from si_embodied.errors import MissingLibraryError, extra

_DEBIAN_PACKAGES = {"libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0"}
"""What the wheel of opencv-python links to and a minimal container image lacks."""


def import_opencv() -> Any:
    """The module `cv2`: from the extras `ros` and `bags`, or the distribution's python3-opencv beside an installed ROS.

    Raises:
        MissingExtraError: OpenCV is not installed.
        MissingLibraryError: OpenCV is installed, but a system library that it links to is not.
    """
    try:
        with extra("bags"):
            import cv2
    except ImportError as error:
        for library, package in _DEBIAN_PACKAGES.items():
            if library in str(error):
                raise MissingLibraryError("opencv-python", library, package) from error
        raise
    return cv2
