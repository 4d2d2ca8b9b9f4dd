"""A tiny untrained checkpoint in the real Qwen3-VL format, to run the whole pipeline without a download.

Its plans are well formed but meaningless, biased towards short ones that contain an action. The checkpoint depends only
on the seed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import ConfigError, extra
from si_embodied.models.checkpoints import new_directory, written_whole
from si_embodied.runs import share_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

with extra("models"):
    import torch
    from safetensors.torch import save_file
    from tokenizers import AddedToken, pre_tokenizers, trainers
    from transformers import (
        GenerationConfig,
        Qwen2Tokenizer,
        Qwen2VLImageProcessorPil,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""The special tokens of Qwen3-VL's chat format and images."""

_ROWS = 768  # vocabulary rows; as in the real model, more than the tokenizer has tokens
_HIDDEN = 64
_PATCH = 16
_SKILL_BIAS = {"goto": 2.0, "explore": 2.0, "pick": 2.0, "place": 1.0, "stop": -2.0, "home": -2.0}

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part.type == 'text' -%}
{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
"""ChatML with images, which renders what Qwen3-VL's own template renders for turns of text and images."""

_COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "cyan", "white", "black", "grey", "brown")
_OBJECTS = (
    "chair armchair sofa table desk bed wardrobe shelf bookcase lamp plant fridge oven sink toilet bathtub television "
    "monitor laptop clock picture rug bin box basket stool bench door window mirror cushion vase bottle cup bowl plate "
    "book ball cube block cylinder sphere cone star triangle square circle hexagon cross ring sorter tray container"
)
_SENTENCES = (
    "Find the {0} {1}.",
    "Go to the {0} {1} left of the {2}, right of it, nearest to the door, farthest from you.",
    "Go to the {1} between the {2} and the {0} {3}, then stop.",
    "Put the {0} {1} on top of the {2}, in front of it, behind it, beside it, inside the {3}.",
    "You are the planner of a robot. You see {0} images; view 0 is the head camera. The {1} is in the kitchen.",
    "Answer with one JSON object. Points are x and y from 0 to 1000 in the view. What was done so far: the {2} failed.",
    '{{"subgoals":[{{"skill":"goto","object":"{0} {1}","view":0,"point":[512,730]}}],"done":false}}',
    '{{"subgoals":[{{"skill":"turn","degrees":-90}},{{"skill":"forward","centimetres":120}}],"done":false}}',
    '{{"subgoals":[{{"skill":"look","direction":"up"}},{{"skill":"look","direction":"down"}}],"done":false}}',
    '{{"subgoals":[{{"skill":"explore"}},{{"skill":"home"}},{{"skill":"stop"}}],"done":true}}',
    (
        '{{"subgoals":[{{"skill":"pick","object":"{0} {1}","view":1,"point":[40,99]}},'
        '{{"skill":"place","object":"{2}","view":1,"point":[318,605]}}],"done":false}}'
    ),
    '{{"subgoals":[{{"skill":"push","object":"{0} {1}","view":2,"point":[4,9],"to":[70,81]}}],"done":false}}',
)


def make_tiny_checkpoint(directory: str | Path, seed: int = 0) -> Path:
    """Write an untrained Qwen3-VL checkpoint of about 1 MB.

    Args:
        directory: a new or empty directory.
        seed: for the weights.

    Returns:
        The directory.

    Raises:
        ConfigError: the directory is not empty, or torch takes no such seed.
        RecordError: the directory cannot be written.
    """
    if not 0 <= seed < 1 << 63:
        raise ConfigError(f"expected a seed from 0 to 2^63 - 1, got: {seed}")
    path = new_directory(directory)
    with written_whole(path):
        tokenizer = _make_tokenizer()
        tokenizer.save_pretrained(str(path))
        model = _make_model(tokenizer, seed)
        model.config.save_pretrained(str(path))
        model.generation_config.save_pretrained(str(path))
        save_file(model.state_dict(), path / "model.safetensors", metadata={"format": "pt"})
        share_weights(path)
        _image_processor().save_pretrained(str(path))
        processor = {"processor_class": "Qwen3VLProcessor"}
        (path / "processor_config.json").write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")
        _video_processor_config(path)
    return path


