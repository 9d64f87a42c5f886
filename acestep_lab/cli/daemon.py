"""The JSON-RPC daemon for editors: daemon."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from acestep_lab.cli import options
from acestep_lab.cli.render import open_session

if TYPE_CHECKING:
    from acestep_lab.serve.daemon_process import Opening
    from acestep_lab.session_like import SessionLike

SECONDS_TO_END = 0.3
"""What the step under way may take before the process goes without it."""


@options.command()
@click.option("--socket", type=click.Path(path_type=Path), metavar="PATH", help="Serve a Unix socket, not stdio.")
@click.option(
    "--idle-timeout", type=options.Number(), default=300.0, show_default=True,
    help="End after so many seconds in which nothing was asked; 0 is never.",
)  # fmt: skip
@click.option("--pid-file", type=click.Path(path_type=Path), metavar="FILE", help="Write the process's number there.")
@click.option("--cache", type=click.Path(path_type=Path), metavar="FOLDER", help="Where finished tracks are kept.")
@options.library_option
@options.checkpoint_option
@options.planner_option
@options.machine_options
def daemon(
    socket: Path | None, idle_timeout: float, pid_file: Path | None, cache: Path | None, library: Path | None,
    checkpoint: str | None, lm: str | None, device: str | None, devices: str | None, dtype: str | None,
) -> None:  # fmt: skip
    """Serve editors by JSON-RPC, one message a line."""
    from acestep_lab.serve import daemon_process
    from acestep_lab.serve.daemon import Daemon, Peer
    from acestep_lab.serve.track_cache import TrackCache

    def make() -> Daemon:
        lab = open_session(checkpoint, library=library, lm=lm, device=device, devices=devices, dtype=dtype)
        return Daemon(cast("SessionLike", lab), tracks)

    tracks = TrackCache(cache or usual_cache())
    opening: Opening | None = None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), ExitStack() as stack:  # asked to end, by Ctrl-C or another program
        stack.enter_context(daemon_process.pid_file(pid_file))
        if socket is not None:
            listener = stack.enter_context(daemon_process.unix_socket(socket))
            opening, peer = daemon_process.Opening(make), None
            daemon_process.accept(listener, opening.get)
        else:
            read, write = stack.enter_context(daemon_process.own_streams())
            opening = daemon_process.Opening(make)
            peer = Peer(opening.get, read, write)
            peer.begin()
        opening.wait(peer, idle_timeout)
    if opening is not None:
        end(opening)


def usual_cache() -> Path:
    """Where tracks are kept unless somebody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "acestep_lab" / "tracks"


def end(opening: Opening) -> None:
    """Close the session and go at once: where a step or a loading takes longer, without it, and without the seconds that the
    interpreter takes to give everything back; nothing half written is ever seen.
    """
    for asked in (signal.SIGINT, signal.SIGTERM):  # which is being done already
        signal.signal(asked, signal.SIG_IGN)
    if opening.daemon is not None:
        opening.daemon.close()
        closing = threading.Thread(target=opening.daemon.lab.close, daemon=True)
        closing.start()
        closing.join(SECONDS_TO_END)
    sys.stderr.flush()
    os._exit(0)
