"""Finished pieces and where they are kept."""

from acestep_lab.takes.take import Take

__all__ = ["Take"]
