"""What people and other machines said of a sweep's takes: votes and verdicts, one line of JSON for each, beside its record.

Lines are only ever added, so that a page, a notebook and a sweep under way may write at once; half a line is passed over.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from acestep_lab.errors import LabError, LibraryError, RecipeError
from acestep_lab.files import append_line, parse_json, read_bytes, to_json
from acestep_lab.sweep.votes import Vote
from acestep_lab.takes.verdict import WORDS, Verdict

MOST_BYTES = 64 * 2**20
VOTE, VERDICT = "vote", "verdict"


class Remarks:
    """Votes and verdicts on the cells of one sweep; without a file, in memory only."""

    def __init__(self, path: Path | None, cells: int) -> None:
        self._path, self._cells, self._lock = path, cells, threading.Lock()
        self._own: list[str] = []

    def add_vote(self, vote: Vote, takes: Mapping[int, str]) -> None:
        """Write a vote down, with the takes that were heard; LibraryError where the disk refuses."""
        self._add({"kind": VOTE, **vote.to_json(), "takes": [takes.get(place, "") for place in vote.among]})

    def add_verdict(self, place: int, take: str, where: str, verdict: Verdict) -> None:
        """Write down what another machine makes of a cell; LibraryError where the disk refuses."""
        numbers = {name: min(getattr(verdict, name), 1e9) for name in ("decibels", "largest")}  # inf is no JSON
        self._add(
            {"kind": VERDICT, "place": place, "take": take, "where": where, "word": verdict.word, "remark": verdict.remark} | numbers
        )  # fmt: skip

    def votes(self, takes: Mapping[int, str]) -> tuple[Vote, ...]:
        """The votes on takes that the sweep still has."""
        found = []
        for row in self._rows(VOTE):
            try:
                vote = Vote.checked(row["winner"], row["among"], self._cells, row["blind"], row["by"])
                heard = [str(one) for one in row["takes"]]
            except (KeyError, TypeError, RecipeError):
                continue
            if heard == [takes.get(place, "") for place in vote.among]:
                found.append(vote)
        return tuple(found)

    def verdicts(self, takes: Mapping[int, str]) -> dict[int, dict[str, Verdict]]:
        """The last verdict of each machine on takes that the sweep still has, by the place of their cell."""
        found: dict[int, dict[str, Verdict]] = {}
        for row in self._rows(VERDICT):
            try:
                place, word = int(row["place"]), row["word"]
                verdict = Verdict(word, float(row["decibels"]), float(row["largest"]), str(row["remark"]))
                kept = takes.get(place) == row["take"] and word in WORDS
            except (KeyError, TypeError, ValueError):
                continue
            if kept:
                found.setdefault(place, {})[str(row["where"])] = verdict
        return found

    def _add(self, row: Mapping[str, Any]) -> None:
        text = to_json(row)
        if self._path is None:
            with self._lock:
                self._own.append(text)
        else:
            append_line(self._path, text, "What was said of the sweep")

    def _rows(self, kind: str) -> Iterator[dict[str, Any]]:
        """Every whole line of a kind."""
        for line in self._lines():
            try:
                row = parse_json(line, "A line")
            except LabError:
                continue
            if isinstance(row, dict) and row.get("kind") == kind:
                yield row

    def _lines(self) -> list[str]:
        if self._path is None or not self._path.exists():
            with self._lock:
                return list(self._own)
        data = read_bytes(self._path, "What was said of the sweep", LibraryError, MOST_BYTES)
        return data.decode("utf-8", "replace").split("\n")
