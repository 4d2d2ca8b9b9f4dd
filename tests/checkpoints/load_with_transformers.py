"""Loads a checkpoint with whichever transformers is installed, and prints what the model makes of a prompt as JSON.

A program of its own: tests/models/test_older_transformers.py runs it with two versions. It imports nothing of this
project.

Usage: python load_with_transformers.py DIRECTORY
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch

# PyPI's torchvision for Linux is built for CUDA, and fails to import with another torch because its operators are
# missing. The processors use only its transforms, for which their names are enough.
_OPERATOR = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _load_torchvision() -> None:
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", _OPERATOR)
        import torchvision  # noqa: F401


def main(directory: str) -> dict[str, Any]:
    """Load with the Auto classes, and run one prompt with an image."""
    _load_torchvision()
    import transformers
    from PIL import Image

    model, info = transformers.AutoModelForImageTextToText.from_pretrained(
        directory, output_loading_info=True, torch_dtype=torch.float32
    )
    processor = transformers.AutoProcessor.from_pretrained(directory)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 180, 3), dtype=np.uint8))
    content = [{"type": "image", "image": image}, {"type": "text", "text": "Where is the red chair? Ünïcode 汉字"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        logits = model(**inputs).logits[0]
        written = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, logits.shape[0] :]
    return {
        "transformers": transformers.__version__,
        "processor": type(processor).__name__,
        "problems": sorted(str(key) for kind in ("missing_keys", "unexpected_keys") for key in info[kind]),
        "input_ids": inputs["input_ids"][0].tolist(),
        "pixels": inputs["pixel_values"].flatten()[::7].tolist(),
        "logits": logits[-1].tolist(),
        "written": written.tolist(),
        "eos": model.generation_config.eos_token_id,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])) + "\n")
