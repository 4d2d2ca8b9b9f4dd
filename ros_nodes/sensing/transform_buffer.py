"""A buffer of stamped transforms, so that an image is posed at its own stamp and not at the current time."""

from __future__ import annotations

import bisect
import math
import threading
from dataclasses import dataclass, field

import numpy as np

from si_embodied.errors import TransformError
from si_embodied.geometry import Pose

_MANY_FRAMES = 1000
"""Frames, of which no robot has so many; beyond that, those that are no longer sent are dropped."""


@dataclass(slots=True)
class _History:
    """Poses of one frame in its parent over time; a static frame has a single pose and no stamps."""

    parent: str
    stamps_s: list[float] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)
    static: Pose | None = None


class TransformBuffer:
    """The transform tree over the last seconds. Thread safe.

    Follows tf2: poses are interpolated between two stamps (translation linearly, rotation along the shortest arc) and
    never extrapolated before the first stamp or after the last. Unlike tf2 it does not interpolate across a gap.
    """

    def __init__(self, *, keep_s: float = 10.0, most_gap_s: float = math.inf) -> None:
        """Start without transforms.

        Args:
            keep_s: how long moving transforms are kept.
            most_gap_s: longest time between two stamps that is interpolated; what happened in a longer one is unknown.
        """
        self._keep_s, self._most_gap_s = keep_s, most_gap_s
        self._frames: dict[str, _History] = {}
        self._most_frames = _MANY_FRAMES
        self._lock = threading.Lock()

    def add(self, parent: str, child: str, stamp_s: float, T_parent_child: Pose, *, static: bool = False) -> None:
        """Add the pose of `child` in `parent`; a static transform is valid at all times, until it is seen to move."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        with self._lock:
            history = self._frames.get(child)
            if history is None or history.parent != parent:
                self._drop_old(stamp_s)
                history = self._frames[child] = _History(parent)
            if static:
                history.static = None if history.stamps_s else T_parent_child
                return
            history.static = None
            if history.stamps_s and stamp_s < history.stamps_s[-1] - self._keep_s:
                history.stamps_s.clear()  # the clock jumped back: a simulation was restarted
                history.poses.clear()
            index = bisect.bisect_left(history.stamps_s, stamp_s)
            if index < len(history.stamps_s) and history.stamps_s[index] == stamp_s:
                history.poses[index] = T_parent_child
                return
            history.stamps_s.insert(index, stamp_s)
            history.poses.insert(index, T_parent_child)
            surplus = bisect.bisect_left(history.stamps_s, history.stamps_s[-1] - self._keep_s)
            del history.stamps_s[:surplus], history.poses[:surplus]

    def _drop_old(self, now_s: float) -> None:
        """Drop the moving frames last seen more than `keep_s` ago, once there are many: tags, people, detections."""
        if len(self._frames) < self._most_frames:
            return
        oldest_s, frames = now_s - self._keep_s, self._frames
        self._frames = {
            child: each
            for child, each in frames.items()
            if each.static is not None or (each.stamps_s and each.stamps_s[-1] >= oldest_s)
        }
        self._most_frames = max(_MANY_FRAMES, 2 * len(self._frames))  # so that a frame costs little on average

    def clear(self) -> None:
        """Forget all moving transforms. Static ones hold at all times, and their publishers send them only once."""
        with self._lock:
            self._frames = {child: each for child, each in self._frames.items() if each.static is not None}

    def closes_loop(self, parent: str, child: str) -> bool:
        """Whether `child` is already above `parent`, so that no transform could be looked up any more."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        with self._lock:
            history = self._frames.get(child)
            known = history is not None and history.parent == parent
            return not known and child in self._chain(parent)

    def lookup(self, target: str, source: str, stamp_s: float) -> Pose:
        """`T_target_source` at a time.

        Raises:
            TransformError: the frames are not connected, or a transform between them is not known at that time.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._lock:
            up_from_source, up_from_target = self._chain(source), self._chain(target)
            common = next((frame for frame in up_from_source if frame in up_from_target), None)
            if common is None:
                roots = (
                    f"the root of {source!r} is {up_from_source[-1]!r}, that of {target!r} is {up_from_target[-1]!r}"
                )
                raise TransformError(f"no transform from {source!r} to {target!r}: {roots}; is its publisher running?")
            T_common_source = self._pose_in(common, up_from_source, stamp_s)
            T_common_target = self._pose_in(common, up_from_target, stamp_s)
        return T_common_target.inverse() @ T_common_source

    def latest(self, target: str, source: str) -> Pose | None:
        """`T_target_source` at the newest time at which it is known, None if it never was."""
        with self._lock:
            try:
                chains = self._chain(source), self._chain(target)
            except TransformError:
                return None
            moving = [self._frames[frame] for chain in chains for frame in chain if frame in self._frames]
            times = [history.stamps_s[-1] for history in moving if history.static is None and history.stamps_s]
        try:
            return self.lookup(target, source, min(times, default=0.0))
        except TransformError:
            return None

    def connected(self, a: str, b: str) -> bool:
        """Whether two frames are in one tree, at whatever time."""
        with self._lock:
            try:
                return not set(self._chain(a.lstrip("/"))).isdisjoint(self._chain(b.lstrip("/")))
            except TransformError:
                return False

    def _chain(self, frame: str) -> list[str]:
        """The frame, its parent, and so on up to the root."""
        chain = [frame]
        while (history := self._frames.get(chain[-1])) is not None:
            if history.parent in chain:
                raise TransformError(f"the frames form a loop: {' -> '.join([*chain, history.parent])}")
            chain.append(history.parent)
        return chain

    def _pose_in(self, ancestor: str, chain: list[str], stamp_s: float) -> Pose:
        pose = Pose.identity()
        for frame in chain[: chain.index(ancestor)]:
            pose = self._at(frame, stamp_s) @ pose
        return pose

    def _at(self, frame: str, stamp_s: float) -> Pose:
        """The pose of a frame in its parent at a time."""
        history = self._frames[frame]
        if history.static is not None:
            return history.static
        stamps = history.stamps_s
        index = bisect.bisect_left(stamps, stamp_s)
        if index < len(stamps) and stamps[index] == stamp_s:
            return history.poses[index]
        if index == 0:
            raise TransformError(f"{frame!r} is known only from {stamps[0]:.3f} s, asked for {stamp_s:.3f} s")
        if index == len(stamps):
            late = stamp_s - stamps[-1]
            raise TransformError(f"{frame!r} is known only until {stamps[-1]:.3f} s, asked for {late:.3f} s later")
        gap_s = stamps[index] - stamps[index - 1]
        if gap_s > self._most_gap_s:
            raise TransformError(f"{frame!r} is not known for {gap_s:.2f} s around {stamp_s:.3f} s")
        share = (stamp_s - stamps[index - 1]) / gap_s
        return interpolated(history.poses[index - 1], history.poses[index], share)


def interpolated(a: Pose, b: Pose, share: float) -> Pose:
    """The pose between `a` (share 0) and `b` (share 1): translation linear, rotation along the shortest arc (slerp)."""
    qa, qb = a.quaternion(), b.quaternion()
    cosine = float(qa @ qb)
    if cosine < 0:
        qb, cosine = -qb, -cosine
    angle = math.acos(min(1.0, cosine))
    if angle < 1e-6:
        q = qa + share * (qb - qa)
    else:
        q = (math.sin((1 - share) * angle) * qa + math.sin(share * angle) * qb) / math.sin(angle)
    return Pose.from_quaternion(np.asarray(q), a.translation + share * (b.translation - a.translation))
