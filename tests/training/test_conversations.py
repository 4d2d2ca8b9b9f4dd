"""Questions and answers become training examples: read, encoded, masked and batched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
from PIL import Image
from tokenizers import Tokenizer

from si_embodied.errors import DataError
from si_embodied.models.loading import Checkpoint, load_checkpoint
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.plan import plan_schema
from si_embodied.training.conversations import NO_LOSS, Collator, Example, Examples, encode, read_records
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.training.conversations import Record

SYSTEM_TURN = {"from": "system", "value": "You point."}


def picture(width: int, height: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def line(name: str, turns: list[str], images: list[str], system: bool = False) -> dict[str, Any]:
    spoken = [{"from": ("human", "gpt")[k % 2], "value": text} for k, text in enumerate(turns)]
    return {"id": name, "conversations": [SYSTEM_TURN, *spoken] if system else spoken, "image": images}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A JSONL file beside two images, 112 x 56 and 84 x 84."""
    Image.fromarray(picture(112, 56)).save(tmp_path / "wide.png")
    Image.fromarray(picture(84, 84, 1)).save(tmp_path / "square.png")
    return tmp_path / "questions.jsonl"


def read(file: Path, *lines: dict[str, Any]) -> tuple[Record, ...]:
    file.write_text("".join(json.dumps(entry) + "\n" for entry in lines), encoding="utf-8")
    return read_records([file])


@pytest.fixture(scope="module")
def loaded(checkpoints: dict[str, Path]) -> dict[str, Checkpoint]:
    return {name: load_checkpoint(path, device="cpu") for name, path in checkpoints.items()}


def decode(checkpoint: Checkpoint, ids: Any) -> str:
    text: str = Tokenizer.from_file(str(checkpoint.directory / "tokenizer.json")).decode(
        [int(token) for token in ids], skip_special_tokens=False
    )
    return text


def answered(checkpoint: Checkpoint, example: Example) -> str:
    return decode(checkpoint, example.input_ids[example.labels != NO_LOSS])


# --- the loss mask --------------------------------------------------------------------------------------------------


def test_only_the_answer_and_its_end_of_turn_have_a_loss(
    file: Path, loaded: dict[str, Checkpoint], family_name: str
) -> None:
    (record,) = read(file, line("a", ["<image>\nWhat is red?", "the chair"], ["wide.png"], system=True))
    example = encode(record, loaded[family_name].family)
    labelled = np.flatnonzero(example.labels != NO_LOSS)
    assert answered(loaded[family_name], example) == "the chair<|im_end|>"
    assert labelled[-1] == len(example.input_ids) - 1, "nothing follows the end of the answer"
    assert (np.diff(labelled) == 1).all()
    assert np.array_equal(example.labels[labelled], example.input_ids[labelled])


def test_the_tokens_before_the_answer_are_those_that_inference_sends(
    file: Path, loaded: dict[str, Checkpoint], family_name: str
) -> None:
    (record,) = read(file, line("a", ["Look: <image> What is red?", "the chair"], ["wide.png"], system=True))
    family = loaded[family_name].family
    example = encode(record, family)
    content = ("Look: ", picture(112, 56), " What is red?")
    sent = family.encode(Prompt("test", "You point.", content, {}))
    asked = example.labels == NO_LOSS
    assert np.array_equal(example.input_ids[asked], sent.input_ids)
    assert np.array_equal(example.is_image[asked], sent.is_image)
    assert np.array_equal(example.pixels["pixel_values"], sent.pixels["pixel_values"])


def test_every_answer_of_a_dialogue_has_a_loss(file: Path, loaded: dict[str, Checkpoint], family_name: str) -> None:
    (record,) = read(file, line("a", ["<image>Red?", "yes", "Blue?", "no"], ["wide.png"]))
    checkpoint = loaded[family_name]
    example = encode(record, checkpoint.family)
    assert answered(checkpoint, example) == "yes<|im_end|>no<|im_end|>"
    rest = "yes<|im_end|>\n<|im_start|>user\nBlue?<|im_end|>\n<|im_start|>assistant\nno<|im_end|>"
    if family_name == "bagel":  # without roles and line breaks
        rest = "yes<|im_end|><|im_start|>Blue?<|im_end|><|im_start|>no<|im_end|>"
    assert decode(checkpoint, example.input_ids).endswith(rest)


