"""WaveformPicker: mark regions on a real waveform, repaint them, see what stayed. The browser half is
`widgets/waveform.js`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError, SourceError, shown
from acestep_lab.prompt.literal import literal
from acestep_lab.prompt.tasks import REPAINT_MODES, Region
from acestep_lab.prompt.tasks import regions as checked
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks, waveform_figure
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.difference import Difference
from acestep_lab.ui.draft import Field
from acestep_lab.ui.messages import Id, Name, Typed, field_of, list_of, optional, table, text, typed

SHORTEST = 0.1
"""Seconds; a shorter region is widened to this."""
SNAPS = ("off", "beats", "lines")
_NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SECONDS = Field("seconds", "A time", "number", "", unit="seconds")
MOST_REGIONS = 26
Spans = Annotated[
    Sequence[dict[str, Any]], list_of(table(name=optional(text(2_000)), start=typed, end=typed), MOST_REGIONS)
]
ChangeId = Annotated[str, text(100)]


class WaveformPicker(Component):
    """Named regions on a Bokeh waveform: dragged, resized, typed, moved by keys, snapped to beats or lyric lines.

    `load` shows a take or a sound; the playhead follows the page's player in the browser. After a repaint, `compare`
    adds a lane that shows where samples differ. Listeners: "changed", "repaint" (regions, caption, mode, strength, …).
    """

    module = "waveform"
    includes = ("audio_player",)
    fields: ClassVar[Mapping[str, object]] = {
        "track": {},
        "regions": [],
        "change_id": "",
        "selected": 0,
        "revision": 0,
        "mode": "balanced",
        "modes": list(REPAINT_MODES),
        "strength": 0.5,
        "latent_crossfade": None,
        "wave_crossfade": None,
        "caption": "",
        "snap": "off",
        "snaps": ["off"],
        "verdict": "",
        "code": "",
        "cannot": "",
        "has_codes": False,
        "standalone": True,
        "crossfades": [0.0, 0.0],
    }

    mode: str
    strength: float
    caption: str
    latent_crossfade: float | None
    wave_crossfade: float | None
    snap: str
    revision: int

    def setup(
        self,
        take: Take | Audio | None = None,
        *,
        url: tracks.UrlOf | None = None,
        cannot: str = "",
        standalone: bool = True,
        crossfades: Callable[[str, float], tuple[float, float]] = lambda mode, strength: (0.0, 0.0),
    ) -> None:
        """Show a take or a sound, if one is given; `cannot` is why this checkpoint cannot repaint, if it cannot.

        `standalone`: it plays the sound itself; on a page with a Player, that one does. `crossfades` gives the
        crossfades (of latents, of samples; seconds) that a mode and strength bring along, to be drawn where none is set
        by hand.
        """
        self._url = url
        self._take: Take | Audio | None = None
        self._total = 0.0
        self._regions: list[dict[str, Any]] = []
        self._grids: dict[str, list[float]] = {}
        self._difference: Difference | None = None
        self._codes: tuple[int, ...] = ()
        self.cannot, self.standalone, self._crossfades = cannot, standalone, crossfades
        self.crossfades = list(crossfades(self.mode, self.strength))
        if take is not None:
            self.load(take)

    # -- what Python asks ----------------------------------------------------------------------------------------------

    @property
    def value(self) -> list[Region]:
        """The regions, in order; RecipeError where they overlap."""
        found = [Region(r["start"], r["end"]) for r in self._regions]
        return list(checked(found)) if found else []

    def load(self, take: Take | Audio, beats: Iterable[float] = (), lines: Iterable[tuple[float, str]] = ()) -> None:
        """Show another sound; `beats` and lyric `lines` are what regions may snap to."""
        if not isinstance(take, Take | Audio):
            raise SourceError(f"A take or an audio has a waveform, {shown(take)} has none.")
        timed = [(float(at), str(words)) for at, words in lines]
        self._take, self._difference, self.verdict, self._total = take, None, "", float(take.seconds)
        self._grids = {"beats": sorted(float(b) for b in beats), "lines": [at for at, _ in timed]}
        self._codes = tuple(getattr(getattr(take, "plan", None), "codes", ()) or ())
        self.has_codes = bool(self._codes)
        self.snaps = ["off", *(name for name in SNAPS[1:] if self._grids.get(name))]
        self.snap = self.snap if self.snap in self.snaps else "off"
        self._regions = [r for r in self._regions if r["end"] <= self._total]
        self.track = tracks.track(take, self._url, timed)
        self._show(force=True)
        self._send_all()

    def compare(self, parent: Take | Audio) -> None:
        """Add the lane that shows where this sound differs from the one it was made from."""
        if self._take is None:
            return
        before, after = tracks.audio_of(parent), tracks.audio_of(self._take)
        if before.rate == after.rate:
            self._difference = Difference(before, after)
            self.verdict = self._difference.sentence()
            self._send_difference()

    def mark(self, regions: Sequence[Region]) -> None:
        """Put these regions on the waveform instead of those there."""
        self._set_regions([{"name": "", "start": r.start, "end": r.end} for r in regions], force=True)

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_bokeh(self) -> None:
        """Hand over BokehJS where the host has none (a notebook without Panel, marimo): nothing comes from the
        internet.
        """
        import bokeh

        self.emit("bokeh", (Path(bokeh.__file__).parent / "server/static/js/bokeh.min.js").read_bytes())

    def do_ready(self) -> None:
        """A view was drawn: send the figure and all it shows."""
        self._send_all()
        super().do_ready()

    def do_view(self, start: float = 0.0, end: float = 0.0, pixels: int = 1000) -> None:
        """Send the peaks of what is in view."""
        if self._take is None:
            return
        start, end = (max(0.0, min(float(at), self._total)) for at in (start, end))
        seen = tracks.view(self._take, start, end, pixels)
        self.emit("peaks", seen.pairs.tobytes(), lane="wave", id=self._take.id, start=seen.start, end=seen.end)
        self._send_difference(start, end, pixels)

    def do_at(self, seconds: float = 0.0) -> None:
        """The listener paused or sought here, where this component plays the sound itself."""

    def do_edge(self, place: int, key: Name, value: Typed, change_id: ChangeId = "") -> None:
        """One edge of a region was typed. Only that edge is sent: two typed in a row both count, however slow the
        answers.
        """
        changed = [dict(r) for r in self._regions]
        with self._acknowledging(change_id):
            if key not in ("start", "end"):
                raise RecipeError(f"A region has a start and an end, no {shown(key)}.")
            if 0 <= place < len(changed):
                changed[place][key] = value
                self._set_regions(changed, force=True, selected=place)

    @contextmanager
    def _acknowledging(self, change_id: str) -> Iterator[None]:
        """Hand the id of a change back once its answer stands, also where the answer is a sentence; the page waits for
        it.
        """
        try:
            yield
        finally:
            self.change_id = change_id

    def _refused(self, message: object) -> None:
        """The page waits for the id of its change, also where nothing came of it; then it shows again what stands
        here.
        """
        if change_id := field_of(message, "change_id"):
            self.change_id = change_id

    def do_regions(
        self, regions: Spans, selected: int = 0, snapped: bool = False, force: bool = False, change_id: ChangeId = ""
    ) -> None:
        """The regions were changed by hand; `snapped` once a drag has ended."""
        with self._acknowledging(change_id):
            self._set_regions(regions, snap=snapped, force=force, selected=selected)
        self.notify("changed")

    def do_bytes(self, id: Id) -> None:
        """Send the sound as a WAV file."""
        if self._take is not None and self._take.id == id:
            self.emit("bytes", tracks.wav_of(tracks.audio_of(self._take)), id=id)

    def do_snap(self, to: Name) -> None:
        """Snap to beats, lyric lines, or nothing."""
        if to not in self.snaps:
            raise RecipeError(f"There is nothing called {shown(to)} to snap to here; there is {', '.join(self.snaps)}.")
        self.snap = to
        self._set_regions(self._regions, snap=True, force=True)
        self._send_grid()

    def do_setting(self, name: Name, value: Typed = None) -> None:
        """Change how the repaint will be done."""
        if name not in _SETTINGS:
            raise RecipeError(f"A repaint has no setting {shown(name)}; it has {', '.join(_SETTINGS)}.")
        setattr(self, name, _SETTINGS[name](name, value))
        self.crossfades = list(self._crossfades(self.mode, self.strength))
        self._show()
        self.notify("changed")

    def do_repaint(self) -> None:
        """New music in the regions."""
        if self.cannot:
            raise RecipeError(self.cannot)
        if self._take is None:
            raise RecipeError("There is nothing to repaint yet: make or open a take first.")
        if not self._regions:
            raise RecipeError("Mark a region first: double-click on the waveform, or press A.")
        self.notify(
            "repaint",
            take=self._take,
            regions=self.value,
            caption=self.caption,
            mode=self.mode,
            strength=self.strength,
            latent_crossfade=self.latent_crossfade,
            wave_crossfade=self.wave_crossfade,
        )

    # -- inside --------------------------------------------------------------------------------------------------------

    def _set_regions(
        self, regions: Sequence[Any], snap: bool = False, force: bool = False, selected: int | None = None
    ) -> None:
        """Check, cut and name regions; what makes no sense leaves the old ones and raises a sentence."""
        placed: list[dict[str, Any]] = []
        first_remark = ""
        try:
            for place, asked in enumerate(regions):
                region, remark = self._checked_region(asked, place, snap)
                placed.append(region)
                first_remark = first_remark or remark
        except RecipeError:
            self._show(force=True)
            raise
        self._regions = placed
        if selected is not None:
            self.selected = max(0, min(selected, len(placed) - 1))
        self._show(force or bool(first_remark))
        if first_remark:
            raise RecipeError(first_remark)
        checked([Region(r["start"], r["end"]) for r in placed]) if placed else None

    def _checked_region(self, asked: Any, place: int, snap: bool) -> tuple[dict[str, Any], str]:
        """One region within the sound, and a remark where it had to be cut."""
        total = self._total
        start, end = (_time(asked.get(k)) for k in ("start", "end"))
        if snap and self.snap != "off":
            start, end = (self._nearest(t) for t in (start, end))
        if end <= start:
            start, end = self._shifted(place, start, end)
        if start >= total:
            raise RecipeError(f"The sound ends at {total:.1f} s, before that region begins.")
        remark = f"The sound ends at {total:.1f} s; the region was cut there." if end > total + 0.05 else ""
        start, end = max(0.0, start), min(end, total)
        if end - start < SHORTEST:
            start, end = max(0.0, min(start, total - SHORTEST)), min(total, max(end, start + SHORTEST))
        name = " ".join(str(asked.get("name") or "").split())[:40] or _NAMES[place % len(_NAMES)]
        return {"name": name, "start": round(start, 4), "end": round(end, 4)}, remark

    def _shifted(self, place: int, start: float, end: float) -> tuple[float, float]:
        """A region turned inside out: where one typed edge passed the other, the other is carried along at its
        distance.
        """
        old = self._regions[place] if place < len(self._regions) else None
        if old is not None and end == old["end"]:
            return start, start + old["end"] - old["start"]
        if old is not None and start == old["start"]:
            return end - (old["end"] - old["start"]), end
        return end, start

    def _nearest(self, at: float) -> float:
        grid = np.array([0.0, *self._grids.get(self.snap, ()), self._total])
        return float(grid[np.abs(grid - at).argmin()])

    def _show(self, force: bool = False) -> None:
        if force:
            self.revision = self.revision + 1
        self.regions = [dict(r) for r in self._regions]
        self.code = self._code()

    def _code(self) -> str:
        spans = ", ".join(f"Region({r['start']:g}, {r['end']:g})" for r in self._regions)
        if not spans:
            return "# mark a region first"
        words = f", caption={literal(self.caption)}" if self.caption else ""
        extra = "".join(
            f", {k}={literal(getattr(self, k))}"
            for k in ("latent_crossfade", "wave_crossfade")
            if getattr(self, k) is not None
        )
        return (
            f"take = lab.repaint(take, [{spans}]{words}, mode={literal(self.mode)}, strength={self.strength:g}{extra})"
        )

    def _send_all(self) -> None:
        if self._take is None:
            return
        seconds = self._total
        self.emit("figure", item=json.dumps(waveform_figure.build(seconds)), id=self._take.id)
        whole = tracks.view(self._take, 0.0, seconds, 1600)
        self.emit(
            "peaks", whole.pairs.tobytes(), lane="overview wave", id=self._take.id, start=whole.start, end=whole.end
        )
        self.do_view(0.0, seconds, 1600)
        self._send_grid()
        if self._codes:
            self.emit("codes", np.array(self._codes, np.uint32).tobytes(), each=seconds / len(self._codes))

    def _send_grid(self) -> None:
        grid = self._grids.get(self.snap, []) if self.snap != "off" else []
        self.emit("grid", np.array(grid, np.float64).tobytes())

    def _send_difference(self, start: float = 0.0, end: float | None = None, pixels: int = 1600) -> None:
        if self._difference is None or self._take is None:
            return
        seen = self._difference.peaks.view(start, self._total if end is None else end, pixels)
        self.emit(
            "peaks", seen.pairs.tobytes(), lane="difference data", id=self._take.id, start=seen.start, end=seen.end
        )


def _time(value: object) -> float:
    """A time that was typed or dragged; RecipeError where there is none."""
    seconds = _SECONDS.read(value)
    if seconds is None:
        raise RecipeError("A region has a start and an end in seconds; one of them is empty.")
    return float(seconds)


def _mode(name: str, value: object) -> str:
    if value not in REPAINT_MODES:
        raise RecipeError(f"{shown(value)} is no repaint mode; the three are {', '.join(REPAINT_MODES)}.")
    return str(value)


def _caption(name: str, value: object) -> str:
    return text(20_000)(name, value if value is not None else "")


def _between(high: float, default: float | None = None) -> Callable[[str, object], float | None]:
    """A reader of a typed number from 0 up to `high`; nothing typed is the default."""

    def read(name: str, value: object) -> float | None:
        words = name.replace("_", " ")
        number = Field(name, words.capitalize(), "number", "", default=default).read(value)
        if number is not None and not 0 <= number <= high:
            raise RecipeError(f"The {words} lies between 0 and {high:g}, not at {number:g}.")
        return number if number is None else float(number)

    return read


_SETTINGS: dict[str, Callable[[str, object], object]] = {
    "mode": _mode,
    "caption": _caption,
    "strength": _between(1.0, 0.5),
    "latent_crossfade": _between(5.0),
    "wave_crossfade": _between(5.0),
}
"""How a repaint may be set, each with the reader of what was typed."""

WaveformPickerWidget, WaveformPickerPane = widget_and_pane(WaveformPicker)
