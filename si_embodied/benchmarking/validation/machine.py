"""The machine, the versions and the checkpoint that a validation's figures depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.benchmarking.results import markdown_rows
from si_embodied.benchmarking.validation.findings import Finding
from si_embodied.evaluation.config import model_fingerprint
from si_embodied.evaluation.machine import describe_machine
from si_embodied.installation import installed_versions

if TYPE_CHECKING:
    from si_embodied.benchmarking.validation.settings import ValidationRun

_PACKAGES = (
    "accelerate", "bitsandbytes", "flash-attn", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tokenizers",
)  # fmt: skip
_WEIGHTS = (".safetensors", ".bin", ".onnx", ".data", ".npy")
_CHUNK = 1 << 22


def describe(run: ValidationRun) -> Finding:
    """Describe the machine, and hash the checkpoint's files."""
    machine = {**describe_machine(), **installed_versions(_PACKAGES), **_cuda(), **_providers()}
    directory = Path(run.backend.model)
    files = sorted(path for path in directory.iterdir() if path.is_file())
    rows = [(each.name, f"{each.stat().st_size / 1e6:.1f}", sha256(each)) for each in files
            if each.suffix in _WEIGHTS or each.name in ("config.json", "planner.yaml")]  # fmt: skip
    lines = (
        *markdown_rows(("what", "value"), [(name, value.replace("|", "\\|")) for name, value in machine.items()]), "",
        f"Checkpoint `{model_fingerprint(directory)}`:", "", *markdown_rows(("file", "MB", "SHA-256"), rows),
    )  # fmt: skip
    device = machine.get("gpu") or machine.get("board") or f"no GPU; {machine.get('processor', 'unknown processor')}"
    data = {"machine": machine, "checkpoint": model_fingerprint(directory), "sha256": {row[0]: row[2] for row in rows}}
    return Finding("done", device, lines, data)


def sha256(file: Path) -> str:
    """The SHA-256 of a whole file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _cuda() -> Mapping[str, str]:
    """What torch sees of CUDA."""
    try:
        import torch
    except ImportError:
        return {}
    found = {"CUDA of torch": torch.version.cuda or "none: a build for the CPU"}
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        memory = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        found[f"cuda:{index}"] = f"{about.name}, compute capability {about.major}.{about.minor}, {memory}"
    return found


def _providers() -> Mapping[str, str]:
    """What onnxruntime was built with, which says nothing yet about what starts."""
    try:
        import onnxruntime
    except ImportError:
        return {}
    return {"providers of onnxruntime": ", ".join(onnxruntime.get_available_providers())}
