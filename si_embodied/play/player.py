"""One person's episodes in one world, step by step. Used by one thread: the world's renderer belongs to it."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from si_embodied.errors import ConfigError
from si_embodied.evaluation.episode import EpisodeResult, Stepped, plan_entry, scalars
from si_embodied.evaluation.registry import describe_environment, environments, make_env, observe
from si_embodied.evaluation.step_recorder import StepRecorder
from si_embodied.live.moment import Moment
from si_embodied.planner import Planner
from si_embodied.play.demonstration import save
from si_embodied.play.models import open_model
from si_embodied.play.news import news
from si_embodied.play.opening import make_scene
from si_embodied.play.settings import PlaySettings, PlayState, Status
from si_embodied.play.wheel import Wheel
from si_embodied.policies.perfect_pixels import perfect_pixels_backend
from si_embodied.policies.planner_policy import SpatialPlannerPolicy, embodiment_of
from si_embodied.types import Execute, Task

if TYPE_CHECKING:
    from si_embodied.embodiment import Embodiment
    from si_embodied.memory import Attempt
    from si_embodied.plan import Plan
    from si_embodied.play.scenes import Begun
    from si_embodied.play.wheel import Lesson
    from si_embodied.types import Observation

_SETTLING_STEPS = 2
"""An arm's task is done only when the objects have come to rest, after the planner has said that it is."""


