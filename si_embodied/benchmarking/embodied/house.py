"""EB-Habitat's rules on the Rearrange world: named skills by number, 30 of them an episode, or 10 invalid ones."""

from __future__ import annotations

from typing import Any, ClassVar

from si_embodied.benchmarking.embodied.situation import Past, Situation
from si_embodied.benchmarking.embodied.subsets import REARRANGE, Subsets
from si_embodied.benchmarking.embodied.worlds import ProtocolWorld
from si_embodied.envs.habitat.rearrange import MAX_INVALID, MAX_STEPS, HabitatRearrangeEnv


class ProtocolRearrange(ProtocolWorld):
    """The Rearrange world as EB-Habitat poses it.

    A skill that cannot be carried out is invalid, takes a step and ends the plan. An answer without a plan counts as
    an invalid action and takes no step.
    """

    SUBSETS: ClassVar[Subsets] = REARRANGE
    kind = "rearrangement"

    def _make(self, task: str) -> HabitatRearrangeEnv:
        return HabitatRearrangeEnv(task, image_size=self._image_size)

    def _reject(self) -> None:
        self.count.rejected += 1
        self.count.invalid += 1
        self.count.replan = True

    def _limit_reached(self) -> bool:
        return self.count.steps >= MAX_STEPS or self.count.invalid >= MAX_INVALID

    def _carry_out(self, action: Any) -> Past:
        number, skills = int(action), self.inner.skills
        self._observation, _, _, _, self._last = self.inner.step(number)
        done = bool(self._observation["skill_done"])
        self.count.steps += 1
        self.count.invalid += not done
        self.count.replan = not done
        words = skills[number].text if number < len(skills) else "none"
        verdict = "the action was carried out" if done else "the action was invalid"
        return Past(f"action id {number}, {words}", f"{verdict}: {self._last['feedback']}")

    def situation(self) -> Situation:
        """What the planner is told: the head camera's picture and the skills."""
        skills = tuple(skill.text for skill in self.inner.skills)
        picture = self._observation["rgb"][0]
        return Situation(self.instruction, picture, "", skills, tuple(self.count.past))
