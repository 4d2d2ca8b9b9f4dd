"""What depth cameras that triangulate (structured light, stereo) do to depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.geometry import Intrinsics, Pose
    from si_embodied.sensor_noise.profiles import DepthNoise

PATCH_M = 0.05
"""Edge of the cubes of the map in which a surface mirrors or does not."""
_DIRECTIONS = 3
"""It mirrors from some directions only, as highlights do: each axis of the unit vector to it has bins of 1 / 3."""
_OFFSET = (0.37, 0.61, 0.53)
"""Of the cubes, in edges: floors and tables, at round heights, would lie on the border of two."""


def measured(
    depth_m: NDArray[np.float32],
    k: Intrinsics,
    T_map_camera: Pose,
    noise: DepthNoise,
    bias: float,
    salt: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The depth as such a camera measures it.

    The camera measures disparity, which is inversely proportional to depth. So noise and steps of the same size in
    disparity grow with the square of the distance: Khoshelham and Elberink, "Accuracy and resolution of Kinect depth
    data for indoor mapping applications", Sensors 12(2), 2012. The order (displaced pixels, then noise, then rounding)
    is that of Handa et al., "A benchmark for RGB-D visual odometry, 3D reconstruction and SLAM", ICRA 2014, after
    Barron and Malik, "Intrinsic scene properties from a single RGB-D image", CVPR 2013.

    Args:
        depth_m: (H, W), metres along the optical axis, 0 = no return.
        k: the camera.
        T_map_camera: where it is: surfaces that mirror stay where they are.
        noise: how much.
        bias: of this camera in this episode, in standard deviations of `noise.bias_m`.
        salt: decides which surfaces mirror, and from where.
        rng: draws what differs from image to image.

    Returns:
        (H, W), metres, 0 = no return.
    """
    hidden = depth_m <= 0
    if noise.baseline_m:
        hidden |= seen_by_one_eye(depth_m, k.fx * noise.baseline_m)
    if noise.reflection_ratio:
        hidden |= _mirrors(depth_m, k, T_map_camera, salt) < noise.reflection_ratio
    if noise.dropout_ratio:
        hidden |= rng.random(depth_m.shape) < noise.dropout_ratio
    seen = np.where(hidden, np.float32(0), depth_m)
    if noise.edge_px:
        seen = _frayed(seen, noise.edge_px, rng)
    inverse = np.divide(1.0, seen, out=np.zeros(seen.shape), where=seen > 0)  # a disparity, 1/m
    if noise.noise_m or noise.bias_m:
        inverse += np.where(seen > 0, bias * noise.bias_m + rng.normal(0.0, noise.noise_m, seen.shape), 0.0)
    if noise.step_m:
        inverse = np.rint(inverse / noise.step_m) * noise.step_m
    if noise.noise_m or noise.bias_m or noise.step_m:
        seen = np.divide(1.0, inverse, out=np.zeros(seen.shape), where=inverse > 1e-6)
    in_range = (seen >= noise.min_m) & (seen <= noise.max_m)
    return np.where(in_range, seen, 0.0).astype(np.float32)


def seen_by_one_eye(depth_m: NDArray[np.float32], focal_baseline_px_m: float) -> NDArray[np.bool_]:
    """(H, W), the pixels of the left eye that a nearer surface hides from the right eye.

    Column u is seen at column u - disparity by the right eye. A surface is hidden there if one to the right of it is
    seen at its column or further left. So a background at z has no return left of a surface at z0, in a band of
    focal length * baseline * (1 / z0 - 1 / z) pixels.
    """
    disparity = np.divide(focal_baseline_px_m, depth_m, out=np.zeros(depth_m.shape), where=depth_m > 0)
    column = np.arange(depth_m.shape[1]) - disparity
    to_the_right = np.full_like(column, np.inf)
    to_the_right[:, :-1] = np.minimum.accumulate(column[:, :0:-1], axis=1)[:, ::-1]
    hidden: NDArray[np.bool_] = to_the_right <= column
    return hidden


def _frayed(depth_m: NDArray[np.float32], edge_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Each pixel's depth taken from a place close by: nothing changes but edges, which fray."""
    height, width = depth_m.shape
    v, u = np.indices(depth_m.shape)
    dv, du = np.rint(rng.normal(0.0, edge_px, (2, height, width))).astype(np.intp)
    moved: NDArray[np.float32] = depth_m[np.clip(v + dv, 0, height - 1), np.clip(u + du, 0, width - 1)]
    return moved


def _mirrors(depth_m: NDArray[np.float32], k: Intrinsics, T_map_camera: Pose, salt: int) -> NDArray[np.float64]:
    """(H, W), a number from 0 to 1: a hash of the cube of the map that a pixel shows, and of the direction to it."""
    v, u = np.indices(depth_m.shape)
    rays = np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones(depth_m.shape)], axis=-1)
    directions = (rays / np.linalg.norm(rays, axis=-1, keepdims=True)) @ T_map_camera.rotation.T
    cubes = np.floor(T_map_camera.apply(rays * depth_m[..., None]) / PATCH_M + _OFFSET)
    bins = np.floor((directions + 1.0) * _DIRECTIONS)  # 0 to 6
    cubes = (cubes * (2 * _DIRECTIONS + 1) + bins).astype(np.int64).astype(np.uint64)
    mixed = np.full(depth_m.shape, salt, np.uint64)
    for axis in range(3):  # the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), once for each axis
        mixed = (mixed + cubes[..., axis]) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed.astype(np.float64) / 2.0**64
