"""How large the images of a prompt may be: a few in detail, or the frames of a video."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageBudget:
    """The most that an image may take: InternVL's tiles (without the thumbnail), other families' tokens.

    A prompt with more than `few` images is taken for a video, whose frames the families' own code shows smaller than
    images. The limit of 16 is ours: no benchmark of the paper but VSI-Bench, with 32 frames, shows as many images.
    """

    image: int  # for each of a few images
    images: int  # for all of them
    frame: int  # for each of many images
    frames: int  # for all of them
    few: int = 16

    def share(self, count: int) -> int:
        """The most for each of `count` images, at least 1."""
        most, total = (self.frame, self.frames) if count > self.few else (self.image, self.images)
        return max(1, min(most, total // max(1, count)))


TILES = ImageBudget(image=6, images=64, frame=1, frames=64)
"""InternVL3. Images: the limits in training SenseNova-SI 1.3 and later (model cards). Frames: `load_video` with
`max_num` 1 in the model card of OpenGVLab/InternVL3-8B, which is one tile and no thumbnail."""

QWEN_TOKENS = ImageBudget(image=16_384, images=16 * 16_384, frame=768, frames=115_200)
"""Qwen2.5-VL and Qwen3-VL, beside the limits in the checkpoint's preprocessor_config.json. Source: qwen-vl-utils,
vision_process.py: IMAGE_MAX_TOKEN_NUM, VIDEO_MAX_TOKEN_NUM, and 0.9 times MODEL_SEQ_LEN for all frames. Images have no
limit together."""

BAGEL_TOKENS = ImageBudget(image=4_900, images=16 * 4_900, frame=288, frames=28_800)
"""BAGEL. Images: its table of 70 x 70 positions. Frames: 14 * 14 * 9 * 1024 pixels, which its training shares among the
images of a question (`img_num` in data/vlm_dataset.py), for 32 frames; and room for text in a context of 32,768. That
code scales both sides by the ratio of the areas, which would leave 28 tokens of 288; here the area has the ratio."""
