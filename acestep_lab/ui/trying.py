"""Values worth hearing side by side: of a field the low, the usual and the high, or without and with. Knows no browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from acestep_lab.errors import RecipeError
from acestep_lab.ui.draft import Draft
from acestep_lab.ui.fields import Field
from acestep_lab.ui.forms import Form

_FACTORS = (0.5, 1.0, 2.0)


def values_to_try(field: Field, name: str, draft: Draft, form: Form, usual: object) -> list[Any]:
    """Two or three values as they would be typed, each one that the checkpoint takes; RecipeError where there are no two.

    `name` is the field's in the draft, `usual` what Auto means here, None where that is not known.
    """
    now = draft.values.get(name)
    found: list[Any] = []
    for value in _asked(field, now, usual):
        known = name not in draft.put(name, value).problems(form)
        if known and value not in found:
            found.append(value)
    if len(found) < 2 and not field.is_free:
        raise RecipeError(f"{field.label} has nothing else to try with this checkpoint.")
    if len(found) < 2:
        raise RecipeError(f"Fill in {field.label} first; then it is heard without and with.")
    return found


def _asked(field: Field, now: Any, usual: object) -> Sequence[Any]:
    """The values to try before the checkpoint was asked which of them it takes."""
    filled = now not in (None, "", [], ["", ""])
    if field.kind == "flag":
        return [True, False]
    if field.is_free:
        own = [now] if filled else []
        return [*own, *_tries(field)][:3] if field.tries else [None, *own]
    if field.kind == "choice":
        here = [value for value in (now, usual) if value in field.options]
        near = [value for value in field.tries if value in field.options]
        return list(dict.fromkeys([*here[:1], *near, *field.options]))[:3]
    if field.tries:
        return _tries(field)
    centre = _number(field, now)
    centre = _number(field, usual) if centre is None else centre
    return _around(field, 4.0 if centre is None else centre)


def _tries(field: Field) -> Sequence[Any]:
    found: list[Any] = [list(value) if isinstance(value, tuple) else value for value in field.tries]
    if field.kind == "stems":
        found = [[stem for stem in stems if stem in field.options] for stems in found]
    return [value for value in found if value != []]


def _around(field: Field, centre: float) -> list[float | int]:
    """Half, once and twice a number, held where the checkpoint lets it be; whole where the field is."""
    if field.kind == "share":
        return [0.25, 0.5, 0.75]
    low, high = field.within or (float("-inf"), float("inf"))
    found = [min(max(centre * factor, low), high) for factor in _FACTORS]
    return [round(value) if field.kind == "whole" else round(value, 4) for value in found]


def _number(field: Field, typed: object) -> float | None:
    """The number somebody typed or Auto means; None where it is none."""
    try:
        value = field.read(typed)
    except RecipeError:
        return None
    return float(value) if isinstance(value, int | float) and value else None
