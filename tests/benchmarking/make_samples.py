"""Makes tests/benchmarking/samples: a handful of questions in the format of each benchmark, about our own worlds.

    python tests/benchmarking/make_samples.py --python ENVIRONMENT/bin/python

Our question generators ask, our renderer draws, and the Python with lmms-eval's `datasets` writes the tables. The
categories are borrowed names: the samples test formats and scorers, and measure nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
from PIL import Image

from si_embodied.data.questions import LETTERS, Question
from si_embodied.data.sampling import make_questions
from si_embodied.data.settings import DataConfig

OUT = Path(__file__).parent / "samples"
SIZE = 128
STEP = 1_000_000  # between the rotations of a question in MMBench

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

VSI = {
    "object_rel_direction_easy": "perspective.from_place", "object_rel_direction_medium": "perspective.facing",
    "object_rel_direction_hard": "relation.left_right", "object_rel_distance": "relation.nearest_marked",
    "route_planning": "reasoning.route_turn", "obj_appearance_order": "metric.farther_object",
    "object_abs_distance": "metric.distance", "object_counting": "reconstruction.count",
    "object_size_estimation": "metric.height", "room_size_estimation": "metric.depth",
}  # fmt: skip
MMSI = {
    "Positional Relationship (Cam.–Cam.)": "reconstruction.camera_motion",
    "Attribute (Appr.)": "reconstruction.same_object",
    "Positional Relationship (Obj.–Obj.)": "relation.nearest_marked", "MSR": "reconstruction.viewpoint",
}  # fmt: skip
MINDCUBE = {
    "among": "relation.nearest", "around": "reconstruction.camera_motion", "aroundnew": "reconstruction.same_object",
    "rotation": "perspective.facing",
}  # fmt: skip
VIEWSPATIAL = {
    "Camera perspective - Relative Direction": "relation.left_right",
    "Camera perspective - Object View Orientation": "relation.front_behind",
    "Person perspective - Relative Direction": "perspective.from_place",
    "Person perspective - Object View Orientation": "perspective.across_table",
    "Person perspective - Scene Simulation Relative Direction": "perspective.facing",
}
SITE_IMAGE = {
    "spatial relationship reasoning": "relation.between", "counting & existence": "relation.taller",
    "multi-view & cross-image reasoning": "reconstruction.viewpoint",
}  # fmt: skip
SITE_VIDEO = {
    "movement prediction & navigation": "reconstruction.camera_motion",
    "3d information understanding": "metric.nearest_point",
}  # fmt: skip
MMBENCH = {
    "spatial_relationship": "relation.nearest", "object_localization": "metric.nearest_point",
    "physical_relation": "relation.taller",
}  # fmt: skip
TABLES = (VSI, MMSI, MINDCUBE, VIEWSPATIAL, SITE_IMAGE, SITE_VIDEO, MMBENCH)


def asked(per_kind: int = 6) -> dict[str, list[Question]]:
    """Some questions of each kind."""
    kinds = sorted({kind for table in TABLES for kind in table.values()})
    found: dict[str, list[Question]] = {kind: [] for kind in kinds}
    config = DataConfig(count=per_kind * len(kinds), kinds=tuple(kinds), image_size=SIZE, held_out=True)
    for one in sorted(make_questions(config, 0, Counter()), key=lambda each: each.job.index):
        found[one.job.type.name].append(one.question)
    return found


class Pool:
    """Hands out each question once. The right option is A and not A in turn, so that always saying A scores half."""

    def __init__(self, questions: dict[str, list[Question]]) -> None:
        self._questions = questions
        self._wants_a = itertools.cycle((True, False))

    def take(self, kind: str) -> Question:
        """A question of a kind."""
        left, wants_a = self._questions[kind], next(self._wants_a)
        one = next((each for each in left if (each.answer == "A") == wants_a), left[0])
        left.remove(one)
        return one


def png(rgb: Any) -> str:
    """A picture as hexadecimal digits of its PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", optimize=True)
    return buffer.getvalue().hex()


