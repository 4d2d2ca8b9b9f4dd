"""Loading a checkpoint with transformers: never remote code, never the network, and no key left over or missing."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied.errors import CheckpointError, ConfigError, MissingExtraError
from si_embodied.models.checkpoints import inspect_checkpoint

try:
    import torch
    import transformers
    from tokenizers import Tokenizer
    from transformers.utils import is_flash_attn_2_available
    from transformers.utils import logging as transformers_logging
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "transformers", "models") from error

from si_embodied.models.families import FAMILIES, Family

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOG = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model that is ready to run."""

    directory: Path
    model: Any  # a transformers …ForConditionalGeneration, in evaluation mode on its device
    family: Family
    tokenizer_json: str
    vocabulary_size: int  # rows of the output layer
    device: str
    dtype: str
    kernel: str  # attention kernel: it moves scores, so it is logged with them


def load_checkpoint(directory: str | Path, *, device: str = "auto", dtype: str = "auto") -> Checkpoint:
    """Load a Hugging Face directory by its `model_type`.

    Args:
        directory: a local directory; nothing is downloaded.
        device: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1".
        dtype: "auto" (bfloat16 on CUDA; float32 on a CPU, where bfloat16 is 50 times slower), or a dtype's name.

    Raises:
        CheckpointError: the directory cannot be loaded.
        ConfigError: no such device or dtype.
    """
    files = inspect_checkpoint(directory)
    target = resolve_device(device)
    name = ("bfloat16" if target.type == "cuda" else "float32") if dtype == "auto" else dtype
    if name not in _DTYPES:
        raise ConfigError(f"expected a dtype of auto, {', '.join(_DTYPES)}, got: {dtype!r}")
    kernel = "sdpa"
    if target.type == "cuda" and name != "float32" and is_flash_attn_2_available():
        kernel = "flash_attention_2"
    family = FAMILIES[files.model_type]
    try:
        config = transformers.AutoConfig.from_pretrained(str(files.directory), local_files_only=True)
        image_processor = family.load_image_processor(files.directory)
        tokenizer_json = _tokenizer_json(files.directory)
        with no_progress_bars():
            model, info = getattr(transformers, family.model_class).from_pretrained(
                str(files.directory),
                config=config,
                dtype=_DTYPES[name],
                attn_implementation=kernel,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
        model = model.eval().to(target)
    except torch.OutOfMemoryError as error:
        need = files.size_bytes / 1e9
        raise CheckpointError(f"{files.directory}: {need:.1f} GB of weights do not fit on {target}: {error}") from error
    except Exception as error:
        # transformers, safetensors and huggingface_hub raise some twenty kinds; every one means that it did not load
        raise CheckpointError(
            f"{files.directory} could not be loaded as {files.model_type}: {type(error).__name__}: {error}"
        ) from error
    _check_keys(files.directory, info)
    _LOG.info("loaded %s: %s on %s, %s, attention %s", files.directory, files.model_type, target, name, kernel)
    return Checkpoint(
        files.directory,
        model,
        family(tokenizer_json, image_processor, config),
        tokenizer_json,
        int(model.get_output_embeddings().weight.shape[0]),
        str(target),
        name,
        kernel,
    )


def resolve_device(device: str) -> torch.device:
    """The torch device that `device` means on this machine.

    Raises:
        ConfigError: there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"expected a device of auto, cpu, cuda or cuda:N, got: {device!r}") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {device!r} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices; "
            "use device cpu, or install a CUDA build of torch and its driver"
        )
    return resolved


def _tokenizer_json(directory: Path) -> str:
    """The tokenizer as JSON, without the padding and truncation that some were saved with."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return str(tokenizer.to_str())


def _check_keys(directory: Path, info: dict[str, Any]) -> None:
    """Refuse weights that do not fit the model exactly: transformers would fill the gaps with random numbers."""
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(str(key) for key in info.get(kind) or []):
            raise CheckpointError(
                f"{directory}: {len(keys)} {kind.replace('_', ' ')}, such as {keys[0]}; "
                "config.json and the weights are not of the same model"
            )


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """No progress bar of transformers while it loads or writes."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
