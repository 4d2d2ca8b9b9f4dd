"""Turns a subgoal in pixels into a goal in metres, using the depth, intrinsics and pose of the subgoal's own image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.config import GroundingConfig
from si_embodied.geometry import Pose, deproject, deproject_to_map, depth_at, is_return, quantile
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

_MOST_ROWS = 91
"""Rows and columns of the window that are looked at first: of 181, every second."""


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
        top = quantile(np.sort(surface[:, 2]), 0.95)
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
        measured = frame.depth_m[is_return(frame.depth_m)]
        half = math.ceil(self.config.max_miss_m * frame.intrinsics.fx / float(measured.min()))
        window = _window(frame, pixel, half)
        planes = _map_points(frame, window)
        above = planes[2] - support
        raised = (above > self.config.min_object_height_m) & (above < _MAX_OBJECT_HEIGHT_M)  # False for NaN
        rows, columns = np.nonzero(raised)
        points, rows, columns = planes[:, rows, columns].T, rows + window[0].start, columns + window[1].start
        off_px = np.hypot(columns - pixel[0], rows - pixel[1])
        off_m = off_px * frame.depth_m[rows, columns] / frame.intrinsics.fx
        near = [index for index in np.argsort(off_m) if off_m[index] <= self.config.max_miss_m]
        return [(float(columns[i]), float(rows[i])) for i in near], points[near]

    def _object_points(
        self, frame: CameraFrame, pixel: tuple[float, float], seed: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """Map points (n, 3) on the object at a pixel, and the height of its support in metres.

        A grid of pixels tells the support and where things stand on it. There, every pixel is looked at.
        """
        # The window covers the largest object at this depth and its surroundings.
        depth = float((frame.T_map_camera.inverse().apply(seed))[2])
        half = math.ceil(3 * self.config.object_radius_m / depth * max(frame.intrinsics.fx, frame.intrinsics.fy))
        window = _window(frame, pixel, half)
        every = math.ceil(max(side.stop - side.start for side in window) / _MOST_ROWS)
        grid = _map_points(frame, window, every)
        around = _within(3 * self.config.object_radius_m, grid, seed)
        support = _support_height(grid[2][around], float(seed[2]))

        def on_it(planes: NDArray[np.float64]) -> NDArray[np.bool_]:
            above = planes[2] > support + self.config.min_object_height_m
            return np.asarray(above & _within(2 * self.config.object_radius_m, planes, seed))

        start, found = (round(pixel[1]), round(pixel[0])), np.nonzero(on_it(grid))
        part = tuple(
            _spanned(np.append(each * every + side.start, at), every, side)
            for each, at, side in zip(found, start, window, strict=True)
        )
        planes = _map_points(frame, part)
        at = (start[0] - part[0].start, start[1] - part[1].start)
        # On a slanted surface, neighbouring pixels lie farther apart than depth / focal length.
        step = max(self.config.surface_step_m, 2.5 * depth / frame.intrinsics.fy)
        with np.errstate(invalid="ignore"):
            return planes[:, _connected(on_it(planes), planes, at, step)].T, support


def _window(frame: CameraFrame, pixel: tuple[float, float], half: int) -> tuple[slice, slice]:
    """The rows and the columns of the image that are at most `half` from the pixel (u, v)."""
    column, row = round(pixel[0]), round(pixel[1])
    rows = slice(max(0, row - half), min(frame.intrinsics.height, row + half + 1))
    return rows, slice(max(0, column - half), min(frame.intrinsics.width, column + half + 1))


def _spanned(indices: NDArray[np.intp], margin: int, within: slice) -> slice:
    """From the least to the greatest of `indices` and `margin` beyond, not outside `within`."""
    return slice(max(int(indices.min()) - margin, within.start), min(int(indices.max()) + margin + 1, within.stop))


def _map_points(frame: CameraFrame, window: tuple[slice, ...], step: int = 1) -> NDArray[np.float64]:
    """x, y and z in the map, (3, h, w), of the pixels in rows and columns, or of every `step`-th of each."""
    assert frame.depth_m is not None  # point_in_map refuses a frame without depth
    rows, columns = window
    depth_m = frame.depth_m[rows, columns]
    camera = frame.intrinsics.cropped(columns.start, rows.start, depth_m.shape[1], depth_m.shape[0])
    return deproject_to_map(camera, depth_m, frame.T_map_camera, step=step)


def _within(radius_m: float, planes: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (3, h, w) are nearer to the vertical line through `centre` than `radius_m`; False for NaN."""
    return np.asarray((planes[0] - centre[0]) ** 2 + (planes[1] - centre[1]) ** 2 < radius_m**2)


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
    points = _outermost(points)
    angles = np.radians(np.arange(-45, 45))
    axes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # (90, 2)
    normals = np.stack([-axes[:, 1], axes[:, 0]], axis=-1)
    along, across = axes @ points.T, normals @ points.T  # (90, n)
    extents = np.stack([np.ptp(along, axis=1), np.ptp(across, axis=1)])  # (2, 90)
    best = int(np.argmin(extents.prod(axis=0)))
    middle_along = (along[best].max() + along[best].min()) / 2
    middle_across = (across[best].max() + across[best].min()) / 2
    centre = middle_along * axes[best] + middle_across * normals[best]
    length, width, yaw = float(extents[0, best]), float(extents[1, best]), float(angles[best])
    if width > length:
        length, width = width, length
        yaw = yaw + math.pi / 2 if yaw <= 0 else yaw - math.pi / 2
    return centre, yaw, width, length


