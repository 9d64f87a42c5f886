"""Finished pieces and where they are kept."""

from acestep_lab.takes.index import Card
from acestep_lab.takes.library import Library, export, read_file
from acestep_lab.takes.take import Take
from acestep_lab.takes.verdict import Comparison, Verdict, compare

__all__ = ["Card", "Comparison", "Library", "Take", "Verdict", "compare", "export", "read_file"]
