"""Exercises of the lessons in `notebooks/`: `check` tells a right answer from a wrong one without giving it away.

::

    from acestep_lab.lessons import check

    check("03.1", my_answer)          # shows "Right: …" or "Not yet: …" with a hint; true or false in an `if`

A question's check computes what is true, or tries what was handed in; nothing is looked up. Questions live in one module a
lesson (`lesson_03.py`). An answer of the wrong kind is told what kind is wanted; a check raises only for a question that does not exist.
"""

from __future__ import annotations

from acestep_lab.lessons.questions import Verdict, check, question, questions

__all__ = ["Verdict", "check", "question", "questions"]
