"""WaveformPicker: mark regions on a real waveform, repaint them, see what stayed. The browser half is
`widgets/waveform.js`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import bokeh
import numpy as np
from bokeh.models import Column

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError, SourceError, shown
from acestep_lab.jobs.noting import WITHOUT_PITCH, known_tempo
from acestep_lab.listen.analysis import Analysis, analyze
from acestep_lab.listen.beat_grid import beats_per_bar, tracker_of
from acestep_lab.listen.beats import bar_times, beat_times
from acestep_lab.listen.meter import meter
from acestep_lab.listen.notes import Notes
from acestep_lab.listen.silence import cut_points
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.prompt.tasks import MOST_CROSSFADE_SECONDS, REPAINT_MODES, Region, Repaint, source_id
from acestep_lab.prompt.tasks import regions as checked
from acestep_lab.takes.take import Take
from acestep_lab.ui import code_features, tracks, waveform_figure
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.controllers.base import start_thread
from acestep_lab.ui.difference import Difference
from acestep_lab.ui.fields import Field
from acestep_lab.ui.lyric_lane import Lines, LyricLane, Without, without
from acestep_lab.ui.marks import Marks, MarksByTake, code_of
from acestep_lab.ui.messages import Id, Name, Typed, field_of, list_of, optional, table, text, typed
from acestep_lab.ui.note_lane import NoteLane, notes_in_mix

SHORTEST = 0.1
"""Seconds; a shorter region is widened to this."""
SNAPS = ("off", "beats", "bars", "lines", "silence")
_NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SECONDS = Field("seconds", "A time", "number", "", unit="seconds")
MOST_REGIONS = 26
MOST_WORDS = 20_000
"""Characters of the words of a region."""
METER_SECONDS = 60.0
"""So much of a sound is listened to for its meter."""
Spans = Annotated[
    Sequence[dict[str, Any]],
    list_of(table(name=optional(text(2_000)), start=typed, end=typed, words=optional(text(MOST_WORDS))), MOST_REGIONS),
]
ChangeId = Annotated[str, text(100)]


class WaveformPicker(LyricLane, NoteLane):
    """Named regions on a waveform, each with words of its own: drawn, dragged, typed, moved by keys, snapped, looped.

    `load` shows a take or a sound with its own regions; the playhead follows the page's player in the browser. After a
    repaint, `compare` adds a lane that shows where samples differ, and before and after can be heard in turn. Listeners:
    "changed", "repaint" (take, links, mode, strength, …: see `marks.Link`).

    ::

        picker = WaveformPickerWidget(take)
        lab.repaint(take, picker.value, "brushed snare")
    """

    module = "waveform"
    includes = ("audio_player", "waveform_view", "waveform_figure", "lyric_lane", "note_lane")
    fields: ClassVar[Mapping[str, object]] = {
        "track": {},
        "before": {},
        "regions": [],
        "change_id": "",
        "selected": 0,
        "revision": 0,
        "mode": "balanced",
        "modes": list(REPAINT_MODES),
        "strength": 0.5,
        "injection": None,
        "latent_crossfade": None,
        "wave_crossfade": None,
        "caption": "",
        "snap": "off",
        "snaps": ["off"],
        "finding": "",
        "can_find_beat": False,
        "verdict": "",
        "kept": 0.0,
        "chain": "",
        "code": "",
        "cannot": "",
        "unused": [],
        "has_codes": False,
        "can_find_codes": False,
        "note_stems": [],
        "standalone": True,
        "crossfades": [0.0, 0.0],
        "clicks": 0,
        "can_undo": False,
    }

    mode: str
    strength: float
    caption: str
    injection: float | None
    latent_crossfade: float | None
    wave_crossfade: float | None
    snap: str
    revision: int
    clicks: int
    before: dict[str, Any]

    def setup(
        self,
        take: Take | Audio | None = None,
        *,
        url: tracks.UrlOf | None = None,
        cannot: str = "",
        standalone: bool = True,
        crossfades: Callable[[str, float], tuple[float, float]] = lambda mode, strength: (0.0, 0.0),
        listen: Callable[[Take | Audio], Analysis] = analyze,
        codes: Callable[[Take | Audio], Sequence[int]] | None = None,
        background: Callable[[Component, Callable[[], None]], None] = start_thread,
        lyrics: Callable[[Take | Audio], Without] = without,
        notes: Callable[[Take | Audio, str | None], Notes] = notes_in_mix,
    ) -> None:
        """Show a take or a sound, if one is given; `cannot` is why this checkpoint cannot repaint, if it cannot.

        `standalone`: it plays the sound itself; on a page with a Player, that one does. `crossfades` gives the
        crossfades (of latents, of samples; seconds) that a mode and strength bring along, to be drawn where none is set
        by hand. `listen` measures a tempo that nobody knows, `codes` finds the audio codes of a sound, if anything can;
        what takes a while is done by `background`, for this component; `lyrics` says why a sound has none in time, `notes` hears
        what is played, in a stem where one is named.
        """
        self._without = lyrics
        self._url, self._listen, self._find_codes = url, listen, codes
        self._later, self._hear_notes = partial(background, self), notes
        self._in_hand = threading.RLock()
        self._take: Take | Audio | None = None
        self._total = 0.0
        self._kept_marks = MarksByTake()
        self._marks = Marks()
        self._grids: dict[str, list[float]] = {}
        self._tempo: tuple[float, int] | None = None
        self._difference: Difference | None = None
        self._lane: np.ndarray | None = None
        self._figure: Column | None = None
        self.cannot, self.standalone, self._crossfades = cannot, standalone, crossfades
        self.crossfades = list(crossfades(self.mode, self.strength))
        if take is not None:
            self.load(take)

    # -- what Python asks ----------------------------------------------------------------------------------------------

    @property
    def value(self) -> list[Region]:
        """The regions, in order; RecipeError where they overlap."""
        found = [Region(r["start"], r["end"]) for r in self._marks.regions]
        return list(checked(found)) if found else []

    def load(
        self,
        take: Take | Audio,
        beats: Iterable[float] = (),
        lines: Lines = (),
        bars: Iterable[float] = (),
        notes: Notes | None = None,
    ) -> None:
        """Show another sound with the regions that were marked on it; `beats`, `bars` and lyric `lines` are what they may
        snap to, `notes` what was heard in it. A take of known tempo has its beats found where they lie, once they are asked for.
        """
        if not isinstance(take, Take | Audio):
            raise SourceError(f"A take or an audio has a waveform, {shown(take)} has none.")
        with self._in_hand:
            timed = [(at, words) for at, words in self._hold_lyrics(take, lines) if words]
            self._take, self._difference, self._lane, self._total = take, None, None, float(take.seconds)
            self._hold_notes(take, notes)
            self._marks = self._kept_marks.of(take.id)
            self._marks.regions = _within(self._marks.regions, self._total)
            self._grids = {
                "beats": sorted(float(at) for at in beats),
                "bars": sorted(float(at) for at in bars),
                "lines": [at for at, _ in timed],
            }
            self._tempo = known_tempo(take)
            self._snap_to_notes()
            self.verdict, self.kept, self.before = "", 0.0, {}
            self.has_codes = bool(codes_of(take))
            self.can_find_codes = self._find_codes is not None and not self.has_codes
            self.finding, self.selected = "", 0
            self._offer_snaps()
            self.track = tracks.track(take, self._url, timed)
            self._show(force=True)
            if self._figure is not None:  # somebody may have added to it
                self._send_figure()
            self._send_all()
        if self.snap != "off" and not self._grids.get(self.snap):
            self._find_grid(take)

    def figure(self) -> Column:
        """The Bokeh layout that is shown, to add glyphs to: `picker.figure().select_one({"name": "main"}).line(…)`. Times are
        seconds, the waveform lies between -1 and 1.

        What is added is seen by pages opened afterwards, and by all of them from the next `load` on. The parts are
        named "main", "difference", "codes" and "overview".
        """
        if self._figure is None:
            self._figure = waveform_figure.build()
        return self._figure

    def compare(self, parent: Take | Audio, take: Take | Audio | None = None) -> None:
        """Add the lane that shows where this sound differs from the one it was made from.

        `take` is the one meant; where another is in hand by the time the comparison is there, it is dropped.
        """
        meant = take or self._take
        if meant is None:
            return
        difference = Difference(tracks.audio_of(parent), tracks.audio_of(meant))
        verdict, kept = difference.sentence(), difference.kept
        before = tracks.track(parent, self._url)
        with self._in_hand:
            if self._take is None or self._take.id != meant.id:
                return
            self._difference = difference if difference.is_possible else None
            self.before, self.kept, self.verdict = before, kept, verdict
            self._send_difference()

    def mark(self, regions: Sequence[Region], of: str | None = None) -> None:
        """Put these regions on the waveform instead of those there; `of` another take: they are there once it is in hand."""
        rows = [{"name": _NAMES[n % 26], "start": r.start, "end": r.end, "words": ""} for n, r in enumerate(regions)]
        if of is None or (self._take is not None and self._take.id == of):
            self._set_regions(rows, force=True)
        else:
            self._kept_marks.of(of).change(rows)

    def adopt_task(self, task: Repaint) -> None:
        """Take over all that a repaint was asked with: its regions, on its source, and its settings."""
        self.mark(task.regions, source_id(task.source))
        for name in _HOW:
            setattr(self, name, getattr(task, name))
        self.crossfades = list(self._crossfades(self.mode, self.strength))
        self._show(force=True)

    def adopt(self, cannot: str, fixed: Collection[str]) -> None:
        """Take over what a checkpoint can do: why it cannot repaint, "" where it can, and its `Capabilities.fixed`."""
        self.cannot, self.unused = cannot, [name for name in _HOW if f"{Repaint.__name__}.{name}" in fixed]
        self._show(force=True)

    def _settings(self) -> dict[str, Any]:
        """How regions are made anew; what the checkpoint has no use for is left open."""
        return {name: None if name in self.unused else getattr(self, name) for name in _HOW}

    def offer_codes(self, find: Callable[[Take | Audio], Sequence[int]] | None) -> None:
        """What finds the audio codes of a sound from now on; None: the checkpoint in use has none."""
        self._find_codes = find
        self.can_find_codes = find is not None and self._take is not None and not self.has_codes

    def has_marks(self, id: str) -> bool:
        """Whether somebody has marked, or seen, the take of this id here."""
        return id in self._kept_marks

    def marks(self, id: str) -> Marks:
        """What is marked on a take."""
        return self._kept_marks.of(id)

    def hand_on(self, marks: Marks, id: str) -> None:
        """Give a take, which nobody has marked yet, the marks of another."""
        if id not in self._kept_marks:
            self._kept_marks.put(id, marks.copied())

    def show_lyrics(self, found: Alignment) -> None:
        """Show lyrics in time of the sound in hand; from now on regions may snap to their lines."""
        with self._in_hand:
            super().show_lyrics(found)
            self._grids["lines"] = [line.start for line in found.found]
            self._offer_snaps()

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_ready(self) -> None:
        """A view was drawn: send the figure and all it shows."""
        self._send_figure()
        self._send_all()
        super().do_ready()

    def do_bokeh(self) -> None:
        """Hand over BokehJS where the host has none (JupyterLab without Panel, marimo): nothing comes from the
        internet.
        """
        self.emit("bokeh", (Path(bokeh.__file__).parent / "server/static/js/bokeh.min.js").read_bytes())

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

    def do_edge(self, place: int, key: Name, value: Typed, change_id: ChangeId = "", take: Id = "") -> None:
        """One edge of a region was typed. Only that edge is sent: two typed in a row both count, however slow the
        answers.
        """
        with self._acknowledging(change_id):
            if key not in ("start", "end"):
                raise RecipeError(f"A region has a start and an end, no {shown(key)}.")
            changed = [dict(r) for r in self._marks.regions]
            if 0 <= place < len(changed) and self._is_in_hand(take):
                changed[place][key] = value
                self._set_regions(changed, force=True, selected=place)
        self.notify("changed")

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
        self,
        regions: Spans,
        selected: int = 0,
        snapped: bool = False,
        force: bool = False,
        change_id: ChangeId = "",
        take: Id = "",
    ) -> None:
        """The regions were changed by hand; `snapped` once a drag has ended. A change that comes when another take is in
        hand already belongs to the one it was made on.
        """
        with self._acknowledging(change_id):
            if self._is_in_hand(take):
                self._set_regions(regions, snap=snapped, force=force, selected=selected)
            elif take in self._kept_marks:
                self._kept_marks.of(take).change([_plain(r, place) for place, r in enumerate(regions)])
        self.notify("changed")

    def do_undo(self, change_id: ChangeId = "") -> None:
        """Take back the last change of the regions or their words."""
        with self._acknowledging(change_id):
            if not self._marks.undo():
                raise RecipeError("There is nothing to take back here.")
            self.selected = max(0, min(int(self.selected), len(self._marks.regions) - 1))
            self._show(force=True)
        self.notify("changed")

    def do_bytes(self, id: Id) -> None:
        """Send the sound, or the one it was made from, as a WAV file."""
        if self._take is not None and self._take.id == id:
            self.emit("bytes", tracks.wav_of(tracks.audio_of(self._take)), id=id)
        elif self._difference is not None and self.before.get("id") == id:
            self.emit("bytes", tracks.wav_of(self._difference.before), id=id)

    def do_snap(self, to: Name) -> None:
        """Snap to beats, bars, lyric lines, silence, or nothing."""
        if to not in self.snaps:
            raise RecipeError(f"There is nothing called {shown(to)} to snap to here; there is {', '.join(self.snaps)}.")
        if to == "silence" and not self._grids.get("silence"):
            self._grids["silence"] = cut_points(tracks.audio_of(self._take)) if self._take is not None else []
            if not self._grids["silence"]:
                self._show(force=True)
                raise RecipeError("This sound is nowhere quiet for as long as 0.08 s: there is no silence to snap to.")
        self.snap = to
        self._apply_grid()
        if self._take is not None and to != "off" and not self._grids.get(to):
            self._find_grid(self._take)

    def do_find_beat(self) -> None:
        """Measure the tempo, where the beats lie and where bars begin; then snap to beats."""
        if self._take is None:
            raise RecipeError("There is no sound yet whose beat could be found.")
        self.snap = "beats"
        self._find_grid(self._take)

    def do_find_codes(self) -> None:
        """Find the audio codes of the sound, and show what they keep of it."""
        take, find = self._take, self._find_codes
        if take is None or find is None:
            raise RecipeError("This checkpoint has no audio codes to find.")

        def work() -> None:
            self._look_for(take, "codes")
            try:
                if find(take):
                    self._found_codes(take)
            finally:
                self._found(take)

        self._later(work)

    def do_find_notes(self, id: Id, stem: Name = "") -> None:
        """Listen for melody, bass, chords and beats, of a stem where one is named, and show them."""
        take = self._take
        if take is None or take.id != id or self.finding == "notes":
            return

        def work() -> None:
            self._look_for(take, "notes")
            try:
                found = self._hear_notes(take, stem or None)
                with self._in_hand:
                    if take is self._take:
                        self.show_notes(found)
            finally:
                self._found(take)

        self._later(work)

    def show_notes(self, found: Notes) -> None:
        """Show what was heard in the sound in hand; from now on regions may snap to its beats and bars."""
        with self._in_hand:
            super().show_notes(found)
            self._snap_to_notes()
            self._offer_snaps()
            self._send_grid()

    def _snap_to_notes(self) -> None:
        """Beats and bars that were heard are those to snap to."""
        found = self._noted
        if found is not None and found.beats and found.bpm:
            self._tempo = (found.bpm, found.beats_per_bar)
            self._grids |= {"beats": list(found.beats), "bars": list(found.downbeats)}

    def offer_stems(self, stems: Sequence[str]) -> None:
        """Stems whose melody may be asked for: those the checkpoint in use can take out of a sound."""
        self.note_stems = [stem for stem in stems if stem not in WITHOUT_PITCH]

    def do_setting(self, name: Name, value: Typed = None) -> None:
        """Change how the repaint will be done."""
        if name not in _SETTINGS:
            raise RecipeError(f"A repaint has no setting {shown(name)}; it has {', '.join(_SETTINGS)}.")
        read = _SETTINGS[name](name, value)
        if name == "caption":
            self._marks.change(caption=str(read))
        setattr(self, name, read)
        self.crossfades = list(self._crossfades(self.mode, self.strength))
        self._show()
        self.notify("changed")

    def do_repaint(self, clicks: int | None = None) -> None:
        """New music in the regions: one repaint for all of the same words, those of other words one after another.

        A click carries the number of those before it; one made on an older page is a double click, and starts nothing.
        """
        if clicks is not None and clicks != self.clicks:
            return
        if self.cannot:
            raise RecipeError(self.cannot)
        if self._take is None:
            raise RecipeError("There is nothing to repaint yet: make or open a take first.")
        if not self._marks.regions:
            raise RecipeError("Mark a region first: drag over the waveform, or press A.")
        links = self._marks.links()
        self.clicks = self.clicks + 1
        self.notify(
            "repaint",
            take=self._take,
            links=links,
            **self._settings(),
        )

    # -- regions -------------------------------------------------------------------------------------------------------

    def _is_in_hand(self, id: str) -> bool:
        return not id or self._take is None or id == self._take.id

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
        self._marks.change(placed)
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
        return _plain(asked | {"start": start, "end": end}, place), remark

    def _shifted(self, place: int, start: float, end: float) -> tuple[float, float]:
        """A region turned inside out: where one typed edge passed the other, the other is carried along at its
        distance.
        """
        regions = self._marks.regions
        old = regions[place] if place < len(regions) else None
        if old is not None and end == old["end"]:
            return start, start + old["end"] - old["start"]
        if old is not None and start == old["start"]:
            return end - (old["end"] - old["start"]), end
        return end, start

    def _show(self, force: bool = False) -> None:
        if force:
            self.revision = self.revision + 1
        self.caption = self._marks.caption
        self.regions = [dict(r) for r in self._marks.regions]
        self.can_undo = bool(self._marks.past)
        self.code = self._code()

    def _code(self) -> str:
        try:
            links = self._marks.links()
        except RecipeError:
            return "# the regions overlap: make one shorter first"
        own = getattr(getattr(self._take, "recipe", None), "caption", "")
        return code_of(links, own, list(self._settings().items()))

    # -- what regions snap to ------------------------------------------------------------------------------------------

    def _offer_snaps(self) -> None:
        """Offer what there is to snap to; beats and bars of a known tempo are found once they are wanted."""
        there = {name for name in SNAPS if self._grids.get(name)} | {"off", "silence"}
        self.snaps = [name for name in SNAPS if name in there | ({"beats", "bars"} if self._tempo else set())]
        self.snap = self.snap if self.snap in self.snaps else "off"
        self.can_find_beat = "beats" not in self.snaps

    def _nearest(self, at: float) -> float:
        found = self._grids.get(self.snap, ())
        if not found:
            return at
        grid = np.array([0.0, *found, self._total])
        return float(grid[np.abs(grid - at).argmin()])

    def _apply_grid(self) -> None:
        self._set_regions(self._marks.regions, snap=True, force=True)
        self._send_grid()

    def _find_grid(self, take: Take | Audio) -> None:
        """Find the beats and bars of a sound, on a thread of its own; what comes late for another sound is dropped."""
        if self.snap == "silence":
            self._grids["silence"] = cut_points(tracks.audio_of(take))
            self.snap = "silence" if self._grids["silence"] else "off"
            self._send_grid()
            return

        def work() -> None:
            self._look_for(take, "beat")
            try:
                tempo = self._tempo_of(take)
                self._found_beats(take, tempo, *_beats_of(tracks.audio_of(take), tempo))
            finally:
                self._found(take)

        self._later(work)

    def _tempo_of(self, take: Take | Audio) -> tuple[float, int]:
        """Beats per minute and beats per bar: those it was made with, else as measured."""
        known = known_tempo(take)
        if known is None:
            heard = self._listen(take)
            return heard.bpm, beats_per_bar(heard.timesignature)
        if known[1]:
            return known
        audio = tracks.audio_of(take)
        part = audio.cut(Region(0.0, min(METER_SECONDS, audio.seconds)))
        return known[0], beats_per_bar(meter(part, known[0])[0])

    def _found_beats(self, take: Take | Audio, tempo: tuple[float, int], beats: list[float], bars: list[float]) -> None:
        with self._in_hand:
            if take is not self._take:
                return
            self._tempo = tempo
            self._grids |= {"beats": beats, "bars": bars}
            wanted = self.snap
            self._offer_snaps()
            self.snap = wanted if wanted in self.snaps else "beats"
            self._apply_grid()

    def _look_for(self, take: Take | Audio, what: str) -> None:
        with self._in_hand:
            if take is self._take:
                self.finding = what

    def _found(self, take: Take | Audio) -> None:
        """The search is over, whatever came of it."""
        with self._in_hand:
            if take is self._take:
                self.finding = ""
                self.snap = self.snap if self.snap in self.snaps else "off"

    def _found_codes(self, take: Take | Audio) -> None:
        with self._in_hand:
            if take is self._take:
                self.has_codes, self.can_find_codes = True, False
                self._send_lane()

    # -- what is sent --------------------------------------------------------------------------------------------------

    def _send_figure(self) -> None:
        key, text = waveform_figure.plain_item() if self._figure is None else waveform_figure.item(self._figure)
        self.emit("figure", key=key, item=text)

    def _send_all(self) -> None:
        if self._take is None:
            return
        seconds = self._total
        whole = tracks.view(self._take, 0.0, seconds, 1600)
        self.emit("peaks", whole.pairs.tobytes(), lane="overview", id=self._take.id, start=whole.start, end=whole.end)
        self.do_view(0.0, seconds, 1600)
        self._send_grid()
        if self.has_codes:
            self._send_lane()

    def _send_grid(self) -> None:
        grid = self._grids.get(self.snap, []) if self.snap != "off" else []
        id = "" if self._take is None else self._take.id
        self.emit("grid", np.array(grid, np.float64).tobytes(), id=id)

    def _send_lane(self) -> None:
        """Send the picture of what the codes keep; it is made on a thread of its own, once for a sound in hand."""
        take = self._take
        if self._lane is not None or take is None or not self.has_views:
            self._emit_lane()
            return

        def work() -> None:
            lane = code_features.of_sound(tracks.audio_of(take)).table()
            with self._in_hand:
                if take is self._take:
                    self._lane = lane
                    self._emit_lane()

        self._later(work)

    def _emit_lane(self) -> None:
        if self._lane is not None and self._take is not None:
            bins, rows = self._lane.shape
            self.emit("codes", self._lane.tobytes(), id=self._take.id, bins=bins, rows=rows)

    def _send_difference(self, start: float = 0.0, end: float | None = None, pixels: int = 1600) -> None:
        if self._difference is None or self._take is None:
            return
        seen = self._difference.peaks.view(start, self._total if end is None else end, pixels)
        self.emit("peaks", seen.pairs.tobytes(), lane="difference", id=self._take.id, start=seen.start, end=seen.end)


def _beats_of(audio: Audio, tempo: tuple[float, int]) -> tuple[list[float], list[float]]:
    """Beats and bars as they are heard, by whoever hears them here; where none are, those of the tempo go on."""
    grid = tracker_of(*tempo).grid(audio)
    if grid.beats:
        return list(grid.beats), list(grid.downbeats)
    beats = beat_times(audio, tempo[0])
    return beats.tolist(), bar_times(audio, beats, tempo[1]).tolist()


def codes_of(take: Take | Audio) -> tuple[int, ...]:
    """The audio codes a take was made from: its plan's, or those its task named."""
    plan, task = getattr(take, "plan", None), getattr(getattr(take, "recipe", None), "task", None)
    return tuple(getattr(plan, "codes", None) or getattr(task, "codes", None) or ())


