"""The studio page: serve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from acestep_lab.cli import habits, options
from acestep_lab.cli.render import open_session
from acestep_lab.settings import Settings

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
@habits.options
def serve(
    port: int, address: str, token: str | None, origin: tuple[str, ...], show: bool,
    library: Path | None, checkpoint: str, lm: str | None, device: str | None, dtype: str | None, **theirs: str | None,
) -> None:  # fmt: skip
    """Open the studio page in a browser."""
    from acestep_lab.serve.app import serve as serve_studio

    ours = {"address": address, "checkpoint": checkpoint, "lm": lm, "dtype": dtype, "token": token}
    asked = _with_settings(habits.translate(theirs, ours, _is_given))
    machine = {"lm": asked["lm"], "device": device, "dtype": asked["dtype"]}
    with open_session(asked["checkpoint"], library=library, **machine) as lab:
        # The two signatures of its `plan` say more than the one of the protocol.
        serve_studio(cast("SessionLike", lab), port, asked["address"], show, asked["token"], origin)


def _is_given(option: str) -> bool:
    """Whether the command line itself gave an option."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def _with_settings(asked: dict[str, Any]) -> dict[str, Any]:
    """Options with what is set outside the command line where it says nothing; warnings go to stderr."""
    given = {
        name: asked[name] if _is_given(name) or asked[name] not in (None, "pocket") else None
        for name in ("checkpoint", "lm", "token")
    }
    found = Settings.read(flags=given)
    for sentence in found.warnings:
        print(sentence, file=sys.stderr)
    planner = found.value("lm")
    return asked | {
        "checkpoint": found.value("checkpoint") or "pocket",
        "lm": None if planner is None else habits.planner(planner),
        "token": found.value("token"),
    }
