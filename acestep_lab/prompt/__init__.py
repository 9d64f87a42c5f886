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
    Piece,
    Region,
    Repaint,
    Retake,
    Stitch,
    Task,
    Text2Music,
)

__all__ = [
    "Complete", "Cover", "Extend", "Extract", "FlowEdit", "Lego", "Piece", "Planning", "Recipe", "Region", "Repaint",
    "Retake", "Section", "Stitch", "Task", "Text2Music", "sections", "without_times",
]  # fmt: skip
