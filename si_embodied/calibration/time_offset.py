"""Measures the time offset between a camera's stamps and the transforms, from a recorded turn.

The angle by which the camera turned between two images is compared with the angle by which the mount turned between
their stamps plus an offset. The best offset has the highest correlation, to a fraction of the step by a parabola. Its
standard deviation is that of the jackknife over blocks of the recording (Künsch, "The jackknife and the bootstrap for
general stationary observations", 1989), because errors of successive images are related.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.calibration.registration import peak
from si_embodied.errors import DataError, TransformError
from si_embodied.findings import Finding, Report, judged
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.calibration.rotation import Turns
    from si_embodied.geometry import Pose

MOST_OFFSET_S = 0.5
_STEP_S = 0.005
_TOLERANCE_S = 0.015
"""At 1 rad/s, 15 ms turn the view by 0.9°: what a camera's mount may be off by."""
_LEAST_TURN_RAD = np.radians(20.0)
_LEAST_CORRELATION = 0.8
_BLOCKS = 8
_FACTOR_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Offset:
    """Transforms of stamp `t + offset_s` belong to an image of stamp `t`."""

    offset_s: float
    sigma_s: float
    correlation: float  # of the two angles at this offset
    factor: float  # the camera's angle by the mount's


def measure_offset(turns: Turns, pose_at: Callable[[float], Pose]) -> Offset:
    """Find the offset.

    Args:
        turns: of the camera.
        pose_at: `T_fixed_mount` at a time; raises `TransformError` where it is not known.

    Raises:
        DataError: the recording has no turn, or one that says nothing about the offset.
    """
    stamps_s, angles = mount_angle(pose_at, turns.from_s[0] - MOST_OFFSET_S, turns.to_s[-1] + MOST_OFFSET_S)
    axis = np.linalg.svd(turns.rotation_rad, full_matrices=False)[2][0]
    seen = turns.rotation_rad @ axis
    inside = (turns.from_s - MOST_OFFSET_S >= stamps_s[0]) & (turns.to_s + MOST_OFFSET_S <= stamps_s[-1])
    if inside.sum() < 10:
        raise DataError(
            f"transforms and images overlap for {inside.sum()} images; record both for 10 s or more, with "
            f"{MOST_OFFSET_S} s before and after the turn"
        )
    seen, from_s, to_s = seen[inside], turns.from_s[inside], turns.to_s[inside]
    offsets = np.arange(-MOST_OFFSET_S, MOST_OFFSET_S + _STEP_S / 2, _STEP_S)
    expected = np.array([
        np.interp(to_s + offset, stamps_s, angles) - np.interp(from_s + offset, stamps_s, angles) for offset in offsets
    ])  # fmt: skip
    offset_s, correlation = best_offset(offsets, expected, seen)
    blocks = np.arange(len(seen)) * _BLOCKS // len(seen)
    without = np.array([
        best_offset(offsets, expected[:, blocks != each], seen[blocks != each])[0] for each in range(_BLOCKS)
    ])  # fmt: skip
    sigma_s = float(np.sqrt((_BLOCKS - 1) / _BLOCKS * ((without - without.mean()) ** 2).sum()))
    nearest = expected[int(np.argmin(np.abs(offsets - offset_s)))]
    return Offset(offset_s, sigma_s, abs(correlation), abs(float(nearest @ seen / (nearest @ nearest))))


