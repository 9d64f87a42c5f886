"""The studio page: serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from acestep_lab.cli import options
from acestep_lab.cli.render import open_session

if TYPE_CHECKING:
    from acestep_lab.session_like import SessionLike


@options.command()
@click.option("--port", type=options.WholeNumber(1, 65535), default=5006, show_default=True, help="Where it listens.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Anything but loopback asks for a token.")
@click.option(
    "--token",
    help="Word that visitors must know; made up where needed. Each browser has takes of its own.",
)
@click.option(
    "--origin", multiple=True, metavar="HOST",
    help="Host by which the studio is known behind a proxy, such as hub.example.org; may be repeated; * is any.",
)  # fmt: skip
@click.option("--show", is_flag=True, help="Open the page in this machine's browser.")
@options.library_option
@options.checkpoint_option
@options.planner_option
@options.machine_options
def serve(
    port: int, address: str, token: str | None, origin: tuple[str, ...], show: bool,
    library: Path | None, checkpoint: str, lm: str | None, device: str | None, dtype: str | None,
) -> None:  # fmt: skip
    """Open the studio page in a browser."""
    from acestep_lab.serve.app import serve as serve_studio

    with open_session(checkpoint, library=library, lm=lm, device=device, dtype=dtype) as lab:
        # The two signatures of its `plan` say more than the one of the protocol.
        serve_studio(cast("SessionLike", lab), port, address, show, token, origin)