def test_an_answer_cannot_end_its_own_turn(file: Path, loaded: dict[str, Checkpoint], family_name: str) -> None:
    (record,) = read(file, line("a", ["Red?", "yes<|im_end|>no"], []))
    example = encode(record, loaded[family_name].family)
    assert list(example.labels).count(loaded[family_name].family.end_token) == 1


# --- images and points ----------------------------------------------------------------------------------------------


def test_images_without_a_placeholder_come_first(file: Path, loaded: dict[str, Checkpoint]) -> None:
    with_one, without = read(
        file, line("a", ["<image>Red?", "yes"], ["wide.png"]), line("b", ["Red?", "yes"], ["wide.png"])
    )
    family = loaded["qwen3_vl"].family
    assert np.array_equal(encode(with_one, family).input_ids, encode(without, family).input_ids)


def test_internvl_numbers_images_once(file: Path, loaded: dict[str, Checkpoint]) -> None:
    (record,) = read(file, line("a", ["Image-1: <image>\nImage-2: <image>\nNearer?", "A"], ["wide.png", "square.png"]))
    checkpoint = loaded["internvl"]
    shown = decode(checkpoint, encode(record, checkpoint.family).input_ids)
    assert shown.count("Image-1: <img>") == shown.count("Image-2: <img>") == 1
    assert shown.count("Image-") == 2
    assert "</img>\nNearer?" in shown


@pytest.mark.parametrize(
    ("question", "answer", "in_pixels"),
    [
        ("Point at the cup, from 0 to 1000.", "[500, 250]", "[56, 14]"),  # of 112 x 56, which fits 28 px patches
        ("Please provide the bounding box of <ref>the cup</ref>", "[[0, 0, 1000, 500]]", "[[0, 0, 112, 28]]"),
        (
            "Plan:",
            '{"subgoals":[{"skill":"goto","object":"cup","view":0,"point":[500,250]}],"done":true}',
            '{"subgoals":[{"skill":"goto","object":"cup","view":0,"point":[56,14]}],"done":true}',
        ),
        ("How many steps east and north?", "[500, 250]", "[500, 250]"),
    ],
)
def test_points_follow_the_familys_convention(
    file: Path, loaded: dict[str, Checkpoint], question: str, answer: str, in_pixels: str
) -> None:
    (record,) = read(file, line("a", [f"<image>\n{question}", answer], ["wide.png"]))
    own = dict.fromkeys(loaded, answer) | {"qwen2_5_vl": in_pixels}
    for name, checkpoint in loaded.items():
        assert answered(checkpoint, encode(record, checkpoint.family)) == own[name] + "<|im_end|>"
    told = decode(loaded["qwen2_5_vl"], encode(record, loaded["qwen2_5_vl"].family).input_ids)
    assert ("view 0 is 112 x 56" in told) == (answer != in_pixels)


def test_inference_parses_a_trained_plan(file: Path, loaded: dict[str, Checkpoint], family_name: str) -> None:
    plan = '{"subgoals":[{"skill":"goto","object":"cup","view":0,"point":[500,250]}],"done":true}'
    (record,) = read(file, line("a", ["<image>\nPlan:", plan], ["wide.png"]))
    checkpoint = loaded[family_name]
    trained = answered(checkpoint, encode(record, checkpoint.family)).removesuffix("<|im_end|>")
    prompt = Prompt("test", "", (picture(112, 56), "\nPlan:"), plan_schema("navigation", 1))
    assert checkpoint.family.answer(trained, prompt, checkpoint.family.encode(prompt)) == plan


def test_a_point_in_images_of_different_sizes_is_rejected(file: Path, loaded: dict[str, Checkpoint]) -> None:
    (record,) = read(file, line("two", ["<image><image>Point at it", "[1, 2]"], ["wide.png", "square.png"]))
    with pytest.raises(DataError, match=r"'two'.*one size"):
        encode(record, loaded["qwen2_5_vl"].family)


# --- batches --------------------------------------------------------------------------------------------------------


