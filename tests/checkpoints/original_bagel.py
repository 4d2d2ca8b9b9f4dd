"""A tiny BAGEL checkpoint in its original format, and the network that it means, written from its description.

BAGEL (arXiv 2505.14683), Qwen2.5 (2412.15115) with normalised queries and keys, SigLIP (2303.15343). The reference
reads a prompt turn by turn and image by image, each time in one pass over a growing list of keys and values. It knows
neither transformers' models nor this project's.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

VISION = {"width": 32, "ffn": 48, "depth": 2, "heads": 2, "patch": 14, "side": 140, "eps": 1e-6}
TEXT = {"width": 64, "ffn": 96, "depth": 2, "heads": 4, "kv_heads": 2, "rows": 768, "theta": 3e5, "eps": 1e-5}
RESIZES = ((160, 64, 16), (140, 56, 14))
START, END, IMAGE_START, IMAGE_END = "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"


def make_original(path: Path, *, weights: str = "ema.safetensors", config: dict[str, Any] | None = None) -> Path:
    """Write one. What is of the branch that generates images is not a number, or not even a file of its format."""
    from safetensors.torch import save_file
    from tiny_families import _tokenizer

    path.mkdir(parents=True, exist_ok=True)
    _tokenizer(path)
    own = {"architectures": ["BagelForConditionalGeneration"], "model_type": "bagel", "image_resizes": RESIZES}
    (path / "config.json").write_text(json.dumps({**own, **(config or {})}))
    (path / "llm_config.json").write_text(json.dumps(_llm_config(), indent=2))
    (path / "vit_config.json").write_text(json.dumps(_vit_config(), indent=2))
    save_file(_weights(), path / weights, metadata={"format": "pt"})
    (path / "ae.safetensors").write_bytes(b"the decoder of generated images")
    (path / "modeling_bagel.py").write_text("raise SystemExit('the code of a checkpoint was run')\n")
    return path


def _llm_config() -> dict[str, Any]:
    """As the released one is, apart from the sizes."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": TEXT["width"],
        "initializer_range": 0.02,
        "intermediate_size": TEXT["ffn"],
        "is_causal": True,
        "_attn_implementation": "flash_attention_2",
        "layer_module": "Qwen2MoTDecoderLayer",
        "max_position_embeddings": 32768,
        "max_window_layers": 28,
        "model_type": "qwen2",
        "num_attention_heads": TEXT["heads"],
        "num_hidden_layers": TEXT["depth"],
        "num_key_value_heads": TEXT["kv_heads"],
        "qk_norm": True,
        "rms_norm_eps": TEXT["eps"],
        "rope_theta": TEXT["theta"],
        "sliding_window": 131072,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": TEXT["rows"],
    }


def _vit_config() -> dict[str, Any]:
    """The original vision tower has one layer more than is used."""
    return {
        "hidden_size": VISION["width"],
        "image_size": VISION["side"],
        "intermediate_size": VISION["ffn"],
        "model_type": "siglip_vision_model",
        "num_attention_heads": VISION["heads"],
        "num_hidden_layers": int(VISION["depth"]) + 1,
        "patch_size": VISION["patch"],
    }


