"""The REST door: api."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from acestep_lab.cli import options
from acestep_lab.cli.render import open_session

if TYPE_CHECKING:
    from acestep_lab.session_like import SessionLike


@options.command()
@click.option("--port", type=options.WholeNumber(1, 65535), default=8001, show_default=True, help="Where it listens.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Anything but loopback asks for a key.")
@click.option(
    "--api-key", "keys", multiple=True, metavar="KEY",
    help="Key that clients must send; may be repeated: the first is the host's, every other one a person's of its own.",
)  # fmt: skip
@click.option("--origin", multiple=True, metavar="HOST", help="Another host by which it is known; may be repeated.")
@options.library_option
@options.checkpoint_option
@options.planner_option
@options.machine_options
def api(
    port: int, address: str, keys: tuple[str, ...], origin: tuple[str, ...],
    library: Path | None, checkpoint: str, lm: str | None, device: str | None, dtype: str | None,
) -> None:  # fmt: skip
    """Answer ACE-Step's REST clients, such as a DAW's plug-in."""
    from acestep_lab.serve.api import serve_api
    from acestep_lab.settings import VARIABLES

    known = VARIABLES.get("ACESTEP_API_KEY")
    taken = keys or ((known,) if known else ())
    with open_session(checkpoint, library=library, lm=lm, device=device, dtype=dtype) as lab:
        serve_api(cast("SessionLike", lab), port, address, taken, origin)
