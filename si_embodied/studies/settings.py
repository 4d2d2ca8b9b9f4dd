"""What each study is asked to do: the settings dataclasses, which import no learning library."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import Doc

from si_embodied.config import Prompts, checkpoint_prompts
from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import model_fingerprint
from si_embodied.progress import track
from si_embodied.run_lock import locked
from si_embodied.runs import claim
from si_embodied.sensor_noise.profiles import noise_profile
from si_embodied.training.nano_settings import IMAGE_PROMPTS
from si_embodied.types import Latency

if TYPE_CHECKING:
    from collections.abc import Callable

    from si_embodied.studies.results import Results
    from si_embodied.training.nano import Recipe

PAGE = "index.md"
"""A page in the results' folder, in which the study fills in its table."""
SETTINGS_FILE = "settings.json"  # what the folder's checkpoints were trained with
_THREADS = Doc("threads of the CPU")


@dataclass(frozen=True, slots=True)
class Episodes:
    """What to play. Studies use seeds below 100,000, which `si-embodied eval` leaves alone."""

    env: Annotated[str, Doc("the world to play in")] = "si_embodied/Tabletop-v0"
    task: Annotated[str, Doc("the task to play")] = "base"
    count: Annotated[int, Doc("per checkpoint and task")] = 100
    seed: Annotated[int, Doc("of the first episode")] = 90_000


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"expected {name} to be positive, got: {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """What the studies that train have in common."""

    out: Annotated[Path, Doc("for checkpoints and records")]
    data: Annotated[Path | None, Doc("shards of `train nano`, with `train/` and `held_out/`")]
    steps: Annotated[int | None, Doc("per training")] = None
    minutes: Annotated[float | None, Doc("per training, instead of steps")] = None
    episodes: Episodes = field(default_factory=Episodes)
    threads: Annotated[int, _THREADS] = 1
    seed: Annotated[int, Doc("of the trainings")] = 0
    recipe: Annotated[Recipe | None, Doc("of the trainings, instead of the study's own")] = None

    def __post_init__(self) -> None:
        """Reject trainings that would never end, and numbers out of range."""
        if self.data is not None and self.steps is None and self.minutes is None:
            raise ConfigError("expected steps or minutes for each training, got neither")
        for name in ("steps", "minutes", "threads"):
            if (value := getattr(self, name)) is not None:
                _check_positive(name, value)

    def settings(self) -> dict[str, Any]:
        """What the results are a function of."""
        from si_embodied.training.scenes import digest

        return {
            "steps": self.steps, "minutes": self.minutes, "seed": self.seed, "threads": self.threads,
            "data": None if self.data is None else digest(self.data / "train"), "episodes": asdict(self.episodes),
        }  # fmt: skip

    def claim(self) -> None:
        """Start the folder, or check that its trainings have the same settings.

        Raises:
            ConfigError: they have others.
        """
        claim(self.out / SETTINGS_FILE, self.settings(), may_change=("episodes", "test_images", "tasks"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRun(TrainingRun):
    """Trainings on several numbers of images, and how they are measured."""

    data: Annotated[Path, Doc("shards of `train nano`, with `train/` and `held_out/`")]
    images: Annotated[tuple[int, ...], Doc("training images; several trainings for each number")] = (150, 600, 2400)
    trainings: Annotated[int, Doc("on each number of images; each next one has the next seed")] = 3
    test_images: Annotated[int, Doc("new tables, and as many with unseen pairs")] = 240

    def settings(self) -> dict[str, Any]:
        """What a row of the results is a function of, besides the number of images."""
        return {**TrainingRun.settings(self), "test_images": self.test_images}

    def __post_init__(self) -> None:
        """Reject numbers out of range."""
        TrainingRun.__post_init__(self)
        _check_positive("trainings", self.trainings)

    def by_seed(self) -> tuple[ScalingRun, ...]:
        """One run for each seed, with a single training for each number of images."""
        seeds = range(self.seed, self.seed + self.trainings)
        recipes = [None if self.recipe is None else replace(self.recipe, seed=seed) for seed in seeds]
        return tuple(
            replace(self, seed=seed, recipe=recipe, trainings=1) for seed, recipe in zip(seeds, recipes, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningRun(TrainingRun):
    """A checkpoint, which is trained further before it is played; without data, it is only asked differently."""

    model: Annotated[Path, Doc("the checkpoint")]
    data: Annotated[Path | None, Doc("shards of `train nano`, to train on")] = None
    tasks: Annotated[tuple[str, ...], Doc("the tasks to play")] = ("base", "spatial")

    def settings(self) -> dict[str, Any]:
        """What the results are a function of."""
        return {**TrainingRun.settings(self), "model": model_fingerprint(self.model), "tasks": list(self.tasks)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayingRun:
    """Tasks that are played under several conditions, always on the same seeds."""

    model: Annotated[Path, Doc("the checkpoint of the policy planner")]
    out: Annotated[Path, Doc("for the records")]
    tasks: Annotated[tuple[str, ...], Doc("what to play, each as WORLD:TASK")] = (
        "Apartment-v0:objectnav", "Apartment-v0:spatial", "Tabletop-v0:base", "Tabletop-v0:spatial"
    )  # fmt: skip
    episodes: Annotated[int, Doc("of each task under each condition")] = 100
    seed: Annotated[int, Doc("of the first episode")] = 90_000
    image_size: Annotated[int | None, Doc("pixels; default: the world's own")] = None
    workers: Annotated[int, Doc("processes")] = 1

    def settings(self) -> dict[str, Any]:
        """What the results are a function of."""
        return {
            "model": model_fingerprint(self.model), "tasks": list(self.tasks), "episodes": self.episodes,
            "seed": self.seed, "image_size": self.image_size,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationsRun(PlayingRun):
    """Policies that are played with everything the planner has, and with one part of it off."""

    policies: Annotated[tuple[str, ...], Doc("the policies to play")] = ("perfect-pixels", "planner")

    def settings(self) -> dict[str, Any]:
        """What the results are a function of."""
        return {**PlayingRun.settings(self), "policies": list(self.policies)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRun(PlayingRun):
    """A policy whose plans take some simulated time."""

    policy: Annotated[str, Doc("the policy to play")] = "planner"
    latencies: Annotated[tuple[Latency, ...], Doc("simulated time per plan: `measured`, or seconds")] = (
        0.0, "measured", 0.5, 1.0, 2.0, 4.0
    )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """What the results are a function of."""
        return {**PlayingRun.settings(self), "policy": self.policy, "latencies": list(self.latencies)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseRun(PlayingRun):
    """A policy that is played with the sensors of real robots."""

    tasks: Annotated[tuple[str, ...], Doc("what to play, each as WORLD:TASK")] = (
        *(f"Apartment-v0:{task}" for task in ("objectnav", "spatial", "route")),
        *(f"Tabletop-v0:{task}" for task in ("base", "stack", "sort", "spatial", "visual", "complex")),
    )
    policy: Annotated[str, Doc("the policy to play")] = "planner"
    profiles: Annotated[tuple[str, ...], Doc("noise profiles or YAML files, each compared with no noise")] = (
        "realsense",
    )

    def settings(self) -> dict[str, Any]:
        """What the results are a function of."""
        profiles = [asdict(noise_profile(name)) for name in self.profiles]
        return {**PlayingRun.settings(self), "policy": self.policy, "profiles": profiles}


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRun(PlayingRun):
    """Checkpoints that answer spatial questions and then plan in episodes."""

    models: Annotated[tuple[Path, ...], Doc("the checkpoints, three or more")] = ()
    tasks: Annotated[tuple[str, ...], Doc("what to play, each as WORLD:TASK")] = (
        "Tabletop-v0:base", "Tabletop-v0:spatial", "Apartment-v0:objectnav"
    )  # fmt: skip
    shards: Annotated[
        Path | None, Doc("held-out shards of `train nano`, to ask small planners their own questions")
    ] = None
    images: Annotated[int, Doc("images of each world for these questions")] = 240
    data: Annotated[Path | None, Doc("a folder of `si-embodied data generate`, to ask its questions")] = None
    questions: Annotated[int | None, Doc("only the first questions of the data; types alternate there")] = None
    benchmark_results: Annotated[tuple[Path, ...], Doc("folders of `benchmark spatial`, one for each checkpoint")] = ()
    threads: Annotated[int, Doc("threads of the CPU for the questions")] = 1
    recipe: Annotated[Recipe | None, Doc("for small planners of other sizes than the shipped one")] = None

    def settings(self) -> dict[str, Any]:
        """What the results are a function of."""
        from si_embodied.training.conversations import fingerprint
        from si_embodied.training.scenes import digest

        return {
            "tasks": list(self.tasks), "episodes": self.episodes, "seed": self.seed, "image_size": self.image_size,
            "shards": digest(self.shards) if self.shards else None, "images": self.images,
            "data": fingerprint([self.data]) if self.data else None, "questions": self.questions,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuestionsRun:
    """Questions to a checkpoint."""

    model: Annotated[Path, Doc("any checkpoint, to ask the questions of the data")]
    data: Annotated[Path, Doc("a folder of `si-embodied data generate`")]
    out: Annotated[Path, Doc("for the answers")]
    count: Annotated[int | None, Doc("only the first questions of the data; types alternate there")] = None
    threads: Annotated[int, _THREADS] = 1
    device: Annotated[str, Doc("auto, cpu or cuda")] = "auto"
    dtype: Annotated[str, Doc("auto is bfloat16 on CUDA, float32 on a CPU")] = "auto"


@dataclass(frozen=True, slots=True)
class PlannerRun:
    """A checkpoint of the small planner's architecture, to be asked its own questions."""

    model: Annotated[Path, Doc("the checkpoint")]
    shards: Annotated[Path, Doc("shards of `train nano`")]
    images: Annotated[int, Doc("of each world and kind of place")]
    threads: Annotated[int, _THREADS] = 1
    recipe: Annotated[Recipe | None, Doc("for checkpoints of other sizes than the shipped one")] = None

    @property
    def prompts(self) -> Prompts:
        """The prompts that the checkpoint was trained with."""
        return checkpoint_prompts(self.model).or_else(IMAGE_PROMPTS)

    def load(self) -> Any:
        """Load the model.

        Raises:
            ConfigError: the checkpoint does not have the recipe's sizes.
        """
        from si_embodied.training.nano import Recipe, Training

        training = Training(self.recipe or Recipe(threads=self.threads))
        training.start_from(self.model)
        return training.mean


