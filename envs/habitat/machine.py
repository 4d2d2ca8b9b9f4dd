"""How habitat-sim is set up so that it starts in seconds on any machine, also on one without a GPU."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

NO_DEVICE = -1
"""The number of the GPU where there is none with CUDA: any other aborts the process there."""

# Disabled, the light's maps are computed all the same; maps that are not there are not.
_NO_IMAGE_LIGHT = {"enable_ibl": False, "ibl_blut_filename": "none.png", "ibl_envmap_filename": "none.hdr"}


def hush() -> None:
    """Keep habitat-sim from printing, unless the user's environment says what it prints. Read when one starts."""
    for name in ("HABITAT_SIM_LOG", "MAGNUM_LOG"):
        os.environ.setdefault(name, "quiet")


def has_cuda_device() -> bool:
    """Whether this machine has a GPU that CUDA can use."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def metadata_without_image_light() -> Any:
    """What habitat-sim starts from, told that there is no image-based light.

    It would be computed at every start, half a minute on a CPU, even where all is drawn flat. habitat-sim reads whether
    there is one from a path in the working directory, and only there: for that moment this process is elsewhere.
    """
    from habitat_sim.metadata import MetadataMediator

    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="si-embodied-") as folder:
        told = Path(folder) / "data" / "default.pbr_config.json"
        told.parent.mkdir()
        told.write_text(json.dumps(_NO_IMAGE_LIGHT))
        os.chdir(folder)
        try:
            return MetadataMediator()
        finally:
            os.chdir(before)
