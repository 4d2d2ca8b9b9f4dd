"""A tiny InternVL checkpoint in its original format, and the network that it means, written from the papers.

InternVL 1.5 (arXiv 2404.16821), InternVL3 (2504.10479), Qwen2 (2407.10671), Pixel shuffle (1609.05158). Neither part
knows transformers' `internvl`: weights are named and used as the original has them.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

VISION = {"width": 32, "ffn": 48, "depth": 2, "heads": 2, "patch": 14, "side": 56, "eps": 1e-6}
TEXT = {"width": 64, "ffn": 96, "depth": 2, "heads": 4, "kv_heads": 2, "rows": 768, "theta": 1e6, "eps": 1e-6}
ADDED = ("<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>")
SHARDS = 3


def make_original(path: Path, *, qk_norm: bool = False, rms: bool = False, qkv_bias: bool = True) -> Path:
    """Write one: sharded safetensors, slow tokenizer files, no tokenizer.json and no preprocessor_config.json."""
    path.mkdir(parents=True, exist_ok=True)
    _tokenizer_files(path)
    (path / "config.json").write_text(json.dumps(_config(qk_norm=qk_norm, rms=rms, qkv_bias=qkv_bias), indent=2))
    _weight_files(path, _weights(qk_norm=qk_norm, rms=rms, qkv_bias=qkv_bias))
    (path / "modeling_internvl_chat.py").write_text("raise SystemExit('the code of a checkpoint was run')\n")
    return path


def _config(*, qk_norm: bool, rms: bool, qkv_bias: bool) -> dict[str, Any]:
    """As the released ones are, apart from the sizes."""
    return {
        "architectures": ["InternVLChatModel"],
        "auto_map": {
            "AutoConfig": "configuration_internvl_chat.InternVLChatConfig",
            "AutoModel": "modeling_internvl_chat.InternVLChatModel",
            "AutoModelForCausalLM": "modeling_internvl_chat.InternVLChatModel",
        },
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": VISION["side"],
        "hidden_size": TEXT["width"],
        "image_fold": None,
        "llm_config": {
            "_name_or_path": "./pretrained/Qwen2.5-7B-Instruct",
            "architectures": ["Qwen2ForCausalLM"],
            "_attn_implementation_autoset": True,
            "attn_implementation": "flash_attention_2",
            "attention_dropout": 0.0,
            "bos_token_id": None,
            "eos_token_id": None,
            "hidden_act": "silu",
            "hidden_size": TEXT["width"],
            "initializer_range": 0.02,
            "intermediate_size": TEXT["ffn"],
            "max_position_embeddings": 32768,
            "max_window_layers": 70,
            "model_type": "qwen2",
            "moe_config": None,
            "num_attention_heads": TEXT["heads"],
            "num_hidden_layers": TEXT["depth"],
            "num_key_value_heads": TEXT["kv_heads"],
            "rms_norm_eps": TEXT["eps"],
            "rope_scaling": {"factor": 2.0, "rope_type": "dynamic", "type": "dynamic"},
            "rope_theta": TEXT["theta"],
            "sliding_window": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "use_bfloat16": True,
            "use_cache": False,
            "use_sliding_window": False,
            "vocab_size": TEXT["rows"],
        },
        "max_dynamic_patch": 12,
        "min_dynamic_patch": 1,
        "model_type": "internvl_chat",
        "pad2square": False,
        "ps_version": "v2",
        "select_layer": -1,
        "system_message": None,
        "template": "internvl2_5",
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": None,
        "use_backbone_lora": 0,
        "use_llm_lora": 0,
        "use_thumbnail": True,
        "vision_config": {
            "_name_or_path": "OpenGVLab/InternViT-6B-448px-V1-5",
            "architectures": ["InternVisionModel"],
            "attention_dropout": 0.0,
            "auto_map": {"AutoModel": "modeling_intern_vit.InternVisionModel"},
            "drop_path_rate": 0.1,
            "dropout": 0.0,
            "hidden_act": "gelu",
            "hidden_size": VISION["width"],
            "image_size": VISION["side"],
            "initializer_factor": 0.1,
            "intermediate_size": VISION["ffn"],
            "layer_norm_eps": VISION["eps"],
            "model_type": "intern_vit_6b",
            "norm_type": "rms_norm" if rms else "layer_norm",
            "num_attention_heads": VISION["heads"],
            "num_channels": 3,
            "num_hidden_layers": VISION["depth"],
            "patch_size": VISION["patch"],
            "qk_normalization": qk_norm,
            "qkv_bias": qkv_bias,
            "shared_expert_intermediate_size": 3072,
            "torch_dtype": "bfloat16",
            "use_flash_attn": True,
        },
    }


def _tokenizer_files(path: Path) -> None:
    """vocab.json, merges.txt, added_tokens.json, special_tokens_map.json and tokenizer_config.json."""
    from si_embodied.models.tiny import make_tiny_checkpoint

    tiny = make_tiny_checkpoint(path / "tiny")
    whole = json.loads((tiny / "tokenizer.json").read_text())
    for file in tiny.iterdir():
        file.unlink()
    tiny.rmdir()
    model = whole["model"]
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]]
    own = {entry["id"]: entry["content"] for entry in whole["added_tokens"]}
    own |= {1 + max([*own, *model["vocab"].values()]) + number: token for number, token in enumerate(ADDED)}
    (path / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (path / "added_tokens.json").write_text(json.dumps({token: number for number, token in own.items()}))
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    tokenizer_config = {
        "add_bos_token": False,
        "add_eos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(number): {"content": token, **flags} for number, token in own.items()},
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>", *ADDED],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 12288,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    specials = {"additional_special_tokens": tokenizer_config["additional_special_tokens"], "eos_token": "<|im_end|>"}
    (path / "special_tokens_map.json").write_text(json.dumps(specials))


def _shapes(*, qk_norm: bool, rms: bool, qkv_bias: bool) -> dict[str, tuple[int, ...]]:
    """Every weight's name and shape."""
    c, f, side, patch = VISION["width"], VISION["ffn"], int(VISION["side"]), int(VISION["patch"])
    tokens = (side // patch) ** 2 + 1
    shapes: dict[str, Any] = {
        "vision_model.embeddings.class_embedding": (1, 1, c),
        "vision_model.embeddings.position_embedding": (1, tokens, c),
        "vision_model.embeddings.patch_embedding.weight": (c, 3, patch, patch),
        "vision_model.embeddings.patch_embedding.bias": (c,),
    }
    for layer in range(int(VISION["depth"])):
        p = f"vision_model.encoder.layers.{layer}."
        shapes |= {f"{p}ls1": (c,), f"{p}ls2": (c,), f"{p}norm1.weight": (c,), f"{p}norm2.weight": (c,)}
        if not rms:
            shapes |= {f"{p}norm1.bias": (c,), f"{p}norm2.bias": (c,)}
        shapes |= {f"{p}attn.qkv.weight": (3 * c, c), f"{p}attn.proj.weight": (c, c), f"{p}attn.proj.bias": (c,)}
        if qkv_bias:
            shapes |= {f"{p}attn.qkv.bias": (3 * c,)}
        if qk_norm:
            shapes |= {f"{p}attn.q_norm.weight": (c,), f"{p}attn.k_norm.weight": (c,)}
        shapes |= {f"{p}mlp.fc1.weight": (f, c), f"{p}mlp.fc1.bias": (f,)}
        shapes |= {f"{p}mlp.fc2.weight": (c, f), f"{p}mlp.fc2.bias": (c,)}
    d, ffn = TEXT["width"], TEXT["ffn"]
    kv = d // TEXT["heads"] * TEXT["kv_heads"]
    shapes |= {"mlp1.0.weight": (4 * c,), "mlp1.0.bias": (4 * c,), "mlp1.1.weight": (d, 4 * c), "mlp1.1.bias": (d,)}
    shapes |= {"mlp1.3.weight": (d, d), "mlp1.3.bias": (d,)}
    shapes |= {"language_model.model.embed_tokens.weight": (TEXT["rows"], d), "language_model.model.norm.weight": (d,)}
    shapes |= {"language_model.lm_head.weight": (TEXT["rows"], d)}
    for layer in range(int(TEXT["depth"])):
        p = f"language_model.model.layers.{layer}."
        shapes |= {f"{p}input_layernorm.weight": (d,), f"{p}post_attention_layernorm.weight": (d,)}
        shapes |= {f"{p}self_attn.q_proj.weight": (d, d), f"{p}self_attn.q_proj.bias": (d,)}
        shapes |= {f"{p}self_attn.k_proj.weight": (kv, d), f"{p}self_attn.k_proj.bias": (kv,)}
        shapes |= {f"{p}self_attn.v_proj.weight": (kv, d), f"{p}self_attn.v_proj.bias": (kv,)}
        shapes |= {f"{p}self_attn.o_proj.weight": (d, d), f"{p}mlp.gate_proj.weight": (ffn, d)}
        shapes |= {f"{p}mlp.up_proj.weight": (ffn, d), f"{p}mlp.down_proj.weight": (d, ffn)}
    return shapes


def _weights(**variant: bool) -> dict[str, Any]:
    """Drawn so that every one of them matters: vectors around one, matrices scaled by their fan-in."""
    import torch

    generator = torch.Generator().manual_seed(11)
    weights = {}
    for name, shape in sorted(_shapes(**variant).items()):
        drawn = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            weights[name] = 0.3 * drawn + (0.0 if name.endswith("bias") else 1.0)
        else:
            fan_in = 1 if "embed" in name and "patch" not in name else math.prod(shape[1:])
            weights[name] = drawn * fan_in**-0.5
    return weights


def _weight_files(path: Path, weights: dict[str, Any]) -> None:
    """Dealt out over shards in the order of their names."""
    from safetensors.torch import save_file

    names, index = sorted(weights), {}
    size = -(-len(names) // SHARDS)
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        part = {name: weights[name].contiguous() for name in names[shard * size : (shard + 1) * size]}
        save_file(part, path / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


# --- the network ----------------------------------------------------------------------------------------------------


def reference_logits(path: Path, ids: Any, is_image: Any, pixels: Any, *, halved: str | None = None) -> Any:
    """Logits (T, rows) of a prompt: `ids` (T,), where an image's feature stands (T,), and tiles (N, 3, side, side).

    The weight named by `halved` is taken by half.
    """
    import torch
    from safetensors.torch import load_file

    w: dict[str, Any] = {}
    for file in sorted(path.glob("*.safetensors")):
        w |= load_file(file)
    if halved is not None:
        w[halved] = 0.5 * w[halved]
    config = json.loads((path / "config.json").read_text())
    hidden = w["language_model.model.embed_tokens.weight"][torch.as_tensor(ids)].clone()
    features = _image_features(w, config, torch.as_tensor(pixels))
    hidden[torch.as_tensor(is_image)] = features.flatten(0, 1)
    for layer in range(config["llm_config"]["num_hidden_layers"]):
        hidden = _qwen2_block(w, f"language_model.model.layers.{layer}.", hidden)
    hidden = _rms(hidden, w["language_model.model.norm.weight"], TEXT["eps"])
    return hidden @ w["language_model.lm_head.weight"].T


def _image_features(w: dict[str, Any], config: dict[str, Any], tiles: Any) -> Any:
    """(N, tokens, width of the language model): InternViT without its class token, pixel shuffle, two-layer MLP."""
    import torch
    from torch.nn.functional import gelu, layer_norm, linear

    patch, heads, eps = int(VISION["patch"]), int(VISION["heads"]), VISION["eps"]
    kernel = w["vision_model.embeddings.patch_embedding.weight"].flatten(1)  # (C, 3 * patch * patch)
    count, _, side, _ = tiles.shape
    grid = side // patch
    patches = tiles.reshape(count, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    x = patches @ kernel.T + w["vision_model.embeddings.patch_embedding.bias"]
    x = torch.cat([w["vision_model.embeddings.class_embedding"].expand(count, 1, -1), x], dim=1)
    x = x + w["vision_model.embeddings.position_embedding"]

    def norm(values: Any, name: str) -> Any:
        if config["vision_config"]["norm_type"] == "rms_norm":
            return _rms(values, w[f"{name}.weight"], eps)
        return layer_norm(values, values.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)

    for layer in range(config["vision_config"]["num_hidden_layers"]):
        p = f"vision_model.encoder.layers.{layer}."
        q, k, v = linear(norm(x, f"{p}norm1"), w[f"{p}attn.qkv.weight"], w.get(f"{p}attn.qkv.bias")).chunk(3, dim=-1)
        if config["vision_config"]["qk_normalization"]:  # over all heads together
            q, k = (_rms(t, w[f"{p}attn.{n}_norm.weight"], eps) for n, t in (("q", q), ("k", k)))
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        attended = (weights @ v).transpose(1, 2).flatten(2)
        x = x + w[f"{p}ls1"] * linear(attended, w[f"{p}attn.proj.weight"], w[f"{p}attn.proj.bias"])
        inner = gelu(linear(norm(x, f"{p}norm2"), w[f"{p}mlp.fc1.weight"], w[f"{p}mlp.fc1.bias"]))
        x = x + w[f"{p}ls2"] * linear(inner, w[f"{p}mlp.fc2.weight"], w[f"{p}mlp.fc2.bias"])

    # Pixel shuffle "v2": four neighbours become one token, row by row; in it, the upper two come before the lower two.
    x = x[:, 1:].unflatten(1, (grid, grid))
    x = torch.cat([x[:, r::2, c::2] for r in range(2) for c in range(2)], dim=-1).flatten(1, 2)
    x = layer_norm(x, x.shape[-1:], w["mlp1.0.weight"], w["mlp1.0.bias"], 1e-5)
    x = gelu(linear(x, w["mlp1.1.weight"], w["mlp1.1.bias"]))
    return linear(x, w["mlp1.3.weight"], w["mlp1.3.bias"])


def _qwen2_block(w: dict[str, Any], p: str, x: Any) -> Any:
    """Grouped-query attention with rotary positions, and SwiGLU."""
    import torch
    from torch.nn.functional import linear, silu

    heads, kv_heads, length = int(TEXT["heads"]), int(TEXT["kv_heads"]), x.shape[0]
    y = _rms(x, w[f"{p}input_layernorm.weight"], TEXT["eps"])
    q, k, v = (
        linear(y, w[f"{p}self_attn.{n}_proj.weight"], w[f"{p}self_attn.{n}_proj.bias"])
        .unflatten(-1, (count, -1))
        .transpose(0, 1)
        for n, count in (("q", heads), ("k", kv_heads), ("v", kv_heads))
    )
    q, k = _rotate(q), _rotate(k)
    k, v = (t.repeat_interleave(heads // kv_heads, dim=0) for t in (k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -math.inf)
    x = x + linear((scores.softmax(dim=-1) @ v).transpose(0, 1).flatten(1), w[f"{p}self_attn.o_proj.weight"])
    y = _rms(x, w[f"{p}post_attention_layernorm.weight"], TEXT["eps"])
    gate = silu(linear(y, w[f"{p}mlp.gate_proj.weight"])) * linear(y, w[f"{p}mlp.up_proj.weight"])
    return x + linear(gate, w[f"{p}mlp.down_proj.weight"])


def _rotate(x: Any) -> Any:
    """Rotary embedding (arXiv 2104.09864) of (heads, T, D), the halves of D being the two parts of a complex number."""
    import torch

    half = x.shape[-1] // 2
    angles = torch.outer(torch.arange(x.shape[1]), TEXT["theta"] ** (-torch.arange(half) / half)).to(x.dtype)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)


def _rms(x: Any, weight: Any, eps: float) -> Any:
    """Root-mean-square norm."""
    return weight * x / (x.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