def video(question: Question, folder: Path) -> str:
    """Write the question's pictures as a video of 8 frames; returns its name without the ending."""
    frames = [image for image in question.images for _ in range(-(-8 // len(question.images)))][:8]
    name = "scene-" + hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest()[:8]
    folder.mkdir(parents=True, exist_ok=True)
    imageio.mimwrite(folder / f"{name}.mp4", frames, fps=2, macro_block_size=16)
    return name


def lettered(options: Sequence[str], mark: str) -> list[str]:
    return [f"{letter}{mark} {option}" for letter, option in zip(LETTERS, options, strict=False)]


def vsi(pool: Pool) -> list[dict[str, Any]]:
    rows = []
    for number, (kind, ours) in enumerate(VSI.items()):
        question = pool.take(ours)
        answer = question.answer
        if kind == "object_counting":
            answer = str(NUMBERS.index(question.options[LETTERS.index(answer)]))
        rows.append(
            {
                "id": number,
                "dataset": "si_embodied",
                "scene_name": video(question, OUT / "vsibench" / "si_embodied"),
                "question_type": kind,
                "question": question.text,
                "ground_truth": answer,
                "options": None if kind == "object_counting" else lettered(question.options, ".") or None,
            }
        )
    return rows


def mmsi(pool: Pool) -> list[dict[str, Any]]:
    rows = []
    for number, (kind, ours) in enumerate(MMSI.items()):
        one = pool.take(ours)
        text = f"{one.text}\nOptions: {', '.join(lettered(one.options, ':'))}"
        rows.append({"id": number, "images": [*map(png, one.images)], "question_type": kind, "question": text,
                     "answer": one.answer, "thought": ""})  # fmt: skip
    return rows


def mindcube(pool: Pool) -> list[dict[str, Any]]:
    rows = []
    for number, (kind, ours) in enumerate(MINDCUBE.items()):
        one = pool.take(ours)
        text = f"{one.text} {' '.join(lettered(one.options, '.'))}"
        prompt = f"{'<image>' * len(one.images)}\n[Question]\n{text}"
        rows.append({"id": f"{kind}_{number:03d}", "images": [*map(png, one.images)], "question": text,
                     "input_prompt": prompt, "gt_answer": one.answer, "grounded_output": one.answer})  # fmt: skip
    return rows


def viewspatial(pool: Pool) -> list[dict[str, Any]]:
    rows = []
    for kind, ours in VIEWSPATIAL.items():
        one = pool.take(ours)
        options = lettered(one.options, ".")
        rows.append({"question_type": kind, "images": [*map(png, one.images)], "question": one.text,
                     "choices": "\n".join(options), "answer": options[LETTERS.index(one.answer)]})  # fmt: skip
    return rows


def site(pool: Pool, table: dict[str, str], *, as_video: bool) -> list[dict[str, Any]]:
    rows = []
    for kind, ours in table.items():
        one = pool.take(ours)
        if as_video:
            visual = [f"videos/{video(one, OUT / 'sitebench' / 'videos')}.mp4"]
        else:
            visual = []
            for rgb in one.images:
                data = bytes.fromhex(png(rgb))
                visual.append(f"images/{hashlib.sha256(data).hexdigest()[:12]}.png")
                (OUT / "sitebench" / "images").mkdir(parents=True, exist_ok=True)
                (OUT / "sitebench" / visual[-1]).write_bytes(data)
        rows.append({"question": one.text, "options": list(one.options), "visual": visual, "answer": one.answer,
                     "category": kind, "dataset": "si_embodied"})  # fmt: skip
    return rows


def mmbench(pool: Pool) -> list[dict[str, Any]]:
    """The first question stands alone, with A as the answer; the others have every order of their options."""
    rows = []
    for number, (kind, ours) in enumerate(MMBENCH.items()):
        one = pool.take(ours)
        place = LETTERS.index(one.answer)
        for turn in range(1 if number == 0 else len(one.options)):
            shift = place if number == 0 else turn
            options = (*one.options[shift:], *one.options[:shift])
            named = {letter: options[k] if k < len(options) else "nan" for k, letter in enumerate("ABCDE")}
            rows.append({"index": number + STEP * turn, "question": one.text, "hint": "nan", **named,
                         "answer": LETTERS[(place - shift) % len(options)], "category": kind,
                         "L2-category": "perception", "source": "si_embodied", "split": "dev",
                         "image": png(one.images[0])})  # fmt: skip
    return rows


TASKS = (
    "vsibench_multiimage", "mmsi_bench", "mindcube_tiny", "viewspatial", "site_bench_image",
    "site_bench_video_multiimage", "mmbench_en_dev_static",
)  # fmt: skip


def planted(row: dict[str, Any]) -> list[str]:
    """Category, answer and number of options of a sample, from which the test computes what must come out."""
    category = row.get("question_type") or row.get("id") or row["category"]
    options = row.get("options") or []
    return [str(category), str(row.get("ground_truth") or row.get("gt_answer") or row["answer"]), str(len(options))]


WRITE_TABLES = """
import json, pathlib, sys
from datasets import Dataset, Features, Image, Sequence, Value, List

out = pathlib.Path(sys.argv[1])
for table in json.load(sys.stdin):
    rows, types = table["rows"], {}
    for name, value in rows[0].items():
        if name in ("images", "image"):
            types[name] = List(Image()) if name == "images" else Image()
        elif name in ("options", "visual"):
            types[name] = List(Value("string"))
        else:
            types[name] = Value("int64" if isinstance(value, int) else "string")
    for row in rows:
        for name in ("images", "image"):
            if isinstance(row.get(name), list):
                row[name] = [{"bytes": bytes.fromhex(each), "path": None} for each in row[name]]
            elif name in row:
                row[name] = {"bytes": bytes.fromhex(row[name]), "path": None}
    file = out / table["repository"] / table["config"] / (table["split"] + "-00000-of-00001.parquet")
    file.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=Features(types)).to_parquet(file)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="the Python of lmms-eval's environment")
    python = parser.parse_args().python
    shutil.rmtree(OUT, ignore_errors=True)
    pool = Pool(asked())
    tables = [
        ("nyu-visionx/VSI-Bench", "full", "test", vsi(pool)),
        ("RunsenXu/MMSI-Bench", "default", "test", mmsi(pool)),
        ("oscarqjh/MindCube_lmmseval", "tiny", "combined", mindcube(pool)),
        ("oscarqjh/ViewSpatial_lmmseval", "default", "test", viewspatial(pool)),
        ("franky-veteran/SITE-Bench", "image_test", "test", site(pool, SITE_IMAGE, as_video=False)),
        ("franky-veteran/SITE-Bench", "video_test", "test", site(pool, SITE_VIDEO, as_video=True)),
        ("lmms-lab-encoder/MMBench", "en", "dev", mmbench(pool)),
    ]
    answers = {task: [planted(row) for row in table[3]] for task, table in zip(TASKS, tables, strict=True)}
    (OUT / "planted.json").write_text(json.dumps(answers, indent=1) + "\n")
    named = [dict(zip(("repository", "config", "split", "rows"), table, strict=True)) for table in tables]
    subprocess.run([python, "-c", WRITE_TABLES, str(OUT)], input=json.dumps(named), text=True, check=True)
    for repository in sorted({table["repository"] for table in named}):
        lines = ["---", "configs:"]
        for table in named:
            if table["repository"] == repository:
                lines += [f"- config_name: {table['config']}", "  data_files:", f"  - split: {table['split']}",
                          f"    path: {table['config']}/{table['split']}-*"]  # fmt: skip
        lines += ["---", "Questions about simulated worlds in the format of this data set, made by make_samples.py."]
        (OUT / repository / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
