"""Questions of lmms-eval become prompts of ours."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from si_embodied.benchmarking.messages import SIGHTS, cut, prompt_from
from si_embodied.errors import ConfigError

GREY = Image.fromarray(np.full((20, 30, 3), 128, np.uint8))


def question(*parts: Any) -> list[dict[str, Any]]:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "url": part} for part in parts
    ]
    return [{"role": "user", "content": content}]


def test_images_and_texts_keep_their_order() -> None:
    prompt = prompt_from(question("before", GREY, "between", GREY), "images", {})
    assert prompt.text == "before<image>between<image>"
    assert all(image.shape == (20, 30, 3) and image.mean() == 128 for image in prompt.images)


def test_blank_images_are_black_and_of_the_same_sizes() -> None:
    prompt = prompt_from(question(GREY, "what?"), "blank", {})
    assert [image.shape for image in prompt.images] == [(20, 30, 3)]
    assert not prompt.images[0].any()


def test_without_images_only_the_text_is_left() -> None:
    assert prompt_from(question(GREY, "what?"), "none", {}).content == ("what?",)


@pytest.mark.parametrize("sight", SIGHTS)
def test_a_palette_image_is_read_as_colours(sight: Any) -> None:
    prompt = prompt_from(question(GREY.convert("P")), sight, {})
    assert all(image.shape == (20, 30, 3) for image in prompt.images)


def test_the_answers_length_is_bounded_by_the_tasks_tokens() -> None:
    schema = prompt_from(question("what?"), "images", {"max_new_tokens": 16}).schema
    assert schema["maxLength"] == 64
    assert re.fullmatch(str(schema["pattern"]), "one line\nand another")
    assert not re.fullmatch(str(schema["pattern"]), "x" * 65)


def test_a_system_turn_is_the_prompts_system_text() -> None:
    turns = [{"role": "system", "content": "be brief"}, *question("what?")]
    assert prompt_from(turns, "images", {}).system == "be brief"


def test_a_turn_of_the_assistant_is_rejected() -> None:
    with pytest.raises(ConfigError, match="assistant"):
        prompt_from([*question("what?"), {"role": "assistant", "content": "this"}], "images", {})


def test_audio_is_rejected() -> None:
    with pytest.raises(ConfigError, match="audio"):
        prompt_from([{"role": "user", "content": [{"type": "audio", "url": "x.wav"}]}], "images", {})


@pytest.mark.parametrize(("until", "left"), [("\n\n", "A"), (["zz", "\n\n"], "A"), ([], "A\n\nB"), (None, "A\n\nB")])
def test_an_answer_ends_at_the_tasks_stop_texts(until: Any, left: str) -> None:
    assert cut("A\n\nB", {"until": until}) == left
