"""Many images in one prompt: frames of a video, each within the family's own budget."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from transformers import GotOcr2ImageProcessorPil, Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from si_embodied.backends import LocalBackend
from si_embodied.errors import PromptTooLong
from si_embodied.models.bagel.images import BagelImageProcessor, reduced
from si_embodied.models.families import FAMILIES
from si_embodied.models.image_budget import BAGEL_TOKENS, QWEN_TOKENS, TILES, ImageBudget
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDTH, HEIGHT = 1280, 720
LETTER = {"type": "text", "pattern": "[AB]", "maxLength": 1}
QUESTION = "Is the chair nearer than the door? A or B"


def _frames(count: int, *, different: bool = True) -> list[Any]:
    """Frames of 1280 x 720 with a square that moves."""
    frames = []
    for number in range(count):
        frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        left = 30 * number if different else 0
        frame[200:400, left : left + 200] = (200, 40, 40)
        frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("count", "tiles", "qwen", "bagel"),
    [
        (0, 6, 16_384, 4_900),
        (1, 6, 16_384, 4_900),
        (10, 6, 16_384, 4_900),
        (11, 5, 16_384, 4_900),  # 64 // 11
        (16, 4, 16_384, 4_900),
        (17, 1, 768, 288),
        (32, 1, 768, 288),
        (99, 1, 768, 288),
        (200, 1, 576, 144),  # 115,200 // 200; 28,800 // 200
        (100_000, 1, 1, 1),
    ],
)
def test_each_image_has_its_share(count: int, tiles: int, qwen: int, bagel: int) -> None:
    """Of more than 16 images, each is a frame."""
    assert [budget.share(count) for budget in (TILES, QWEN_TOKENS, BAGEL_TOKENS)] == [tiles, qwen, bagel]


def _real(name: str, processor: Any, checkpoints: dict[str, Path], load: Callable[[Path], Any]) -> Any:
    """A family with the settings of released checkpoints for its images, on a tiny tokenizer."""
    config = load(checkpoints[name])
    tokenizer = (checkpoints[name] / "tokenizer.json").read_text(encoding="utf-8")
    return FAMILIES[name](tokenizer, processor, config)


@pytest.fixture
def load() -> Callable[[Path], Any]:
    from transformers import AutoConfig

    return lambda path: AutoConfig.from_pretrained(path, local_files_only=True)


QWEN = {
    # name: pixels of a patch, and least and most pixels of an image in the released preprocessor_config.json
    "qwen2_5_vl": (14, 56 * 56, 28 * 28 * 16_384),
    "qwen3_vl": (16, 65_536, 16_777_216),
}


@pytest.mark.parametrize("name", QWEN)
def test_a_qwen_frame_has_as_many_tokens_as_its_official_code_gives_it(
    name: str, checkpoints: dict[str, Path], load: Callable[[Path], Any]
) -> None:
    """qwen-vl-utils: at most VIDEO_MAX_TOKEN_NUM cells of patch x merge pixels a side, by transformers' `smart_resize`.

    One image alone keeps its 46 x 26 or 40 x 22 (23) cells.
    """
    patch, least, most = QWEN[name]
    side = 2 * patch
    processor = Qwen2VLImageProcessorPil(
        patch_size=patch, merge_size=2, size={"shortest_edge": least, "longest_edge": most}
    )
    family = _real(name, processor, checkpoints, load)
    (alone,) = family.encode_images(_frames(1))
    frame = family.encode_images(_frames(32, different=False))[0]
    for image, limit in ((alone, most), (frame, 768 * side**2)):
        height, width = smart_resize(HEIGHT, WIDTH, factor=side, min_pixels=least, max_pixels=limit)
        assert image.token_count == height * width // side**2
        assert image.size_px == (width, height)
    assert alone.token_count > 768 >= frame.token_count > 700


def test_qwen3s_frames_are_those_of_its_video_processor() -> None:
    """Its `size.longest_edge` of 25,165,824 pixels for a video is 32 frames of 768 cells of 32 x 32 pixels."""
    video = pytest.importorskip("transformers.models.qwen3_vl.video_processing_qwen3_vl")
    theirs = video.smart_resize(32, HEIGHT, WIDTH, 2, 32, 4096, 25_165_824)
    assert theirs == smart_resize(HEIGHT, WIDTH, factor=32, min_pixels=65_536, max_pixels=768 * 32**2)


def test_an_internvl_frame_is_one_tile(checkpoints: dict[str, Path], load: Callable[[Path], Any]) -> None:
    """As `load_video` in its model card; 448 px tiles of 256 tokens. A few images have up to six and a thumbnail."""
    config = load(checkpoints["internvl"])
    config.vision_config.image_size, config.vision_config.patch_size = (448, 448), (14, 14)
    processor = GotOcr2ImageProcessorPil(size={"height": 448, "width": 448}, crop_to_patches=True)
    family = _real("internvl", processor, checkpoints, lambda _: config)
    for count, most in ((1, 6), (32, 1)):
        image = family.encode_images(_frames(count, different=False))[0]
        images_kwargs = {"crop_to_patches": True, "min_patches": 1, "max_patches": most}
        tiles = processor.get_number_of_image_patches(HEIGHT, WIDTH, images_kwargs)
        assert image.token_count == 256 * tiles
        assert image.pixels["pixel_values"].shape == (tiles, 3, 448, 448)
    assert tiles == 1


def test_a_bagel_frame_keeps_its_ratio_within_its_patches() -> None:
    """1280 x 720 becomes 1024 x 576, then 980 x 546: 70 x 39 patches; of 288, 22 x 12."""
    processor = BagelImageProcessor(((1024, 512, 16), (980, 224, 14)), 14, 70)
    (frame,) = _frames(1)
    patches, positions, size = processor(frame)
    assert (len(patches), size) == (70 * 39, (980, 546))
    patches, positions, size = processor(frame, most_patches=288)
    assert (len(patches), size) == (22 * 12, (22 * 14, 12 * 14))
    assert positions.max() == 11 * 70 + 21


@pytest.mark.parametrize(("size", "most"), [((980, 14), 10), ((14, 980), 10), ((980, 980), 1), ((98, 70), 34)])
def test_a_reduced_size_has_no_more_patches_than_it_may(size: tuple[int, int], most: int) -> None:
    width, height = reduced(size, 14, most)
    assert 1 <= (width // 14) * (height // 14) <= most
    assert width % 14 == height % 14 == 0
    assert reduced((98, 70), 14, 35) == (98, 70)


# --- 32 frames through the whole engine -----------------------------------------------------------------------------


def _tokens_of_a_frame(name: str) -> int:
    """By the tiny checkpoints' settings: 1,024 patches of 16 px, 100 cells of 28 px, a tile, 10 patches a side."""
    if name == "qwen3_vl":
        return math.prod(smart_resize(HEIGHT, WIDTH, factor=32, min_pixels=64 * 256, max_pixels=1024 * 256)) // 1024
    if name == "qwen2_5_vl":
        return math.prod(smart_resize(HEIGHT, WIDTH, factor=28, min_pixels=56 * 56, max_pixels=100 * 784)) // 784
    return {"internvl": 4, "bagel": 10 * 6}[name]


def test_thirty_two_frames_are_answered(family_name: str, backends: dict[str, Any]) -> None:
    """The prompt's tokens are those of the text and of the frames."""
    backend, frames = backends[family_name], _frames(32)
    prompt = Prompt("v", "", (*frames, QUESTION), LETTER)
    inputs = backend.family.encode(prompt)
    assert int(inputs.is_image.sum()) == 32 * _tokens_of_a_frame(family_name)
    completion = backend.generate(prompt, deadline_s=600.0)
    assert completion.text in ("A", "B")
    assert completion.prompt_tokens == len(inputs.input_ids)


def test_the_order_of_frames_matters(backends: dict[str, Any]) -> None:
    """Each is an image of its own, at its own place in the prompt."""
    family, frames = backends["internvl"].family, _frames(20)
    there, back = (family.encode(Prompt("v", "", (*each, QUESTION), LETTER)) for each in (frames, frames[::-1]))
    assert [image.digest for image in there.images] == [image.digest for image in back.images][::-1]
    assert len({image.digest for image in there.images}) == 20


def test_the_budget_is_a_setting(checkpoints: dict[str, Path]) -> None:
    """SenseNova-SI's own code gives 32 images two tiles each, and a thumbnail."""
    backend = LocalBackend(checkpoints["internvl"], device="cpu", image_budget=replace(TILES, few=32))
    (image, *_) = backend.family.encode_images(_frames(32, different=False))
    assert image.token_count == 4 * 3
    assert TILES.few == 16


def test_more_than_the_context_is_an_error_that_names_the_fix(backends: dict[str, Any]) -> None:
    """500 frames of about 90 tokens each; nothing is computed."""
    backend = backends["qwen2_5_vl"]
    backend.family.budget = ImageBudget(image=100, images=10**6, frame=100, frames=10**6)
    try:
        prompt = Prompt("v", "", (*_frames(500, different=False), QUESTION), LETTER)
        with pytest.raises(PromptTooLong, match=r"for 500 images\) .* context is 32768; show fewer or smaller images"):
            backend.generate(prompt, deadline_s=60.0)
    finally:
        backend.family.budget = QWEN_TOKENS
