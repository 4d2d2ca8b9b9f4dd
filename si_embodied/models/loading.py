"""Loads a checkpoint with transformers: no remote code, no network access, and no missing or unexpected weights."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from si_embodied.errors import CheckpointError, ConfigError, MissingExtraError, extra
from si_embodied.models.adapters import choose_adapter, merged
from si_embodied.models.checkpoints import inspect_checkpoint, read_header
from si_embodied.models.footprint import WEIGHTS, Weights, check_fits, free_ram_bytes, weight_bytes
from si_embodied.models.hub import model_name, resolve_model
from si_embodied.models.quantized import GPU_ONLY

with extra("models"):
    import torch
    import transformers
    from tokenizers import Tokenizer
    from transformers.utils import is_accelerate_available, is_bitsandbytes_available, is_flash_attn_2_available
    from transformers.utils import logging as transformers_logging

from si_embodied.models.families import FAMILIES, Family
from si_embodied.models.original import new_names, original_format, original_tokenizer, stored_weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from si_embodied.models.checkpoints import CheckpointFiles

_LOG = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_ADA = (8, 9)  # first compute capability that multiplies FP8
_AMPERE = (8, 0)  # first compute capability with bfloat16, and the minimum for FlashAttention 2


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A loaded checkpoint."""

    directory: Path
    name: str  # the directory's name, or the hub id with its commit; with an adapter, "+" and its label
    model: Any  # a transformers …ForConditionalGeneration, in evaluation mode on its device
    family: Family
    tokenizer_json: str
    vocabulary_size: int  # rows of the output layer
    device: str
    dtype: str  # with the bits of quantized weights: "bfloat16", "bfloat16+4bit"
    kernel: str  # attention kernel; it affects scores, so it is logged with them


@dataclass(frozen=True, slots=True)
class Placement:
    """Device, dtype, quantization and attention kernel of a model."""

    device: torch.device
    dtype: str
    weights: Weights
    kernel: str

    @property
    def label(self) -> str:
        """The dtype as logged."""
        return self.dtype if self.weights == "full" else f"{self.dtype}+{self.weights}"


def load_checkpoint(
    model: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    weights: Weights = "full",
    adapter: str | Path = "",
) -> Checkpoint:
    """Load a checkpoint by its `model_type`.

    Args:
        model: a local directory, or a checkpoint on the hub (`resolve_model`), which is downloaded once.
        device: "auto" (CUDA if available), "cpu", "cuda", "cuda:1".
        dtype: "auto" (chosen by `place`), or a dtype's name.
        weights: "full"; on CUDA also "8bit" and "4bit", which shrink the linear layers to a half or a quarter.
        adapter: the directory of a LoRA adapter to merge into the weights; empty: none, even if one lies beside them.

    Raises:
        CheckpointError: the checkpoint cannot be downloaded or loaded, does not fit into memory, or is not the base of
            the adapter; or its tokenizer is another model's.
        ConfigError: unknown device or dtype, quantized weights on a device that does not support them, or of a
            checkpoint that is quantized already, or with an adapter; a checkpoint that is quantized with a method that
            the device does not support.
        MissingExtraError: quantized weights without bitsandbytes, or an adapter without peft.
    """
    files = inspect_checkpoint(resolve_model(model))
    placement = place(device, dtype, weights)
    family = FAMILIES[files.model_type]
    if family.blocks:  # FlashAttention 2 takes no mask
        placement = replace(placement, kernel="sdpa")
    stored = files.quantization
    if stored.method and weights != "full":
        raise ConfigError(f"{files.directory} is quantized already ({stored.label}): load it with weights full")
    if stored.method in GPU_ONLY:
        placement = _on_gpu(files, placement, dtype)
    name = model_name(files.directory)
    chosen = choose_adapter(files, adapter, weights)
    _check_memory(files, placement)
    try:
        config, image_processor, tokenizer_json = _processors(files, family)
        loaded, info = _load_model(files, family, config, placement)
    except (CheckpointError, MissingExtraError):
        raise
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            f"{files.directory}: out of memory on {placement.device} while loading ({error}); stop other programs on "
            "it, or load with weights 8bit or 4bit"
        ) from error
    except Exception as error:
        # transformers, safetensors and huggingface_hub raise some twenty types; each means that loading failed.
        raise CheckpointError(
            f"{files.directory} could not be loaded as {files.model_type}: {type(error).__name__}: {error}"
        ) from error
    _check_keys(files.directory, info)
    if chosen is not None:
        loaded, name = merged(loaded, chosen, name), f"{name}+{chosen.label}"
    _LOG.info(
        "loaded %s: %s%s on %s, %s, attention %s", name, files.model_type,
        " (converted from the original format)" if files.original else "",
        placement.device, placement.label, placement.kernel,
    )  # fmt: skip
    rows = int(loaded.get_output_embeddings().weight.shape[0])
    reads = family(tokenizer_json, image_processor, config)
    reads.check_fits(files.directory, rows)
    return Checkpoint(
        directory=files.directory,
        name=name,
        model=loaded,
        family=reads,
        tokenizer_json=tokenizer_json,
        vocabulary_size=rows,
        device=str(placement.device),
        dtype=f"{placement.label}+{stored.label}" if stored.method else placement.label,
        kernel=placement.kernel,
    )