@dataclass(frozen=True, slots=True)
class CalibrationRun:
    """Episodes in which the perfect-pixels planner answers each prompt, too."""

    model: Annotated[Path, Doc("the checkpoint")]
    out: Annotated[Path, Doc("for the answers")]
    tasks: Annotated[tuple[str, ...], Doc("what to play, each as WORLD:TASK")] = (
        "Tabletop-v0:base", "Tabletop-v0:spatial", "Apartment-v0:objectnav"
    )  # fmt: skip
    count: Annotated[int, Doc("per task")] = 40
    seed: Annotated[int, Doc("of the first episode")] = 90_000
    threads: Annotated[int, _THREADS] = 1

    def __post_init__(self) -> None:
        """Reject tasks without a world."""
        for task in self.tasks:
            if task.count(":") != 1:
                raise ConfigError(f"expected a task such as Tabletop-v0:base, got: {task!r}")


@dataclass(frozen=True, slots=True)
class Report:
    """Where the results go, and whether to compute them."""

    results: Annotated[Path | None, Doc("for the JSON and the plot; default: --out")] = None
    report: Annotated[bool, Doc("only redo plot and table, from the JSON")] = False

    def make(self, say: Callable[..., None], kind: type[Results], out: Path, study: Callable[..., Results]) -> int:
        """Run a study in the folder `out`, or read its results, and report on them; `say` takes lines of text."""
        from si_embodied.studies.plots import draw

        folder = self.results or out
        if self.report:
            found = kind.read(folder / f"{kind.name}.json")
        else:
            with locked(out), track(f"study {kind.name}"):
                found = study(folder, report=say)
        draw(found, folder / f"{kind.name}.png")
        if (page := folder / PAGE).is_file():
            found.fill(page)
        say(f"{found.headline()}.", "", *found.table(), "", f"results and plot: {folder / kind.name}.json, .png")
        return 0
