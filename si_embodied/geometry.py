"""Rigid transforms, the pinhole camera, and depth at a pixel.

Frames: the map is x forward, y left, z up. Cameras use the ROS optical frame (x right, y down, z forward).
Pixel coordinates are continuous, with (0, 0) at the *centre* of the top-left pixel, as in ROS and OpenCV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


MAX_LENGTH_M = 1e9
"""No coordinate in metres is larger; with larger ones, squares and products could overflow."""

MIN_DEPTH_M, MAX_DEPTH_M = 0.01, 1000.0
"""A depth outside these bounds is no return: no depth camera measures nearer or farther."""

_MIN_FOCAL_PX, _MAX_PX = 1e-3, 1e7


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A rigid transform. `T_a_b` maps points from frame b to frame a, and is b's pose in a."""

    rotation: NDArray[np.float64]  # (3, 3), orthonormal, determinant 1
    translation: NDArray[np.float64]  # (3,), metres

    def __post_init__(self) -> None:
        """Convert to float64; raise `ConfigError` if this is not a rigid transform of at most `MAX_LENGTH_M`."""
        rotation = np.asarray(self.rotation, dtype=np.float64)
        translation = np.asarray(self.translation, dtype=np.float64)
        if rotation.shape != (3, 3) or translation.shape != (3,):
            raise ConfigError(
                f"a pose is a (3, 3) rotation and a (3,) translation, got: {rotation.shape} and {translation.shape}"
            )
        if not (math.isfinite(rotation.sum()) and all(abs(x) <= MAX_LENGTH_M for x in translation.tolist())):
            raise ConfigError(
                f"a pose must be finite and its translation below {MAX_LENGTH_M:g} m, got translation {translation}; "
                "check the source of the transform"
            )
        if not _is_rotation(rotation):
            raise ConfigError(f"not a rotation matrix (orthonormal, determinant 1):\n{rotation}")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    @classmethod
    def identity(cls) -> Pose:
        """The identity transform."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_quaternion(cls, xyzw: ArrayLike, translation: ArrayLike = (0.0, 0.0, 0.0)) -> Pose:
        """From a quaternion in ROS order (x, y, z, w), not all zero; it need not be normalised."""
        q = np.asarray(xyzw, dtype=np.float64)
        norm = float(np.linalg.norm(q)) if q.shape == (4,) else math.nan
        if not 1e-9 < norm < math.inf:
            raise ConfigError(f"a quaternion is four finite numbers (x, y, z, w), not all zero, got: {q}")
        x, y, z, w = q / norm
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        return cls(rotation, np.asarray(translation, dtype=np.float64))

    @classmethod
    def from_rpy(cls, roll: float, pitch: float, yaw: float, translation: ArrayLike = (0.0, 0.0, 0.0)) -> Pose:
        """From fixed-axis roll, pitch, yaw in radians (REP 103: R = Rz(yaw) Ry(pitch) Rx(roll))."""
        cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
        cy, sy = math.cos(yaw), math.sin(yaw)
        rotation = np.array(
            [
                [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                [-sp, cp * sr, cp * cr],
            ]
        )
        return cls(rotation, np.asarray(translation, dtype=np.float64))

    @classmethod
    def planar(cls, x: float, y: float, yaw: float, z: float = 0.0) -> Pose:
        """A ground pose: x, y and z in metres, yaw in radians about the map's z axis."""
        return cls.from_rpy(0.0, 0.0, yaw, (x, y, z))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Pose:
        """From a homogeneous (4, 4) matrix; raise `ConfigError` if it is not a rigid transform."""
        m = np.asarray(matrix, dtype=np.float64)
        if m.shape != (4, 4):
            raise ConfigError(f"a homogeneous transform is (4, 4), got: {m.shape}")
        return cls(m[:3, :3], m[:3, 3])

    def matrix(self) -> NDArray[np.float64]:
        """The homogeneous (4, 4) matrix."""
        m = np.eye(4)
        m[:3, :3], m[:3, 3] = self.rotation, self.translation
        return m

    def quaternion(self) -> NDArray[np.float64]:
        """The unit quaternion (x, y, z, w) with w >= 0.

        Uses the eigenvector method of Bar-Itzhack (2000), which has no singularities.
        """
        r = self.rotation
        k = np.array(
            [
                [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
                [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
                [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
                [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r.trace()],
            ]
        )
        q: NDArray[np.float64] = np.linalg.eigh(k / 3.0)[1][:, -1]
        return -q if q[3] < 0 else q

    def roll_pitch_yaw(self) -> tuple[float, float, float]:
        """Fixed-axis roll, pitch and yaw in radians, as in URDF (REP 103): the inverse of `from_rpy`."""
        r = self.rotation
        pitch = math.atan2(-r[2, 0], math.hypot(r[0, 0], r[1, 0]))  # exact near 90°, unlike the arcsine
        return math.atan2(r[2, 1], r[2, 2]), pitch, self.yaw

    @property
    def yaw(self) -> float:
        """Heading of the x axis about the map's z axis, in radians, in (-pi, pi]."""
        return math.atan2(self.rotation[1, 0], self.rotation[0, 0])

    def __matmul__(self, other: Pose) -> Pose:
        """Compose transforms: `T_a_b @ T_b_c` is `T_a_c`."""
        return Pose(self.rotation @ other.rotation, self.rotation @ other.translation + self.translation)

    def inverse(self) -> Pose:
        """The inverse transform: `T_b_a` for `T_a_b`."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)

    def differs(self, other: Pose, *, by_m: float, by_rad: float) -> bool:
        """Whether the poses are more than `by_m` metres apart, or turned by more than `by_rad` radians."""
        between = self.inverse() @ other
        turned_rad = math.acos(float(np.clip((np.trace(between.rotation) - 1) / 2, -1.0, 1.0)))
        return bool(np.linalg.norm(between.translation) > by_m or turned_rad > by_rad)

    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """Transform points (..., 3), in metres, from the source frame to the target frame."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation


def _is_rotation(matrix: NDArray[np.float64]) -> bool:
    """Whether a (3, 3) matrix is orthonormal within 1e-4, and no reflection.

    In plain floats, which for nine numbers are faster than NumPy: poses are made wherever there is a loop.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    products = (
        a * a + b * b + c * c - 1, d * d + e * e + f * f - 1, g * g + h * h + i * i - 1,
        a * d + b * e + c * f, a * g + b * h + c * i, d * g + e * h + f * i,
    )  # fmt: skip
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return determinant > 0 and all(abs(product) <= 1e-4 for product in products)


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A pinhole camera without distortion. All values are in pixels at this width and height."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        """Raise `ConfigError` if the size is not positive, or the focal lengths or principal point are implausible."""
        if self.width < 1 or self.height < 1:
            raise ConfigError(f"expected a positive image size, got: {self.width} x {self.height}")
        focal = all(_MIN_FOCAL_PX <= length <= _MAX_PX for length in (self.fx, self.fy))
        if not (focal and abs(self.cx) <= _MAX_PX and abs(self.cy) <= _MAX_PX):
            raise ConfigError(
                f"expected focal lengths from {_MIN_FOCAL_PX:g} to {_MAX_PX:g} pixels and a principal point "
                f"below {_MAX_PX:g} pixels, got: {self}"
            )

    @classmethod
    def from_vertical_fov(cls, width: int, height: int, fov_y_rad: float) -> Intrinsics:
        """A camera with square pixels and a centred principal point, as in simulators; 0 < `fov_y_rad` < pi."""
        if not 0 < fov_y_rad < math.pi:
            raise ConfigError(f"expected a vertical field of view between 0 and pi radians, got: {fov_y_rad}")
        f = height / 2 / math.tan(fov_y_rad / 2)
        return cls(width, height, f, f, (width - 1) / 2, (height - 1) / 2)

    @classmethod
    def from_matrix(cls, matrix: ArrayLike, width: int, height: int) -> Intrinsics:
        """From a (3, 3) camera matrix; raise `ConfigError` for any other shape."""
        k = np.asarray(matrix, dtype=np.float64)
        if k.shape != (3, 3):
            raise ConfigError(f"a camera matrix is (3, 3), got: {k.shape}")
        return cls(width, height, float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]))

    def matrix(self) -> NDArray[np.float64]:
        """The (3, 3) camera matrix."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def half_view_rad(self) -> float:
        """Half the horizontal field of view, radians."""
        return math.atan2(self.width / 2, self.fx)

    def scaled(self, width: int, height: int) -> Intrinsics:
        """The same camera at another resolution. Pixel centres are at integers, hence the half-pixel shift."""
        sx, sy = width / self.width, height / self.height
        cx, cy = (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5
        return Intrinsics(width, height, self.fx * sx, self.fy * sy, cx, cy)

    def cropped(self, left: int, top: int, width: int, height: int) -> Intrinsics:
        """The same camera for a crop of its image."""
        return Intrinsics(width, height, self.fx, self.fy, self.cx - left, self.cy - top)


def deproject(intrinsics: Intrinsics, uv: ArrayLike, depth_m: ArrayLike) -> NDArray[np.float64]:
    """Back-project pixels (..., 2) at depths (...) along the optical axis to points (..., 3), optical frame, metres."""
    pixels, z = np.asarray(uv, dtype=np.float64), np.asarray(depth_m, dtype=np.float64)
    x = (pixels[..., 0] - intrinsics.cx) / intrinsics.fx * z
    y = (pixels[..., 1] - intrinsics.cy) / intrinsics.fy * z
    return np.stack([x, y, z], axis=-1)


def deproject_image(intrinsics: Intrinsics, depth_m: NDArray[np.float32], *, step: int = 1) -> NDArray[np.float64]:
    """Back-project a depth image (H, W) to optical-frame points; pixels without a return become NaN.

    Returns:
        Points (H, W, 3), or those of every `step`-th row and column.
    """
    height, width = depth_m.shape
    depth_m = depth_m[::step, ::step]
    points = np.empty((*depth_m.shape, 3))
    z = points[..., 2]
    z[...] = np.where(is_return(depth_m), depth_m, np.nan)
    np.multiply((np.arange(0, width, step) - intrinsics.cx) / intrinsics.fx, z, out=points[..., 0])
    np.multiply(((np.arange(0, height, step) - intrinsics.cy) / intrinsics.fy)[:, None], z, out=points[..., 1])
    return points


def deproject_to_map(
    intrinsics: Intrinsics, depth_m: NDArray[np.float32], T_map_camera: Pose, *, step: int = 1
) -> NDArray[np.float64]:
    """Back-project a depth image (H, W) to the map; pixels without a return become NaN.

    Returns:
        x, y and z as images, (3, H, W), in metres, or those of every `step`-th row and column: a third of the time of
        `T_map_camera.apply(deproject_image(...))`.
    """
    height, width = depth_m.shape
    rotation, translation = T_map_camera.rotation, T_map_camera.translation
    depth_m = depth_m[::step, ::step]
    z = np.where(is_return(depth_m), depth_m, np.nan).astype(np.float64)
    right = (np.arange(0, width, step) - intrinsics.cx) / intrinsics.fx
    down = (np.arange(0, height, step) - intrinsics.cy) / intrinsics.fy
    planes = np.empty((3, *z.shape))
    for axis in range(3):
        ray = np.add.outer(rotation[axis, 1] * down + rotation[axis, 2], rotation[axis, 0] * right)
        np.multiply(ray, z, out=planes[axis])
        planes[axis] += translation[axis]
    return planes


def is_return(depth_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which depths are measurements: finite, and within `MIN_DEPTH_M` to `MAX_DEPTH_M`."""
    return np.asarray((depth_m >= MIN_DEPTH_M) & (depth_m <= MAX_DEPTH_M))  # False for NaN


def project(intrinsics: Intrinsics, points: ArrayLike) -> NDArray[np.float64]:
    """Project optical-frame points (..., 3) to pixels (..., 2); NaN for points not in front of the camera."""
    p = np.asarray(points, dtype=np.float64)
    z = np.where(p[..., 2] > 1e-9, p[..., 2], np.nan)
    return np.stack(
        [p[..., 0] / z * intrinsics.fx + intrinsics.cx, p[..., 1] / z * intrinsics.fy + intrinsics.cy], axis=-1
    )


@dataclass(frozen=True, slots=True)
class PixelDepth:
    """Robust depth at a pixel, with measures of how far to trust it."""

    depth_m: float  # median over the pixel's own surface; NaN if the patch has no return
    valid_ratio: float  # fraction of the patch with a return
    surface_ratio: float  # fraction of those returns on the pixel's own surface
    spread_m: float  # 10th to 90th percentile range of the valid depths


SURFACE_STEP_M, SURFACE_STEP_RATIO = 0.15, 0.1
"""Depths within this distance, or this fraction of the depth, are one surface: a slanted floor, not a door's edge."""

_NO_DEPTH = PixelDepth(math.nan, 0.0, 0.0, math.nan)


def depth_at(depth_m: NDArray[np.float32], u: float, v: float, *, radius_px: int = 2) -> PixelDepth:
    """Median depth of the surface at pixel (u, v), over a patch of (2 r + 1)^2 pixels clipped at the border.

    Depths that are not finite, or outside `MIN_DEPTH_M` to `MAX_DEPTH_M`, count as no return. If the pixel itself has
    no return, the patch's median selects the surface.
    """
    height, width = depth_m.shape
    column, row = round(u), round(v)
    if not (0 <= column < width and 0 <= row < height):
        return _NO_DEPTH
    patch = depth_m[
        max(0, row - radius_px) : row + radius_px + 1,
        max(0, column - radius_px) : column + radius_px + 1,
    ]
    valid = np.sort(patch[is_return(patch)])
    if valid.size == 0:
        return _NO_DEPTH
    centre = float(depth_m[row, column])
    if not MIN_DEPTH_M <= centre <= MAX_DEPTH_M:
        centre = quantile(valid, 0.5)
    surface = valid[np.abs(valid - centre) <= max(SURFACE_STEP_M, SURFACE_STEP_RATIO * centre)]
    return PixelDepth(
        depth_m=quantile(surface, 0.5) if surface.size else centre,
        valid_ratio=valid.size / patch.size,
        surface_ratio=surface.size / valid.size,
        spread_m=quantile(valid, 0.9) - quantile(valid, 0.1),
    )


def quantile(ordered: NDArray[np.float32] | NDArray[np.float64], share: float) -> float:
    """The value below which a share of sorted values (n,) lies, as `np.quantile`, but made for a few values."""
    before, part = divmod(share * (len(ordered) - 1), 1.0)
    low, high = float(ordered[int(before)]), float(ordered[math.ceil(before + part)])
    return low + part * (high - low)


def heading(T_map_camera: Pose) -> float:
    """Bearing of a camera's optical axis in the map, radians, counter-clockwise from x."""
    x, y, _ = T_map_camera.rotation[:, 2]
    return math.atan2(float(y), float(x))


def wrap_angle(angle_rad: float) -> float:
    """Wrap an angle in radians to (-pi, pi]."""
    wrapped = math.remainder(angle_rad, 2 * math.pi)
    return math.pi if wrapped == -math.pi else wrapped
