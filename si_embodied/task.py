"""The task loop, from the first plan to the end: take a decision, execute its goals, take their outcomes, replan.

`TaskProgress` has no clock, robot or model. `SpatialPlannerPolicy` drives it from an environment's steps and the ROS
node from its timer, so simulation measures the same loop that runs on the robot.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from si_embodied.geometry import Pose
from si_embodied.localisation import localised_goal
from si_embodied.memory import Attempt, Memory
from si_embodied.skills import Finish, Pick, PointedSubgoal
from si_embodied.types import Code, Hold, Outcome

if TYPE_CHECKING:
    from si_embodied.skills import Goal, Subgoal
    from si_embodied.types import Decision, Execute, Observation, Refusal, Task

MOST_HOLDS = 5
"""A task ends after this many refusals in a row. Each refusal is shown in the next prompt."""
MOST_OUTAGE_S = 60.0
"""A task ends once its model or server has failed for this long. A server that restarts may have a model to load."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0
"""Pauses between plans while the model or its server fails; each is twice as long as the one before."""
_NEW_VIEW_M, _NEW_VIEW_RAD = 0.4, 0.3
"""A view that differs less from the last one shows no more of where a picture was taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One goal of a plan."""

    goal: Goal
    subgoal: Subgoal | None  # None for the `Finish` added when the plan is `done`
    T_map_base: Pose  # start of relative goals: the pose of the plan's image, or where the previous goal ended

    @property
    def words(self) -> str:
        """The step as the next prompt words it."""
        return "stop" if self.subgoal is None else self.subgoal.words


