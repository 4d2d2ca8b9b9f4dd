"""Runs an exported model (a `ModelRunner`) with onnxruntime and numpy, without torch.

The key/value cache stays on the decoder's device: its outputs are bound there and fed back as inputs.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import BackendError
from si_embodied.models.blocks import extended, whole_blocks
from si_embodied.models.cache_memory import USUAL
from si_embodied.models.onnx.layout import vision_inputs
from si_embodied.models.onnx.manifest import DECODER, EMBEDDING, HEAD, OUTPUT_ROWS, TRIM, VISION, read_manifest
from si_embodied.models.onnx.sessions import choose_providers, open_session, place_on, tensorrt_options
from si_embodied.models.positions import prompt_positions
from si_embodied.models.prefix import BoundedStore, Held, PromptFeatures, image_spans
from si_embodied.models.runner import prefill_chunks, unchecked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from si_embodied.models.inputs import ModelInputs
    from si_embodied.models.runner import Check

_FEW_ROWS = 4096  # for more tokens, gathering their rows costs as much as the whole output layer


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """The vision tower's output for one image."""

    embeddings: NDArray[Any]  # (n, hidden), replacing its n tokens' embeddings
    deepstack: NDArray[Any] | None  # Qwen3-VL: (layers, n, hidden), added after the first layers


