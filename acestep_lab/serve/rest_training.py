"""The routes by which ACE-Step's clients prepare data and train adapters. Plain data; nothing here trains yet."""

from __future__ import annotations

from acestep_lab.errors import LabError
from acestep_lab.features import Feature, is_feature_enabled

TRAINING: tuple[tuple[str, str, str], ...] = (
    ("post", "/v1/dataset/scan", "Look for sounds in a folder"),
    ("post", "/v1/dataset/load", "Open a data set"),
    ("post", "/v1/dataset/save", "Save a data set"),
    ("get", "/v1/dataset/samples", "The sounds of a data set"),
    ("get", "/v1/dataset/sample/{id}", "One sound of a data set"),
    ("put", "/v1/dataset/sample/{id}", "Change one sound's words"),
    ("post", "/v1/dataset/auto_label", "Have sounds described"),
    ("post", "/v1/dataset/auto_label_async", "Have sounds described, in the background"),
    ("get", "/v1/dataset/auto_label_status", "How far the latest description is"),
    ("get", "/v1/dataset/auto_label_status/{id}", "How far a description is"),
    ("post", "/v1/dataset/preprocess", "Encode sounds for training"),
    ("post", "/v1/dataset/preprocess_async", "Encode sounds for training, in the background"),
    ("get", "/v1/dataset/preprocess_status", "How far the latest encoding is"),
    ("get", "/v1/dataset/preprocess_status/{id}", "How far an encoding is"),
    ("post", "/v1/training/load_tensor_info", "What a folder of encoded sounds holds"),
    ("post", "/v1/training/start", "Train a LoRA"),
    ("post", "/v1/training/start_lokr", "Train a LoKr"),
    ("post", "/v1/training/stop", "Stop a training"),
    ("get", "/v1/training/status", "How far a training is"),
    ("post", "/v1/training/export", "Export an adapter"),
)
"""Method, path (`{id}` for the rest of it) and purpose of each."""


class NoTraining(LabError):
    """Training was asked of a door that does none; `status` is the HTTP status that says so."""

    code = "TRAINING"

    def __init__(self) -> None:
        on = is_feature_enabled(Feature.API_TRAINING_ENDPOINTS)
        self.status = 501 if on else 403
        off = f"Training is switched off here; {Feature.API_TRAINING_ENDPOINTS.variable}=true switches its routes on."
        super().__init__(
            "This version trains no adapters yet; it can load those that were trained elsewhere." if on else off
        )
