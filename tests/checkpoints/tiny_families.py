"""Tiny random checkpoints of every family, in their real formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def _tokenizer(path: Path, extra: tuple[str, ...] = ()) -> Any:
    """The tiny checkpoint's tokenizer, with more special tokens where a family has its own."""
    from transformers import AutoTokenizer

    from si_embodied.models.tiny import make_tiny_checkpoint

    make_tiny_checkpoint(path)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    for file in path.iterdir():
        file.unlink()
    tokenizer.add_tokens(list(extra), special_tokens=True)
    tokenizer.save_pretrained(path)
    return tokenizer


def make_qwen25(path: Path) -> None:
    """Qwen2.5-VL: windowed vision attention, 14 px patches."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    from si_embodied.models.tiny import draw_weights

    tokenizer = _tokenizer(path)
    identifier = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 768,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
            "bos_token_id": identifier("<|endoftext|>"),
            "eos_token_id": identifier("<|im_end|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        },
        image_token_id=identifier("<|image_pad|>"),
        video_token_id=identifier("<|video_pad|>"),
        vision_start_token_id=identifier("<|vision_start|>"),
        vision_end_token_id=identifier("<|vision_end|>"),
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    draw_weights(model, 1)
    model.save_pretrained(path)
    Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 100}).save_pretrained(path)


def make_internvl(path: Path) -> None:
    """InternVL in transformers' own format: 56 px tiles of 16 patches, 4 tokens a tile."""
    from transformers import GotOcr2ImageProcessorPil, InternVLConfig, InternVLForConditionalGeneration

    from si_embodied.models.tiny import draw_weights

    tokenizer = _tokenizer(path, ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"))
    config = InternVLConfig(
        text_config={
            "model_type": "qwen2",
            "vocab_size": 768,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 32768,
            "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
            "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=True,
    )
    model = InternVLForConditionalGeneration(config)
    draw_weights(model, 2)
    model.save_pretrained(path)
    GotOcr2ImageProcessorPil(size={"height": 56, "width": 56}, crop_to_patches=True).save_pretrained(path)


def make_bagel(path: Path) -> None:
    """BAGEL's understanding branch, converted from the original format; its only shard is named like the others'."""
    from original_bagel import make_original

    from si_embodied.models.portable import convert_checkpoint

    convert_checkpoint(make_original(path.parent / "original_bagel"), path)
    (path / "model-00001-of-00001.safetensors").rename(path / "model.safetensors")
    (path / "model.safetensors.index.json").unlink()


def make_ending(path: Path) -> Path:
    """The tiny Qwen3-VL, whose free text ends after a few tokens, as a trained model's does: its output layer's row of
    the end token points along the mean hidden state, long enough to win about as often as not.
    """
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

    from si_embodied.models.tiny import make_tiny_checkpoint

    make_tiny_checkpoint(path)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    model = Qwen3VLForConditionalGeneration.from_pretrained(path, local_files_only=True)
    states = []
    with torch.no_grad():
        for question in ("Which is nearest? A. chair B. sofa", "How many chairs are there?", "Is it left of the bed?"):
            text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
            written = model.generate(
                **tokenizer(text, return_tensors="pt"), max_new_tokens=24, do_sample=False,
                output_hidden_states=True, return_dict_in_generate=True,
            )  # fmt: skip
            states += [layers[-1][0, -1] for layers in written.hidden_states]
        found = torch.stack(states)
        best, mean = model.lm_head(found).max(dim=1).values, found.mean(dim=0)
        row = mean / mean.square().sum() * (best.mean() + best.std())
    weights = load_file(path / "model.safetensors")
    weights["lm_head.weight"][tokenizer.convert_tokens_to_ids("<|im_end|>")] = row
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return path


def make_all(root: Path) -> dict[str, Path]:
    """A directory for each family."""
    from si_embodied.models.tiny import make_tiny_checkpoint

    makers = {
        "qwen3_vl": make_tiny_checkpoint,
        "qwen2_5_vl": make_qwen25,
        "internvl": make_internvl,
        "bagel": make_bagel,
    }
    for name, make in makers.items():
        make(root / name)
    return {name: root / name for name in makers}