def understanding_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that understanding needs."""
    c, f, d, ffn = (int(size) for size in (VISION["width"], VISION["ffn"], TEXT["width"], TEXT["ffn"]))
    places, head = (int(VISION["side"]) // int(VISION["patch"])) ** 2, d // int(TEXT["heads"])
    v = "vit_model.vision_model."
    shapes: dict[str, tuple[int, ...]] = {
        f"{v}embeddings.patch_embedding.weight": (c, 3 * int(VISION["patch"]) ** 2),
        f"{v}embeddings.patch_embedding.bias": (c,),
        f"{v}embeddings.position_embedding.weight": (places, c),
        f"{v}post_layernorm.weight": (c,),
        f"{v}post_layernorm.bias": (c,),
        "connector.fc1.weight": (d, c),
        "connector.fc1.bias": (d,),
        "connector.fc2.weight": (d, d),
        "connector.fc2.bias": (d,),
        "vit_pos_embed.pos_embed": (places, d),
        "language_model.model.embed_tokens.weight": (int(TEXT["rows"]), d),
        "language_model.model.norm.weight": (d,),
        "language_model.lm_head.weight": (int(TEXT["rows"]), d),
    }
    for layer in range(int(VISION["depth"])):
        p = f"{v}encoder.layers.{layer}."
        for name, rows, columns in (*((f"self_attn.{n}_proj", c, c) for n in ("q", "k", "v", "out")),
                                    ("mlp.fc1", f, c), ("mlp.fc2", c, f)):  # fmt: skip
            shapes |= {f"{p}{name}.weight": (rows, columns), f"{p}{name}.bias": (rows,)}
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{p}{name}.weight": (c,), f"{p}{name}.bias": (c,)}
    for layer in range(int(TEXT["depth"])):
        p, kv = f"language_model.model.layers.{layer}.", head * int(TEXT["kv_heads"])
        shapes |= {f"{p}input_layernorm.weight": (d,), f"{p}post_attention_layernorm.weight": (d,)}
        for name, rows in (("q", d), ("k", kv), ("v", kv)):
            shapes |= {f"{p}self_attn.{name}_proj.weight": (rows, d), f"{p}self_attn.{name}_proj.bias": (rows,)}
        shapes |= {f"{p}self_attn.o_proj.weight": (d, d)}
        shapes |= {f"{p}self_attn.q_norm.weight": (head,), f"{p}self_attn.k_norm.weight": (head,)}
        shapes |= {f"{p}mlp.gate_proj.weight": (ffn, d), f"{p}mlp.up_proj.weight": (ffn, d)}
        shapes |= {f"{p}mlp.down_proj.weight": (d, ffn)}
    return shapes


def generation_shapes() -> dict[str, tuple[int, ...]]:
    """Those of the branch that generates images: the language model's layers once more, and what is around them."""
    twins = {}
    for name, shape in understanding_shapes().items():
        if ".layers." in name and name.startswith("language_model"):
            layer, part = name.rsplit(".", 2)[0], name.rsplit(".", 2)[1:]
            twin = name.replace(".mlp.", ".mlp_moe_gen.") if ".mlp." in name else f"{layer}.{part[0]}_moe_gen.{part[1]}"
            twins[twin] = shape
    d = int(TEXT["width"])
    around = {
        "language_model.model.norm_moe_gen.weight": (d,),
        "latent_pos_embed.pos_embed": (16, d),
        "time_embedder.mlp.0.weight": (d, 256),
        "time_embedder.mlp.0.bias": (d,),
        "time_embedder.mlp.2.weight": (d, d),
        "time_embedder.mlp.2.bias": (d,),
        "vae2llm.weight": (d, 64),
        "vae2llm.bias": (d,),
        "llm2vae.weight": (64, d),
        "llm2vae.bias": (64,),
    }
    return {**twins, **around}


def _weights() -> dict[str, Any]:
    """Drawn so that every one of them matters: vectors around one, matrices scaled by their fan-in."""
    import torch

    generator = torch.Generator().manual_seed(8)  # its plans depend on the images, and have points
    weights = {}
    for name, shape in sorted(understanding_shapes().items()):
        drawn = torch.randn(shape, generator=generator)
        if name == "vit_pos_embed.pos_embed":
            weights[name] = sine_cosine(math.isqrt(shape[0]), shape[1])
        elif len(shape) == 1:
            weights[name] = 0.3 * drawn + (0.0 if name.endswith("bias") else 1.0)
        else:
            weights[name] = drawn * (1.0 if "embed" in name and "patch" not in name else shape[1] ** -0.5)
    for name, shape in generation_shapes().items():
        weights[name] = torch.full(shape, torch.nan)
    return weights


