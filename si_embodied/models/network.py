"""A transformers vision-language model as several runners share it: its weights, and what it computes for them."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import BackendError, extra
from si_embodied.models.attention import Pass, run_passes
from si_embodied.models.compiled import compiled_pass
from si_embodied.models.patches import embed_patches_linearly
from si_embodied.models.positions import prompt_positions
from si_embodied.models.prefix import BoundedStore
from si_embodied.models.runner import unchecked
from si_embodied.models.together import Together

with extra("models"):
    import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from si_embodied.models.inputs import EncodedImage, ModelInputs
    from si_embodied.models.runner import Check

_FEW_ROWS = 1 / 8  # fraction of the vocabulary; gathering a row costs at least three times as much as computing it
_SEEN_AT_ONCE = 256
"""Tokens of one prompt's images. A call costs milliseconds of its own; what is aborted within one is lost."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """The vision tower's output for one image."""

    embeddings: torch.Tensor  # (n, hidden), replacing its n tokens' embeddings
    deepstack: tuple[torch.Tensor, ...]  # Qwen3-VL: (n, hidden) each, added after the first layers

    @property
    def size_bytes(self) -> int:
        """Memory of the features."""
        return sum(tensor.nbytes for tensor in (self.embeddings, *self.deepstack))


class Network:
    """Runs a model for any number of threads: what they ask for at the same time is computed in one pass."""

    def __init__(self, model: Any, *, store_bytes: int, compiled: bool) -> None:
        """Prepare a model; see `TorchRunner`."""
        embed_patches_linearly(model)
        self.model, self.device = model, model.device
        self.language: Any = model.model.language_model
        # The shape of rotary positions before the tokens' axis; Qwen-VL's have time, row and column.
        self.axes = (3, 1) if hasattr(model.model, "get_rope_index") else (1,)
        self._merge = getattr(model.config.vision_config, "spatial_merge_size", 1)
        self.store: BoundedStore[ImageFeatures] = BoundedStore(store_bytes)
        self._head: Any = model.get_output_embeddings()
        self._together = Together()
        vision = getattr(model.model, "visual", None) or getattr(model.model, "vision_tower", None)
        # Hooks that come and go would make torch compile the steps anew; compiled models are checked between passes.
        self.layers = [] if compiled else [*_layers(vision), *_layers(self.language)]
        self.step_pass: Any = self.language
        if compiled:
            self.step_pass = compiled_pass(self.language, self.device, self._attempt)

    def _attempt(self, language: Any) -> None:
        """Run steps of one and of several tokens with `language`."""
        past: Any = ()
        for count in (1, 1, 2, 9):
            positions = torch.arange(count, device=self.device).expand(*self.axes, -1)
            each = Pass(self.embed([0] * count), positions, past)
            with torch.inference_mode():
                run_passes(language, [each])
            past = tuple(each.now)

    def place(self) -> int:
        """A prompt's place in the queue; see `Together`."""
        return self._together.place()

    def leave(self, place: int) -> None:
        """A prompt is over, or waits; see `Together`."""
        self._together.leave(place)

    def see(self, images: Sequence[EncodedImage], check: Check, *, place: int) -> dict[bytes, ImageFeatures]:
        """The vision tower's output for each image, by digest, from the store if it was seen lately."""
        features: dict[bytes, ImageFeatures] = {}
        new: dict[bytes, EncodedImage] = {}
        for image in images:
            known = self.store.get(image.digest)
            if known is None:
                new[image.digest] = image
            else:
                features[image.digest] = known
        for group in _groups(list(new.values())):
            check()
            with self.memory_errors():
                size = sum(image.token_count for image in group)
                seen = self._together.run(self._see, group, place=place, size=size, check=check)
            for image, found in zip(group, seen, strict=True):
                self.store.put(image.digest, found, found.size_bytes)
                features[image.digest] = found
        return features

    def _see(self, groups: Sequence[Sequence[EncodedImage]], check: Check) -> list[list[ImageFeatures]]:
        """Run the vision tower on the images of one or more prompts."""
        images = [image for group in groups for image in group]
        joined = {name: np.concatenate([image.pixels[name] for image in images]) for name in images[0].pixels}
        pixels = {name: torch.from_numpy(array).to(self.device) for name, array in joined.items()}
        counts = [image.token_count for image in images]
        with torch.inference_mode(), self._watched(check):
            output = self.model.model.get_image_features(**pixels, return_dict=True)
            outputs = (output.pooler_output, *(getattr(output, "deepstack_features", None) or ()))
            parts = zip(*(torch.split(_rows_of(each), counts) for each in outputs), strict=True)
        self.wait()
        # Copies, because a part of a tensor would keep all of it in memory.
        features = (ImageFeatures(first.clone(), tuple(each.clone() for each in layers)) for first, *layers in parts)
        return [list(itertools.islice(features, len(group))) for group in groups]

    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        """Token embeddings (1, n, hidden)."""
        with torch.inference_mode():
            embeds: torch.Tensor = self.model.get_input_embeddings()(torch.tensor([list(tokens)], device=self.device))
        return embeds

    def read(self, new: Pass, check: Check, *, place: int) -> torch.Tensor:
        """Run new tokens; returns their last hidden states (n, hidden), and fills in `Pass.now`."""
        return self._together.run(self._read, new, place=place, size=new.count, check=check)

    def _read(self, passes: Sequence[Pass], check: Check) -> list[torch.Tensor]:
        steps = all(each.step for each in passes)
        with torch.inference_mode(), self._watched(unchecked if steps else check):
            states = run_passes(self.step_pass if steps and len(passes) == 1 else self.language, passes)
        if not steps:
            self.wait()
        return states

    def rows(self, hidden: torch.Tensor, ids: NDArray[np.intp], *, place: int) -> torch.Tensor:
        """The logits of tokens `ids` after a hidden state (hidden,), on the device."""
        head, rows = self._head, torch.from_numpy(ids).to(self.device)
        if type(head) is not torch.nn.Linear or len(ids) > _FEW_ROWS * head.out_features:
            with self.memory_errors():
                return self._together.run(self._every_row, hidden, place=place)[rows]
        with torch.inference_mode():
            bias: Any = head.bias  # often None, despite torch's type annotation
            # head.weight[rows] would start threads, which for a few rows costs more than everything else here.
            weight = head.weight.index_select(0, rows)
            return torch.nn.functional.linear(hidden, weight, bias if bias is None else bias[rows])

    def _every_row(self, hidden: Sequence[torch.Tensor], _: Check) -> list[torch.Tensor]:
        with torch.inference_mode():
            logits: torch.Tensor = self._head(torch.stack(list(hidden)))
        return list(logits)

    @contextmanager
    def memory_errors(self) -> Iterator[None]:
        """Turn torch's error for too little memory into ours."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise BackendError(f"out of memory on {self.device}: send fewer or smaller images ({error})") from error

    def positions(self, inputs: ModelInputs, length: int) -> torch.Tensor:
        """Rotary positions (*axes, length) of a prompt and its continuation, on the CPU: their values are read."""
        positions = torch.from_numpy(prompt_positions(inputs, length, self._merge))
        return positions.reshape(-1, *self.axes[1:], length).expand(*self.axes, length)

    @contextmanager
    def _watched(self, check: Check) -> Iterator[None]:
        """Call `check` before every layer, or before every fourth on CUDA, which has to wait for the device."""

        def before_layer(*_: object) -> None:
            self.wait()
            check()

        layers = self.layers[:: 4 if self.device.type == "cuda" else 1] if check is not unchecked else []
        hooks = [layer.register_forward_pre_hook(before_layer) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def wait(self) -> None:
        """Wait for the device, so that this part's time is not attributed to the next part of the latency."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _groups(images: Sequence[EncodedImage]) -> Iterator[list[EncodedImage]]:
    """The images, parted into what the vision tower sees in one call."""
    group: list[EncodedImage] = []
    size = 0
    for image in images:
        if group and size + image.token_count > _SEEN_AT_ONCE:
            yield group
            group, size = [], 0
        group.append(image)
        size += image.token_count
    if group:
        yield group


def _rows_of(features: Any) -> torch.Tensor:
    """The features of all images as a tensor (n, hidden)."""
    joined = torch.cat(list(features)) if isinstance(features, (list, tuple)) else features
    rows: torch.Tensor = joined.reshape(-1, joined.shape[-1])
    return rows


def _layers(module: Any) -> list[torch.nn.Module]:
    """The layers of a transformer: its longest list of modules."""
    lists = [] if module is None else [part for part in module.modules() if isinstance(part, torch.nn.ModuleList)]
    return list(max(lists, key=len, default=[]))