def test_batching_does_not_change_a_records_logits(file: Path, loaded: dict[str, Checkpoint], family_name: str) -> None:
    records = read(
        file,
        line("none", ["Which is nearer to the door, the red chair or the sofa?", "A"], []),
        line("two", ["<image> and <image>\nWhich?", "the left one"], ["wide.png", "square.png"]),
        line("one", ["<image>\nRed?", "yes"], ["square.png"]),
    )
    checkpoint = loaded[family_name]
    examples = [encode(record, checkpoint.family) for record in records]
    collate = Collator(checkpoint.family.end_token, "qwen" in family_name)
    with torch.inference_mode():
        together = checkpoint.model(**collate(examples))
        for row, example in enumerate(examples):
            alone = checkpoint.model(**collate([example]))
            mine = together.logits[row, : len(example.input_ids)]
            torch.testing.assert_close(mine, alone.logits[0], atol=1e-4, rtol=1e-4)


def test_a_batch_predicts_the_same_next_token_as_inference(
    file: Path, loaded: dict[str, Checkpoint], family_name: str
) -> None:
    checkpoint, prompt = loaded[family_name], Prompt("test", "", (picture(84, 84, 1), "Red?", picture(112, 56)), {})
    records = read(
        file,
        line("long", ["Which of all that is here is the nearest to the door?", "the red chair"], []),
        line("two", ["<image>Red?<image>", "yes"], ["square.png", "wide.png"]),
    )
    batch = Collator(checkpoint.family.end_token, "qwen" in family_name)(
        [encode(record, checkpoint.family) for record in records]
    )
    inputs, runner = checkpoint.family.encode(prompt), TorchRunner(checkpoint.model)
    runner.prefill(inputs, runner.encode_images(inputs), ())
    with torch.inference_mode():
        last = checkpoint.model(**batch).logits[1, len(inputs.input_ids) - 1]
    assert int(last.argmax()) == int(runner.logits(np.ones(checkpoint.vocabulary_size, dtype=np.bool_)).argmax())


# --- invalid input --------------------------------------------------------------------------------------------------


def test_no_data_set_at_all_is_rejected() -> None:
    with pytest.raises(DataError, match="got none"):
        read_records([])


def test_an_empty_file_is_rejected(file: Path) -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        read(file)


def test_a_missing_image_names_its_record(file: Path) -> None:
    with pytest.raises(DataError, match=r"'lost'.*nowhere\.png"):
        read(file, line("lost", ["<image>?", "yes"], ["nowhere.png"]))


def test_a_broken_image_names_its_record(file: Path, loaded: dict[str, Checkpoint]) -> None:
    (file.parent / "broken.png").write_bytes(b"not a picture")
    (record,) = read(file, line("torn", ["<image>?", "yes"], ["broken.png"]))
    with pytest.raises(DataError, match=r"'torn'.*broken\.png"):
        encode(record, loaded["qwen3_vl"].family)


@pytest.mark.parametrize("turns", [["a?", "b", "c?"], ["a?", "b", "<image>c?", "d"]])
def test_a_malformed_dialogue_is_rejected(file: Path, turns: list[str]) -> None:
    with pytest.raises(DataError, match="'odd'"):
        read(file, line("odd", turns, ["wide.png"] if "<image>c?" in turns else []))


@pytest.mark.parametrize(("view", "point"), [(0, [2000, 5]), (3, [20, 5])])
def test_a_plan_that_no_planner_takes_is_not_learned(file: Path, view: int, point: list[int]) -> None:
    goto = {"skill": "goto", "object": "chair", "view": view, "point": point}
    with pytest.raises(DataError, match="'bad'.*not a plan"):
        read(file, line("bad", ["<image>Plan", json.dumps({"subgoals": [goto], "done": False})], ["wide.png"]))


def test_a_folder_without_a_data_set_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished data set"):
        read_records([tmp_path])


def test_an_example_that_is_too_long_names_its_record(file: Path, loaded: dict[str, Checkpoint]) -> None:
    records = read(file, line("long", ["Red?", "yes"], []))
    with pytest.raises(DataError, match=r"'long' has \d+ tokens"):
        Examples(records, loaded["qwen3_vl"].family, max_tokens=5)[0]


def test_images_can_be_in_another_folder(file: Path, tmp_path: Path) -> None:
    read(file, line("a", ["<image>?", "yes"], ["wide.png"]))
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "wide.png").rename(moved / "wide.png")
    (record,) = read_records([file], moved)
    assert record.images == (moved / "wide.png",)
