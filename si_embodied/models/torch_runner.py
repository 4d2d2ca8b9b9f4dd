"""A transformers vision-language model as a `ModelRunner`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import BackendError, MissingExtraError

try:
    import torch
    from transformers import DynamicCache
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "torch", "models") from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from si_embodied.models.families import ModelInputs


class TorchRunner:
    """Runs one prompt at a time; the positions of an image's tokens are kept here, not in the model."""

    def __init__(self, model: Any) -> None:
        """`model` is a `…ForConditionalGeneration` of a supported family, in evaluation mode."""
        self._model = model
        self._rotary_3d = hasattr(model.model, "get_rope_index")  # Qwen-VL: time, row and column
        self._cache: Any = None
        self._next_position = 0
        self._logits: torch.Tensor | None = None

    @property
    def _device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    def encode_images(self, inputs: ModelInputs) -> object:
        """The vision tower's output for all images, or None without images."""
        if not inputs.pixels:
            return None
        pixels = {name: torch.from_numpy(array).to(self._device) for name, array in inputs.pixels.items()}
        with torch.inference_mode():
            features = self._model.model.get_image_features(**pixels, return_dict=True)
        self._wait()
        return features

    def prefill(self, inputs: ModelInputs, features: object, forced: Sequence[int]) -> None:
        """Read the prompt and the first `forced` tokens of the answer."""
        ids = np.concatenate([inputs.input_ids, np.array(forced, dtype=np.int64)])
        input_ids = torch.from_numpy(ids)[None].to(self._device)
        arguments: dict[str, Any] = {}
        if features is not None:
            arguments["mm_encoder_outputs"] = {"image": features}
        if self._rotary_3d:
            positions = self._positions(inputs, input_ids)
            arguments["position_ids"] = positions
            self._next_position = int(positions.max()) + 1
        self._cache = DynamicCache(config=self._model.config.get_text_config())
        self._forward(input_ids, arguments)
        self._wait()

    def step(self, tokens: Sequence[int]) -> None:
        """Take one or more tokens; their keys and values join the cache."""
        input_ids = torch.tensor([list(tokens)], device=self._device)
        arguments: dict[str, Any] = {}
        if self._rotary_3d:
            end = self._next_position + len(tokens)
            text = torch.arange(self._next_position, end, device=self._device)
            arguments["position_ids"] = text.expand(3, 1, -1)
            self._next_position = end
        self._forward(input_ids, arguments)

    def best(self, allowed: NDArray[np.bool_]) -> int:
        """The likeliest allowed token; of equals the one with the smallest id."""
        if self._logits is None:
            raise BackendError("the model has not read a prompt yet: call prefill first")
        logits = self._logits.masked_fill(~torch.from_numpy(allowed).to(self._device), -torch.inf)
        token = int(logits.argmax())
        if not bool(torch.isfinite(logits[token])):
            raise BackendError("the model's logits are not finite; its weights are broken or overflow in this dtype")
        return token

    def _wait(self) -> None:
        """Let the device finish, or the next part of the latency would be billed for this one."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _positions(self, inputs: ModelInputs, input_ids: torch.Tensor) -> torch.Tensor:
        """Rotary positions (3, 1, T) of a prompt."""
        length = input_ids.shape[1]
        if "image_grid_thw" not in inputs.pixels:
            return torch.arange(length, device=self._device).expand(3, 1, -1)
        kinds = torch.zeros_like(input_ids, dtype=torch.int32)
        kinds[0, : len(inputs.is_image)] = torch.from_numpy(inputs.is_image.astype(np.int32)).to(self._device)
        grids = torch.from_numpy(inputs.pixels["image_grid_thw"]).to(self._device)
        positions: torch.Tensor = self._model.model.get_rope_index(
            input_ids, mm_token_type_ids=kinds, image_grid_thw=grids
        )[0]
        return positions

    def _forward(self, input_ids: torch.Tensor, arguments: dict[str, Any]) -> None:
        """One pass; keeps the last token's logits in float32."""
        try:
            with torch.inference_mode():
                output = self._model(
                    input_ids=input_ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1, **arguments
                )
        except torch.OutOfMemoryError as error:
            raise BackendError(f"out of memory on {self._device}: show fewer or smaller images ({error})") from error
        self._logits = output.logits[0, -1].float()