class OnnxRunner:
    """Runs one prompt at a time, and reuses the prefix that the next one shares with it."""

    shares_passes = False

    def __init__(
        self,
        directory: str | Path,
        providers: str | Sequence[str] = "auto",
        *,
        threads: int = 0,
        store_bytes: int = USUAL.features,
    ) -> None:
        """Open an exported model.

        Args:
            directory: an export written by `export_model`.
            providers: execution providers, in order of preference for each part of a graph.
            threads: CPU threads; 0 for one per core.
            store_bytes: size limit of the image feature cache.

        Raises:
            CheckpointError: the directory is incomplete, or a graph is broken.
            ConfigError: this build of onnxruntime lacks an execution provider.
            BackendError: an execution provider does not start.
        """
        path = Path(directory).expanduser()
        self.manifest = read_manifest(path)
        self.providers = choose_providers(providers)
        self._device = "cpu" if self.providers[0] == "cpu" else "cuda"
        self._dtype = np.dtype(self.manifest.dtype)

        def open_graph(name: str) -> Any:
            return open_session(path / name, self.providers, threads, tensorrt_options(path, name, self.manifest))

        self._vision, self._decoder = open_graph(VISION), open_graph(DECODER)
        self._head, self._trimmer = open_graph(HEAD), open_graph(TRIM)
        self._embedding = np.load(path / EMBEDDING, mmap_mode="r")
        self._rows = self._embedding if self.manifest.tied_embeddings else np.load(path / OUTPUT_ROWS, mmap_mode="r")
        self._store: BoundedStore[_Image] = BoundedStore(store_bytes)
        self._reset()

    def copy(self) -> OnnxRunner:
        """Another runner of the same graphs, with the same tokens in its cache."""
        other = copy.copy(self)  # onnxruntime writes each pass's cache to new memory
        other.rest()
        return other

    def forget(self) -> None:
        """Empty the cache and the store of image features."""
        self._store.clear()
        self._reset()

    def _reset(self) -> None:
        shape = (1, self.manifest.shared_heads, 0, self.manifest.head_dim)
        self._cache = [place_on(self._device, np.zeros(shape, self._dtype)) for _ in range(2 * self.manifest.layers)]
        self._cached = 0  # tokens in the cache: those in _held, followed by trimmed ones
        self._held = Held()
        self._next_position = 0
        self._hidden: NDArray[np.float32] | None = None  # (n, hidden), of the last n tokens

    def rest(self) -> None:
        """Drop the hidden states of the last pass."""
        self._hidden = None

    @property
    def cache_bytes(self) -> int:
        """Memory of the key/value cache."""
        row = self.manifest.shared_heads * self.manifest.head_dim * self._dtype.itemsize
        return self._cached * len(self._cache) * row

    def cached_tokens(self, inputs: ModelInputs) -> int:
        """How many tokens of a prompt are in the cache and can be reused."""
        # The prompt's last token is always recomputed: its hidden state gives the answer's first token.
        ids = inputs.input_ids[:-1].tolist()
        return whole_blocks(self._held.common_prefix(ids, image_spans(inputs)), inputs.block_ends)

    def encode_images(self, inputs: ModelInputs, *, check: Check = unchecked) -> PromptFeatures[_Image]:
        """The vision tower's output for each image; runs only for images that are not cached."""
        spans = image_spans(inputs)
        features = []
        for span, encoded in zip(spans, inputs.images, strict=True):
            image = self._store.get(span.digest)
            if image is None:
                check()
                image = self._see(encoded.pixels)
                size = image.embeddings.nbytes + (0 if image.deepstack is None else image.deepstack.nbytes)
                self._store.put(span.digest, image, size)
            features.append(image)
        return PromptFeatures(spans, tuple(features))

    def _see(self, pixels: Mapping[str, NDArray[Any]]) -> _Image:
        """Run the vision tower on one image."""
        feed = dict(pixels)
        grid = feed.pop("image_grid_thw", None)
        if grid is not None:
            feed |= vision_inputs(self.manifest.family, self.manifest.vision, grid[0])
        try:
            outputs = self._vision.run(None, feed)
        except Exception as error:
            raise _failure("vision tower", error) from error
        return _Image(outputs[0], outputs[1] if len(outputs) > 1 else None)

    def prefill(
        self, inputs: ModelInputs, features: object, forced: Sequence[int], *, check: Check = unchecked
    ) -> int:  # fmt: skip
        """Read the prompt and the first `forced` tokens of the answer, except the cached prefix."""
        if not isinstance(features, PromptFeatures):
            raise TypeError(f"expected the result of encode_images, got: {type(features).__name__}")
        ids = [*inputs.input_ids.tolist(), *forced]
        ends = None if inputs.block_ends is None else extended(inputs.block_ends, len(ids))
        kept = self.cached_tokens(inputs)
        axes, merge = self.manifest.position_axes, self.manifest.vision.get("merge", 1)
        positions = np.broadcast_to(prompt_positions(inputs, len(ids), merge), (axes, len(ids)))
        embeds = self._embed(ids[kept:])
        deepstack = self._no_deepstack(len(ids) - kept)
        for span, image in zip(features.spans, features.features, strict=True):
            if span.start >= kept:
                embeds[span.start - kept : span.stop - kept] = image.embeddings
                if image.deepstack is not None:
                    deepstack[:, 0, span.start - kept : span.stop - kept] = image.deepstack
        self._held = Held(self._held.tokens[:kept], self._held.images)
        self._next_position = int(positions.max()) + 1
        keep = len(forced) + 1
        for start, stop in prefill_chunks(kept, len(ids), keep, ends):
            check()
            rows, held = slice(start - kept, stop - kept), Held(tuple(ids[:stop]), features.spans)
            block_ends = None if ends is None else ends[start:stop]
            self._forward(embeds[rows], positions[:, start:stop], deepstack[:, :, rows], held, keep, block_ends)
        return kept

    def step(self, tokens: Sequence[int], *, check: Check = unchecked) -> None:
        """Append one or more tokens in one forward pass; their keys and values are added to the cache."""
        end = self._next_position + len(tokens)
        positions = np.broadcast_to(
            np.arange(self._next_position, end), (self.manifest.position_axes, len(tokens))
        )  # fmt: skip
        self._next_position = end
        held = Held((*self._held.tokens, *tokens), self._held.images)
        self._forward(self._embed(tokens), positions, self._no_deepstack(len(tokens)), held, keep=len(tokens))

    def trim(self, count: int) -> None:
        """Remove the last `count` tokens, at most those of the last pass."""
        if self._hidden is None or not 0 <= count <= len(self._hidden):
            raise BackendError(f"cannot trim {count} tokens: the last pass had fewer")
        kept = len(self._held.tokens) - count
        self._held = Held(self._held.tokens[:kept], self._held.images)  # `_forward` trims the cache before its next use
        self._next_position -= count
        self._hidden = self._hidden[: len(self._hidden) - count]

    def logits(self, allowed: NDArray[np.bool_], after: int = -1) -> NDArray[np.float32]:
        """The allowed tokens' logits; if they are few, the output layer is computed only for them.

        That uses the unquantized rows, whatever the export's precision.
        """
        if self._hidden is None:
            raise BackendError("the model has not read a prompt yet: call prefill first")
        hidden, rows = self._hidden[after], np.flatnonzero(allowed)
        if len(rows) <= _FEW_ROWS:
            few: NDArray[np.float32] = self._rows[rows].astype(np.float32) @ hidden
            return few
        try:
            (every,) = self._head.run(None, {"hidden": hidden[None].astype(self._dtype)})
        except Exception as error:
            raise _failure("output layer", error) from error
        some: NDArray[np.float32] = every[0, rows].astype(np.float32)
        return some

    def _embed(self, tokens: Sequence[int]) -> NDArray[Any]:
        """Token embeddings: (T, hidden)."""
        embeds: NDArray[Any] = self._embedding[np.array(tokens, dtype=np.int64)].astype(self._dtype)
        return embeds

    def _no_deepstack(self, length: int) -> NDArray[Any]:
        """DeepStack's input for text alone, zeros: (layers, 1, T, hidden)."""
        return np.zeros((self.manifest.deepstack_layers, 1, length, self.manifest.hidden_size), self._dtype)

    def _forward(
        self,
        embeds: NDArray[Any],  # (T, hidden)
        positions: NDArray[np.int64],  # (axes, T)
        deepstack: NDArray[Any],  # (layers, 1, T, hidden)
        held: Held,
        keep: int,
        block_ends: NDArray[np.int64] | None = None,  # (T,); by default, each token attends up to itself
    ) -> None:
        """Run the decoder; afterwards the cache contains `held`, and `keep` hidden states are kept."""
        kept = len(self._held.tokens)
        feed = {"inputs_embeds": embeds[None], "position_ids": np.ascontiguousarray(positions[:, None])}
        if len(deepstack):
            feed["deepstack"] = deepstack
        if self.manifest.takes_block_ends:
            feed["block_ends"] = np.arange(kept, kept + len(embeds)) if block_ends is None else block_ends
        try:
            if kept < self._cached:
                self._cache = self._run(self._trimmer, {"length": np.array([kept])})
            hidden, *self._cache = self._run(self._decoder, feed)
        except BaseException as error:
            self._reset()
            if isinstance(error, Exception):
                raise _failure("decoder", error) from error
            raise
        self._cached, self._held = len(held.tokens), held
        self._hidden = hidden.numpy()[0, -keep:].astype(np.float32)

    def _run(self, session: Any, feed: dict[str, NDArray[Any]]) -> list[Any]:
        """Run a graph from cache to cache; the new cache stays on the device."""
        binding = session.io_binding()
        for name, array in feed.items():
            binding.bind_cpu_input(name, array)
        names = [entry.name for entry in session.get_inputs() if entry.name not in feed]
        for name, value in zip(names, self._cache, strict=True):
            binding.bind_ortvalue_input(name, value)
        for entry in session.get_outputs():
            binding.bind_output(entry.name, "cpu" if entry.name == "hidden" else self._device)
        session.run_with_iobinding(binding)
        return list(binding.get_outputs())


def _failure(part: str, error: Exception) -> BackendError:
    """The error for a graph that failed in onnxruntime."""
    return BackendError(f"the {part} failed in onnxruntime: {error}; if memory ran out, send fewer or smaller images")
