"""The studio page: serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from acestep_lab.cli import habits, options
from acestep_lab.cli.launch import key_option, launch
from acestep_lab.cli.render import open_session
from acestep_lab.errors import LabError

if TYPE_CHECKING:
    from acestep_lab.session_like import SessionLike

PORT = 5006


@options.command()
@click.option("--port", type=options.WholeNumber(1, 65535), show_default=str(PORT), help="Where it listens.")
@click.option("--address", show_default="127.0.0.1", help="Anything but loopback asks for a token.")
@click.option(
    "--token",
    help="Word that visitors must know; made up where needed. Each browser has takes of its own.",
)
@click.option(
    "--origin", multiple=True, metavar="HOST",
    help="Host by which the studio is known behind a proxy, such as hub.example.org; may be repeated; * is any.",
)  # fmt: skip
@click.option("--show", is_flag=True, help="Open the page in this machine's browser.")
@click.option(
    "--api", is_flag=True, help="Answer ACE-Step's REST clients at the same address, as `api` does at its own."
)
@key_option
@options.library_option
@options.checkpoint_option
@options.planner_option
@options.machine_options
@habits.options()
def serve(
    port: int | None, address: str | None, token: str | None, origin: tuple[str, ...], show: bool, api: bool,
    keys: tuple[str, ...], library: Path | None, checkpoint: str | None, lm: str | None, device: str | None,
    devices: str | None, dtype: str | None, **theirs: str | None,
) -> None:  # fmt: skip
    """Open the studio page in a browser."""
    from acestep_lab.serve.app import serve as serve_studio

    ours = {
        "address": address, "checkpoint": checkpoint, "lm": lm, "device": device, "devices": devices, "dtype": dtype, "token": token, "api": api,
    }  # fmt: skip
    asked = habits.translate(theirs, ours)
    if keys and not asked["api"]:
        raise LabError("--api-key is the key of the REST door, which --api opens; visitors of the page need a --token.")
    at = launch({**asked, "port": port, "keys": keys}, PORT, asked["api"])
    machine = {name: asked[name] for name in ("lm", "device", "devices", "dtype")}
    with open_session(asked["checkpoint"], library=library, **machine) as lab:
        # The two signatures of its `plan` say more than the one of the protocol.
        serve_studio(
            cast("SessionLike", lab), at.port, at.address, show, at.token, origin,
            api=asked["api"], keys=at.keys, limits=at.limits,
        )  # fmt: skip