def sine_cosine(side: int, width: int) -> Any:
    """A table (side², width) of fixed position embeddings: half of the channels for the column, half for the row.

    Each half is the sines and then the cosines of the coordinate over wavelengths that grow geometrically to 10,000
    (Vaswani et al., arXiv 1706.03762, section 3.5).
    """
    import torch

    rates = 10_000.0 ** (-torch.arange(width // 4) / (width // 4))
    waves = torch.outer(torch.arange(side).float(), rates)
    line = torch.cat([waves.sin(), waves.cos()], dim=1)
    column, row = line.expand(side, -1, -1), line[:, None].expand(-1, side, -1)
    return torch.cat([column, row], dim=-1).flatten(0, 1)


# --- the network ----------------------------------------------------------------------------------------------------


class Reference:
    """Reads turns and images one after another, in double precision."""

    def __init__(self, path: Path, *, weights: str = "ema.safetensors", halved: str | None = None) -> None:
        """Load the understanding branch; `halved` names a weight to divide by two."""
        from safetensors import safe_open
        from tokenizers import Tokenizer

        with safe_open(path / weights, framework="pt") as file:
            self.w = {name: file.get_tensor(name).double() for name in understanding_shapes()}
        if halved:
            self.w[halved] = self.w[halved] / 2
        self.tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        self.cache: list[list[Any]] = [[] for _ in range(int(TEXT["depth"]))]
        self.position = 0

    def id(self, token: str) -> int:
        """A special token's id."""
        return int(self.tokenizer.token_to_id(token))

    def read(self, *parts: Any) -> Any:
        """Read a prompt's texts and images (H, W, 3), and the start of an answer; logits (rows,) of its first token."""
        self.tokenizer.encode_special_tokens = True
        for part in parts:
            if isinstance(part, str):
                self.tokens([self.id(START), *self.tokenizer.encode(part).ids, self.id(END)])
            else:
                self.image(part)
        return self.tokens([self.id(START)])

    def tokens(self, ids: list[int]) -> Any:
        """Read tokens, each of which sees those before it; logits after the last one."""
        import torch

        embeds = self.w["language_model.model.embed_tokens.weight"][ids]
        positions = torch.arange(self.position, self.position + len(ids))
        self.position += len(ids)
        return self._pass(embeds, positions, causal=True)

    def image(self, picture: Any) -> None:
        """Read an image with its two markers, which all see each other and have one position."""
        import torch

        markers = self.w["language_model.model.embed_tokens.weight"][[self.id(IMAGE_START), self.id(IMAGE_END)]]
        embeds = torch.cat([markers[:1], self._see(picture), markers[1:]])
        self._pass(embeds, torch.full((len(embeds),), self.position), causal=False)
        self.position += 1

    def _pass(self, x: Any, positions: Any, *, causal: bool) -> Any:
        from torch.nn.functional import linear

        for layer in range(int(TEXT["depth"])):
            x = self._block(layer, x, positions, causal=causal)
        return linear(_rms(x[-1], self.w["language_model.model.norm.weight"]), self.w["language_model.lm_head.weight"])

    def _block(self, layer: int, x: Any, positions: Any, *, causal: bool) -> Any:
        """Grouped-query attention to everything read so far, and SwiGLU."""
        import torch
        from torch.nn.functional import linear, silu

        w, p = self.w, f"language_model.model.layers.{layer}."
        y = _rms(x, w[f"{p}input_layernorm.weight"])
        q, k, v = (
            linear(y, w[f"{p}self_attn.{n}_proj.weight"], w[f"{p}self_attn.{n}_proj.bias"]).unflatten(-1, (count, -1))
            for n, count in (("q", int(TEXT["heads"])), ("k", int(TEXT["kv_heads"])), ("v", int(TEXT["kv_heads"])))
        )
        q, k = (_rotate(_rms(t, w[f"{p}self_attn.{n}_norm.weight"]), positions) for n, t in (("q", q), ("k", k)))
        self.cache[layer].append((k, v))
        keys, values = (torch.cat(list(part)) for part in zip(*self.cache[layer], strict=True))
        group = q.shape[1] // keys.shape[1]
        keys, values = (t.repeat_interleave(group, dim=1) for t in (keys, values))
        scores = torch.einsum("thd,shd->hts", q, keys) / math.sqrt(q.shape[-1])
        if causal:
            later = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1 + scores.shape[2] - scores.shape[1])
            scores = scores.masked_fill(later, -math.inf)
        attended = torch.einsum("hts,shd->thd", scores.softmax(dim=-1), values).flatten(1)
        x = x + linear(attended, w[f"{p}self_attn.o_proj.weight"])
        y = _rms(x, w[f"{p}post_attention_layernorm.weight"])
        gate = silu(linear(y, w[f"{p}mlp.gate_proj.weight"])) * linear(y, w[f"{p}mlp.up_proj.weight"])
        return x + linear(gate, w[f"{p}mlp.down_proj.weight"])

    def _see(self, picture: Any) -> Any:
        """The features of an image's patches, each with its place in the table."""
        import torch
        from torch.nn.functional import gelu, linear

        w, side = self.w, int(VISION["side"]) // int(VISION["patch"])
        patches, rows, columns = preprocess(picture)
        places = (torch.arange(rows)[:, None] * side + torch.arange(columns)).flatten()
        v = "vit_model.vision_model."
        x = linear(patches, w[f"{v}embeddings.patch_embedding.weight"], w[f"{v}embeddings.patch_embedding.bias"])
        x = x + w[f"{v}embeddings.position_embedding.weight"][places]
        for layer in range(int(VISION["depth"])):
            x = self._vision_block(f"{v}encoder.layers.{layer}.", x)
        x = _layer_norm(x, w, f"{v}post_layernorm")
        x = gelu(linear(x, w["connector.fc1.weight"], w["connector.fc1.bias"]), approximate="tanh")
        return linear(x, w["connector.fc2.weight"], w["connector.fc2.bias"]) + w["vit_pos_embed.pos_embed"][places]

    def _vision_block(self, p: str, x: Any) -> Any:
        import torch
        from torch.nn.functional import gelu, linear

        w, heads = self.w, int(VISION["heads"])
        y = _layer_norm(x, w, f"{p}layer_norm1")
        q, k, v = (
            linear(y, w[f"{p}self_attn.{n}_proj.weight"], w[f"{p}self_attn.{n}_proj.bias"]).unflatten(-1, (heads, -1))
            for n in "qkv"
        )
        scores = torch.einsum("thd,shd->hts", q, k) / math.sqrt(q.shape[-1])
        attended = torch.einsum("hts,shd->thd", scores.softmax(dim=-1), v).flatten(1)
        x = x + linear(attended, w[f"{p}self_attn.out_proj.weight"], w[f"{p}self_attn.out_proj.bias"])
        y = _layer_norm(x, w, f"{p}layer_norm2")
        inner = gelu(linear(y, w[f"{p}mlp.fc1.weight"], w[f"{p}mlp.fc1.bias"]), approximate="tanh")
        return x + linear(inner, w[f"{p}mlp.fc2.weight"], w[f"{p}mlp.fc2.bias"])


def preprocess(picture: Any) -> tuple[Any, int, int]:
    """The patches of an image (H, W, 3), in rows; and how many rows and columns of them there are."""
    import numpy as np
    import torch
    from PIL import Image

    image = Image.fromarray(picture)
    for most, least, step in RESIZES:
        scale = max(min(1.0, most / max(image.size)), least / min(image.size))
        width, height = (max(step, step * round(round(side * scale) / step)) for side in image.size)
        if max(width, height) > most:
            scale = most / max(width, height)
            width, height = (max(step, step * round(round(side * scale) / step)) for side in (width, height))
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.asarray(image).astype(np.float64)) / 127.5 - 1
    patch = int(VISION["patch"])
    cut = values.unfold(0, patch, patch).unfold(1, patch, patch)  # (rows, columns, channel, y, x)
    return cut.permute(0, 1, 3, 4, 2).flatten(2).flatten(0, 1), cut.shape[0], cut.shape[1]


def _rotate(x: Any, positions: Any) -> Any:
    """Rotary embedding (arXiv 2104.09864) of (T, heads, D), the halves of D being the two parts of a complex number."""
    import torch

    half = x.shape[-1] // 2
    angles = torch.outer(positions.double(), TEXT["theta"] ** (-torch.arange(half).double() / half))[:, None]
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)


def _rms(x: Any, weight: Any) -> Any:
    """Root-mean-square norm."""
    return weight * x / (x.pow(2).mean(dim=-1, keepdim=True) + TEXT["eps"]).sqrt()


def _layer_norm(x: Any, w: dict[str, Any], name: str) -> Any:
    centred = x - x.mean(dim=-1, keepdim=True)
    scale = (centred.pow(2).mean(dim=-1, keepdim=True) + VISION["eps"]).sqrt()
    return w[f"{name}.weight"] * centred / scale + w[f"{name}.bias"]
