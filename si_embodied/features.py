"""Features that two images share, and images made ready for them. The one module of the core that needs OpenCV.

SIFT (Lowe, IJCV 2004) as RootSIFT (Arandjelović and Zisserman, CVPR 2012), with the colour around each feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONGEST_SIDE_PX = 320
"""Larger images are shrunk to this first: details cost time, and are not needed to 0.1 m."""
_FEATURES, _CONTRAST, _EDGES = 600, 0.01, 20
"""SIFT's settings: more features than by default, for walls and furniture of one colour."""
_CANDIDATES, _FARTHEST = 2, 0.8
"""Each feature is matched with up to this many of the other image, up to this distance of descriptors."""
_BLUR_PX = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Features of one image, each with a similar one of the other."""

    ours: NDArray[np.float64]  # (N, 2), pixels in the one image
    theirs: NDArray[np.float64]  # (N, 2), pixels in the other
    feature: NDArray[np.intp]  # (N,), number of the feature of the one image, which may have several partners


def shrunk(image: NDArray[Any]) -> NDArray[Any]:
    """The image (H, W) or (H, W, 3), at most 320 pixels long: colours averaged, depths picked."""
    ratio = _LONGEST_SIDE_PX / max(image.shape[:2])
    if ratio >= 1:
        return image
    cv2 = _opencv()
    size = tuple(max(1, round(side * ratio)) for side in image.shape[1::-1])
    how = cv2.INTER_AREA if image.ndim == 3 else cv2.INTER_NEAREST
    small: NDArray[Any] = cv2.resize(image, size, interpolation=how)
    return small


def blurred(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image (H, W, 3) without its finest details."""
    smooth: NDArray[np.uint8] = _opencv().GaussianBlur(image, (0, 0), _BLUR_PX)
    return smooth


def pairs(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Pairs:
    """The features that two images (H, W, 3) may share.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    (ours, wanted), (theirs, offered) = _features(one), _features(other)
    found = _opencv().BFMatcher().knnMatch(wanted, offered, k=_CANDIDATES) if len(wanted) and len(offered) else ()
    near = [pair for partners in found for pair in partners if pair.distance < _FARTHEST]
    feature = np.array([pair.queryIdx for pair in near], np.intp)
    return Pairs(ours[feature], theirs[np.array([pair.trainIdx for pair in near], np.intp)], feature)


def nearest_pixels(pixels: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The columns and rows (N,) of the nearest pixels inside an image of that shape."""
    u, v = np.clip(np.round(pixels).astype(np.intp), 0, (shape[1] - 1, shape[0] - 1)).T
    return u, v


def _features(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Pixels (N, 2) and descriptors (N, 131): RootSIFT and the colour around the pixel (CIELAB)."""
    cv2 = _opencv()
    sift = cv2.SIFT_create(nfeatures=_FEATURES, contrastThreshold=_CONTRAST, edgeThreshold=_EDGES)
    keypoints, descriptors = sift.detectAndCompute(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None)
    if descriptors is None:
        return np.zeros((0, 2)), np.zeros((0, 131), np.float32)
    pixels = np.array([point.pt for point in keypoints])
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    u, v = nearest_pixels(pixels, rgb.shape)
    colours = blurred(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB))[v, u] / 100
    return pixels, np.hstack([root, colours]).astype(np.float32)


def _opencv() -> Any:
    with extra("bags"):
        import cv2
    return cv2
