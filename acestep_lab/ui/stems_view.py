"""StemsView: the stems of a take as lanes that play together. The browser half is `widgets/stems.js`."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.prompt import checks
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Id, Line, Name, list_of, number, table, text

RESIDUAL = "residual"
"""The lane of what is left of the mix without its stems."""
MOST_LANES = 32
Names = Annotated[Sequence[str], list_of(text(60), MOST_LANES)]
Levels = Annotated[
    Sequence[Mapping[str, Any]], list_of(table(name=text(60), decibels=number, heard=lambda n, v: bool(v)), MOST_LANES)
]


@dataclass
class Lane:
    """One sound of the mix: a stem, a layer that was added, or what is left. `audio` is None while it is being made."""

    name: str
    kind: str
    """"stem", "layer" or RESIDUAL."""
    stem: str = ""
    take: str = ""
    audio: Audio | None = None


class StemsView(Component):
    """Lanes with mute, solo and level over one playhead, and a button that takes a sound apart.

    Listeners: "opened" (), "extract" (stems), "layer" (stem, caption), "halt" (). Alone it shows what it is handed::

        view = StemsViewWidget()
        view.hold(take, known=lab.capabilities.vocabulary.stems)
        view.lay(Lane("drums", "stem", "drums", audio=lab.stems(take, ["drums"]).sound("drums")))
    """

    known: list[str]
    cannot: str
    no_layers: str
    module = "stems"
    fields: ClassVar[Mapping[str, object]] = {
        "hand": {}, "known": [], "cannot": "", "no_layers": "", "lanes": [], "opened": False, "progress": 0.0, "said": "",
    }  # fmt: skip

    def setup(self, *, url: tracks.UrlOf | None = None) -> None:
        self._url = url
        self._lanes: list[Lane] = []
        self.source: Take | Audio | None = None

    # -- what it shows -------------------------------------------------------------------------------------------------

    def hold(self, sound: Take | Audio | None, known: Sequence[str] = ()) -> None:
        """Another sound is in hand; its lanes begin anew."""
        self.source, self._lanes = sound, []
        self.hand = (
            {}
            if sound is None
            else {"id": sound.id, "title": tracks.title_of(sound, 60), "seconds": float(sound.seconds)}
        )
        self.known = list(known) or list(self.known)
        self.said, self.progress = "", 0.0
        self.draw()

    @property
    def laid(self) -> tuple[Lane, ...]:
        """The lanes as they stand."""
        return tuple(self._lanes)

    def lay(self, *lanes: Lane) -> None:
        """Lanes, seen all at once, each in the place of the one of its name where there is one; what is left comes last."""
        stand = {one.name: one for one in (*self._lanes, *lanes)}
        self._lanes = sorted(stand.values(), key=lambda one: one.kind == RESIDUAL)
        self.draw()

    def drop_unmade(self) -> None:
        """Take away the lanes that nothing was made for."""
        self._lanes = [one for one in self._lanes if one.audio is not None]
        self.draw()

    def draw(self) -> None:
        """Show the lanes as they stand."""
        self.lanes = [
            {
                "name": one.name, "kind": one.kind, "stem": one.stem, "take": one.take, "made": one.audio is not None,
                "track": {} if one.audio is None else _track(one.audio, self._url),
            }
            for one in self._lanes
        ]  # fmt: skip

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_open(self, on: bool) -> None:
        """Open or fold the view."""
        self.opened = on
        if on:
            self.notify("opened")

    def do_extract(self, stems: Names) -> None:
        """Take these stems out of the sound in hand."""
        self._may(self.cannot)
        if not stems:
            raise RecipeError("Choose at least one stem.")
        unknown = [one for one in stems if one not in self.known]
        if unknown:
            raise RecipeError(f"{unknown[0]!r} is no stem that this checkpoint knows.")
        self.notify("extract", stems=list(stems))

    def do_layer(self, stem: Name, caption: Line = "") -> None:
        """Add a layer: a new stem that fits the sound in hand."""
        self._may(self.no_layers)
        if stem not in self.known:
            raise RecipeError(f"{stem!r} is no stem that this checkpoint knows.")
        self.notify("layer", stem=stem, caption=caption)

    def do_halt(self) -> None:
        """Stop what is being made; lanes that exist stay."""
        self.notify("halt")

    def do_peaks(self, id: Id, pixels: int = 800) -> None:
        """Send the peaks of a lane for a picture this wide."""
        if (audio := self._audio(id)) is not None:
            self.emit("peaks", tracks.view(audio, 0.0, audio.seconds, pixels).pairs.tobytes(), id=id)

    def do_bytes(self, id: Id) -> None:
        """Send a lane as a WAV file."""
        if (audio := self._audio(id)) is not None:
            self.emit("bytes", tracks.wav_of(audio), id=id)

    def do_save(self, levels: Levels = ()) -> None:
        """Hand over all lanes as FLAC (WAV of floats where no FLAC holds the samples), with the levels in a manifest."""
        made = [one for one in self._lanes if one.audio is not None]
        if self.source is None or not made:
            raise RecipeError("There is no lane to save yet; extract stems first.")
        self.emit("file", zipped(self.source, made, levels), name=f"{self.source.id}-stems.zip")

    # -- inside --------------------------------------------------------------------------------------------------------

    def _may(self, why_not: str) -> None:
        if why_not:
            raise RecipeError(why_not)
        if self.source is None:
            raise RecipeError("There is no take in hand yet; make one, or choose one among the takes.")

    def _audio(self, id: str) -> Audio | None:
        return next((one.audio for one in self._lanes if one.audio is not None and one.audio.id == id), None)


def _track(audio: Audio, url: tracks.UrlOf | None) -> dict[str, Any]:
    return {"id": audio.id, "seconds": float(audio.seconds), "url": url(audio) if url else None}


def zipped(source: Take | Audio, lanes: Sequence[Lane], levels: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The lanes as sound files in a zip, with a manifest of what each is, from which take, and how loud it was set."""
    chosen = {row["name"]: row for row in levels}
    packed, rows = io.BytesIO(), []
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for number_, lane in enumerate(lanes, 1):
            assert lane.audio is not None
            kind = lane.audio.lossless_kind
            name = f"{number_:02d}-{lane.name.replace(' ', '-')}.{kind}"
            archive.writestr(name, lane.audio.encoded(kind))
            row = chosen.get(lane.name, {})
            rows.append(
                {"file": name, "lane": lane.name, "kind": lane.kind, "stem": lane.stem, "take": lane.take}
                | {"decibels": row.get("decibels") or 0.0, "heard": row.get("heard", True)}
            )
        about = {"format": "acestep_lab.stems/1", "mix": source.id, "seconds": source.seconds, "lanes": rows}
        about |= {"sum": "All files of the kinds stem and residual at 0 dB add up to the mix."}
        archive.writestr("manifest.json", json.dumps(checks.plain("A manifest", about), indent=2))
    return packed.getvalue()


StemsViewWidget, StemsViewPane = widget_and_pane(StemsView)
