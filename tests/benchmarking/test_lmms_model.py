"""The class that lmms-eval asks, with requests as lmms-eval makes them; lmms-eval itself is not installed here."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.benchmarking.answering import Answering, Engine, Question
from si_embodied.errors import BackendError, ConfigError, DataError
from si_embodied.types import Completion, Prompt

DOCUMENTS = [{"question": f"question {number}?", "shade": 40 * number} for number in range(4)]


@dataclass(frozen=True)
class Request:
    """What the model uses of `lmms_eval.api.instance.Instance`."""

    args: tuple[Any, ...]


def messages(document: dict[str, Any]) -> list[dict[str, Any]]:
    image = Image.fromarray(np.full((8, 8, 3), document["shade"], np.uint8))
    content = [{"type": "image", "url": image}, {"type": "text", "text": document["question"]}]
    return [{"role": "user", "content": content}]


def requests(count: int) -> list[Request]:
    generation = {"max_new_tokens": 16, "until": ["\n"]}
    return [Request(("", messages, dict(generation), number, "rooms", "test")) for number in range(count)]


def questions(count: int) -> list[Question]:
    return [Question("rooms", number, lambda n=number: messages(DOCUMENTS[n]), {}) for number in range(count)]


@pytest.fixture
def open_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Open the class over a stand-in for lmms-eval's base class."""

    class Base:
        def __init__(self) -> None:
            self.task_dict: dict[str, Any] = {}

    for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.api.model"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["lmms_eval.api.model"].lmms = Base  # type: ignore[attr-defined]
    monkeypatch.delitem(sys.modules, "si_embodied.benchmarking.lmms_model", raising=False)
    module = importlib.import_module("si_embodied.benchmarking.lmms_model")
    monkeypatch.setattr(module, "version", lambda name: "1.0")
    monkeypatch.delitem(sys.modules, "si_embodied.benchmarking.lmms_model")

    def make(script: tuple[str, ...] = ("A", "B\nbecause", "C", "D"), **options: Any) -> Any:
        backend = BackendConfig("scripted", script=script)
        engine = Engine(backend, "images", str(tmp_path / "answers.jsonl")).write(tmp_path / "engine-settings.json")
        model = module.EngineModel(settings=str(engine), device="cpu", **options)
        model.task_dict = {"rooms": {"test": DOCUMENTS}}
        return model

    return make


@pytest.mark.parametrize("batch_size", [1, "4"])
def test_requests_are_answered_in_order_and_cut_at_the_stop_text(
    open_model: Callable[..., Any], batch_size: Any
) -> None:  # fmt: skip
    assert open_model(batch_size=batch_size).generate_until(requests(3)) == ["A", "B", "C"]


def test_thoughts_are_recorded_and_not_scored(tmp_path: Path) -> None:
    class Thinker(ScriptedBackend):
        def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
            return Completion("B", thought="left of it")

    file = tmp_path / "answers.jsonl"
    assert Answering([Thinker([])], "images", file).answer(questions(1)) == ["B"]
    (row,) = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert (row["text"], row["thought"]) == ("B", "left of it")
    del row["thought"]  # as in a file from before there were any
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert Answering([ScriptedBackend([])], "images", file).answer(questions(1)) == ["B"]


def test_what_answers_is_recorded(open_model: Callable[..., Any], tmp_path: Path) -> None:
    open_model()
    facts = json.loads((tmp_path / "engine.json").read_text())
    assert (facts["model"], facts["kernel"]) == ("scripted", "none")
    assert facts["versions"]["lmms-eval"] == "1.0"


@pytest.mark.parametrize("batch_size", ["auto", 0])
def test_a_batch_size_that_is_no_number_is_rejected(open_model: Callable[..., Any], batch_size: Any) -> None:
    with pytest.raises(ConfigError, match="batch size"):
        open_model(batch_size=batch_size)


@pytest.mark.parametrize("method", ["loglikelihood", "generate_until_multi_round"])
def test_other_kinds_of_task_are_rejected(open_model: Callable[..., Any], method: str) -> None:
    with pytest.raises(ConfigError, match="not supported"):
        getattr(open_model(), method)(requests(1))


# --- answering and resuming -----------------------------------------------------------------------------------------


def test_an_interrupted_run_asks_only_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    with pytest.raises(BackendError, match="scripted completions"):
        Answering([ScriptedBackend(["A", "B"])], "images", file).answer(questions(4))
    assert Answering([ScriptedBackend(["C", "D"])], "images", file).answer(questions(4)) == ["A", "B", "C", "D"]
    assert len(file.read_text().splitlines()) == 4


def test_a_changed_question_is_asked_again(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    Answering([ScriptedBackend(["A"])], "images", file).answer(questions(1))
    changed = Question("rooms", 0, lambda: messages({"question": "another?", "shade": 0}), {})
    assert Answering([ScriptedBackend(["B"])], "images", file).answer([changed]) == ["B"]


def test_an_answer_has_no_character_that_a_spreadsheet_refuses(tmp_path: Path) -> None:
    """MMBench's scorer writes one, and would lose the whole run."""
    backend = ScriptedBackend(["A\x02\n\x1f"])
    assert Answering([backend], "images", tmp_path / "a.jsonl").answer(questions(1)) == ["A\ufffd\n\ufffd"]


def test_several_servers_are_asked_at_once_and_answers_keep_their_order(tmp_path: Path) -> None:
    def echo(prompt: Prompt) -> str:
        return str(prompt.content[-1])

    backends = [ScriptedBackend(echo) for _ in range(3)]
    found = Answering(backends, "images", tmp_path / "answers.jsonl").answer(questions(4))
    assert found == [f"question {number}?" for number in range(4)]


def test_a_file_of_something_else_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text('{"episode": 1}\n')
    with pytest.raises(ConfigError, match=r"line 1 of .*answers\.jsonl' is broken"):
        Answering([ScriptedBackend(["A"])], "images", tmp_path / "answers.jsonl")


def test_a_question_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """As of a picture that is missing or broken, or a table with other columns."""

    def broken() -> list[dict[str, Any]]:
        raise KeyError("answer")

    answering = Answering([ScriptedBackend(["A"])], "images", tmp_path / "answers.jsonl")
    with pytest.raises(DataError, match=r"question 7 of rooms cannot be read .*KeyError: 'answer'.*again"):
        answering.answer([*questions(1), Question("rooms", 7, broken, {})])
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 1, "earlier answers are kept"


def test_a_picture_that_was_cut_short_is_not_asked_about(
    open_model: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lmms-eval tells Pillow to fill in what is missing."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    file = tmp_path / "cut.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:6000])

    def cut(_: object) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "image", "url": Image.open(file).convert("RGB")}]}]

    with pytest.raises(DataError, match=r"question 0 of rooms cannot be read .*truncated"):
        open_model().generate_until([Request(("", cut, {}, 0, "rooms", "test"))])
