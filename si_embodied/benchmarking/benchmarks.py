"""The benchmarks of SenseNova-SI's suite in lmms-eval 0.7.3, and the figures published for its models.

Task names, files, fields and metrics are lmms-eval's. MMBench's score counts a question as right if it is right in
every order of its options: its data set asks each question once per order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from si_embodied.benchmarking.scores import Piece
from si_embodied.benchmarking.subset import CIRCULAR_STEP
from si_embodied.errors import UnknownNameError

PAPER = "arXiv 2511.13719, SenseNova-SI-1.1-InternVL3-8B"

Sample: TypeAlias = Mapping[str, Any]
"""A line of lmms-eval's `*_samples_TASK.jsonl`: the metrics of one question."""
Pieces: TypeAlias = Callable[[Sequence[Sample], float], list[Piece]]
"""From the samples of a task, and lmms-eval's score from 0 to 1, to what the score consists of."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task of lmms-eval."""

    name: str
    file: str  # its YAML file, below lmms_eval/tasks/
    repository: str  # its data set on the Hugging Face hub
    config: str | None  # of the data set
    column: str  # its categories
    metric: str  # the headline
    pieces: Pieces
    percent: bool = False  # whether lmms-eval gives percent
    media: str = ""  # the folder of its videos and images, if they are not in the data set
    fewest: int = 1  # questions that its scorer needs


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark, which is one task or several."""

    title: str
    tasks: tuple[Task, ...]
    published: tuple[str, ...]  # figures in percent, with their sources


def _right(metric: str, key: str = "score") -> Pieces:
    """Questions that are right or wrong."""

    def pieces(samples: Sequence[Sample], _: float) -> list[Piece]:
        return [Piece(float(sample[metric][key])) for sample in samples]

    return pieces


def _vsi(samples: Sequence[Sample], _: float) -> list[Piece]:
    """The mean over eight types of question, of which relative direction is the mean of three."""
    pieces = []
    for sample in samples:
        scored = sample["vsibench_overall"]
        kind = scored["question_type"]
        share = 1 / 3 if kind.startswith("object_rel_direction") else 1.0
        gained = scored["accuracy"] if scored.get("accuracy") is not None else scored["MRA:.5:.95:.05"]
        pieces.append(Piece(float(gained), group=kind, share=share))
    return pieces


def _site(samples: Sequence[Sample], _: float) -> list[Piece]:
    """Chance-adjusted accuracy: what was gained over guessing, of what could be gained."""
    return [
        Piece(float(sample["chance_adjusted_acc"]["overall"]), possible=float(sample["chance_adjusted_acc"]["total"]))
        for sample in samples
    ]


def _mmbench(samples: Sequence[Sample], score: float) -> list[Piece]:
    """Questions, each with all its rotations. lmms-eval logs no score of each, so that only their number is known."""
    count = len({sample["gpt_eval_score"]["index"] % CIRCULAR_STEP for sample in samples})
    right = round(score * count)
    return [Piece(1.0)] * right + [Piece(0.0)] * (count - right)


_SITE: dict[str, Any] = {
    "repository": "franky-veteran/SITE-Bench", "column": "category", "metric": "chance_adjusted_acc", "pieces": _site,
    "percent": True, "media": "sitebench",
}  # fmt: skip

BENCHMARKS: Mapping[str, Benchmark] = {
    "vsi": Benchmark(
        "VSI-Bench",
        (
            Task(
                "vsibench_multiimage", "vsibench/multi_image_input/vsibench_multiimage.yaml",
                "nyu-visionx/VSI-Bench", "full", "question_type", "vsibench_overall", _vsi, media="vsibench", fewest=10,
            ),
        ),
        (f"68.7 ({PAPER})",),
    ),
    "mmsi": Benchmark(
        "MMSI-Bench",
        (
            Task(
                "mmsi_bench", "mmsi_bench/msr_bench.yaml", "RunsenXu/MMSI-Bench", None, "question_type", "average",
                _right("average"),
            ),
        ),
        (f"43.3 ({PAPER})",),
    ),
    "mindcube": Benchmark(
        "MindCube",
        (
            Task(
                "mindcube_tiny", "mindcube/mindcube_tiny.yaml", "oscarqjh/MindCube_lmmseval", "tiny", "id",
                "overall_accuracy", _right("overall_accuracy"),
            ),
        ),
        (f"85.6, and 52.5 without images ({PAPER})",),
    ),
    "viewspatial": Benchmark(
        "ViewSpatial-Bench",
        (
            Task(
                "viewspatial", "viewspatial/viewspatial.yaml", "oscarqjh/ViewSpatial_lmmseval", "default",
                "question_type", "overall_accuracy", _right("overall_accuracy"),
            ),
        ),
        (f"54.6 ({PAPER})",),
    ),
    "site": Benchmark(
        "SITE-Bench",
        (
            Task("site_bench_image", "sitebench/site_image.yaml", config="image_test", **_SITE),
            Task(
                "site_bench_video_multiimage", "sitebench/multi_image_input/site_video_multiimage.yaml",
                config="video_test", **_SITE,
            ),
        ),
        (f"47.7 for images and videos together ({PAPER}; the abstract of its version 1 says 50.1)",),
    ),
    "mmbench": Benchmark(
        "MMBench-EN dev",
        (
            Task(
                "mmbench_en_dev_static", "mmbench/mmbench_en_dev_static.yaml", "lmms-lab-encoder/MMBench", "en",
                "category", "gpt_eval_score", _mmbench, percent=True,
            ),
        ),
        (f"84.9 ({PAPER})",),
    ),
}  # fmt: skip


def find_benchmarks(names: Sequence[str]) -> dict[str, Benchmark]:
    """The benchmarks with these names.

    Raises:
        UnknownNameError: there is none of a name.
    """
    for name in names:
        if name not in BENCHMARKS:
            raise UnknownNameError("benchmark", name, BENCHMARKS)
    return {name: BENCHMARKS[name] for name in names}