def mount_angle(
    pose_at: Callable[[float], Pose], from_s: float, to_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Stamps (n,), and the angle (n,) by which the mount has turned about its main axis.

    Raises:
        DataError: the transforms are not known, or it hardly turned.
    """
    cv2 = import_opencv()
    known: list[tuple[float, NDArray[np.float64]]] = []
    reason = ""
    for stamp_s in np.arange(from_s, to_s, 2 * _STEP_S):
        try:
            known.append((float(stamp_s), pose_at(float(stamp_s)).rotation))
        except TransformError as error:
            reason = str(error)
    if len(known) < 2:
        raise DataError(f"no transform of the mount is known at the images' times: {reason}; check --fixed and --mount")
    steps = [np.ravel(cv2.Rodrigues(a.T @ b)[0]) for (_, a), (_, b) in pairwise(known)]
    axis = np.linalg.svd(np.array(steps), full_matrices=False)[2][0]
    angles = np.concatenate([[0.0], np.cumsum(np.array(steps) @ axis)])
    if np.ptp(angles) < _LEAST_TURN_RAD:
        raise DataError(
            f"no turn in the recording: by its transforms the mount turned by {np.degrees(np.ptp(angles)):.1f}°; turn "
            "it by 45° or more to and fro, several times"
        )
    return np.array([stamp_s for stamp_s, _ in known]), angles


def best_offset(
    offsets: NDArray[np.float64], expected: NDArray[np.float64], seen: NDArray[np.float64]
) -> tuple[float, float]:
    """The offset in seconds with the highest correlation, and that correlation.

    Args:
        offsets: candidates (k,), equally spaced.
        expected: the mount's angles (k, n) at each.
        seen: the camera's angles (n,); their sign may be the other.
    """
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(seen)
    correlations = (expected @ seen) / np.maximum(norms, 1e-12)
    best = int(np.argmax(np.abs(correlations)))
    if best in (0, len(offsets) - 1):
        return float(offsets[best]), float(correlations[best])
    fraction = peak(*np.abs(correlations[best - 1 : best + 2]))
    return float(offsets[best] + fraction * _STEP_S), float(correlations[best])


def check_time_offset(turns: Turns, pose_at: Callable[[float], Pose]) -> Report:
    """Measure the offset, and say what to set.

    Raises:
        DataError: as `measure_offset` does.
    """
    found = measure_offset(turns, pose_at)
    offset_s, sigma_s = (found.offset_s, found.sigma_s) if _alike(found) else (np.nan, np.nan)
    figures = {"offset_s": offset_s, "sigma_s": sigma_s, "correlation": found.correlation, "factor": found.factor}
    return Report((_offset(found), *_similarity(found)), figures=figures)


def _alike(found: Offset) -> bool:
    """Whether camera and transforms turn alike at some offset within the range."""
    return abs(found.offset_s) < MOST_OFFSET_S - _STEP_S and found.correlation >= _LEAST_CORRELATION


def _offset(found: Offset) -> Finding:
    offset_ms, sigma_ms = 1e3 * found.offset_s, 1e3 * found.sigma_s
    verdict = judged(found.offset_s, found.sigma_s, _TOLERANCE_S)
    if not _alike(found):
        return Finding(
            "time offset", "unknown",
            f"camera and transforms do not turn alike within ± {1e3 * MOST_OFFSET_S:.0f} ms (correlation "
            f"{found.correlation:.2f})",
            "check --fixed and --mount, and that the clocks of all computers are synchronised (chrony)",
        )  # fmt: skip
    late = "late" if offset_ms < 0 else "early"
    says = f"images are stamped {abs(offset_ms):.1f} ± {sigma_ms:.1f} ms {late} (correlation {found.correlation:.3f})"
    if verdict == "unknown":
        fix = "turn to and fro several times, with quick starts and stops: a constant speed says nothing"
        return Finding("time offset", verdict, says, fix)
    if verdict == "fine":
        return Finding("time offset", verdict, says)
    to_add = "subtract from" if offset_ms < 0 else "add to"
    fix = (
        f"{to_add} the images' stamps {abs(offset_ms):.0f} ms in the camera's driver (Kalibr's timeshift_cam_imu is "
        f"{found.offset_s:+.4f}); first let it stamp the exposure (realsense2_camera: global_time_enabled), and "
        "synchronise the clocks (chrony)"
    )
    return Finding("time offset", verdict, f"off by {offset_ms:+.1f} ms: {says}", fix)


def _similarity(found: Offset) -> list[Finding]:
    if found.correlation < _LEAST_CORRELATION or abs(found.factor - 1) <= _FACTOR_TOLERANCE:
        return []
    says = f"the camera seems to turn {found.factor:.2f} times as far as the transforms say"
    fix = "check the focal length (`calibrate intrinsics`) and the odometry's scale; near objects seem to turn farther"
    return [Finding("turn", "unknown", says, fix)]
