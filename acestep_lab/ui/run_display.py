"""A run as a notebook shows it: while it works the music as it forms, when it is done its player.

Two ways, since a kernel hears nothing from a page while a cell is at work. A run that is shown by its name
(`run = lab.start(…)`, then `run`) is widgets: live, with a Stop that works. A cell that waits (`lab.make(…)`, `run.take()`) shows
a picture and a bar that Python redraws and the cell's own interrupt stops; at its end the player takes their place, unless the
cell's result is that take and so shows itself: there is one player. In a loop the last take has it, those before are a line.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from acestep_lab.errors import LabError, sentence
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.progress import clock_of
from acestep_lab.takes.page import escaped

if TYPE_CHECKING:
    from acestep_lab.audio.audio import Audio
    from acestep_lab.jobs.events import Event
    from acestep_lab.jobs.run import AnyRun
    from acestep_lab.takes.take import Take

PICTURE_EVERY = 0.8
"""Seconds between two pictures of steps in a cell that waits."""
INTERRUPT = "To stop it, interrupt the cell: the ■ above, or the key I twice."
LINE = "font: 13px/1.5 system-ui, sans-serif; color: var(--jp-ui-font-color1, inherit); margin: 2px 0"
SOFT = "color: var(--jp-ui-font-color2, inherit); opacity: .8"


# -- a run that is shown by its name -----------------------------------------------------------------------------------


def run_widget(run: RenderRun) -> Any:
    """A box of widgets that follows a run: a bar with Stop, its steps, and at the end its player, or its takes side by side."""
    from ipywidgets import VBox

    from acestep_lab.ui.latent_preview import LatentPreviewWidget
    from acestep_lab.ui.run_view import RunViewWidget

    view = RunViewWidget(run)
    if run.over:
        return VBox([view, *players(run)])
    preview = LatentPreviewWidget()
    preview.stops = False
    preview.follow(run)
    box = VBox([view, preview])
    _serve(preview, box, run)
    run.subscribe(lambda event: _finish(box, run, event))
    if run.over:
        _put_players(box, run)
    return box


def players(run: RenderRun) -> list[Any]:
    """Widgets for the takes of a run, so far: a player for one, a gallery for several."""
    takes = list(run.made.values())
    if len(takes) > 1:
        from acestep_lab.ui.gallery import GalleryWidget

        return [GalleryWidget(takes)]
    from acestep_lab.ui.player import PlayerWidget

    return [PlayerWidget(take) for take in takes]


def _finish(box: Any, run: RenderRun, event: Event) -> None:
    if event.kind == "state" and run.over:
        _put_players(box, run)


def _put_players(box: Any, run: RenderRun) -> None:
    """The takes under the bar; the steps stay where there is no take, since they can still be kept."""
    if run.made and not getattr(box, "has_players", False):
        box.has_players = True
        box.children = (box.children[0], *players(run))


def _serve(preview: Any, box: Any, run: RenderRun) -> None:
    """Let the steps be heard and kept; a kept one is a player of its own, below."""
    from acestep_lab.ui.controllers.base import start_thread
    from acestep_lab.ui.player import PlayerWidget

    def keep(step: int) -> None:
        start_thread(preview, lambda: setattr(box, "children", (*box.children, PlayerWidget(run.keep(step)))))

    def hear(step: int, start: float, end: float) -> None:
        start_thread(preview, lambda: preview.sound(run.hear(step, start, end), step, start))

    preview.on("keep", keep)
    preview.on("play_step", hear)


# -- a cell that waits -------------------------------------------------------------------------------------------------


def waiting_cell() -> CellDisplay | None:
    """What the cell under way shows a run in; None where this is no notebook."""
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return CellDisplay(shell) if getattr(shell, "kernel", None) is not None else None


class CellDisplay:
    """One output of the cell under way, redrawn by the thread that waits."""

    last: CellDisplay | None = None
    """The output that holds a player now."""

    def __init__(self, shell: Any) -> None:
        self._cell = int(getattr(shell, "execution_count", 0))
        self._handle: Any = None
        self._began, self._pictured = time.monotonic(), 0.0
        self._picture = ""
        self._pictures: Any = None
        self._line = ""
        self._step = -1
        self.takes: Sequence[Take] = ()
        self._widgets: list[Any] = []

    def show(self, run: AnyRun) -> None:
        """How it stands, with the newest step's picture."""
        self._draw(run)
        html = f'<div style="{LINE}">{_bar(run)}{self._picture}<div style="{SOFT}">{INTERRUPT}</div></div>'
        self._put({"text/html": html, "text/plain": f"{run!r}\n{INTERRUPT}"})

    def close(self, run: AnyRun) -> None:
        """The player of what was made; else what there is of it, in a line."""
        self.takes = list(run.made.values()) if isinstance(run, RenderRun) and run.state == "done" else []
        if not self.takes:
            if self._handle is not None:
                self.fold(said(run))
            return
        if CellDisplay.last is not None and CellDisplay.last._cell == self._cell:
            CellDisplay.last.fold()
        CellDisplay.last, self._line = self, said(run)
        try:
            self._widgets = players(run)  # type: ignore[arg-type]
            bundle, *more = _bundle(self._widgets[0])
            self._put({**bundle, "text/plain": "\n".join(map(repr, self.takes))}, *more)
        except (LabError, OSError, ImportError) as problem:
            self.fold(f"{self._line} {sentence(problem)}")

    def fold(self, line: str = "") -> None:
        """Leave one line of it."""
        line = line or self._line
        self._put({"text/html": f'<div style="{LINE}">{escaped(line)}</div>', "text/plain": line})
        for widget in self._widgets:
            widget.close()
        self._widgets = []
        if CellDisplay.last is self:
            CellDisplay.last = None

    def _put(self, bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True, metadata=metadata or {})
        else:
            self._handle.update(bundle, raw=True, metadata=metadata or {})

    def _draw(self, run: AnyRun) -> None:
        """Draw the newest step, now and then."""
        steps = run.steps if isinstance(run, RenderRun) else ()
        now = time.monotonic()
        if not steps or steps[-1].index == self._step or now - self._pictured < PICTURE_EVERY:
            return
        step = next(one for one in reversed(steps) if one.items[0] == steps[-1].items[0])
        self._step, self._pictured = step.index, now
        if step.estimate is not None:
            from acestep_lab.ui.latent_preview import Pictures

            self._pictures = self._pictures or Pictures()
            png = base64.b64encode(self._pictures(step)).decode("ascii")
            what = f"The song as it forms, after step {step.index + 1} of {step.steps}"
            self._picture = (
                f'<img alt="{what}" title="{what}" src="data:image/png;base64,{png}" '
                'style="width: 100%; max-width: 640px; height: 96px; border-radius: 6px; display: block; margin: 6px 0">'
            )


