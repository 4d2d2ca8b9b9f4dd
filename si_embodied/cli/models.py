"""`si-embodied models`: list checkpoints, make a tiny one, and convert or export one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from typing_extensions import Doc
from tyro.conf import Positional

from si_embodied.cli.options import Checkpoint, PrintJson
from si_embodied.cli.output import print_table, say
from si_embodied.progress import track

_NewDirectory = Annotated[Path, Doc("a new or empty directory")]


@dataclass(frozen=True, slots=True)
class List:
    """List the released SenseNova-SI checkpoints, and what each needs.

    Shows what each is best at, its mean over the EASI-8 benchmarks, and the GPU memory it takes with room for images.
    --model takes any of these names, short or long.
    """

    json: PrintJson = False

    def run(self) -> int:
        """Print the registry."""
        from si_embodied.models.registry import RELEASES, SERIES

        rows = [release.to_json() for release in RELEASES]
        if self.json:
            say(json.dumps(rows))
            return 0
        columns = {"name": "left", "size": "right", "EASI-8": "right", "GB": "left", "best at": "wrap"}
        shown = []
        for row in rows:
            gigabytes = ", ".join(f"{each:.0f}" for each in row["memory_gb"].values())
            size = f"{row['parameters'] / 1e9:.1f} B"
            mean = "–" if row["easi8"] is None else f"{row['easi8']:.1f}"
            shown.append((row["name"], size, mean, gigabytes, row["best_at"]))
        note = "GB: GPU memory with room for images, with --weights full, 8bit, 4bit"
        print_table(columns, shown, title=f"{SERIES}…", note=note)
        return 0


@dataclass(frozen=True, slots=True)
class Convert:
    """Write a checkpoint so that transformers 4.57 and 5, and servers built on them, load it without remote code.

    An InternVL checkpoint of the original format (InternVLChatModel), in which SenseNova-SI is released, is converted
    to that of transformers. A checkpoint that transformers 5 wrote gets the settings that 4.57 reads. This package
    needs neither: it converts on loading. A BAGEL checkpoint is written with its understanding branch alone, which only
    this package loads.
    """

    model: Checkpoint
    out: _NewDirectory

    def run(self) -> int:
        """Convert."""
        from si_embodied.models.hub import resolve_model
        from si_embodied.models.portable import convert_checkpoint

        with track("convert"):
            path = convert_checkpoint(resolve_model(self.model), self.out)
        say(f"wrote {_megabytes(path):.1f} MB in the format of transformers to {path}: give it to --model")
        return 0


@dataclass(frozen=True, slots=True)
class Export:
    """Write a checkpoint for ONNX Runtime.

    The directory has everything needed to run it, without torch: give it to --model of eval, plan or serve.
    """

    model: Checkpoint
    out: _NewDirectory
    precision: Annotated[
        Literal["fp32", "fp16", "int8", "int4"], Doc("fp16 is for a GPU; int8 and int4 quantize the decoder's weights")
    ] = "fp32"

    def run(self) -> int:
        """Export."""
        from si_embodied.models.onnx.export import export_model

        with track(f"export in {self.precision}"):
            path = export_model(self.model, self.out, precision=self.precision)
        say(f"wrote {_megabytes(path):.1f} MB ({self.precision}) to {path}")
        return 0


@dataclass(frozen=True, slots=True)
class Tiny:
    """Write a tiny untrained checkpoint in the Qwen3-VL format.

    For trying everything without a download: its plans are well-formed and meaningless.
    """

    directory: Annotated[_NewDirectory, Positional]
    seed: Annotated[int, Doc("of the random weights")] = 0

    def run(self) -> int:
        """Write the checkpoint."""
        from si_embodied.models.tiny import make_tiny_checkpoint

        path = make_tiny_checkpoint(self.directory, self.seed)
        say(f"wrote an untrained Qwen3-VL checkpoint ({_megabytes(path):.1f} MB, seed {self.seed}) to {path}")
        return 0


def _megabytes(directory: Path) -> float:
    return sum(file.stat().st_size for file in directory.iterdir()) / 1e6


SUBCOMMANDS = {"list": List, "convert": Convert, "export": Export, "tiny": Tiny}
