"""All checks of this machine, in the order in which they are worth mending."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from si_embodied.deployment.clock import check_clock
from si_embodied.deployment.dds import check_dds
from si_embodied.deployment.disk import check_disk
from si_embodied.deployment.gpu import check_gpus
from si_embodied.deployment.jetson import check_jetson, check_temperature, is_jetson
from si_embodied.deployment.machine import Machine
from si_embodied.deployment.onnx_build import check_onnx_build
from si_embodied.findings import Finding


def check_deployment(machine: Machine, environment: Mapping[str, str], recordings: Path) -> Iterator[Finding]:
    """Judge GPU, power, heat, ONNX Runtime, DDS, clock and disk.

    Args:
        machine: where to look.
        environment: the variables that the robot's nodes would get.
        recordings: the folder for recordings.
    """
    jetson = is_jetson(machine)
    found = list(check_jetson(machine) if jetson else check_gpus(machine))
    yield from found
    gpu = jetson or any(each.what == "GPU 0" for each in found)
    if not jetson:
        yield check_temperature(machine)
    if gpu:
        yield from _torch()
    yield check_onnx_build(gpu=gpu, jetson=jetson)
    yield from check_dds(machine, environment)
    yield check_clock(machine)
    yield check_disk(recordings)


def _torch() -> Iterator[Finding]:
    """Whether torch, if it is installed, can use the GPU."""
    try:
        import torch
    except ImportError:
        return
    if torch.cuda.is_available():
        yield Finding("torch", "fine", f"{torch.__version__} uses {torch.cuda.get_device_name(0)}")
        return
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU"
    fix = "install the build of torch for this driver's CUDA; on a Jetson, NVIDIA's for its JetPack"
    yield Finding("torch", "off", f"{torch.__version__}, {built}, does not find the GPU", fix)
