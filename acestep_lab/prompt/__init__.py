"""What a musician says: words and numbers, no torch."""

from acestep_lab.prompt.lyrics import Section, sections, without_times
from acestep_lab.prompt.recipe import Planning, Recipe
from acestep_lab.prompt.tasks import (
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Retake,
    Task,
    Text2Music,
)

__all__ = [
    "Complete", "Cover", "Extend", "Extract", "FlowEdit", "Lego", "Planning", "Recipe", "Region", "Repaint",
    "Retake", "Section", "Task", "Text2Music", "sections", "without_times",
]  # fmt: skip
