"""The installed build of ONNX Runtime: one without CUDA on a machine with a GPU runs a model on the CPU, in silence."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from si_embodied.findings import Finding
from si_embodied.installation import installed_versions

_WHAT = "ONNX Runtime"
_BUILDS = ("onnxruntime", "onnxruntime-gpu")


def check_onnx_build(*, gpu: bool, jetson: bool) -> Finding:
    """Judge the installed build.

    Args:
        gpu: whether there is an NVIDIA GPU.
        jetson: whether it is a Jetson's.
    """
    installed = installed_versions(_BUILDS)
    if not installed:
        return Finding(_WHAT, "note", "not installed; exported models need it (extra onnx or onnx-gpu)")
    try:
        import onnxruntime
    except ImportError as error:
        return Finding(_WHAT, "off", f"{_words(installed)} cannot be imported: {error}", _fix(jetson=jetson))
    return judge_build(installed, onnxruntime.get_available_providers(), gpu=gpu, jetson=jetson)


def judge_build(installed: Mapping[str, str], providers: Collection[str], *, gpu: bool, jetson: bool) -> Finding:
    """Judge a build by what is built into it.

    Args:
        installed: versions of the distributions that are installed, by name.
        providers: what `onnxruntime.get_available_providers()` lists.
        gpu: whether there is an NVIDIA GPU.
        jetson: whether it is a Jetson's.
    """
    words = _words(installed)
    if len(installed) > 1:
        says = f"{words} are both installed: they are one module, of which the later one has overwritten the other"
        return Finding(_WHAT, "off", says, f"pip uninstall {' '.join(installed)}; then {_fix(jetson=jetson)}")
    if "CUDAExecutionProvider" in providers:
        if gpu:
            return Finding(_WHAT, "fine", f"{words}, with CUDA")
        return Finding(_WHAT, "note", f"{words} has CUDA, but no GPU was found: it runs on the CPU")
    if gpu:
        says = f"{words} has no CUDA: without --device cuda it runs on the CPU, in silence"
        return Finding(_WHAT, "off", says, _fix(jetson=jetson))
    return Finding(_WHAT, "fine", f"{words}, for the CPU")


def _fix(*, jetson: bool) -> str:
    if jetson:
        return "pip uninstall onnxruntime; install NVIDIA's onnxruntime-gpu for this JetPack (docs/deployment.md)"
    return "pip uninstall onnxruntime; pip install 'si-embodied[onnx-gpu]'"


def _words(installed: Mapping[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in installed.items())
