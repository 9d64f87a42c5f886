"""The rooms people see: each component one Python class and one ES module, as anywidget and as Panel component.

`…Widget` is an anywidget (JupyterLab, VS Code, Colab, marimo), `…Pane` a Panel component (apps, JupyterLab); without either
ending a name is the widget: `PromptEditor(session=lab)`. Names are looked up when first used, so that importing
`acestep_lab` stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

from acestep_lab.ui import formatters

_HOMES = {
    "Adapters": "adapters",
    "Attribution": "attribution",
    "CheckpointSwitch": "checkpoint_switch",
    "ComparisonView": "comparison_view",
    "DatasetTable": "dataset_table",
    "Export": "export",
    "DescribeStrip": "describe",
    "Gallery": "gallery",
    "LatentPreview": "latent_preview",
    "LyricsEditor": "lyrics_editor",
    "PlanView": "plan_view",
    "Player": "player",
    "PromptEditor": "prompt_editor",
    "RunQueue": "queue_view",
    "RunView": "run_view",
    "SongBuilder": "song_builder",
    "SoundDrop": "sound_drop",
    "StemsView": "stems_view",
    "SweepForm": "sweep_form",
    "SweepView": "sweep_view",
    "Tabs": "tabs",
    "TakeTree": "take_tree",
    "Topbar": "topbar",
    "TrainingForm": "training_form",
    "TrainingView": "training_view",
    "WaveformPicker": "waveform_picker",
}
"""Where each component lives."""

__all__ = sorted(f"{name}{host}" for name in _HOMES for host in ("Pane", "Widget"))


def __getattr__(name: str) -> Any:
    core = name.removesuffix("Widget").removesuffix("Pane")
    if core not in _HOMES:
        raise AttributeError(f"module 'acestep_lab.ui' has no attribute {name!r}")
    formatters.register_if_running()
    full = f"{core}Widget" if name == core else name
    return getattr(importlib.import_module(f"acestep_lab.ui.{_HOMES[core]}"), full)
