"""Turns a subgoal in pixels into a goal in metres, using the depth, intrinsics and pose of the subgoal's own image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.config import GroundingConfig
from si_embodied.geometry import Pose, deproject, deproject_image, depth_at
from si_embodied.skills import Grasp
from si_embodied.standoff import arrival, standoff
from si_embodied.types import Code, Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import Embodiment
    from si_embodied.skills import NavigateTo
    from si_embodied.types import CameraFrame, Observation

_MAX_OBJECT_HEIGHT_M = 0.3
"""Tallest object that can be picked from above. A surface farther below is not the object's support."""
_FEWEST_POINTS = 6
"""Fewer pixels above a support are noise."""
_LEVEL_M = 0.006
"""Bin width of the height histogram, and how far above the seed point its support may be measured."""


@dataclass(frozen=True, slots=True)
class Grounder:
    """Projects image points into the map and finds standoff and grasp poses there; `Subgoal.ground` calls it."""

    embodiment: Embodiment
    config: GroundingConfig = GroundingConfig()

    def check_age(self, what: str, stamp_s: float, observation: Observation) -> Refusal | None:
        """Why something remembered cannot be used any more: it was seen more than `max_view_age_s` before now."""
        age_s, limit_s = observation.stamp_s - stamp_s, self.config.max_view_age_s
        if age_s <= limit_s:  # False for NaN
            return None
        return Refusal(Code.STALE_OBSERVATION, f"{what} is {age_s:.0f} s old, more than {limit_s:.0f} s; look again")

    def point_in_map(self, frame: CameraFrame, point: tuple[int, int]) -> NDArray[np.float64] | Refusal:
        """The map point (3,), in metres, of the surface at an image point, or why the depth there cannot be used.

        Args:
            frame: the image, with its own depth and pose.
            point: x and y, 0..1000 relative to the image.
        """
        where = f"at {list(point)} in the {frame.name} view"
        if frame.depth_m is None:
            return Refusal(Code.NO_DEPTH, f"the {frame.name} camera has no depth image")
        u, v = pixel_of(point, frame.intrinsics.width, frame.intrinsics.height)
        measured = depth_at(frame.depth_m, u, v, radius_px=self.config.depth_patch_radius_px)
        if measured.valid_ratio < self.config.min_valid_depth_ratio:
            share = f"only {measured.valid_ratio:.0%} of the pixels have a return"
            return Refusal(Code.DEPTH_INVALID, f"no reliable depth {where}: {share}")
        if measured.surface_ratio < self.config.min_surface_ratio:
            spread = f"depths spread over {measured.spread_m:.2f} m"
            return Refusal(Code.DEPTH_AMBIGUOUS, f"a depth edge between two surfaces {where}: {spread}")
        return frame.T_map_camera.apply(deproject(frame.intrinsics, (u, v), measured.depth_m))

    # --- navigation ------------------------------------------------------------------------------------------------

    def standoff(self, target: NDArray[np.float64], observation: Observation) -> NavigateTo | Refusal:
        """A reachable base pose near the target (3,) that faces it; see `standoff`."""
        return standoff(target, observation, self.config)

    def arrival(self, place: NDArray[np.float64], observation: Observation) -> NavigateTo | Refusal:
        """A reachable base pose at the map point (3,), or as near as the map allows; see `arrival`."""
        return arrival(place, observation, self.config)

    # --- manipulation ----------------------------------------------------------------------------------------------

    def grasp(self, frame: CameraFrame, point: tuple[int, int], seed: NDArray[np.float64]) -> Grasp | Refusal:
        """A top-down grasp of the object at a pixel, centred on it and closing across its narrow side.

        A pixel just beside an object shows what lies behind it, which may be far away. So the object is taken that is
        at most `max_miss_m` off in the image, at its own depth; if there are two, neither.

        Args:
            frame: the image, which has depth.
            point: x and y, 0..1000 relative to the image.
            seed: the map point (3,) that `point` shows, from `point_in_map`.
        """
        pixel = pixel_of(point, frame.intrinsics.width, frame.intrinsics.height)
        surface, support = self._object_points(frame, pixel, seed)
        where = f"at {list(point)} in the {frame.name} view"
        if len(surface) < _FEWEST_POINTS:
            pixels, beside = self._raised_beside(frame, pixel, support)
            if not len(beside):
                return Refusal(Code.NO_GRASP, f"no object above its support {where}")
            surface, support = self._object_points(frame, pixels[0], beside[0])
            if len(surface) < _FEWEST_POINTS or _farthest(beside, surface) > self.config.surface_step_m:
                return Refusal(Code.NO_GRASP, f"no object {where}, and not just one beside it; point at one")
        top = float(np.percentile(surface[:, 2], 95))
        # Use the outline of the top face: the side facing the camera would pull the centre towards the camera.
        outline = surface[surface[:, 2] > top - 0.4 * (top - support)][:, :2]
        centre, yaw, width, length = narrowest_rectangle(outline)
        if length > 4 * self.config.object_radius_m:
            return Refusal(Code.NO_GRASP, f"{length:.2f} m long at {list(point)}: more than one object, or too big")
        height = max(top - self.config.grasp_depth_m - support, self.config.min_object_height_m)
        pose = Pose.from_rpy(math.pi, 0.0, yaw, (centre[0], centre[1], support + height))
        return Grasp(pose, width, height)

    def _raised_beside(
        self, frame: CameraFrame, pixel: tuple[float, float], support: float
    ) -> tuple[list[tuple[float, float]], NDArray[np.float64]]:
        """The pixels within `max_miss_m`, nearest first, that show things above this support; and their map points."""
        assert frame.depth_m is not None  # point_in_map refuses a frame without depth
        points = frame.T_map_camera.apply(deproject_image(frame.intrinsics, frame.depth_m))
        above = points[..., 2] - support
        raised = (above > self.config.min_object_height_m) & (above < _MAX_OBJECT_HEIGHT_M)  # False for NaN
        rows, columns = np.nonzero(raised)
        off_px = np.hypot(columns - pixel[0], rows - pixel[1])
        off_m = off_px * frame.depth_m[rows, columns] / frame.intrinsics.fx
        near = [index for index in np.argsort(off_m) if off_m[index] <= self.config.max_miss_m]
        return [(float(columns[i]), float(rows[i])) for i in near], points[rows[near], columns[near]]

    def _object_points(
        self, frame: CameraFrame, pixel: tuple[float, float], seed: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """Map points (n, 3) on the object at a pixel, and the height of its support in metres."""
        assert frame.depth_m is not None  # point_in_map refuses a frame without depth
        u, v = pixel
        # The window covers the largest object at this depth and its surroundings.
        depth = float((frame.T_map_camera.inverse().apply(seed))[2])
        half = math.ceil(3 * self.config.object_radius_m / depth * max(frame.intrinsics.fx, frame.intrinsics.fy))
        rows = slice(max(0, round(v) - half), round(v) + half + 1)
        columns = slice(max(0, round(u) - half), round(u) + half + 1)
        window = frame.depth_m[rows, columns]
        camera = frame.intrinsics.cropped(columns.start, rows.start, window.shape[1], window.shape[0])
        points = frame.T_map_camera.apply(deproject_image(camera, window))
        start = (round(v) - rows.start, round(u) - columns.start)
        squared_distance = _squared(points[..., :2] - seed[:2])
        around = squared_distance < (3 * self.config.object_radius_m) ** 2
        support = _support_height(points[..., 2][around], float(seed[2]))
        near = squared_distance < (2 * self.config.object_radius_m) ** 2
        above = points[..., 2] > support + self.config.min_object_height_m
        # On a slanted surface, neighbouring pixels lie farther apart than depth / focal length.
        step = max(self.config.surface_step_m, 2.5 * depth / frame.intrinsics.fy)
        with np.errstate(invalid="ignore"):
            return points[_connected(near & above, points, start, step)], support


def pixel_of(point: tuple[int, int], width: int, height: int) -> tuple[float, float]:
    """Convert a relative point (0..1000) to a pixel (u, v) whose nearest integer lies in the image."""
    return (
        min(max(point[0] / 1000 * width - 0.5, 0.0), width - 1.0),
        min(max(point[1] / 1000 * height - 0.5, 0.0), height - 1.0),
    )


def point_of(u: float, v: float, width: int, height: int) -> tuple[int, int]:
    """Convert a pixel to the nearest relative point (0..1000); the inverse of `pixel_of`."""
    return (
        min(max(round((u + 0.5) / width * 1000), 0), 1000),
        min(max(round((v + 0.5) / height * 1000), 0), 1000),
    )


def narrowest_rectangle(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float, float]:
    """The rectangle of least area around points (n, 2): centre (2,), yaw of the long side, width and length.

    Searches a quarter turn in steps of one degree. The yaw is in radians in (-pi/2, pi/2]. At that yaw, a gripper whose
    y axis is the closing direction has its x axis along the long side and closes across the narrow one.
    """
    angles = np.radians(np.arange(-45, 45))
    axes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # (90, 2)
    along = points @ axes.T  # (n, 90)
    across = points @ np.stack([-axes[:, 1], axes[:, 0]], axis=-1).T
    extents = np.stack([np.ptp(along, axis=0), np.ptp(across, axis=0)])  # (2, 90)
    best = int(np.argmin(extents.prod(axis=0)))
    middle_along = (along[:, best].max() + along[:, best].min()) / 2
    middle_across = (across[:, best].max() + across[:, best].min()) / 2
    axis = axes[best]
    centre = middle_along * axis + middle_across * np.array([-axis[1], axis[0]])
    length, width, yaw = float(extents[0, best]), float(extents[1, best]), float(angles[best])
    if width > length:
        length, width = width, length
        yaw = yaw + math.pi / 2 if yaw <= 0 else yaw - math.pi / 2
    return centre, yaw, width, length


def _support_height(heights: NDArray[np.float64], seed: float) -> float:
    """Height of the surface under an object seen at height `seed`: the most frequent of `heights` that is not above it.

    The lowest height would be wrong: at the edge of a table, the floor is in the window too.
    """
    heights = heights[(heights > seed - _MAX_OBJECT_HEIGHT_M) & (heights < seed + _LEVEL_M)]
    if not heights.size:
        return seed
    counts, edges = np.histogram(heights, bins=max(1, math.ceil(np.ptp(heights) / _LEVEL_M)))
    # Count pairs of bins, because a surface on a bin edge is split between two.
    pairs = counts[:-1] + counts[1:] if len(counts) > 1 else counts
    best = int(np.argmax(pairs))
    level = heights[(heights >= edges[best]) & (heights <= edges[min(best + 2, len(counts))])]
    return float(np.median(level))


def _farthest(points: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """The largest distance of one of `points` (n, 3) from the nearest of `others` (m, 3)."""
    return math.sqrt(max(float(_squared(others - point).min()) for point in points))


def _connected(
    allowed: NDArray[np.bool_], points: NDArray[np.float64], start: tuple[int, int], step_m: float
) -> NDArray[np.bool_]:
    """Mask (H, W) of the pixels connected to `start` through allowed 4-neighbours less than `step_m` apart in 3D."""
    whole = np.zeros_like(allowed)
    row, column = start
    whole[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
    whole &= allowed
    if not whole.any():
        return whole
    # Crop to the allowed pixels, usually a small part of the window.
    rows, columns = np.flatnonzero(allowed.any(axis=1)), np.flatnonzero(allowed.any(axis=0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    allowed, points, region = allowed[part], points[part], whole[part]
    joined_down = _squared(points[1:] - points[:-1]) < step_m**2
    joined_right = _squared(points[:, 1:] - points[:, :-1]) < step_m**2
    while True:
        grown = region.copy()
        grown[1:] |= region[:-1] & joined_down
        grown[:-1] |= region[1:] & joined_down
        grown[:, 1:] |= region[:, :-1] & joined_right
        grown[:, :-1] |= region[:, 1:] & joined_right
        grown &= allowed
        if np.array_equal(grown, region):
            whole[part] = region
            return whole
        region = grown


def _squared(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared lengths (...) of vectors (..., n); five times as fast as `np.linalg.norm` on an axis this short."""
    squared: NDArray[np.float64] = np.einsum("...i,...i->...", vectors, vectors)
    return squared
