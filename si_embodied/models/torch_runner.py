"""Runs a transformers vision-language model (a `ModelRunner`)."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import BackendError, DeadlineExceeded, extra
from si_embodied.models.blocks import attention, block_positions, extended, has_block, whole_blocks
from si_embodied.models.compiled import compiled_pass
from si_embodied.models.patches import embed_patches_linearly
from si_embodied.models.prefix import BoundedStore, Held, ImageSpan, PromptFeatures, image_spans
from si_embodied.models.runner import prefill_chunks, unchecked

with extra("models"):
    import torch
    from transformers import DynamicCache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from si_embodied.models.inputs import ModelInputs
    from si_embodied.models.runner import Check

_FEW_ROWS = 1 / 8  # fraction of the vocabulary; gathering a row costs at least three times as much as computing it


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """The vision tower's output for one image."""

    embeddings: torch.Tensor  # (n, hidden), replacing its n tokens' embeddings
    deepstack: tuple[torch.Tensor, ...]  # Qwen3-VL: (n, hidden) each, added after the first layers

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.embeddings, *self.deepstack))


class TorchRunner:
    """Runs one prompt at a time, and reuses the prefix that the next one shares with it."""

    def __init__(self, model: Any, *, store_bytes: int = BoundedStore.DEFAULT_BYTES, compiled: bool = False) -> None:
        """Prepare a model.

        Args:
            model: a `…ForConditionalGeneration` of a supported family, in evaluation mode.
            store_bytes: size limit of the image feature cache, on the model's device.
            compiled: compile the steps with torch; takes a minute, only on CUDA. If it fails, the reason is logged.
        """
        embed_patches_linearly(model)
        self._model = model
        self._device: torch.device = model.device
        self._language: Any = model.model.language_model
        self._head: Any = model.get_output_embeddings()
        # The shape of rotary positions before the tokens' axis; Qwen-VL's have time, row and column.
        self._axes = (3, 1) if hasattr(model.model, "get_rope_index") else (1,)
        self._store: BoundedStore[_Image] = BoundedStore(store_bytes)
        self._reset()
        vision = getattr(model.model, "visual", None) or getattr(model.model, "vision_tower", None)
        # Hooks that come and go would make torch compile the steps anew; compiled models are checked between passes.
        self._layers = [] if compiled else [*_layers(vision), *_layers(self._language)]
        self._step_pass: Any = self._language
        if compiled:
            self._step_pass = compiled_pass(self._language, self._device, self._attempt)

    def _attempt(self, language: Any) -> None:
        """Run steps of one and of several tokens with `language`."""
        self._step_pass = language
        for count in (1, 1, 2, 9):
            self.step([0] * count)
        self._reset()

    def forget(self) -> None:
        """Empty the cache and the store of image features."""
        self._store.clear()
        self._reset()

    def _reset(self) -> None:
        self._cache: Any = DynamicCache(config=self._model.config.get_text_config())
        self._held = Held()
        self._next_position = 0
        self._hidden: torch.Tensor | None = None  # (n, hidden), of the last n tokens

    def encode_images(self, inputs: ModelInputs, *, check: Check = unchecked) -> PromptFeatures[_Image]:
        """The vision tower's output for each image, one at a time; runs only for images that are not cached."""
        spans = image_spans(inputs)
        features: dict[bytes, _Image] = {}
        for span, encoded in zip(spans, inputs.images, strict=True):
            image = features.get(span.digest) or self._store.get(span.digest)
            if image is None:
                check()
                image = self._see(encoded.pixels, check)
                self._store.put(span.digest, image, image.size_bytes)
            features[span.digest] = image
        return PromptFeatures(spans, tuple(features[span.digest] for span in spans))

    def _see(self, part: Mapping[str, NDArray[Any]], check: Check) -> _Image:
        """Run the vision tower on one image."""
        pixels = {name: torch.from_numpy(array).to(self._device) for name, array in part.items()}
        with torch.inference_mode(), self._watched(check):
            output = self._model.model.get_image_features(**pixels, return_dict=True)
            layers = getattr(output, "deepstack_features", None) or ()
            image = _Image(_rows_of(output.pooler_output), tuple(_rows_of(layer) for layer in layers))
        self._wait()
        return image

    @contextmanager
    def _watched(self, check: Check) -> Iterator[None]:
        """Call `check` before every layer, or before every fourth on CUDA, which has to wait for the device."""

        def before_layer(*_: object) -> None:
            self._wait()
            check()

        layers = self._layers[:: 4 if self._device.type == "cuda" else 1] if check is not unchecked else []
        hooks = [layer.register_forward_pre_hook(before_layer) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def prefill(
        self, inputs: ModelInputs, features: object, forced: Sequence[int], *, check: Check = unchecked
    ) -> int:  # fmt: skip
        """Read the prompt and the first `forced` tokens of the answer, except the cached prefix."""
        if not isinstance(features, PromptFeatures):
            raise TypeError(f"expected the result of encode_images, got: {type(features).__name__}")
        ids = [*inputs.input_ids.tolist(), *forced]
        # The prompt's last token is always recomputed: its hidden state gives the answer's first token.
        limit = len(inputs.input_ids) - 1
        ends = None if inputs.block_ends is None else extended(inputs.block_ends, len(ids))
        kept = whole_blocks(self._held.common_prefix(ids[:limit], features.spans), ends)
        self._crop(len(self._held.tokens) - kept)
        positions = self._positions(inputs, ids, ends)
        arguments: dict[str, Any] = {"position_ids": positions[..., kept:].to(self._device)}
        self._next_position = int(positions.max()) + 1
        input_ids = torch.tensor([ids[kept:]], device=self._device)
        new = [
            (span, image) for span, image in zip(features.spans, features.features, strict=True) if span.start >= kept
        ]
        arguments |= self._embedded(input_ids, kept, new)
        keep = len(forced) + 1
        for start, stop in prefill_chunks(kept, len(ids), keep, ends):
            check()
            part = _part(arguments, start - kept, stop - kept)
            if ends is not None and has_block(ends, start, stop):
                part["attention_mask"] = torch.from_numpy(attention(ends, start, stop))[None, None].to(self._device)
            self._forward(self._language, part, Held(tuple(ids[:stop]), features.spans), keep, check)
            self._wait()
        return kept

    def _embedded(self, input_ids: torch.Tensor, offset: int, images: list[tuple[ImageSpan, _Image]]) -> dict[str, Any]:
        """The language model's arguments: token embeddings, with image features in place of image tokens."""
        with torch.inference_mode():
            embeds = self._model.get_input_embeddings()(input_ids)
            if not images:
                return {"inputs_embeds": embeds}
            mask = torch.zeros_like(input_ids, dtype=torch.bool)
            for span, image in images:
                mask[0, span.start - offset : span.stop - offset] = True
                embeds[0, span.start - offset : span.stop - offset] = image.embeddings.to(embeds.dtype)
            arguments = {"inputs_embeds": embeds}
            if images[0][1].deepstack:
                layers = zip(*(image.deepstack for _, image in images), strict=True)
                arguments["visual_pos_masks"] = mask
                arguments["deepstack_visual_embeds"] = [torch.cat(layer) for layer in layers]
            return arguments

    def step(self, tokens: Sequence[int]) -> None:
        """Append one or more tokens in one forward pass; their keys and values are added to the cache."""
        end = self._next_position + len(tokens)
        positions = torch.arange(self._next_position, end, device=self._device).expand(*self._axes, -1)
        arguments = {"input_ids": torch.tensor([list(tokens)], device=self._device), "position_ids": positions}
        self._next_position = end
        held = Held((*self._held.tokens, *tokens), self._held.images)
        self._forward(self._step_pass, arguments, held, len(tokens))

    def trim(self, count: int) -> None:
        """Remove the last `count` tokens, at most those of the last pass."""
        if self._hidden is None or not 0 <= count <= len(self._hidden):
            raise BackendError(f"cannot trim {count} tokens: the last pass had fewer")
        if count:
            self._crop(count)
            self._next_position -= count
            self._hidden = self._hidden[:-count]

    def _crop(self, count: int) -> None:
        """Remove the last `count` tokens from the cache."""
        if not count:
            return
        held, self._held = self._held, Held()
        self._cache.crop(-count)
        self._held = Held(held.tokens[: len(held.tokens) - count], held.images)

    def logits(self, allowed: NDArray[np.bool_], after: int = -1) -> NDArray[np.float32]:
        """The allowed tokens' logits; if they are few, the output layer is computed only for them."""
        array: NDArray[np.float32] = self._rows(np.flatnonzero(allowed), after).float().cpu().numpy()
        return array

    def _rows(self, ids: NDArray[np.intp], after: int) -> torch.Tensor:
        """The logits of tokens `ids`, on the device."""
        if self._hidden is None:
            raise BackendError("the model has not read a prompt yet: call prefill first")
        hidden, head = self._hidden[after], self._head
        rows = torch.from_numpy(ids).to(self._device)
        with torch.inference_mode():
            if type(head) is not torch.nn.Linear or len(ids) > _FEW_ROWS * head.out_features:
                logits: torch.Tensor = head(hidden)
                return logits[rows]
            bias: Any = head.bias  # often None, despite torch's type annotation
            # head.weight[rows] would start threads, which for a few rows costs more than everything else here.
            weight = head.weight.index_select(0, rows)
            return torch.nn.functional.linear(hidden, weight, bias if bias is None else bias[rows])

    def _wait(self) -> None:
        """Wait for the device, so that this part's time is not attributed to the next part of the latency."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _positions(self, inputs: ModelInputs, ids: list[int], ends: NDArray[np.int64] | None) -> torch.Tensor:
        """Rotary positions (*axes, T) of a prompt and its continuation, on the CPU because their values are read."""
        grids = inputs.grids
        if grids is None:
            text = torch.arange(len(ids)) if ends is None else torch.from_numpy(block_positions(ends))
            return text.expand(*self._axes, -1)
        input_ids = torch.tensor([ids])
        kinds = torch.zeros_like(input_ids, dtype=torch.int32)
        kinds[0, : len(inputs.is_image)] = torch.from_numpy(inputs.is_image.astype(np.int32))
        positions: torch.Tensor = self._model.model.get_rope_index(
            input_ids, mm_token_type_ids=kinds, image_grid_thw=torch.from_numpy(grids)
        )[0]
        return positions

    def _forward(
        self, language: Any, arguments: dict[str, Any], held: Held, keep: int, check: Check = unchecked
    ) -> None:  # fmt: skip
        """Run the `language` model; afterwards the cache contains `held`, and `keep` hidden states are kept.

        If `check` aborts the pass, the cache keeps what it contained before. If the pass fails, the cache is discarded:
        its layers may differ in length.
        """
        cache, before = self._cache, self._held
        self._cache, self._held, self._hidden = None, Held(), None
        try:
            with torch.inference_mode(), self._watched(check):
                output = language(past_key_values=cache, use_cache=True, **arguments)
        except (DeadlineExceeded, BackendError):
            self._reset()
            if before.tokens:
                for layer in cache.layers:  # those before the aborted one are longer
                    layer.crop(min(0, len(before.tokens) - layer.get_seq_length()))
                self._cache, self._held = cache, before
            raise
        except BaseException as error:
            self._reset()
            if isinstance(error, torch.OutOfMemoryError):
                raise BackendError(
                    f"out of memory on {self._device}: send fewer or smaller images ({error})"
                ) from error
            raise
        self._cache, self._held, self._hidden = cache, held, output.last_hidden_state[0, -keep:]


def _rows_of(features: Any) -> torch.Tensor:
    """The features of one image as a tensor (n, hidden)."""
    joined = torch.cat(list(features)) if isinstance(features, (list, tuple)) else features
    rows: torch.Tensor = joined.reshape(-1, joined.shape[-1])
    return rows


def _layers(module: Any) -> list[torch.nn.Module]:
    """The layers of a transformer: its longest list of modules."""
    lists = [] if module is None else [part for part in module.modules() if isinstance(part, torch.nn.ModuleList)]
    return list(max(lists, key=len, default=[]))


def _part(arguments: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The language model's arguments for tokens `start` to `stop` of those in `arguments`."""
    part = {
        "inputs_embeds": arguments["inputs_embeds"][:, start:stop],
        "position_ids": arguments["position_ids"][..., start:stop],
    }
    mask = arguments.get("visual_pos_masks")
    if mask is not None and mask[:, start:stop].any():
        first, last = int(mask[:, :start].sum()), int(mask[:, :stop].sum())
        part["visual_pos_masks"] = mask[:, start:stop]
        part["deepstack_visual_embeds"] = [layer[first:last] for layer in arguments["deepstack_visual_embeds"]]
    return part