def result_is_shown(take: Take | Audio) -> None:
    """A cell shows a take itself: the output that showed it for the cell steps back to a line."""
    last = CellDisplay.last
    if last is not None and list(last.takes) == [take] and last._cell == _cell_now():
        last.fold()


def _cell_now() -> int:
    from IPython import get_ipython

    return int(getattr(get_ipython(), "execution_count", -1))


def said(run: AnyRun) -> str:
    """What became of a run, in a line."""
    took = clock_of(run.seconds_running)
    if isinstance(run, RenderRun) and run.state == "done":
        return f"Made in {took}: {', '.join(take.id for take in run.made.values())}"
    if run.state == "done":
        return f"Done in {took}."
    if run.stopping:
        return f"Stopped after {took}. {run.what_is_kept()}".strip()
    return f"{run.doing.capitalize()} after {took}. {run.problem}".strip()


def _bar(run: AnyRun) -> str:
    """A run as HTML: title, bar, what it does, times."""
    eta = None if run.over else run.eta
    times = clock_of(run.seconds_running) + ("" if eta is None else f", about {clock_of(eta)} to go")
    percent = round(100 * run.fraction)
    return (
        f"<div><strong>{escaped(run.title or 'A run')}</strong></div>"
        f'<progress value="{percent}" max="100" aria-label="{escaped(run.doing)}" '
        f'style="width: 100%; max-width: 640px; height: 10px">{percent} %</progress>'
        f"<div>{percent} % · {escaped(run.doing)} · {times}</div>"
    )


def _bundle(widget: Any) -> tuple[dict[str, Any], ...]:
    shown = widget._repr_mimebundle_()
    return shown if isinstance(shown, tuple) else (shown or {},)
