"""Where a picture was taken: its camera's pose in the map, from one posed RGB-D view that shows the same place.

The picture's camera is the robot's own, so the view has its height, tilt and intrinsics; x, y and heading are unknown.
Features that both images show vote for the three (Zeisl et al., Camera Pose Voting, ICCV 2015). The best poses are
fitted to their features, and checked by synthesising the picture from the view (Taira et al., InLoc, CVPR 2018): floor
tiles and chairs repeat, so matching features alone prove nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.features import blurred, nearest_pixels, pairs, shrunk
from si_embodied.geometry import Pose, deproject, deproject_image, is_return, project
from si_embodied.types import POINT_GOAL, SeenObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from si_embodied.types import CameraFrame, Observation

LEAST_AGREEMENT = 0.9
"""Correlation of a picture with its synthesis from which on its pose is believed; see docs/planner.md."""
_LEAST_COVER = 0.2
"""The view must show this much of the picture."""
_FEWEST_INLIERS = 4
_CELL_M, _RANGE_M, _HEADINGS = 0.1, 4.0, 72
"""The vote's grid: cells, half its side, and headings 5 degrees apart."""
_AT_ONCE = 64
"""So many matches vote at once: more need more memory and are no faster."""
_PEAKS, _FEWEST_VOTES = 4, 2.5
_CLOSER_RAD = (0.08, 0.05, 0.03, 0.02, 0.02, 0.02)
"""A match counts for the fit up to this angle, which shrinks from one iteration to the next."""
_PIXEL_STEP, _BLOCK_PX = 3, 4
"""Of the synthesis: every so many pixels of the view, and the blocks in which the nearest hides the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Localisation:
    """The pose of the camera that took a picture, and how far to trust it."""

    T_map_camera: Pose
    inliers: int  # features of the picture that the pose explains, at least 8 pixels apart
    agreement: float  # zero-mean normalised cross-correlation of the picture with its synthesis, at most 1


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """Features of the picture, each with a map point that may be what it shows."""

    pixel: NDArray[np.float64]  # (N, 2), in the picture
    bearing_rad: NDArray[np.float64]  # (N,), of the pixel's ray, from the camera's heading
    elevation_rad: NDArray[np.float64]  # (N,), of the ray above the horizon
    point_m: NDArray[np.float64]  # (N, 3), from the camera's height: z is 0 at the height of the camera
    weight: NDArray[np.float64]  # (N,), one divided by the number of matches of the same feature

    def some(self, which: slice) -> _Matches:
        """A part of the matches."""
        return _Matches(*(getattr(self, each.name)[which] for each in fields(self)))


def camera_pose_of(picture: NDArray[np.uint8], view: CameraFrame) -> Localisation | None:
    """The pose of the camera that took `picture` (H, W, 3); None if the view does not show what the picture shows.

    Args:
        picture: taken by the view's camera elsewhere, at the same height and tilt; its size may differ.
        view: what the robot sees now, or a remembered view. Without depth the answer is None.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    if view.depth_m is None:
        return None
    picture, view = shrunk(picture), _shrunk(view)
    matches = _matches(picture, view)
    best: Localisation | None = None
    for planar in _voted(matches, view) if len(matches.weight) else ():
        fitted, near = _fitted(planar, matches)
        inliers = len(np.unique(np.round(matches.pixel[near] / 8), axis=0))
        if inliers < _FEWEST_INLIERS:
            continue
        pose = _camera_at(fitted, view)
        agreement = _agreement(picture, pose, view)
        if agreement >= LEAST_AGREEMENT and (best is None or agreement > best.agreement):
            best = Localisation(pose, inliers, agreement)
    return best


def localised_goal(observation: Observation, picture: NDArray[np.uint8]) -> SeenObject | None:
    """Where the base stood when the first camera took the picture; its probability is their agreement.

    None if the first camera's view does not show it.
    """
    view = observation.frames[0]
    found = camera_pose_of(picture, view)
    if found is None:
        return None
    T_map_base = found.T_map_camera @ view.T_map_camera.inverse() @ observation.T_map_base
    return SeenObject(POINT_GOAL, T_map_base.translation, observation.stamp_s, min(found.agreement, 1.0))


