"""onnxruntime sessions on the execution providers that were asked for, or an error: never on another in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from si_embodied.errors import BackendError, CheckpointError, ConfigError, extra

with extra("onnx"):
    import onnxruntime

from si_embodied.models.onnx.manifest import DECODER, Manifest, cache_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_LONGEST = 8192  # tokens; the longest prompt for which TensorRT builds its engine

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_HOW = (
    "on x86 replace onnxruntime with onnxruntime-gpu (pip uninstall onnxruntime; pip install 'si-embodied[onnx-gpu]'), "
    "on a Jetson install NVIDIA's build of onnxruntime-gpu for its JetPack; or ask for cpu"
)


def choose_providers(asked: str | Sequence[str] = "auto") -> tuple[str, ...]:
    """The execution providers to use, in order, by their short names.

    Args:
        asked: such as ("tensorrt", "cuda", "cpu") or "cuda,cpu"; "auto" is CUDA where it is built in, else the CPU.

    Raises:
        ConfigError: an unknown name, or one that this build of onnxruntime does not have.
    """
    names = tuple(asked.split(",")) if isinstance(asked, str) else tuple(asked)
    built_in = onnxruntime.get_available_providers()
    if names == ("auto",):
        return ("cuda", "cpu") if PROVIDERS["cuda"] in built_in else ("cpu",)
    if not names or len(set(names)) < len(names) or not set(names) <= set(PROVIDERS):
        raise ConfigError(
            f"expected execution providers among {', '.join(PROVIDERS)}, each once, or auto, got: {','.join(names)!r}"
        )
    for name in names:
        if PROVIDERS[name] not in built_in:
            raise ConfigError(f"this onnxruntime ({onnxruntime.__version__}) has no {PROVIDERS[name]}: {_HOW}")
    return names


def open_session(
    graph: Path, providers: Sequence[str], threads: int = 0, options: Mapping[str, Mapping[str, str]] | None = None
) -> Any:
    """A session of one graph.

    Args:
        graph: the file.
        providers: short names, in order, from `choose_providers`.
        threads: of the CPU's operators; 0 for one a core.
        options: of providers, by their short names.

    Raises:
        CheckpointError: the graph cannot be read.
        BackendError: a provider is built in but does not start, as CUDA without its libraries.
    """
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3  # of warnings, most are about shape arithmetic that stays on the CPU
    chosen = [(PROVIDERS[name], dict((options or {}).get(name, {}))) for name in providers]
    try:
        session = onnxruntime.InferenceSession(str(graph), settings, providers=chosen)
    except Exception as error:
        # onnxruntime has a dozen kinds of its own, all straight below Exception or RuntimeError
        raise CheckpointError(f"{graph} is not a graph that onnxruntime opens: {error}; export it again") from error
    session.disable_fallback()
    if missing := [name for name, _ in chosen if name not in session.get_providers()]:
        raise BackendError(
            f"onnxruntime could not start {', '.join(missing)} and would have run on {session.get_providers()[0]}: "
            f"look for what its libraries lack in the lines above, or {_HOW}"
        )
    return session


def place_on(device: str, array: NDArray[Any]) -> Any:
    """An `OrtValue` with a copy of the array on "cpu" or "cuda"."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0)


def tensorrt_options(directory: Path, name: str, manifest: Manifest) -> dict[str, dict[str, str]]:
    """TensorRT's options for a graph, by provider: engines are kept in the exported directory.

    It is told the range of every shape, or it would build a new engine whenever the cache grows.
    """
    options = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(directory / "tensorrt"),
        "trt_fp16_enable": str(int(manifest.dtype == "float16")),
    }
    for bound, new, seen in (("min", 1, 0), ("opt", 1, 1024), ("max", _LONGEST, _LONGEST)):
        shapes = input_shapes(name, manifest, new, seen)
        options[f"trt_profile_{bound}_shapes"] = ",".join(
            f"{key}:{'x'.join(map(str, shape))}" for key, shape in shapes.items()
        )
    return {"tensorrt": options}


def input_shapes(name: str, manifest: Manifest, new: int, seen: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the decoder's inputs for `new` tokens behind `seen` ones; of other graphs none are given."""
    if name != DECODER:
        return {}
    shapes: dict[str, tuple[int, ...]] = {
        "inputs_embeds": (1, new, manifest.hidden_size),
        "position_ids": (manifest.position_axes, 1, new),
    }
    if manifest.deepstack_layers:
        shapes["deepstack"] = (manifest.deepstack_layers, 1, new, manifest.hidden_size)
    past = (1, manifest.shared_heads, seen, manifest.head_dim)
    return shapes | dict.fromkeys(cache_names("past", manifest.layers), past)
