"""Clients that people own, each held a recorded conversation with over real HTTP: what it sends, and what it reads of the answers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from acestep_lab.prompt.tasks import Cover, Lego, Repaint, Text2Music
from acestep_lab.serve.api import ApiServer
from acestep_lab.serve.rest import ROUTES
from acestep_lab.session import Session
from tests.pretend import PretendSession
from tests.replay import FOLDER, Replay, recording, replay, sine

KEY = "a-key-of-an-agent"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library", pause=0.005)
    yield session
    session.close()
    session.library.close()


@pytest.fixture
def sound() -> Iterator[Path]:
    """A recording where other programs of this machine leave theirs: in the system's temp folder."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        file.write(sine())
        file.flush()
        yield Path(file.name)


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A LoRA of one layer, as PEFT names it, in the folder that adapters are loaded from."""
    monkeypatch.setenv("ACESTEP_LAB_ADAPTERS", str(tmp_path))
    layer = "base_model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    parts = {"A": np.full((2, 16), 0.01, np.float32), "B": np.full((16, 2), 0.01, np.float32)}
    save_file({layer.format(name): part for name, part in parts.items()}, tmp_path / "tape.safetensors")
    return tmp_path / "tape.safetensors"


def held(client: str, lab: PretendSession, folder: Path, keys: tuple[str, ...] = (), **kept: object) -> Replay:
    """A client's whole conversation with a door over a stand-in session; no upload is left behind."""
    with ApiServer(lab, 0, keys=keys, folder=folder / "door") as door:  # type: ignore[arg-type]
        done = replay(client, door.address, ROUTES, **{name: str(value) for name, value in kept.items()})
        assert [one for one in (folder / "door" / "uploads").rglob("*") if one.is_file()] == []
    return done


def test_the_daw_makes_a_song_a_cover_a_repaint_and_a_bass_from_forms_with_a_silent_source(
    lab: PretendSession, tmp_path: Path
) -> None:
    held("ace_step_daw", lab, tmp_path)
    assert [type(one.task) for one in lab.started] == [Text2Music, Cover, Repaint, Lego, Text2Music]
    song, *_, like = (one.task for one in lab.started)
    assert isinstance(song, Text2Music)
    assert song.reference is None, "the silence that comes along is no reference"
    assert isinstance(like, Text2Music)
    assert like.reference is not None


def test_the_plug_in_starts_from_files_of_its_machine_and_reads_why_something_failed(
    lab: PretendSession, tmp_path: Path, sound: Path, adapter: Path
) -> None:
    done = held("acestep_vst3", lab, tmp_path, sound=sound, adapter=adapter)
    assert [type(one.task) for one in lab.started] == [Text2Music, Text2Music, Cover, Text2Music]
    assert {one.seed for one in lab.started} == {1234}
    assert "/etc/hostname" in json.loads(done.answers["a file outside of what the server reads"].body)["error"]


def test_the_agents_skill_shows_its_key_and_takes_what_the_inventory_names(
    lab: PretendSession, tmp_path: Path, sound: Path
) -> None:
    held("acestep_sh", lab, tmp_path, keys=(KEY,), sound=sound, key=KEY)
    assert len(lab.started) == 4, "one song, two of one sentence, one cover"
    assert lab.started[0].checkpoint == lab.name


def test_the_wrangler_opens_results_on_its_own_disk_and_hears_what_is_in_a_sound(
    lab: PretendSession, tmp_path: Path, sound: Path, adapter: Path
) -> None:
    held("ace_step_wrangler", lab, tmp_path, sound=sound, adapter=adapter)
    assert [type(one.task) for one in lab.started] == [Text2Music, Repaint]


def test_the_web_studio_of_old_reads_metadata_and_a_share_of_one(
    lab: PretendSession, tmp_path: Path, sound: Path
) -> None:
    held("ace_step_ui", lab, tmp_path, sound=sound)
    assert [one.sampling.given()["guidance_scale"] for one in lab.started] == [10, 10, 10]


def test_a_page_opened_from_a_file_sends_forms_and_may_read_the_answers(lab: PretendSession, tmp_path: Path) -> None:
    held("studio_html", lab, tmp_path)
    assert [type(one.task) for one in lab.started] == [Text2Music, Cover]


def test_a_plug_in_talks_to_the_model_that_is_shipped(tmp_path: Path, sound: Path, adapter: Path) -> None:
    with Session.open(library=tmp_path / "library") as lab, ApiServer(lab, 0) as door:  # type: ignore[arg-type]
        routes = [route for route in ROUTES if "lora" not in route]  # whose adapter is no stand-in
        replay("acestep_vst3", door.address, routes, sound=str(sound), adapter=str(adapter))
        assert len(lab.library.ids()) == 4, "what the plug-in makes is in the notebook's library"


def test_every_recording_says_whose_it_is_and_no_two_steps_are_called_the_same() -> None:
    for file in FOLDER.glob("*.json"):
        said = recording(file.stem)
        words = [step["what"] for step in said["steps"]]
        assert said["client"]
        assert said["version"]
        assert len(set(words)) == len(words), file.name
