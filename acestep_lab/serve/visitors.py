"""Who asks: what the access control knows of a connection, kept with its request. Knows no page and no take."""

from __future__ import annotations

from dataclasses import dataclass

from acestep_lab.errors import MachineError


@dataclass(frozen=True)
class Visitor:
    """Who asks: whose takes are theirs ("" is the host), from which address, and whether the way is encrypted."""

    owner: str
    address: str
    secure: bool = False


def set_visitor(request: object, visitor: Visitor) -> None:
    """Keep with a request who makes it; Tornado has no place of its own for that."""
    vars(request)["visitor"] = visitor


def visitor_of(request: object) -> Visitor:
    """Who makes a request, as the access control said, never by a token that a browser sends; MachineError without
    one.
    """
    visitor = getattr(request, "visitor", None)
    if not isinstance(visitor, Visitor):
        raise MachineError("This page was asked for past the access control; nobody knows by whom.")
    return visitor
