"""Everything that can be measured in a take or a sound, at once."""

from acestep_lab.listen import Analysis, analyze

__all__ = ["Analysis", "analyze"]
