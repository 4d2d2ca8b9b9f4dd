"""Skills of a robot that carries out whole skills by their numbers: call one, or drive on to the next unseen place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.errors import ObservationError
from si_embodied.skills.calling import distance_to_area
from si_embodied.types import Code, Outcome

if TYPE_CHECKING:
    from si_embodied.policies.skills import Action
    from si_embodied.types import Observation, SkillState


def skills_in(observation: Observation) -> SkillState:
    """What the robot can do.

    Raises:
        ObservationError: the observation does not say.
    """
    if observation.skills is None:
        raise ObservationError(
            "a robot of skills needs `skills`, `skill_areas`, `feedback`, `skill_done` and `holding` in its observation"
        )
    return observation.skills


class CallOnce:
    """Calls one skill, and says how that went."""

    def __init__(self, number: int) -> None:
        """Call the skill of a number."""
        self._number = number
        self._called = False

    def step(self, observation: Observation) -> Action | Outcome:
        """The number, then the outcome as the next observation tells it."""
        if not self._called:
            self._called = True
            return self._number
        skills = skills_in(observation)
        return Outcome(Code.OK) if skills.succeeded else Outcome(Code.SKILL_FAILED, skills.feedback)


class PlaceExplorer:
    """Which places the robot has driven to in an episode, and which is next."""

    def __init__(self) -> None:
        """None yet."""
        self._visited: set[str] = set()

    def visited(self, place: str) -> None:
        """Note a place, by its words."""
        self._visited.add(place)

    def next_place(self, observation: Observation) -> int | None:
        """The number of the skill that drives to the nearest place not visited, None when there is none."""
        here = observation.T_map_base.translation[:2]
        away = {
            number: distance_to_area(here, option.area_m)
            for number, option in enumerate(skills_in(observation).options)
            if option.verb == "navigate" and option.area_m is not None and option.target not in self._visited
        }
        if not away:
            self._visited.clear()  # asked again, it goes around again: another thing may be looked for by then
            return None
        return min(away, key=lambda number: (away[number], number))


class ExplorePlace:
    """Drives to one place that was not visited yet, then lets the planner look."""

    def __init__(self, explorer: PlaceExplorer) -> None:
        """Ask `explorer` where to."""
        self._explorer = explorer
        self._call: CallOnce | None = None

    def step(self, observation: Observation) -> Action | Outcome:
        """The number of the skill, then its outcome; SKILL_FAILED when every place was visited."""
        if self._call is None:
            number = self._explorer.next_place(observation)
            if number is None:
                return Outcome(Code.SKILL_FAILED, "every place was visited")
            self._explorer.visited(skills_in(observation).options[number].target)
            self._call = CallOnce(number)
        return self._call.step(observation)
