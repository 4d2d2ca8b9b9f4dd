"""Settings with which habitat-sim starts in seconds on any machine, with or without a GPU."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

NO_DEVICE = -1
"""The GPU number for a machine without CUDA, where habitat-sim aborts the process for any other number."""

# Even disabled, the light's maps are computed if their files exist; missing files are skipped.
_NO_IMAGE_LIGHT = {"enable_ibl": False, "ibl_blut_filename": "none.png", "ibl_envmap_filename": "none.hdr"}


def hush() -> None:
    """Silence habitat-sim unless the user's environment sets its log level. It reads this at start."""
    for name in ("HABITAT_SIM_LOG", "MAGNUM_LOG"):
        os.environ.setdefault(name, "quiet")


def has_cuda_device() -> bool:
    """Whether this machine has a GPU that CUDA can use."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def metadata_without_image_light() -> Any:
    """habitat-sim's metadata without image-based light.

    habitat-sim computes that light at every start, which takes half a minute on a CPU, even if everything is rendered
    unlit. It reads the setting only from a path relative to the working directory, so this changes the working
    directory for a moment.
    """
    from habitat_sim.metadata import MetadataMediator

    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="si-embodied-") as folder:
        settings = Path(folder) / "data" / "default.pbr_config.json"
        settings.parent.mkdir()
        settings.write_text(json.dumps(_NO_IMAGE_LIGHT))
        os.chdir(folder)
        try:
            return MetadataMediator()
        finally:
            os.chdir(before)
