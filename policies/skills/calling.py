"""Skills of a robot that executes whole skills by number: call one, or drive on to the next unvisited place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.errors import ObservationError
from si_embodied.skills.calling import distance_to_area
from si_embodied.types import Code, Outcome

if TYPE_CHECKING:
    from si_embodied.policies.skills import Action
    from si_embodied.types import Observation, SkillState


def skills_in(observation: Observation) -> SkillState:
    """The skills that the robot offers.

    Raises:
        ObservationError: the observation does not list them.
    """
    if observation.skills is None:
        raise ObservationError(
            "a robot of skills needs `skills`, `skill_areas`, `feedback`, `skill_done` and `holding` in its observation"
        )
    return observation.skills


class CallOnce:
    """Calls one skill and reports its outcome."""

    def __init__(self, number: int) -> None:
        """Call the skill with this number."""
        self._number = number
        self._called = False

    def step(self, observation: Observation) -> Action | Outcome:
        """The number, then the outcome that the next observation reports."""
        if not self._called:
            self._called = True
            return self._number
        skills = skills_in(observation)
        return Outcome(Code.OK) if skills.succeeded else Outcome(Code.SKILL_FAILED, skills.feedback)


class PlaceExplorer:
    """Which places the robot has visited in an episode, and which one is next."""

    def __init__(self) -> None:
        """Start with no place visited."""
        self._visited: set[str] = set()

    def visited(self, place: str) -> None:
        """Mark a place, given by its name, as visited."""
        self._visited.add(place)

    def next_place(self, observation: Observation) -> int | None:
        """The number of the skill that drives to the nearest unvisited place; None when all are visited."""
        here = observation.T_map_base.translation[:2]
        away = {
            number: distance_to_area(here, option.area_m)
            for number, option in enumerate(skills_in(observation).options)
            if option.verb == "navigate" and option.area_m is not None and option.target not in self._visited
        }
        if not away:
            self._visited.clear()  # the next exploration starts over: by then the task may need another object
            return None
        return min(away, key=lambda number: (away[number], number))


class ExplorePlace:
    """Drives to one unvisited place, then lets the planner look."""

    def __init__(self, explorer: PlaceExplorer) -> None:
        """Ask `explorer` for the place."""
        self._explorer = explorer
        self._call: CallOnce | None = None

    def step(self, observation: Observation) -> Action | Outcome:
        """The number of the skill, then its outcome; SKILL_FAILED when every place has been visited."""
        if self._call is None:
            number = self._explorer.next_place(observation)
            if number is None:
                return Outcome(Code.SKILL_FAILED, "every place has been visited")
            self._explorer.visited(skills_in(observation).options[number].target)
            self._call = CallOnce(number)
        return self._call.step(observation)
