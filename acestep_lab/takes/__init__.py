"""Finished pieces and where they are kept."""

from acestep_lab.takes.library import Library, read_file
from acestep_lab.takes.take import Take

__all__ = ["Library", "Take", "read_file"]