def _plain(asked: Mapping[str, Any], place: int) -> dict[str, Any]:
    """A region as it is kept: a name of its own, times rounded to a tenth of a millisecond, its words."""
    name = " ".join(str(asked.get("name") or "").split())[:40] or _NAMES[place % len(_NAMES)]
    start, end = (round(_time(asked.get(key)), 4) for key in ("start", "end"))
    return {"name": name, "start": start, "end": end, "words": str(asked.get("words") or "")}


def _within(regions: Iterable[dict[str, Any]], total: float) -> list[dict[str, Any]]:
    """The regions as far as they lie within a sound."""
    cut = [{**r, "start": max(0.0, r["start"]), "end": min(r["end"], total)} for r in regions]
    return [r for r in cut if r["start"] < r["end"]]


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
    return text(MOST_WORDS)(name, value if value is not None else "")


def _between(high: float, default: float | None = None) -> Callable[[str, object], float | None]:
    """A reader of a typed number from 0 up to `high`; nothing typed is the default."""

    def read(name: str, value: object) -> float | None:
        words = name.replace("_", " ")
        number = Field(name, words.capitalize(), "number", "", default=default).read(value)
        if number is not None and not 0 <= number <= high:
            raise RecipeError(f"The {words} lies between 0 and {high:g}, not at {number:g}.")
        return number if number is None else float(number)

    return read


_HOW = ("mode", "strength", "injection", "latent_crossfade", "wave_crossfade")
"""Settings of a repaint beside its words."""
_SETTINGS: dict[str, Callable[[str, object], object]] = {
    "mode": _mode,
    "caption": _caption,
    "strength": _between(1.0, 0.5),
    "injection": _between(1.0),
    "latent_crossfade": _between(MOST_CROSSFADE_SECONDS),
    "wave_crossfade": _between(MOST_CROSSFADE_SECONDS),
}
"""How a repaint may be set, each with the reader of what was typed."""

WaveformPickerWidget, WaveformPickerPane = widget_and_pane(WaveformPicker)
