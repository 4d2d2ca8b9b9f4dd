"""The records that real checkpoints are tuned on in tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six records with none, one or two images of different sizes."""
    Image = pytest.importorskip("PIL.Image")
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, (width, height) in {"a": (112, 56), "b": (84, 84), "c": (60, 90)}.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    plan = '{"subgoals":[{"skill":"goto","object":"red chair","view":0,"point":[512,730]}],"done":true}'
    asked: list[tuple[str, str, list[str]]] = [
        ("<image>\nFind the red chair.", plan, ["a"]),
        ("<image>\nPoint at the cup, from 0 to 1000.", "[250, 400]", ["b"]),
        ("Image-1: <image>\nImage-2: <image>\nWhich is nearer?", "A", ["a", "c"]),
        ("<image>\nWhich is left of the sofa?", "B", ["c"]),
        ("What is a robot?", "a machine", []),
        ("<image>\nHow far is the table?", "1.5", ["b"]),
    ]
    lines = []
    for number, (question, answer, images) in enumerate(asked):
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        lines.append({"id": f"q{number}", "conversations": turns, "image": [f"{name}.png" for name in images]})
    (folder / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder
