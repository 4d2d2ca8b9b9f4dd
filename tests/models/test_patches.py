"""The patch embedding as a matrix product gives the numbers of the convolution that it replaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from si_embodied.models.loading import load_checkpoint
from si_embodied.models.patches import LinearPatches, embed_patches_linearly


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_the_image_features_stay_the_same(checkpoints: dict[str, Path], family: str) -> None:
    loaded = load_checkpoint(checkpoints[family], device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    (encoded,) = loaded.family.encode_images([image])
    pixels = {name: torch.from_numpy(array) for name, array in encoded.pixels.items()}
    before = set(loaded.model.state_dict())
    with torch.inference_mode():
        expected = loaded.model.model.get_image_features(**pixels, return_dict=True).pooler_output[0]
        embed_patches_linearly(loaded.model)
        assert isinstance(loaded.model.model.visual.patch_embed.proj, LinearPatches)
        found = loaded.model.model.get_image_features(**pixels, return_dict=True).pooler_output[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert set(loaded.model.state_dict()) == before


def test_a_family_without_that_convolution_is_left_alone(checkpoints: dict[str, Path]) -> None:
    embed_patches_linearly(load_checkpoint(checkpoints["internvl"], device="cpu").model)
