"""Who does the work that is asked for `on=`: this session, others, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.settings import VARIABLES
from acestep_lab.sweep.here import Here
from acestep_lab.sweep.work import Pool


def pool_for(session: Any, on: Any, resource: str | None = None) -> Pool:
    """A pool: None is this session, a list its sessions, an address or a Dask client its workers; http://… is a session behind a door.

    RecipeError for anything else.
    """
    if on is None:
        return Here([session])
    on = _connected(on)
    sessions = list(on) if isinstance(on, Sequence) and not isinstance(on, str) else [on]
    if sessions and all(_is_session(one) for one in sessions):
        return Here(sessions, "this session" if sessions[0] is session else "another session")
    if isinstance(on, str) or (checks.is_a(on, object) and hasattr(on, "scheduler_info") and hasattr(on, "submit")):
        if getattr(on, "asynchronous", False):
            raise RecipeError(
                "An asynchronous Client of Dask cannot be waited for; hand over the scheduler's address, such as on='tcp://…'."
            )
        from acestep_lab.sweep.cluster import Cluster

        return Cluster(on, resource)
    raise RecipeError(
        f"A sweep is made on this session (None), on a list of sessions, or on a Dask cluster ('tcp://127.0.0.1:8786' or its Client), "
        f"not on {shown(on)}."
    )


def _connected(on: Any) -> Any:
    """Sessions in the place of the addresses of doors; MachineError where nobody answers at one."""
    asked = list(on) if isinstance(on, Sequence) and not isinstance(on, str) else [on]
    if not any(_is_door(one) for one in asked):
        return on
    from acestep_lab.remote.session import RemoteSession

    key = VARIABLES.get("ACESTEP_API_KEY", "")
    return [RemoteSession.connect(one, key) if _is_door(one) else one for one in asked]


def _is_door(one: Any) -> bool:
    return isinstance(one, str) and one.startswith(("http://", "https://"))


def _is_session(one: Any) -> bool:
    """Whether something has the verbs that work needs."""
    return all(hasattr(one, name) for name in ("start", "resolve", "jobs", "library", "name"))
