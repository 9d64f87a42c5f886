"""The export panel's Python half: what is offered, what is written, what is refused, each in a sentence."""

from __future__ import annotations

import io
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import SourceError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.ui import export
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.export import ExportWidget
from acestep_lab.ui.studio import Studio
from tests.pretend import PretendSession, tone


def wait_for(ready: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


class Page:
    """What a panel says to its page."""

    def __init__(self, panel: Any) -> None:
        self.panel, self.said = panel, []
        panel.emit = lambda kind, *buffers, **body: self.said.append((kind, buffers, body))

    def all(self, kind: str) -> list[tuple[tuple[bytes, ...], dict[str, Any]]]:
        return [(buffers, body) for what, buffers, body in self.said if what == kind]

    def write(self, **chosen: Any) -> tuple[bytes, str]:
        self.panel.receive({"kind": "write", **chosen})
        [(buffers, body)] = wait_for(lambda: self.all("file"))
        return buffers[0], body["name"]

    @property
    def errors(self) -> list[str]:
        return [body["text"] for _, body in self.all("error")]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    opened = PretendSession(tmp_path, pause=0.0)
    yield opened
    opened.close()


@pytest.fixture
def take(lab: PretendSession) -> Take:
    return lab.keep(lab.make(Recipe("slow dub", seconds=3.0, seed=7)))


def test_a_file_is_written_as_chosen_and_called_by_the_take_s_title(take: Take) -> None:
    page = Page(ExportWidget(take))
    data, name = page.write(form="wav", bits=16, level="peak", target=-6.0, fade_out=1.0)
    assert name == "slow dub.wav"
    assert Audio.read(data).peak == pytest.approx(0.501, abs=0.005)
    wait_for(lambda: page.panel.writing == 0)


def test_several_takes_go_into_a_zip_or_a_page_and_nothing_else(lab: PretendSession, take: Take) -> None:
    other = lab.keep(lab.make(Recipe("other dub", seconds=3.0, seed=8)))
    page = Page(ExportWidget([take, other]))
    assert [form["kind"] for form in page.panel.forms] == ["zip", "html"]
    data, name = page.write(form="zip", sound="flac", latent=False)
    assert name == "slow dub and 1 more.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert sorted(archive.namelist()) == sorted(
            f"{one.id}.{kind}" for one in (take, other) for kind in ("flac", "json")
        )
    page.panel.receive({"kind": "write", "form": "wav"})
    assert "no kind of file" in page.errors[-1]


def test_a_recording_has_no_manifest_and_is_offered_as_a_sound_alone() -> None:
    page = Page(ExportWidget(tone(2.0)))
    assert not {"zip", "html"} & {form["kind"] for form in page.panel.forms}
    assert Audio.read(page.write(form="flac", bits=16)[0]).seconds == 2.0


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"form": "exe"}, "no kind of file"),
        ({"form": "mp3", "bits": 16}, "no bits"),
        ({"form": "wav", "bits": 12}, "16, 24, 32"),
        ({"form": "wav", "fade_in": -2}, "0 to 3600"),
        ({"form": "wav", "level": "loudness", "target": 5}, "-60 to 0"),
        ({"form": "wav", "rate": "fast"}, "Rate is a number"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_nothing_is_begun(chosen: dict[str, Any], said: str, take: Take) -> None:
    page = Page(ExportWidget(take))
    page.panel.receive({"kind": "write", **chosen})
    assert said in page.errors[0]
    assert page.panel.writing == 0


def test_two_files_are_written_at_once_and_a_third_waits_its_turn(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, real = threading.Event(), export._written
    monkeypatch.setattr(export, "_written", lambda *work: (gate.wait(20), real(*work))[1])
    page = Page(ExportWidget(take))
    for _ in range(3):
        page.panel.receive({"kind": "write", "form": "flac"})
    assert page.errors == ["2 files are being written already; wait for one of them."]
    gate.set()
    wait_for(lambda: len(page.all("file")) == 2 and page.panel.writing == 0)


def test_what_could_not_be_done_as_asked_comes_with_the_file(take: Take) -> None:
    loud = take.replace(audio=take.audio.gain(20))
    page = Page(ExportWidget(loud))
    page.write(form="wav", bits=16)
    assert "louder than full scale" in page.all("file")[0][1]["remarks"][0]


def test_the_page_s_dialog_opens_takes_of_this_person_only(lab: PretendSession, take: Take) -> None:
    backend = backend_of(lab)
    backend.takes.keep(take, "ada", True)
    for owner, opens in (("ada", 1), ("bob", 0)):
        studio = Studio(backend, owner, panes=False)
        page = Page(studio.export)
        page.panel.receive({"kind": "open", "ids": [take.id]})
        assert (len(page.all("open")), len(page.errors)) == (opens, 1 - opens)
        assert not page.panel.inline
        studio.close()


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(SourceError, match="takes, or one audio"):
        ExportWidget(["song.wav"])


def test_alone_with_a_session_it_follows_the_take_in_hand(lab: PretendSession, take: Take) -> None:
    panel = ExportWidget(session=lab)
    assert panel.subject["ids"] == [take.id]
    assert panel.inline
    panel.close()