@dataclass(slots=True)
class TaskProgress:
    """The state of one task. Feed it decisions and outcomes; ask it for the next step.

    The caller loops until `end` is set: ask the planner with `memory` and pass the answer to `decided`; then execute
    what `next_step` returns and pass the outcome to `finished`, until `next_step` returns None.
    """

    task: Task
    memory: Memory
    most_holds: int = MOST_HOLDS
    most_outage_s: float = MOST_OUTAGE_S
    plans: int = 0
    holds: int = 0
    subgoals: int = 0  # executed successfully
    failures: int = 0  # executed and failed
    step: Step | None = None  # the one being executed
    end: Outcome | None = None  # None while the task is running
    stamp_s: float = 0.0  # of the current plan's image
    pause_s: float = 0.0  # how long to wait, in real time, before the planner is asked again
    floor_m2: float = 0.0  # the most floor that a plan's map has shown
    _sought: Pose | None = None  # of the camera in the last view that was compared with the goal picture
    _pending: deque[Step] = field(default_factory=deque)
    _holds_in_a_row: int = 0
    _outage_s: float = 0.0  # for how long the model or its server has failed, pauses included

    def decided(self, decision: Decision, observation: Observation | None) -> None:
        """Record a decision and queue its goals. `most_holds` refusals in a row end the task.

        A model or server that fails (`BACKEND_FAILED`) has not refused anything: such a hold is neither counted as a
        refusal nor remembered for the prompt. The caller waits `pause_s` and asks again, until the failures have
        lasted `most_outage_s`.

        Args:
            decision: a plan, or the reason there is none.
            observation: the observation it was made from; None if the robot had none.
        """
        self.plans += 1
        self.floor_m2 = max(self.floor_m2, decision.record.floor_m2)
        if isinstance(decision, Hold) and decision.code is Code.BACKEND_FAILED:
            self._wait_out(decision)
            return
        self._outage_s = self.pause_s = 0.0
        if isinstance(decision, Hold):
            self._hold(decision, Pose.identity() if observation is None else observation.T_map_base)
            return
        assert observation is not None  # a plan always has an observation
        self._holds_in_a_row = 0
        self._remember_plan(decision, observation)
        self.stamp_s = decision.record.observation_stamp_s
        self._pending.extend(_steps(decision, observation.T_map_base))

    def saw(self, observation: Observation) -> None:
        """Remember a view worth keeping; call it with the observations while a step is executed.

        A goal picture is looked for in the first camera's view, if that is a new one.
        """
        self.memory = self.memory.saw(observation)
        kept = self.memory.config
        if observation.goal_image is None or not (observation.frames and kept.localise_goal and kept.objects):
            return
        camera = observation.frames[0].T_map_camera
        if self._sought is None or camera.differs(self._sought, by_m=_NEW_VIEW_M, by_rad=_NEW_VIEW_RAD):
            self._sought = camera
            goal = localised_goal(observation, observation.goal_image)
            self.memory = self.memory if goal is None else self.memory.localised(goal)

    def next_step(self, T_map_base: Pose | None = None, stale: Refusal | None = None) -> Step | None:
        """Start the next step of the plan; None if a new plan is needed or the task has ended.

        Args:
            T_map_base: the current base pose, from which relative goals after the first are measured. None for the
                plan's first goal, which is measured from the pose of the plan's image.
            stale: the guard's refusal if the plan, whose image was taken at `stamp_s`, is too old by now. The rest of
                the plan is then dropped and remembered as such.
        """
        if self.end is not None or not self._pending:
            return None
        step = self._pending.popleft()
        if T_map_base is not None:
            step = Step(step.goal, step.subgoal, T_map_base)
        if isinstance(step.goal, Finish):
            self.end = Outcome(Code.OK)
            return None
        if stale is not None:
            self._remember(step, Outcome(stale.code, stale.message))
            self._pending.clear()
            return None
        self.step = step
        return step

    def finished(self, outcome: Outcome) -> None:
        """Record the outcome of the current step. A failure drops the rest of the plan."""
        step, self.step = self.step, None
        assert step is not None  # only a started step has an outcome
        self._remember(step, outcome)
        if isinstance(step.subgoal, Pick):  # it is in the gripper now, or was not there, or was pushed away
            self.memory = self.memory.moved(step.subgoal.object)
        if outcome.succeeded:
            self.subgoals += 1
        else:
            self.failures += 1
            self._pending.clear()  # the remaining goals assumed success

    def interrupted(self, outcome: Outcome) -> None:
        """The current step failed, or else the next one before it started; the rest of the plan is dropped.

        A plan that is `done` but for its `Finish` does not end the task: the plan is dropped, and nothing has failed.
        """
        if self.step is None and self._pending and not isinstance(self._pending[0].goal, Finish):
            self.step = self._pending.popleft()
        if self.step is not None:
            self.finished(outcome)
        self._pending.clear()

    def stop(self, outcome: Outcome) -> None:
        """End the task now, even during a step."""
        self._pending.clear()
        self.step, self.end = None, outcome

    def _wait_out(self, hold: Hold) -> None:
        """Pause before the next plan, or end the task if the failures have lasted too long."""
        self.holds += 1
        self._outage_s += hold.record.latency_s.get("total", 0.0)
        if self._outage_s >= self.most_outage_s:
            why = f"no plan for {self._outage_s:.0f} s; the last reason: {hold.message}"
            self.stop(Outcome(hold.code, why))
            return
        self.pause_s = min(max(_FIRST_PAUSE_S, 2 * self.pause_s), _LONGEST_PAUSE_S)
        self._outage_s += self.pause_s

    def _remember_plan(self, decision: Execute, observation: Observation) -> None:
        """Remember the plan's view, and where the objects are that it points at."""
        views = self.memory.recall(observation).views  # as the planner saw them
        probability = decision.record.decision_probability  # of the plan's first subgoal
        self.saw(observation)
        self.memory = self.memory.planned(observation)
        for subgoal, goal in zip(decision.subgoals, decision.goals, strict=False):
            if isinstance(subgoal, PointedSubgoal) and goal.place_m is not None and subgoal.view < len(views):
                stamp_s = views[subgoal.view].stamp_s
                self.memory = self.memory.pointed_at(subgoal.object, goal.place_m, stamp_s, probability)

    def _remember(self, step: Step, outcome: Outcome) -> None:
        self.memory = self.memory.add(Attempt(step.words, step.goal, step.T_map_base, outcome, self.floor_m2))

    def _hold(self, hold: Hold, T_map_base: Pose) -> None:
        self.holds += 1
        self._holds_in_a_row += 1
        outcome = Outcome(hold.code, hold.message)
        self.memory = self.memory.add(Attempt("plan", None, T_map_base, outcome, self.floor_m2))
        if self._holds_in_a_row >= self.most_holds:
            why = f"too many holds in a row ({self._holds_in_a_row}); the last reason: {hold.message}"
            self.stop(Outcome(hold.code, why))


def _steps(decision: Execute, T_map_base: Pose) -> list[Step]:
    """Pair each goal with its subgoal. The `Finish` added for `done` has none."""
    subgoals = [*decision.subgoals, *(None for _ in range(len(decision.goals) - len(decision.subgoals)))]
    return [Step(goal, subgoal, T_map_base) for goal, subgoal in zip(decision.goals, subgoals, strict=True)]