def _corpus() -> Iterator[str]:
    """Training text for the tokenizer: a planner's vocabulary, punctuation and answers."""
    objects = _OBJECTS.split()
    for index, thing in enumerate(objects):
        words = (
            _COLOURS[index % len(_COLOURS)],
            thing,
            objects[(index * 7 + 3) % len(objects)],
            objects[(index * 11 + 5) % len(objects)],
        )
        yield from (sentence.format(*words) for sentence in _SENTENCES)


def _make_tokenizer() -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer with Qwen's normalizer and pre-tokenizer, trained on the corpus."""
    backend = Qwen2Tokenizer().backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=_ROWS - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_corpus(), trainer)
    model = json.loads(backend.to_str())["model"]
    tokenizer = Qwen2Tokenizer(  # nosec B106  # a token of the vocabulary
        vocab={token: number for token, number in model["vocab"].items() if token not in SPECIAL_TOKENS},
        merges=[tuple(merge) for merge in model["merges"]],
        eos_token="<|im_end|>",
        model_max_length=8192,
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _make_model(tokenizer: Qwen2Tokenizer, seed: int) -> Qwen3VLForConditionalGeneration:
    """The model with random weights."""
    ids = {token: int(tokenizer.convert_tokens_to_ids(token)) for token in SPECIAL_TOKENS}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": _ROWS,
            "hidden_size": _HIDDEN,
            "intermediate_size": 2 * _HIDDEN,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "max_position_embeddings": 32_768,
            # mrope_section: time, row and column, which add up to half of head_dim
            "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0, "mrope_section": [6, 5, 5]},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": _PATCH,
            "out_hidden_size": _HIDDEN,
            "num_position_embeddings": 14 * 14,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    model = Qwen3VLForConditionalGeneration(config).eval()
    draw_weights(model, seed)
    bias_output(model, tokenizer, _bias)
    model.generation_config = GenerationConfig(
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]],
        pad_token_id=ids["<|endoftext|>"],
        do_sample=False,
    )
    return model


def draw_weights(model: Any, seed: int) -> None:
    """Draw normal weights scaled by the fan-in."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                width = 1.0 if name.endswith("embed_tokens.weight") else parameter[0].numel() ** -0.5
                parameter.normal_(0.0, width, generator=generator)


def bias_output(model: Any, tokenizer: Qwen2Tokenizer, bias: Callable[[str], float]) -> None:
    """Add `bias` to each token's logit: without one, untrained plans stop at once or run to the grammar's bounds.

    Channel 0 of the residual stream is set to a constant that no layer writes to, so that column 0 of the output layer
    acts as the bias. Attention is sharpened too, so that answers depend on the image.
    """
    text = model.model.language_model
    with torch.no_grad():
        text.embed_tokens.weight[:, 0] = 1.0
        for layer in text.layers:
            layer.self_attn.q_norm.weight.fill_(4.0)
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        for token, number in tokenizer.get_vocab().items():
            model.lm_head.weight[number, 0] = bias(token)


def _bias(token: str) -> float:
    """A token's logit bias; unbiased logits have a standard deviation of about 1."""
    if token in _SKILL_BIAS:
        return _SKILL_BIAS[token]
    if "{" in token:  # the start of a subgoal
        return 4.0
    return 2.0 if token[0] in '"]}' else 0.0


def _image_processor() -> Qwen2VLImageProcessorPil:
    """Qwen3-VL's preprocessing: 64 to 1,024 patches per image, pixels scaled to -1..1."""
    return Qwen2VLImageProcessorPil(
        patch_size=_PATCH,
        temporal_patch_size=2,
        merge_size=2,
        size={"shortest_edge": 64 * _PATCH**2, "longest_edge": 1024 * _PATCH**2},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def _video_processor_config(path: Path) -> None:
    """Write the file that transformers' AutoProcessor requires if torchvision is installed."""
    config = {
        "video_processor_type": "Qwen3VLVideoProcessor",
        "patch_size": _PATCH,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 64 * _PATCH**2, "longest_edge": 1024 * _PATCH**2},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (path / "video_preprocessor_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