class Player:
    """A world, a planner, and who is at the wheel."""

    def __init__(self, settings: PlaySettings) -> None:
        """Open the model and the world, and begin the seed's episode.

        Raises:
            SiEmbodiedError: the model or the world cannot be opened.
        """
        self._settings, self._config = settings, settings.config
        self.model = open_model(settings.config)
        self.status: Status = "ready"
        self._info: dict[str, Any] = {}
        self._open()
        self.begin(self._config.seed)

    def _open(self) -> None:
        """Make the world and the planner for the task."""
        self._env = make_env(self._config)
        self._world: Any = self._env.unwrapped
        self._scene = make_scene(self._env)
        self.wheel = Wheel(self.model.backend or perfect_pixels_backend(self._env))
        planner = Planner(self.wheel, embodiment_of(self._env), self._config.planner)
        self.planner_config = planner.config
        self._policy = SpatialPlannerPolicy(planner, ready=self.wheel.ready)

    def close(self) -> None:
        """Close the world and the model."""
        self._policy.close()
        self._env.close()
        self.model.close()

    # --- what a person can do ---------------------------------------------------------------------------------------

    def begin(self, seed: int, task: str | None = None) -> str:
        """Draw another scene.

        Raises:
            SiEmbodiedError: there is no such task; the old scene stays.
        """
        if task is not None and task != self._config.task:
            config = dataclasses.replace(self._config, task=task)
            make_env(config).close()  # fails before the old world is closed
            self._policy.close()
            self._env.close()
            self._config = config
            self._open()
        self._seed = seed
        self._take(self._scene.reset(seed), "ready")
        return f"seed {seed}: {self._instruction}"

    def instruct(self, instruction: str, *, by_hand: bool = False) -> str:
        """Begin an episode where the robot is now.

        Raises:
            ConfigError: the instruction is empty, or the world cannot take it.
        """
        text = " ".join(instruction.split())
        if not text:
            raise ConfigError("the instruction is empty; type what the robot shall do")
        limit = self._config.planner.guard.max_instruction_characters
        if len(text) > limit:
            raise ConfigError(f"the instruction has {len(text)} characters, more than {limit}; shorten it")
        self._take(self._scene.instruct(text), "acting")
        self.wheel.by_hand = by_hand
        return "the world will say if it succeeds" if self._measured else (
            "this is not one of the world's own tasks: watch whether it succeeds, and say so when you save it"
        )  # fmt: skip

    def hand(self, by_hand: bool) -> str:
        """Who makes the next plan."""
        self.wheel.by_hand, self.wheel.waiting = by_hand, False
        if self.running:
            self.status = "acting"
        return "you make the plans" if by_hand else "the model makes the plans"

    def act(self, plan: Plan) -> str:
        """Carry out a plan of the person's; begins an episode if none is running."""
        if not self.running:
            self.instruct(self._instruction, by_hand=True)
        self.wheel.by_hand = True
        self.wheel.give(plan)
        self.status = "acting"
        self._known_attempt = self._latest_attempt()  # what is told from now on is about this plan
        return ", then ".join(each.words for each in plan.subgoals) or "done"

    def stop(self) -> str:
        """End the episode."""
        if self.running:
            self._end("stopped")
        return "stopped"

    def move(self, name: str, x_m: float, y_m: float) -> str:
        """Move a thing in the scene.

        Raises:
            ConfigError: it cannot go there, or an episode is running.
        """
        if self.running:
            raise ConfigError("the robot is acting; stop it before you move things")
        self._observation = observe(self._scene.move(name, x_m, y_m), self._world.embodiment.cameras)
        self._suggestions = self._scene.suggestions()
        return f"moved the {name}"

    def save(self, success: bool) -> str:
        """Save the latest episode as a demonstration.

        Args:
            success: what the person says, where the world cannot measure it.

        Raises:
            ConfigError: there is no episode with a plan that ended.
            RecordError: a file cannot be written.
        """
        if self.running or not self._policy.decisions:
            raise ConfigError("there is no finished episode to save; let the robot act, and stop it or let it end")
        result = self._result(self.status == "succeeded" if self._measured else success)
        result = dataclasses.replace(result, kept_steps=self._recorder.steps())
        folder = save(self._settings.out, self._config, result, self._lessons, measured=self._measured)
        outcome = "succeeded" if result.success else "did not succeed"
        return f"saved {len(self._lessons)} plans of an episode that {outcome} in {folder}"

    # --- the loop ---------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether an episode is running."""
        return self.status in ("acting", "your turn")

    @property
    def observation(self) -> Observation:
        """What the robot sees now."""
        return self._observation

    @property
    def embodiment(self) -> Embodiment:
        """The robot."""
        return embodiment_of(self._env)

    def fail(self, why: str) -> None:
        """End an episode that cannot go on."""
        self._measured, self._crash = False, why
        self._end("ended")

    def step(self) -> None:
        """Let the robot act once; does nothing while it is the person's turn."""
        decided = len(self._policy.decisions)
        action = self._policy.act(self._observation)
        self._learn(decided)
        if self.wheel.waiting:
            self.status = "your turn"
            return
        self._recorder.acted(self._env, self._policy, self._task, self._observation, self._steps)
        raw, reward, terminated, truncated, self._info = self._env.step(action)
        success = self._measured and bool(self._info.get("success", False))
        self._recorder.stepped(Stepped(action, float(reward), bool(terminated), bool(truncated), success))
        self._observation = observe(raw, self._world.embodiment.cameras)
        self._steps += 1
        place = self._observation.T_map_base if self._observation.arm is None else self._observation.arm.T_map_tool
        self._trail.append((round(float(place.translation[0]), 3), round(float(place.translation[1]), 3)))
        self._settled += self._policy.execution.end is not None
        over = terminated if self._measured or self._world.kind == "navigation" else False
        if over or truncated or self._settled > _SETTLING_STEPS:
            self._end("failed")

    def _learn(self, decided: int) -> None:
        """Keep the prompt and the answer of a plan that is carried out."""
        decisions = self._policy.decisions
        if len(decisions) > decided and isinstance(decisions[-1], Execute) and self.wheel.lesson is not None:
            self._lessons.append(self.wheel.lesson)

    def _end(self, status: Status) -> None:
        """End the episode: as a success if the world says so, and as nothing in particular if it cannot say."""
        if self._measured and bool(self._info.get("success", False)):
            status = "succeeded"
        elif not self._measured and status == "failed":
            status = "ended"
        self.status = status
        self.wheel.release()
        self._wall_s = time.perf_counter() - self._started_s

    def _take(self, begun: Begun, status: Status) -> None:
        """Start to play an episode that has begun."""
        self._instruction, self._measured = begun.instruction, begun.measured
        self._observation = observe(begun.raw, self._world.embodiment.cameras)
        self._task = Task(begun.instruction, self._world.kind)
        self._policy.reset(self._task)
        self._recorder = StepRecorder()
        self.wheel.release()
        self.wheel.prompt = None
        self.status = status
        self._steps = self._settled = 0
        self._crash, self._known_attempt = "", None
        self._info = {}
        self._first_stamp_s, self._started_s, self._wall_s = self._observation.stamp_s, time.perf_counter(), 0.0
        self._trail: list[tuple[float, float]] = []
        self._lessons: list[Lesson] = []
        self._suggestions = self._scene.suggestions()

    # --- what it shows ----------------------------------------------------------------------------------------------

    def moment(self) -> Moment:
        """What the page shows."""
        return Moment(
            f"{self.wheel.info.model} on {self._config.env} {self._world_task()}", self._seed, self._instruction,
            self._steps, self.status, self._observation, tuple(self._policy.decisions), self._policy.execution,
            self.wheel.prompt, self._world.embodiment, tuple(self._trail), self._scene.outlines(),
        )  # fmt: skip

    def state(self) -> PlayState:
        """What the page's buttons need to know."""
        return PlayState(
            self.status, self._world.kind, self._config.env, self._config.task or self._world_task(), self._tasks(),
            self._seed, self.wheel.info.model, self._instruction, self.wheel.by_hand, self._measured,
            self._suggestions, tuple(frame.name for frame in self._observation.frames),
            tuple(each.label for each in self._scene.outlines() if each.movable), self.model.asker is not None,
            self.model.note, not self.running and bool(self._policy.decisions), self._news(),
        )  # fmt: skip

    def _news(self) -> str:
        latest = self._latest_attempt()
        return news(self.status, None if latest is self._known_attempt else latest, self._crash)

    def _latest_attempt(self) -> Attempt | None:
        memory = self._policy.execution.memory
        return memory.attempts[-1] if memory is not None and memory.attempts else None

    def _world_task(self) -> str:
        return str(getattr(self._world, "task", ""))

    def _tasks(self) -> tuple[str, ...]:
        if self._config.env in environments():
            return describe_environment(self._config.env).tasks
        return (self._world_task(),)

    def _result(self, success: bool) -> EpisodeResult:
        return EpisodeResult(
            seed=self._seed,
            task=self._world_task(),
            instruction=self._instruction,
            success=success,
            steps=self._steps,
            ended="truncated" if self.status == "stopped" else "terminated",
            simulated_s=self._observation.stamp_s - self._first_stamp_s,
            wall_s=self._wall_s,
            metrics=scalars(self._info) if self._measured else {},
            plans=tuple(plan_entry(decision) for decision in self._policy.decisions),
        )