def place(device: str = "auto", dtype: str = "auto", weights: Weights = "full") -> Placement:
    """Choose device, dtype and attention kernel.

    The "auto" dtype is float32 on a CPU, where bfloat16 may be 50 times slower, bfloat16 on a GPU that supports it, and
    float16 on other GPUs. The kernel is FlashAttention 2 if it is installed and supports the dtype, else torch's own.

    Raises:
        ConfigError: unknown device, dtype or weights, or weights that the device does not support.
        MissingExtraError: quantized weights without bitsandbytes.
    """
    target = resolve_device(device)
    modern = target.type == "cuda" and torch.cuda.get_device_capability(target) >= _AMPERE
    if dtype == "auto":
        dtype = "float32" if target.type != "cuda" else "bfloat16" if modern else "float16"
    if dtype not in _DTYPES:
        raise ConfigError(f"expected dtype to be one of auto, {', '.join(_DTYPES)}, got: {dtype!r}")
    if weights not in WEIGHTS:
        raise ConfigError(f"expected weights to be one of {', '.join(WEIGHTS)}, got: {weights!r}")
    if weights != "full" and target.type != "cuda":
        raise ConfigError(
            f"{weights} weights need a CUDA device, got: {target}; on a CPU run 8 or 4 bits with ONNX Runtime "
            "(si-embodied models export), or use a smaller checkpoint"
        )
    if weights != "full" and not (is_bitsandbytes_available() and is_accelerate_available()):
        raise MissingExtraError("bitsandbytes", "quant")
    flash = modern and dtype != "float32" and is_flash_attn_2_available()
    return Placement(target, dtype, weights, "flash_attention_2" if flash else "sdpa")


