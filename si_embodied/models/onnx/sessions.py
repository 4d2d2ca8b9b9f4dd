"""onnxruntime sessions on exactly the requested execution providers, without silent fallback to others."""

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

_LONGEST = 8192  # tokens; the longest prompt that TensorRT's engine supports

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
    """The execution providers to use, by short name, in order of preference.

    Args:
        asked: ("tensorrt", "cuda", "cpu") or "cuda,cpu" for example; "auto" is CUDA if built in, else the CPU.

    Raises:
        ConfigError: an unknown provider, or one that this build of onnxruntime lacks.
    """
    names = tuple(asked.split(",")) if isinstance(asked, str) else tuple(asked)
    built_in = onnxruntime.get_available_providers()
    if names == ("auto",):
        return ("cuda", "cpu") if PROVIDERS["cuda"] in built_in else ("cpu",)
    if not names or len(set(names)) < len(names) or not set(names) <= set(PROVIDERS):
        raise ConfigError(
            f"expected distinct execution providers from {', '.join(PROVIDERS)}, or auto, got: {','.join(names)!r}"
        )
    for name in names:
        if PROVIDERS[name] not in built_in:
            raise ConfigError(f"this onnxruntime ({onnxruntime.__version__}) has no {PROVIDERS[name]}: {_HOW}")
    return names


def open_session(
    graph: Path, providers: Sequence[str], threads: int = 0, options: Mapping[str, Mapping[str, str]] | None = None
) -> Any:
    """Open a session for one graph.

    Args:
        graph: the .onnx file.
        providers: from `choose_providers`.
        threads: CPU threads; 0 for one per core.
        options: provider options, by short name.

    Raises:
        CheckpointError: the graph cannot be read.
        BackendError: a provider is built in but does not start, such as CUDA without its libraries.
    """
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    # A run would leave threads that spin, and take the cores from the next graph, from numpy and from the robot.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 3  # errors only; most warnings are about shape arithmetic placed on the CPU
    chosen = [(PROVIDERS[name], dict((options or {}).get(name, {}))) for name in providers]
    try:
        session = onnxruntime.InferenceSession(str(graph), settings, providers=chosen)
    except Exception as error:
        # onnxruntime's dozen exception types share no base class but Exception.
        raise CheckpointError(f"onnxruntime cannot open {graph}: {error}; export the model again") from error
    session.disable_fallback()
    if missing := [name for name, _ in chosen if name not in session.get_providers()]:
        raise BackendError(
            f"onnxruntime could not start {', '.join(missing)} and would fall back to {session.get_providers()[0]}: "
            f"see its messages above for missing libraries, or {_HOW}"
        )
    return session


def place_on(device: str, array: NDArray[Any]) -> Any:
    """An `OrtValue` with a copy of the array on `device`, "cpu" or "cuda"."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0)


def tensorrt_options(directory: Path, name: str, manifest: Manifest) -> dict[str, dict[str, str]]:
    """TensorRT's options for a graph, by provider; its engines are cached in the export's directory.

    Every shape gets a range. Otherwise TensorRT would build a new engine whenever the key/value cache grows.
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
    """The decoder's input shapes for `new` tokens after `seen` cached ones; empty for other graphs."""
    if name != DECODER:
        return {}
    shapes: dict[str, tuple[int, ...]] = {
        "inputs_embeds": (1, new, manifest.hidden_size),
        "position_ids": (manifest.position_axes, 1, new),
    }
    if manifest.deepstack_layers:
        shapes["deepstack"] = (manifest.deepstack_layers, 1, new, manifest.hidden_size)
    if manifest.takes_block_ends:
        shapes["block_ends"] = (new,)
    past = (1, manifest.shared_heads, seen, manifest.head_dim)
    return shapes | dict.fromkeys(cache_names("past", manifest.layers), past)
