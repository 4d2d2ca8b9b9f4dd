"""The entry point by which lmms-eval finds our engine (group `lmms_eval.models`)."""

from __future__ import annotations

from typing import Any

MODEL_ID = "si_embodied"


def manifest() -> Any:
    """The `ModelManifest` of our engine; lmms-eval imports the class when the model is asked for."""
    from si_embodied.errors import extra

    with extra("benchmark"):
        from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL_ID, chat_class_path="si_embodied.benchmarking.lmms_model.EngineModel")
