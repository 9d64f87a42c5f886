"""The draft that a browser keeps from one visit to the next: how what comes back is read. Knows no browser.

It is input as any other: what makes no sense is left out, field by field, and the rest comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

from acestep_lab.errors import RecipeError
from acestep_lab.ui.draft import Draft, is_field, is_lockable
from acestep_lab.ui.forms import FORMS
from acestep_lab.ui.messages import flag, kind_of, list_of, optional, table, text, typed, whole

_MOST_FIELDS = 300


def _values(name: str, value: object) -> dict[str, object]:
    """Typed values by field name; those of no field of ours, or no value, are left out."""
    if not isinstance(value, Mapping) or len(value) > _MOST_FIELDS:
        raise RecipeError(f"What a browser kept is a table of at most {_MOST_FIELDS} fields, not {kind_of(value)}.")
    found: dict[str, object] = {}
    for key, one in value.items():
        if isinstance(key, str) and is_field(key):
            with suppress(RecipeError):
                found[key] = typed(key, one)
    return found


Kept = Annotated[
    dict[str, Any],
    table(
        caption=optional(text(20_000)),
        task=optional(text(60)),
        values=optional(_values),
        locked=optional(list_of(text(60), _MOST_FIELDS)),
        count=optional(whole),
        used=optional(flag),
        lyrics=optional(table(text=optional(text(100_000)), language=optional(text(60)), instrumental=optional(flag))),
    ),
]
"""A kept draft as a page sends it."""


def draft_of(kept: Mapping[str, Any], former: Draft) -> Draft:
    """The draft a browser kept; what it did not keep stays as in the former one."""
    locked = [name for name in kept["locked"] or () if is_lockable(name)]
    return Draft(
        former.caption if kept["caption"] is None else kept["caption"],
        {**former.values, **(kept["values"] or {})},
        kept["task"] if kept["task"] in FORMS else former.task,
        frozenset(locked),
    )
