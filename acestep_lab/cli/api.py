"""The REST door: api."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from acestep_lab.cli import habits, options
from acestep_lab.cli.launch import key_option, launch
from acestep_lab.cli.render import open_session

if TYPE_CHECKING:
    from acestep_lab.session_like import SessionLike

PORT = 8001


@options.command()
@click.option("--port", type=options.WholeNumber(1, 65535), show_default=str(PORT), help="Where it listens.")
@click.option("--address", show_default="127.0.0.1", help="Anything but loopback asks for a key.")
@key_option
@click.option("--origin", multiple=True, metavar="HOST", help="Another host by which it is known; may be repeated.")
@options.library_option
@options.checkpoint_option
@options.planner_option
@options.machine_options
@habits.options(habits.OF_THE_API)
def api(
    port: int | None, address: str | None, keys: tuple[str, ...], origin: tuple[str, ...], library: Path | None,
    checkpoint: str | None, lm: str | None, device: str | None, devices: str | None, dtype: str | None, **theirs: str | None,
) -> None:  # fmt: skip
    """Answer ACE-Step's REST clients, such as a DAW's plug-in."""
    from acestep_lab.serve.api import serve_api

    ours = {
        "address": address,
        "checkpoint": checkpoint,
        "lm": lm,
        "device": device,
        "devices": devices,
        "dtype": dtype,
    }
    asked = habits.translate(theirs, ours)
    at = launch({**asked, "port": port, "keys": keys}, PORT, api=True)
    machine = {name: asked[name] for name in ("lm", "device", "devices", "dtype")}
    with open_session(asked["checkpoint"], library=library, **machine) as lab:
        serve_api(cast("SessionLike", lab), at.port, at.address, at.keys, origin, limits=at.limits)