def _shrunk(view: CameraFrame) -> CameraFrame:
    rgb, depth = shrunk(view.rgb), None if view.depth_m is None else shrunk(view.depth_m)
    return replace(view, rgb=rgb, depth_m=depth, intrinsics=view.intrinsics.scaled(*rgb.shape[1::-1]))


def _matches(picture: NDArray[np.uint8], view: CameraFrame) -> _Matches:
    both = pairs(picture, view.rgb)
    depth = _nearest_depth(view, both.theirs)
    known = depth < np.inf
    ours, feature = both.ours[known], both.feature[known]
    points = view.T_map_camera.apply(deproject(view.intrinsics, both.theirs[known], depth[known]))
    height, width = picture.shape[:2]
    rays = deproject(view.intrinsics.scaled(width, height), ours, np.ones(len(ours))) @ _level(view).T
    return _Matches(
        ours,
        np.arctan2(rays[:, 1], rays[:, 0]),
        np.arctan2(rays[:, 2], np.hypot(rays[:, 0], rays[:, 1])),
        points - [0.0, 0.0, view.T_map_camera.translation[2]],
        1 / np.bincount(feature, minlength=1)[feature],
    )


def _nearest_depth(view: CameraFrame, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Depths (N,) of the nearest surface beside each pixel: a corner belongs to what is in front. inf: no return."""
    assert view.depth_m is not None  # the caller checks
    depth = np.pad(np.where(is_return(view.depth_m), view.depth_m, np.inf), 1, constant_values=np.inf)
    u, v = nearest_pixels(pixels, view.depth_m.shape)
    around = [depth[v + row, u + column] for row in range(3) for column in range(3)]
    nearest: NDArray[np.float64] = np.min(around, axis=0).astype(np.float64)
    return nearest


# --- pose: x, y in metres and heading in radians, in the map --------------------------------------------------------


def _voted(matches: _Matches, view: CameraFrame) -> Iterator[NDArray[np.float64]]:
    """The poses (3,) with the most votes, best first."""
    offsets = np.arange(-_RANGE_M, _RANGE_M + _CELL_M, _CELL_M)
    ahead = view.T_map_camera.translation + _RANGE_M / 2 * view.T_map_camera.rotation[:, 2]
    grid = np.stack(np.meshgrid(ahead[0] + offsets, ahead[1] + offsets), axis=-1).reshape(-1, 2)
    votes = np.zeros((len(grid), _HEADINGS))
    for start in range(0, len(matches.weight), _AT_ONCE):
        votes += _votes(grid, matches.some(np.s_[start : start + _AT_ONCE]))
    votes += np.roll(votes, -1, axis=1)  # of this heading and the next
    for _ in range(_PEAKS):
        cell, turn = (int(index) for index in np.unravel_index(int(np.argmax(votes)), votes.shape))
        if votes[cell, turn] < _FEWEST_VOTES:
            return
        yield np.array([*grid[cell], (turn + 1) * 2 * math.pi / _HEADINGS])
        near = np.flatnonzero(np.hypot(*(grid - grid[cell]).T) < 3.5 * _CELL_M)
        votes[np.ix_(near, np.arange(turn - 2, turn + 3) % _HEADINGS)] = 0


def _votes(grid: NDArray[np.float64], matches: _Matches) -> NDArray[np.float64]:
    """Votes (cells, headings). Each match votes from where it would be seen at the right elevation."""
    bearing, elevation, away = _directions(grid[:, None], matches)
    tolerance = _CLOSER_RAD[-1] + _CELL_M / 4 * np.abs(np.sin(2 * elevation)) / np.maximum(away, _CELL_M)
    cells, which = np.nonzero((np.abs(elevation - matches.elevation_rad) < tolerance) & (away > 2 * _CELL_M))
    heading = (bearing[cells, which] - matches.bearing_rad[which]) % (2 * math.pi)
    bins = cells * _HEADINGS + (heading / (2 * math.pi) * _HEADINGS).astype(np.intp) % _HEADINGS
    votes = np.bincount(bins, matches.weight[which], len(grid) * _HEADINGS).astype(np.float64)
    return votes.reshape(-1, _HEADINGS)


def _directions(
    xy: NDArray[np.float64], matches: _Matches
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Map bearing and elevation, radians, and distance in the plane, metres, of the points from (..., 2)."""
    dx, dy = matches.point_m[:, 0] - xy[..., 0], matches.point_m[:, 1] - xy[..., 1]
    away = np.hypot(dx, dy)
    return np.arctan2(dy, dx), np.arctan2(matches.point_m[:, 2], away), away


def _fitted(planar: NDArray[np.float64], matches: _Matches) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The pose (3,) that fits its matches best (Gauss-Newton), and which those are (N,)."""
    for within in _CLOSER_RAD:
        errors, slopes = _errors(planar, matches)
        near = np.hypot(*errors.T) < within
        if near.sum() < 2:
            break
        step = np.linalg.lstsq(slopes[near].reshape(-1, 3), -errors[near].ravel(), rcond=None)[0]
        planar = planar + np.clip(step, -0.3, 0.3)
    return planar, np.hypot(*_errors(planar, matches)[0].T) < _CLOSER_RAD[-1]


def _errors(planar: NDArray[np.float64], matches: _Matches) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Errors (N, 2) in bearing and elevation, radians, and their derivatives (N, 2, 3) by x, y and heading."""
    bearing, elevation, away = _directions(planar[:2], matches)
    away = np.maximum(away, 1e-3)
    turned = bearing - planar[2] - matches.bearing_rad
    cos, sin, far = np.cos(bearing), np.sin(bearing), np.hypot(away, matches.point_m[:, 2])
    level = np.cos(elevation)
    rise = matches.point_m[:, 2] / far**2
    slopes = np.stack([
        np.stack([sin / away * level, -cos / away * level, -level], axis=-1),
        np.stack([rise * cos, rise * sin, np.zeros_like(rise)], axis=-1),
    ], axis=1)  # fmt: skip
    errors = np.stack([np.arctan2(np.sin(turned), np.cos(turned)) * level, elevation - matches.elevation_rad], axis=-1)
    return errors, slopes


def _level(view: CameraFrame) -> NDArray[np.float64]:
    """Rotation (3, 3) from the optical frame to one that looks the same way horizontally, with z up."""
    forward = view.T_map_camera.rotation[:, 2]
    level: NDArray[np.float64] = _turn(-math.atan2(forward[1], forward[0])) @ view.T_map_camera.rotation
    return level


def _camera_at(planar: NDArray[np.float64], view: CameraFrame) -> Pose:
    x, y, heading = planar
    return Pose(_turn(heading) @ _level(view), np.array([x, y, view.T_map_camera.translation[2]]))


def _turn(yaw_rad: float) -> NDArray[np.float64]:
    return Pose.planar(0.0, 0.0, yaw_rad).rotation


# --- synthesis ------------------------------------------------------------------------------------------------------


def _agreement(picture: NDArray[np.uint8], pose: Pose, view: CameraFrame) -> float:
    """Correlation of the picture with what the view shows from a camera pose; 0 if that covers too little of it."""
    assert view.depth_m is not None  # the caller checks
    height, width = picture.shape[:2]
    step = np.s_[::_PIXEL_STEP, ::_PIXEL_STEP]
    points = pose.inverse().apply(view.T_map_camera.apply(deproject_image(view.intrinsics, view.depth_m)[step]))
    points, colours = points.reshape(-1, 3), blurred(view.rgb)[step].reshape(-1, 3)
    pixels = np.round(project(view.intrinsics.scaled(width, height), points))
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1) & (points[:, 2] > 0.1)  # False for NaN
    (u, v), z, colours = pixels[inside].astype(np.intp).T, points[inside, 2], colours[inside]
    columns = width // _BLOCK_PX + 1
    block = v // _BLOCK_PX * columns + u // _BLOCK_PX
    front = np.full(columns * (height // _BLOCK_PX + 1), np.inf)
    np.minimum.at(front, block, z)
    seen = z < front[block] * 1.05 + 0.03
    if np.isfinite(front).sum() * _BLOCK_PX**2 < _LEAST_COVER * width * height:
        return 0.0
    weights = (1 / np.bincount(block[seen])[block[seen]])[:, None]  # each block counts the same
    a, b = colours[seen].astype(np.float64), blurred(picture)[v[seen], u[seen]].astype(np.float64)
    a, b = (colour - (weights * colour).sum(axis=0) / weights.sum() for colour in (a, b))
    variance = (weights * a * a).sum() * (weights * b * b).sum()
    return float((weights * a * b).sum() / math.sqrt(max(float(variance), 1e-9)))
