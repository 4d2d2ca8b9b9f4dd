"""What runs a model, whatever the runtime: the interface between the decoding loop and torch or ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.models.inputs import ModelInputs


Check: TypeAlias = "Callable[[], object]"
"""Raises `DeadlineExceeded` or `BackendError` if the work is to be aborted."""

PREFILL_CHUNK = 512
"""Tokens read in one forward pass. Larger chunks are hardly faster, and the deadline is checked between them."""


def unchecked() -> None:
    """Never abort."""


def prefill_chunks(
    start: int, stop: int, keep: int, ends: NDArray[np.int64] | None = None
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """Split tokens `start` to `stop` into chunks for a prefill; the last one contains the last `keep` tokens.

    A chunk is longer where it would end inside one of the prompt's blocks, given by their `ends` (`models.blocks`).
    """
    while stop - start > PREFILL_CHUNK + keep:
        end = start + PREFILL_CHUNK if ends is None else int(ends[start + PREFILL_CHUNK - 1]) + 1
        yield start, end
        start = end
    yield start, stop


class ModelRunner(Protocol):
    """One model with one key/value cache, for one thread at a time.

    A forward pass that fails resets the runner: the next prompt starts from an empty cache. One that was aborted by a
    check does not.
    """

    shares_passes: bool
    """Whether copies work at once in several threads, and share forward passes."""

    def copy(self) -> Self:
        """Another runner of the same model and image features, with the same key/value cache.

        It takes no memory, and what one of them does to its cache is not seen by the other.
        """

    def rest(self) -> None:
        """Keep the cache, and drop what only the next step would need: the answer is over, or waits."""

    @property
    def cache_bytes(self) -> int:
        """Memory of the key/value cache."""

    def cached_tokens(self, inputs: ModelInputs) -> int:
        """How many tokens of a prompt are in the key/value cache, and would be reused by `prefill`."""

    def encode_images(self, inputs: ModelInputs, *, check: Check = unchecked) -> object:
        """Image features for `prefill`; returns once they are computed.

        Features of recently seen images may come from a bounded cache, keyed by image content.

        Args:
            inputs: the prompt.
            check: called between images and as often within one as the runtime allows; raises to abort.
        """

    def prefill(
        self, inputs: ModelInputs, features: object, forced: Sequence[int], *, check: Check = unchecked
    ) -> int:  # fmt: skip
        """Read the prompt, followed by the answer's first `forced` tokens.

        The key/value cache is reused for the longest common prefix of tokens and image contents.

        Args:
            inputs: the prompt.
            features: from `encode_images`.
            forced: the answer's first tokens.
            check: called between chunks of `PREFILL_CHUNK` tokens and as often within one as the runtime allows;
                raises to abort. The chunks that were read stay in the cache.

        Returns:
            How many tokens were reused.
        """

    def step(self, tokens: Sequence[int], *, check: Check = unchecked) -> None:
        """Append one or more tokens of the answer, in one forward pass.

        Args:
            tokens: to append.
            check: called while the pass waits for those of other prompts; raises to abort.
        """

    def logits(self, allowed: NDArray[np.bool_], after: int = -1) -> NDArray[np.float32]:
        """The logits of the `allowed` (V,) tokens, in ascending order of token id: (n_allowed,).

        Args:
            allowed: the tokens that may come next; if they are few, the output layer is computed only for them.
            after: the position whose next-token logits to return, counted back from the last token (-1). It reaches
                back to the first token of the last `step`, or after a `prefill` to the prompt's last token.
        """

    def trim(self, count: int) -> None:
        """Remove the last `count` tokens, at most those of the last `step`, or those `forced` by the last `prefill`."""

    def forget(self) -> None:
        """Empty the key/value cache and the cache of image features."""
