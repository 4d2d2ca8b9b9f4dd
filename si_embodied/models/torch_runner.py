"""Runs a transformers vision-language model (a `ModelRunner`)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import BackendError, DeadlineExceeded, extra
from si_embodied.models.attention import KeysValues, Pass, cropped
from si_embodied.models.blocks import attention, extended, has_block, whole_blocks
from si_embodied.models.cache_memory import USUAL
from si_embodied.models.network import ImageFeatures, Network
from si_embodied.models.prefix import Held, PromptFeatures, image_spans
from si_embodied.models.runner import prefill_chunks, unchecked

with extra("models"):
    import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from si_embodied.models.inputs import ModelInputs
    from si_embodied.models.prefix import ImageSpan
    from si_embodied.models.runner import Check


class TorchRunner:
    """Runs one prompt at a time, and reuses the prefix that the next one shares with it.

    Its copies run other prompts in other threads, in the same passes of the same model.
    """

    shares_passes = True

    def __init__(self, model: Any, *, store_bytes: int = USUAL.features, compiled: bool = False) -> None:
        """Prepare a model.

        Args:
            model: a `…ForConditionalGeneration` of a supported family, in evaluation mode.
            store_bytes: size limit of the image feature cache, on the model's device.
            compiled: compile the steps with torch; takes a minute, only on CUDA. If it fails, the reason is logged.
        """
        self._network = Network(model, store_bytes=store_bytes, compiled=compiled)
        self._place = 0  # of its prompt in the queue for the model
        self._reset()

    def copy(self) -> TorchRunner:
        """Another runner of the same model, with the same tokens in its cache."""
        other = copy.copy(self)  # nothing is ever written into keys and values
        other._hidden, other._place = None, self._network.place()
        return other

    def forget(self) -> None:
        """Empty the cache and the store of image features."""
        self._network.store.clear()
        self._reset()

    def _reset(self) -> None:
        self._layers: KeysValues = ()
        self._held = Held()
        self._next_position = 0
        self._hidden: torch.Tensor | None = None  # (n, hidden), of the last n tokens

    def rest(self) -> None:
        """Drop the hidden states of the last pass, and let nobody wait for the next one."""
        self._hidden = None
        self._network.leave(self._place)

    @property
    def cache_bytes(self) -> int:
        """Memory of the key/value cache."""
        return sum(keys.nbytes + values.nbytes for keys, values in self._layers)

    def encode_images(self, inputs: ModelInputs, *, check: Check = unchecked) -> PromptFeatures[ImageFeatures]:
        """The vision tower's output for each image; runs only for images that are not cached."""
        features = self._network.see(inputs.images, check, place=self._place)
        return PromptFeatures(image_spans(inputs), tuple(features[image.digest] for image in inputs.images))

    def cached_tokens(self, inputs: ModelInputs) -> int:
        """How many tokens of a prompt are in the cache and can be reused."""
        # The prompt's last token is always recomputed: its hidden state gives the answer's first token.
        ids = inputs.input_ids[:-1].tolist()
        return whole_blocks(self._held.common_prefix(ids, image_spans(inputs)), inputs.block_ends)

    def prefill(
        self, inputs: ModelInputs, features: object, forced: Sequence[int], *, check: Check = unchecked
    ) -> int:  # fmt: skip
        """Read the prompt and the first `forced` tokens of the answer, except the cached prefix."""
        if not isinstance(features, PromptFeatures):
            raise TypeError(f"expected the result of encode_images, got: {type(features).__name__}")
        ids = [*inputs.input_ids.tolist(), *forced]
        ends = None if inputs.block_ends is None else extended(inputs.block_ends, len(ids))
        kept = self.cached_tokens(inputs)
        self._crop(kept)
        positions = self._network.positions(inputs, len(ids))
        self._next_position = int(positions.max()) + 1
        new = [
            (span, image) for span, image in zip(features.spans, features.features, strict=True) if span.start >= kept
        ]
        whole = self._embedded(ids[kept:], kept, new)
        whole.positions = positions[..., kept:].to(self._network.device)
        keep = len(forced) + 1
        for start, stop in prefill_chunks(kept, len(ids), keep, ends):
            check()
            part = _part(whole, start - kept, stop - kept)
            if ends is not None and has_block(ends, start, stop):
                part.mask = torch.from_numpy(attention(ends, start, stop)).to(self._network.device)
            self._read(part, Held(tuple(ids[:stop]), features.spans), keep, check)
        return kept

    def _embedded(self, tokens: Sequence[int], offset: int, images: list[tuple[ImageSpan, ImageFeatures]]) -> Pass:
        """A pass over tokens, with image features in place of the image tokens' embeddings."""
        whole = Pass(self._network.embed(tokens), torch.empty(0), ())
        if not images:
            return whole
        with torch.inference_mode():
            mask = torch.zeros(whole.embeds.shape[:2], dtype=torch.bool, device=whole.embeds.device)
            for span, image in images:
                mask[0, span.start - offset : span.stop - offset] = True
                whole.embeds[0, span.start - offset : span.stop - offset] = image.embeddings.to(whole.embeds.dtype)
            if images[0][1].deepstack:
                layers = zip(*(image.deepstack for _, image in images), strict=True)
                whole.is_image, whole.deepstack = mask, tuple(torch.cat(layer) for layer in layers)
        return whole

    def step(self, tokens: Sequence[int], *, check: Check = unchecked) -> None:
        """Append one or more tokens in one forward pass; their keys and values are added to the cache."""
        network, end = self._network, self._next_position + len(tokens)
        positions = torch.arange(self._next_position, end, device=network.device).expand(*network.axes, -1)
        self._next_position = end
        held = Held((*self._held.tokens, *tokens), self._held.images)
        self._read(Pass(network.embed(tokens), positions, (), step=True), held, len(tokens), check)

    def trim(self, count: int) -> None:
        """Remove the last `count` tokens, at most those of the last pass."""
        if self._hidden is None or not 0 <= count <= len(self._hidden):
            raise BackendError(f"cannot trim {count} tokens: the last pass had fewer")
        if count:
            self._crop(len(self._held.tokens) - count)
            self._next_position -= count
            self._hidden = self._hidden[:-count]

    def _crop(self, length: int) -> None:
        """Keep the first `length` tokens in the cache."""
        self._layers = cropped(self._layers, length)
        self._held = Held(self._held.tokens[:length], self._held.images)

    def logits(self, allowed: NDArray[np.bool_], after: int = -1) -> NDArray[np.float32]:
        """The allowed tokens' logits; if they are few, the output layer is computed only for them."""
        if self._hidden is None:
            raise BackendError("the model has not read a prompt yet: call prefill first")
        rows = self._network.rows(self._hidden[after], np.flatnonzero(allowed), place=self._place)
        array: NDArray[np.float32] = rows.float().cpu().numpy()
        return array

    def _read(self, new: Pass, held: Held, keep: int, check: Check) -> None:
        """Run new tokens; afterwards the cache contains `held`, and `keep` hidden states are kept.

        If `check` aborts the pass, the cache keeps what it contained before. If the pass fails, the cache is emptied.
        """
        new.past, self._hidden = self._layers, None
        with self._network.memory_errors():
            try:
                hidden = self._network.read(new, check, place=self._place)
            except (DeadlineExceeded, BackendError):
                raise
            except BaseException:
                self._reset()
                raise
        self._layers, self._held, self._hidden = tuple(new.now), held, hidden[-keep:]


def _part(whole: Pass, start: int, stop: int) -> Pass:
    """The pass over tokens `start` to `stop` of those of a longer one."""
    part = Pass(whole.embeds[:, start:stop], whole.positions[..., start:stop], whole.past)
    if whole.is_image is not None and whole.is_image[:, start:stop].any():
        first, last = int(whole.is_image[:, :start].sum()), int(whole.is_image[:, :stop].sum())
        part.is_image, part.deepstack = whole.is_image[:, start:stop], tuple(x[first:last] for x in whole.deepstack)
    return part
