"""How `serve` and `api` are started: their options, with the settings where the command line says nothing. Opens nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.settings import Settings

if TYPE_CHECKING:
    from acestep_lab.serve.api_door import DoorLimits


def key_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The keys of the REST door."""
    return click.option(
        "--api-key", "keys", multiple=True, metavar="KEY",
        help="Key that REST clients must send; may be repeated: the first is the host's, every other one a person's of its own.",
    )(function)  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """Where a server listens, who may come in, and how much its REST door takes on."""

    port: int
    address: str
    keys: tuple[str, ...]
    token: str | None
    limits: DoorLimits


def launch(asked: dict[str, Any], port: int, api: bool) -> Launch:
    """Port, address, keys and token as the command line says, else the settings, else the default; warnings go to stderr.

    `port` is the default one. What is set for the REST door counts for a server that has one.
    """
    from acestep_lab.serve.api_door import DoorLimits

    flags = {"token": asked.get("token"), "api_host": asked["address"], "api_port": asked["port"]}
    found = Settings.read(flags=flags)
    for sentence in found.warnings:
        print(sentence, file=sys.stderr)
    known = found.value("api_key")
    keys = asked["keys"] or ((known,) if known else ())
    own = found.number("api_port"), found.value("api_host")
    at, address = own if api else (asked["port"], asked["address"])
    return Launch(at or port, address or "127.0.0.1", keys if api else (), found.value("token"), DoorLimits.of(found))