def _outermost(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points (n, 2) that may be on their convex hull: not inside the octagon of the outermost ones.

    After Akl and Toussaint, "A fast convex hull algorithm" (1978).
    """
    angles = np.arange(8) * (math.pi / 4)
    directions = np.stack([np.cos(angles), np.sin(angles)])  # (2, 8), anticlockwise
    corners = points[np.argmax(points @ directions, axis=0)]
    sides = np.roll(corners, -1, axis=0) - corners
    outward = np.stack([sides[:, 1], -sides[:, 0]])  # (2, 8)
    beyond = (points @ outward > (corners.T * outward).sum(axis=0)).any(axis=1)
    return np.concatenate([corners, points[beyond]])


def _support_height(heights: NDArray[np.float64], seed: float) -> float:
    """Height of the surface under an object seen at height `seed`: the most frequent of `heights` that is not above it.

    The lowest height would be wrong: at the edge of a table, the floor is in the window too.
    """
    heights = heights[(heights > seed - _MAX_OBJECT_HEIGHT_M) & (heights < seed + _LEVEL_M)]
    if not heights.size:
        return seed
    low, span = heights.min(), np.ptp(heights)
    bins = max(1, math.ceil(span / _LEVEL_M))
    index = np.minimum((heights - low) * (bins / span if span else 0.0), bins - 1).astype(np.intp)
    counts = np.bincount(index, minlength=bins)
    # Count pairs of bins, because a surface on a bin edge is split between two.
    pairs = counts[:-1] + counts[1:] if len(counts) > 1 else counts
    best = int(np.argmax(pairs))
    level = heights[(index >= best) & (index <= best + 1)]
    return float(np.median(level))


def _farthest(points: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """The largest distance of one of `points` (n, 3) from the nearest of `others` (m, 3)."""
    return math.sqrt(max(float(_squared(others - point).min()) for point in points))


def _connected(
    allowed: NDArray[np.bool_], planes: NDArray[np.float64], start: tuple[int, int], step_m: float
) -> NDArray[np.bool_]:
    """Mask (H, W) of the pixels connected to `start` through allowed 4-neighbours less than `step_m` apart in 3D.

    `planes` has the coordinates of the pixels, (3, H, W).
    """
    whole = np.zeros_like(allowed)
    row, column = start
    whole[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
    whole &= allowed
    if not whole.any():
        return whole
    # Crop to rows and columns without a gap: beyond one, nothing is connected.
    part = tuple(_without_gap(allowed.any(axis=1 - axis), whole.any(axis=1 - axis)) for axis in (0, 1))
    allowed, planes, region = allowed[part], planes[(slice(None), *part)], whole[part]
    joined_down = ((np.diff(planes, axis=1) ** 2).sum(axis=0) < step_m**2) & allowed[1:] & allowed[:-1]
    joined_right = ((np.diff(planes, axis=2) ** 2).sum(axis=0) < step_m**2) & allowed[:, 1:] & allowed[:, :-1]
    columns, rows = _runs(joined_down), _runs(joined_right.T).T
    while True:
        count = np.count_nonzero(region)
        for runs in (columns, rows):
            reached = np.zeros(runs.size, dtype=np.bool_)
            reached[runs[region]] = True
            region = reached[runs]
        if np.count_nonzero(region) == count:
            whole[part] = region
            return whole


def _without_gap(allowed: NDArray[np.bool_], part: NDArray[np.bool_]) -> slice:
    """The longest stretch of `allowed` (n,) around `part` (n,), which has some True values."""
    inside, gaps = np.flatnonzero(part), np.flatnonzero(~allowed)
    before, after = gaps[gaps < inside[0]], gaps[gaps > inside[-1]]
    return slice(before[-1] + 1 if before.size else 0, after[0] if after.size else None)


def _runs(joined: NDArray[np.bool_]) -> NDArray[np.intp]:
    """A number (H, W) for each stretch of pixels of a column that are joined to the next row's, (H - 1, W)."""
    height, width = len(joined) + 1, joined.shape[1]
    numbers = np.zeros((height, width), dtype=np.intp)
    np.cumsum(~joined, axis=0, out=numbers[1:])
    numbers += height * np.arange(width)
    return numbers


def _squared(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared lengths (...) of vectors (..., n); five times as fast as `np.linalg.norm` on an axis this short."""
    squared: NDArray[np.float64] = np.einsum("...i,...i->...", vectors, vectors)
    return squared