def resolve_device(device: str) -> torch.device:
    """The torch device for `device` on this machine.

    Raises:
        ConfigError: no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"expected device to be auto, cpu, cuda or cuda:N, got: {device!r}") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"no device {device!r}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices; "
            "use device cpu, or install a CUDA build of torch and its driver"
        )
    return resolved


def _on_gpu(files: CheckpointFiles, placement: Placement, dtype: str) -> Placement:
    """The placement of a checkpoint that needs a GPU; the "auto" dtype is float16, which its kernels compute in."""
    if placement.device.type != "cuda":
        raise ConfigError(
            f"{files.directory} is quantized with {files.quantization.method}, which needs a CUDA device, got: "
            f"{placement.device}; on a CPU run 8 or 4 bits with ONNX Runtime (si-embodied models export, from the "
            "checkpoint in full precision)"
        )
    return replace(placement, dtype="float16") if dtype == "auto" else placement


def _keeps_fp8(files: CheckpointFiles, device: torch.device) -> bool:
    """Whether FP8 weights stay as they are; on devices that do not multiply FP8 they are converted on load."""
    return files.quantization.floats and device.type == "cuda" and torch.cuda.get_device_capability(device) >= _ADA


def _check_memory(files: CheckpointFiles, placement: Placement) -> None:
    """Reject weights that do not fit into memory, before reading them."""
    read = new_names(files)
    tensors = {key: tensor for file in files.weights for key, tensor in read_header(file).items() if read(key)}
    cuda = placement.device.type == "cuda"
    needed = weight_bytes(
        tensors,
        placement.dtype,
        placement.weights,
        keeps_fp8=_keeps_fp8(files, placement.device),
        restored_bits=files.quantization.bits if files.quantization.method == "compressed-tensors" else 0,
    )
    free = torch.cuda.mem_get_info(placement.device)[0] if cuda else free_ram_bytes()
    remedies = []
    if cuda and placement.weights != "4bit":
        remedies.append(f"load it with weights {'8bit or ' if placement.weights == 'full' else ''}4bit")
    if not cuda:
        remedies.append("run 8 or 4 bits with ONNX Runtime (si-embodied models export)")
    check_fits(str(files.directory), needed, free, str(placement.device), remedies)


def check_processors(files: CheckpointFiles) -> None:
    """Check that settings, image processor and tokenizer can be read; the weights are not.

    Raises:
        CheckpointError: one of them is damaged.
    """
    try:
        _processors(files, FAMILIES[files.model_type])
    except CheckpointError:
        raise
    except Exception as error:  # of the same many types as in `load_checkpoint`
        raise CheckpointError(
            f"the settings, image processor or tokenizer of {files.directory} cannot be read ({type(error).__name__}: "
            f"{error}): download its JSON files again"
        ) from error


def _processors(files: CheckpointFiles, family: type[Family]) -> tuple[Any, Any, str]:
    """Load configuration, image processor and tokenizer."""
    if files.original:
        config = original_format(files).config(files.directory)
        tokenizer = original_tokenizer(files.directory).backend_tokenizer
        image_processor = original_format(files).image_processor(config)
    else:
        config = transformers.AutoConfig.from_pretrained(str(files.directory), local_files_only=True)
        image_processor = family.load_image_processor(files.directory)
        tokenizer = Tokenizer.from_file(str(files.directory / "tokenizer.json"))
    # Some tokenizers were saved with padding and truncation enabled.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return config, image_processor, str(tokenizer.to_str())


def _load_model(
    files: CheckpointFiles, family: type[Family], config: Any, placement: Placement
) -> tuple[Any, dict[str, Any]]:
    """Load the model onto its device; also returns transformers' report on missing and unexpected weights."""
    arguments: dict[str, Any] = {}
    if files.original or files.has_adapter:  # given a directory with an adapter, transformers would apply it
        arguments["state_dict"] = stored_weights(files)
    if placement.device.type == "cuda" and is_accelerate_available():
        arguments["device_map"] = {"": placement.device}  # load straight to the GPU, without a copy in host memory
    if placement.weights != "full":
        arguments["quantization_config"] = _quantization(placement)
    if files.quantization.method == "compressed-tensors":
        # Left to itself, the library restores weights when the whole model runs, and our engine runs its parts.
        keeps = _keeps_fp8(files, placement.device)
        config.quantization_config |= {"dequantize": not keeps, "use_optimized_inference": keeps}
    with no_progress_bars():
        model, info = family.network().from_pretrained(
            None if "state_dict" in arguments else str(files.directory),
            config=config,
            dtype=_DTYPES[placement.dtype],
            attn_implementation=placement.kernel,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **arguments,
        )
    model.eval()
    return (model if "device_map" in arguments else model.to(placement.device)), info


def _quantization(placement: Placement) -> Any:
    """The bitsandbytes configuration: LLM.int8, or NF4 with double quantization (QLoRA)."""
    if placement.weights == "8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=_DTYPES[placement.dtype],
    )


def _check_keys(directory: Path, info: dict[str, Any]) -> None:
    """Reject weights that do not match the model exactly: transformers would fill gaps with random numbers."""
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(str(key) for key in info.get(kind) or []):
            raise CheckpointError(
                f"{directory}: {len(keys)} {kind.replace('_', ' ')}: {', '.join(keys[:4])}"
                f"{', …' if len(keys) > 4 else ''}; config.json and the weights belong to different models"
            )


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hide transformers' progress bars while it loads or saves."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
