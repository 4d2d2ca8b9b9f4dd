"""Exploring: look around, then go where the map ends; once it ends nowhere, to spots spread over it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.geometry import Pose, heading
from si_embodied.policies.skills.navigation import BaseCommands, PathFollower
from si_embodied.policies.unseen import unseen_bearings, unseen_m2
from si_embodied.types import Code, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.policies.mapping import Frontier, OccupancyMapper
    from si_embodied.policies.skills import Action
    from si_embodied.policies.skills.navigation import CameraLevel
    from si_embodied.skills import ExploreView
    from si_embodied.types import Observation

LOOK_SPACING_M = 2.0
"""Between places to look around from once all is mapped: a small object is recognised from half this distance."""

_LOOK_M = 3.0
"""Unseen floor nearer than this is looked at by turning; farther floor, after driving there."""
_EDGE_OF_VIEW_RAD = math.radians(5)
"""A direction this close to the edge of an image does not count as looked at."""
_SAME_PLACE_M = 0.3
"""A robot that has moved farther looks around anew."""
_LOOK_COST_M = 2.0
"""Metres of driving that take as long as looking around."""


class Survey:
    """A look around from one place: through the directions in which the map ends nearby, the nearest one first."""

    def __init__(self, mapper: OccupancyMapper, *, everywhere: bool = False) -> None:
        """Look where `mapper` has seen nothing yet, or `everywhere`."""
        self._mapper, self._everywhere = mapper, everywhere
        self._faced: list[tuple[float, float]] = []  # headings of the camera and half its field of view, radians
        self._at = (math.inf, math.inf)  # map xy of the place

    def turn_rad(self, observation: Observation) -> float | None:
        """Angle to the nearest such direction, left positive; None once each of them has been in view."""
        frame = observation.frames[0]
        x, y, _ = observation.T_map_base.translation.tolist()
        if math.dist((x, y), self._at) > _SAME_PLACE_M:  # it was driven elsewhere meanwhile
            self._at, self._faced = (x, y), []
        now = heading(frame.T_map_camera)
        self._faced.append((now, frame.intrinsics.half_view_rad - _EDGE_OF_VIEW_RAD))
        if self._everywhere:
            bearings = np.linspace(-math.pi, math.pi, 72, endpoint=False)
        else:
            bearings = unseen_bearings(self._mapper, x, y, within_m=_LOOK_M)
        for ahead, half_rad in self._faced:
            bearings = bearings[np.abs(_wrapped(bearings - ahead)) > half_rad]
        angles = _wrapped(bearings - now)
        return float(angles[np.argmin(np.abs(angles))]) if len(angles) else None


class Explorer:
    """Explores over a whole episode: looks around, visits frontier after frontier, then spots spread over the map."""

    def __init__(self, base: MobileBase, mapper: OccupancyMapper) -> None:
        """Explore the mapper's grid."""
        self._base, self._mapper = base, mapper
        self._commands = BaseCommands(base)
        self._survey: Survey | None = Survey(mapper)
        self._follower: PathFollower | None = None
        self._spot = (0.0, 0.0)  # map, destination of the follower
        self._spot_is_frontier = True
        self._setting_out: tuple[float, float] | None = None  # the spot of the last pose
        self._visited: list[tuple[float, float]] = []  # where the robot has looked around, or failed to get to

    def step(self, observation: Observation, view: ExploreView | None = None) -> Action | Outcome:
        """The next command, or SKILL_FAILED when the robot has seen everything that it can reach, or in a view."""
        if view is not None and not (self._follower and self._spot_is_frontier and view.shows(*self._spot)):
            self._survey = self._follower = None
        for _ in range(8):  # each round without a command abandons one spot
            command = self._command(observation, view)
            if command is not None:
                return command
        return Outcome(Code.SKILL_FAILED, "no unseen place can be reached")

    def _command(self, observation: Observation, view: ExploreView | None) -> Action | Outcome | None:
        pose = observation.T_map_base
        if self._survey is not None:
            angle = self._survey.turn_rad(observation)
            turn = None if angle is None else self._commands.turn_towards(angle)
            if turn is not None:
                return turn
            self._looked_around(pose)
        if self._follower is None:
            spot = self.next_spot(pose, view)
            if spot is None and view is not None:
                return Outcome(Code.SKILL_FAILED, "that view shows no unexplored place")
            if spot is None:
                self._visited.clear()  # the next exploration starts over: by then the task may need another object
                return Outcome(Code.SKILL_FAILED, "nothing is left to explore")
            self._spot = spot
            self._follower = PathFollower(*spot, self._base, self._mapper, tolerance_m=0.35)
        elif self._spot_is_frontier and not self._mapper.is_frontier(*self._spot, within_m=0.4):
            self._follower = None  # seen on the path there
            return None
        command = self._follower.step(pose)
        if not isinstance(command, Outcome):
            return command
        # Look around on arrival. What even that does not show stays unseen.
        self._visited.append(self._spot)
        self._follower = None
        if command.succeeded:
            self._survey = Survey(self._mapper, everywhere=not self._spot_is_frontier)
        return None

    def _looked_around(self, T_map_base: Pose) -> None:
        x, y, _ = T_map_base.translation
        self._visited.append((float(x), float(y)))
        self._survey = None

    # --- for a caller that drives to poses itself, such as the planner node ------------------------------------------

    def next_pose(self, observation: Observation, view: ExploreView | None = None) -> Pose | None:
        """Where to stand for the next image: turned on the spot, or at the next spot; None if nothing is left to see.

        A turn is at most the robot's turn step. A pose that the robot is sent to is followed by `set_out`.
        """
        base = observation.T_map_base
        self._setting_out = None
        if self._survey is not None and view is None:
            angle, limit = self._survey.turn_rad(observation), self._base.turn_step_rad
            if angle is not None:
                return base @ Pose.planar(0.0, 0.0, min(max(angle, -limit), limit))
            self._looked_around(base)
        spot = self.next_spot(base, view)
        if spot is None:
            if view is None:
                self._visited.clear()
                self._survey = Survey(self._mapper)
            return None
        self._setting_out = spot
        return Pose.planar(*spot, math.atan2(spot[1] - base.translation[1], spot[0] - base.translation[0]))

    def set_out(self) -> None:
        """Record that the robot was sent to the last pose: it looks around there, and sees what there is to see."""
        if self._setting_out is not None:
            self._visited.append(self._setting_out)
            self._survey = Survey(self._mapper, everywhere=not self._spot_is_frontier)
            self._setting_out = None

    def next_spot(self, T_map_base: Pose, view: ExploreView | None = None) -> tuple[float, float] | None:
        """Map xy to look around from next: the frontier that shows most for the drive, or the nearest unused spot.

        With a view, the best frontier in it; None if it shows none.
        """
        frontiers = [
            frontier
            for frontier in self._mapper.frontiers(T_map_base)
            if all(math.hypot(frontier.x - x, frontier.y - y) > 0.5 for x, y in self._visited)
            and (view is None or view.shows(frontier.x, frontier.y))
        ]
        self._spot_is_frontier = bool(frontiers)
        if frontiers:
            best = max(frontiers, key=self._gain)
            return best.x, best.y
        return None if view is not None else self._unused_spot(T_map_base)

    def _gain(self, frontier: Frontier) -> float:
        """Square metres that may be seen from a frontier, for each metre that it costs to get and look there."""
        seen_m2 = unseen_m2(self._mapper, frontier.x, frontier.y, within_m=self._mapper.config.range_m)
        return seen_m2 / (frontier.path_length_m + _LOOK_COST_M)

    def _unused_spot(self, T_map_base: Pose) -> tuple[float, float] | None:
        """The nearest reachable map xy that is not near a place where the robot has looked around."""
        grid = self._mapper.navigation_map(T_map_base, through_unknown=False)
        xs, ys = grid.centres()
        length = grid.path_length_m.copy()
        for x, y in self._visited:
            length[np.hypot(xs[None, :] - x, ys[:, None] - y) < LOOK_SPACING_M] = np.inf
        row, column = np.unravel_index(int(np.argmin(length)), length.shape)
        return (float(xs[column]), float(ys[row])) if np.isfinite(length[row, column]) else None


class ExploreSkill:
    """Explores for a while, then lets the planner look."""

    def __init__(
        self, explorer: Explorer, level: CameraLevel, *, actions: int, view: ExploreView | None = None
    ) -> None:
        """Level the camera, then give control back after `actions` commands.

        Args:
            explorer: of the episode.
            level: of the robot's camera; a tilted camera shows ceiling or floor, and maps nothing.
            actions: commands before the planner looks again.
            view: explore only what it shows.
        """
        self._explorer, self._level, self._left, self._view = explorer, level, actions, view

    def step(self, observation: Observation) -> Action | Outcome:
        """The next command; OK when it is the planner's turn to look."""
        tilt = self._level.step(observation)
        if tilt is not None:
            return tilt
        if self._left <= 0:
            return Outcome(Code.OK)
        self._left -= 1
        return self._explorer.step(observation, self._view)


def _wrapped(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    return (angles + math.pi) % (2 * math.pi) - math.pi
