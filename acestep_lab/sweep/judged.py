"""What is thought of a sweep's takes: heard without knowing which is which, voted on, measured axis by axis, made again elsewhere.

The part of a `SweepRun` that looks at takes that are there. Knows its record and a way to a take; makes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.prompt import checks
from acestep_lab.sweep import votes as votes_
from acestep_lab.sweep.cells import Sweep
from acestep_lab.sweep.record import Record
from acestep_lab.sweep.votes import Ballot, Effect, Preference, Vote
from acestep_lab.takes.take import Take
from acestep_lab.takes.verdict import Verdict


class Judged:
    """Blind listening with votes, preferences and effects with their intervals, verdicts of other machines.

    ::

        for ballot in run.ballots("shift"):
            sounds = run.hear_blind(ballot)              # {"A": …, "B": …}, equally loud
            run.vote(ballot, "A", by="Ada")
        run.preferences("shift"), run.effects("shift", by="loudness")
    """

    _record: Record

    if TYPE_CHECKING:

        @property
        def sweep(self) -> Sweep: ...
        @property
        def made(self) -> Mapping[int, str]: ...
        def take(self, place: int) -> Take: ...
        def measure(self, by: Any) -> dict[int, float]: ...

    def ballots(self, axis: str | None = None, seed: int = 0) -> list[Ballot]:
        """Pairs of takes that are alike in all but one axis, shuffled by a seed; none while fewer than two are made.

        RecipeError for an axis that this sweep does not have; None is the only one it has.
        """
        return votes_.ballots(self.sweep, votes_.axis_of(self.sweep, axis), self.made, seed)

    def hear_blind(self, ballot: Ballot) -> dict[str, Audio]:
        """The sounds of a ballot by their letters, all as loud as the softest, with no name on them; RecipeError for what is no ballot."""
        checks.instance("What is heard", ballot, Ballot, " run.ballots('shift') gives some.")
        sounds = {letter: self.take(ballot.place_of(letter)).audio for letter in ballot.letters}
        levels = {letter: sound.loudness() for letter, sound in sounds.items()}
        goal = min((level for level in levels.values() if isfinite(level)), default=0.0)
        return {
            letter: one.gain(goal - levels[letter]) if isfinite(levels[letter]) else one
            for letter, one in sounds.items()
        }

    def vote(self, ballot: Ballot, letter: str, by: str = "") -> Vote:
        """Write down which of a ballot's letters is better; what it was is told by what comes back."""
        checks.instance("What is voted on", ballot, Ballot, " run.ballots('shift') gives some.")
        return self.add_vote(ballot.place_of(letter), ballot.places, by=by)

    def add_vote(self, winner: int, among: Any, *, blind: bool = True, by: str = "") -> Vote:
        """Write down which of several cells was preferred; RecipeError where one of them has no take."""
        vote = Vote.checked(winner, among, len(self.sweep.cells), blind, by)
        made = self.made
        for place in vote.among:
            if place not in made:
                raise RecipeError(f"Cell {place} has no take yet, so nobody can have heard it.")
        self._record.remarks.add_vote(vote, made)
        return vote

    @property
    def votes(self) -> tuple[Vote, ...]:
        """All votes so far, of whoever voted, on takes that are there."""
        return self._record.remarks.votes(self.made)

    def preferences(self, axis: str | None = None) -> list[Preference]:
        """How often each value of an axis was preferred in blind votes, with an interval, and how easily guessing does as well."""
        blind = [vote for vote in self.votes if vote.blind]
        return votes_.preferences(self.sweep, votes_.axis_of(self.sweep, axis), blind)

    def effects(self, axis: str | None = None, *, by: Any) -> list[Effect]:
        """What each value of an axis does to a measure: means, and differences to the first value all else equal, with intervals."""
        return votes_.effects(self.sweep, votes_.axis_of(self.sweep, axis), self.measure(by))

    @property
    def verdicts(self) -> dict[int, dict[str, Verdict]]:
        """What other machines made of the same cells (`lab.verify(run, on=…)`), by cell and machine."""
        return self._record.remarks.verdicts(self.made)

    def remark(self, place: int, where: str, verdict: Verdict) -> None:
        """Write down what another machine made of a cell."""
        self._record.remarks.add_verdict(place, self.made[place], where, verdict)
