"""The patch embedding of Qwen-VL's vision tower as one matrix product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra

with extra("models"):
    import torch
    from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


class LinearPatches(torch.nn.Module):
    """A convolution whose kernel covers its whole input: each row is one patch. Has the convolution's own weights.

    It is for images, not videos: image processors repeat the image as each frame of a patch. On a CPU one frame is
    therefore multiplied with the sum of the frames' weights, in half the time.
    """

    def __init__(self, convolution: torch.nn.Conv3d) -> None:
        """Share the weights of `convolution`."""
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, patches: Tensor) -> Tensor:
        """Embed patches (n, channels, frames, height, width) of equal frames; returns (n, width)."""
        weight = self.weight
        if patches.device.type == "cpu":
            patches, weight = patches[:, :, 0], weight.sum(dim=2)
        return functional.linear(patches.flatten(1), weight.flatten(1), self.bias)


def embed_patches_linearly(model: Any) -> None:
    """Replace the patch embedding's convolution, which takes four times as long for the same numbers on a CPU."""
    embedding = getattr(getattr(model.model, "visual", None), "patch_embed", None)
    if embedding is not None and isinstance(embedding.proj, torch.nn.Conv3d):
        embedding.proj = LinearPatches(embedding.proj)
