"""What each word of a take did, found out on the other machine: what it costs there, and a run of this machine that follows it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from acestep_lab.jobs import annotating
from acestep_lab.jobs.attributing import NAME, Asked, AttributionCost, AttributionRun, attributable
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.listen.attribution import Attribution
from acestep_lab.prompt.tasks import Source
from acestep_lab.remote.bench import Bench
from acestep_lab.remote.library import RemoteLibrary
from acestep_lab.remote.runs import Following, Line, Standing, hear_how_it_goes, raise_failure
from acestep_lab.remote.telling import understood
from acestep_lab.remote.wire import to_wire
from acestep_lab.takes.take import Take


class FarAttributionRun(Standing, AttributionRun):
    """What each word did, being found out on another machine, as it stands there."""


class FarAttributing:
    """Has it found out on the other machine, where the models are."""

    def __init__(self, line: Line, bench: Bench, queue: JobQueue) -> None:
        self.line, self.bench, self.queue = line, bench, queue

    def begin(self, source: Source, asked: Asked) -> AttributionRun:
        """Queue a run that follows the one there; what cannot be found out is refused there, before any work."""
        self.queue.must_be_open()
        take, fields = self._asked(source, asked)
        run = FarAttributionRun(take, self._cost(fields))
        body = partial(_follow, line=self.line, jobs=self.queue, bench=self.bench, fields=fields)
        return self.queue.submit(run, body)

    def cost(self, source: Source, asked: Asked) -> AttributionCost:
        """What it would take there."""
        self.queue.must_be_open()
        return self._cost(self._asked(source, asked)[1])

    def _asked(self, source: Source, asked: Asked) -> tuple[Take, Mapping[str, Any]]:
        take = attributable(self.bench.sounds.find(source))
        told = {"take": self.bench.there(take), **asked.to_json()}
        return take, {name: to_wire(value) for name, value in told.items() if value is not None}

    def _cost(self, fields: Mapping[str, Any]) -> AttributionCost:
        found: AttributionCost = self.line.ask_at_once("attribution_cost", fields, AttributionCost)
        return found


def _follow(run: FarAttributionRun, line: Line, jobs: JobQueue, bench: Bench, fields: Mapping[str, Any]) -> None:
    """The body of a run: holds no session, so that one nobody holds any more can go."""

    def hear(kind: str, data: Any, behind: bool) -> None:
        hear_how_it_goes(run, kind, data)
        if kind == "effect":
            run.measured(data["effect"])

    outcome = Following(line, jobs, run, hear).outcome("attribute", fields)
    raise_failure(run, outcome)
    with understood(line.connection.url):
        if not isinstance(outcome["value"], Attribution):
            raise TypeError("no attribution")
    run.found(outcome["value"])
    _keep(run, bench, outcome["value"])
    run.finish()


def _keep(run: FarAttributionRun, bench: Bench, found: Attribution) -> None:
    """Beside the take there it lies already; where takes are kept here, here as well."""
    if isinstance(bench.library, RemoteLibrary):
        return
    for said in annotating.keep(bench.library, run.take.id, NAME, {NAME: found.to_json()}):
        run.message(said)
