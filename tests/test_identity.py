"""An id is earned by content: nobody becomes a take by claiming its name, and nothing that is kept changes unnoticed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from acestep_lab import Audio, LabError, LibraryError, Recipe, RecipeError, Region, Repaint, Session, Take, Text2Music
from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.models.loading import Checkpoint
from acestep_lab.takes import Library, manifest, read_file
from acestep_lab.takes.comments import read_comment
from acestep_lab.takes.fingerprint import fingerprint, is_copy
from acestep_lab.takes.identity import digest, match_signs
from tests.test_library import take
from tests.tiny import tiny_diffusers

LOSSY = ("mp3", "opus", "ogg")


def song(seed: int = 1, seconds: float = 3.0, rate: int = 24000) -> Audio:
    """Plucked notes over a swell, different for each seed."""
    dice = np.random.default_rng(seed)
    at = np.arange(round(seconds * rate)) / rate
    wave = 0.05 * dice.standard_normal(at.size) * (1.2 + np.sin(2 * np.pi * at / 2))
    for start in np.arange(0, seconds, 0.2):
        since = np.clip(at - start, 0, None)
        wave += 0.2 * (at >= start) * np.exp(-6 * since) * np.sin(2 * np.pi * dice.uniform(80, 900) * since)
    return Audio(np.stack([wave, np.roll(wave, 30)]).astype(np.float32) * 0.7, rate).on_grid()


def piece(seed: int = 1, **more: Any) -> Take:
    latent = np.random.default_rng(seed).standard_normal((50, 4))
    made = {"checkpoint": "pretend", "gain": 1.0}
    return Take(Recipe("dub", seed=seed, seconds=3), song(seed), latent, made_with=made, **more)


def rewritten(source: Path, target: Path, sound: Audio, **changes: Any) -> Path:
    """A file with another sound and the comment of `source`, whose manifest may have been changed on the way."""
    comment = read_comment(source)[0]
    comment = json.dumps(json.loads(comment) | changes) if changes else comment
    return sound.write(target, comment=comment)


def louder(audio: Audio, start: float = 1.0, seconds: float = 0.3) -> Audio:
    samples = audio.samples.copy()
    samples[:, round(start * audio.rate) : round((start + seconds) * audio.rate)] *= np.float32(10 ** (3 / 20))
    return Audio(samples, audio.rate)


EDITS = {
    "cut": lambda audio: audio.cut(Region(0, audio.seconds - 0.2)),
    "louder": louder,
    "other music": lambda audio: song(9),
}


# -- the fingerprint


@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_copy_is_recognised_and_an_edited_one_is_not(kind: str, tmp_path: Path) -> None:
    one = piece()
    copy = read_file(path := one.export(tmp_path / f"copy.{kind}"))
    assert (copy.id, copy.remarks, copy.recipe) == (one.id, (), one.recipe)
    assert copy.is_copy
    for name, edit in EDITS.items():
        edited = read_file(rewritten(path, tmp_path / f"{name}.{kind}", edit(copy.audio)))
        assert edited.id != one.id, name
        assert edited.parents == (one.id,)
        assert "new take" in edited.remarks[0]
        assert edited.recipe == one.recipe


def test_a_fingerprint_bears_what_encoders_do_and_is_small() -> None:
    sound = song()
    mark = fingerprint(sound)
    assert len(mark) < 400 * sound.seconds
    assert is_copy(mark, sound.seconds, Audio(np.pad(sound.samples, ((0, 0), (1105, 900))), sound.rate)), "a delay"
    assert is_copy(mark, sound.seconds, sound.resample(22050).resample(24000))
    assert not is_copy(mark, sound.seconds, Audio(sound.samples * 1.5, sound.rate))
    silent = Audio(np.zeros((2, 9000)), 8000)
    assert is_copy(fingerprint(silent), silent.seconds, silent)
    assert not is_copy(fingerprint(silent), silent.seconds, sound.resample(8000).cut(Region(0, 1.125)))


@pytest.mark.parametrize("mark", ["", "x", "AAAA", "eJw=", "é" * 9, "A" * 10**6])
def test_what_is_no_fingerprint_is_nobodys(mark: str) -> None:
    assert not is_copy(mark, 3.0, song())


# -- files that claim an id


@pytest.mark.parametrize("kind", ["flac", "wav"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_lossless_file_is_a_new_take_with_the_original_as_parent(
    kind: str, edit: str, tmp_path: Path
) -> None:
    one = piece()
    path = one.export(tmp_path / f"whole.{kind}")
    assert read_file(path).id == one.id
    edited = read_file(rewritten(path, tmp_path / f"edited.{kind}", EDITS[edit](one.audio)))
    assert edited.id not in (one.id, "")
    assert edited.parents == (one.id,)
    assert "not the one its manifest tells of" in edited.remarks[0]
    assert not edited.latent.size, "the original's latent is not this sound's"


def test_one_changed_sample_makes_a_lossless_file_another_take(tmp_path: Path) -> None:
    one = piece()
    samples = one.audio.samples.copy()
    samples[0, 100] += 2.0**-20
    edited = read_file(rewritten(one.export(tmp_path / "a.flac"), tmp_path / "b.flac", Audio(samples, 24000)))
    assert edited.parents == (one.id,)


def test_a_manifest_forged_to_fit_another_sound_does_not_earn_the_id(tmp_path: Path) -> None:
    one, mine = piece(), song(5)
    path = one.export(tmp_path / "whole.flac")
    facts = piece(5).facts["audio"]
    forged = read_file(rewritten(path, tmp_path / "forged.flac", mine, audio=facts))
    assert forged.id != one.id
    assert forged.parents == (one.id,)
    nested = read_file(rewritten(path, tmp_path / "nested.flac", mine, audio={**facts, "original": one.facts["audio"]}))
    assert nested.id != one.id


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "takes")
    yield opened
    opened.close()


def old(story: dict[str, Any], audio: Audio, **changes: Any) -> dict[str, Any]:
    """A manifest as the first format wrote it."""
    facts = {"seconds": audio.seconds, "rate": audio.rate, "channels": audio.channels, "sha256": digest(audio.samples)}
    kept = {name: value for name, value in story.items() if name != "checksum"}
    return kept | {"format": "acestep_lab.take/1", "audio": facts} | changes


def test_a_claim_of_an_old_file_never_takes_over_a_kept_or_binned_take(library: Library, tmp_path: Path) -> None:
    one, mine = piece(), song(5)
    library.keep(one)
    library.mark(one.id, star=True, note="the bass")
    path = one.export(tmp_path / "whole.flac")
    claim = old(manifest.describe(one), mine)
    forged = read_file(rewritten(path, tmp_path / "forged.flac", mine, **claim))
    assert forged.id == one.id, "an old manifest proves nothing, and nobody is here to object"
    for binned in (False, True):
        if binned:
            library.bin(one.id)
        admitted = library.admit(forged)
        assert admitted.id != one.id
        assert admitted.parents == (one.id,)
        kept = library.keep(forged)
        assert kept.stem == admitted.id
        assert np.array_equal(library.open(admitted.id).audio.samples, mine.samples)
        assert library.marks(admitted.id) == {}
    assert library.restore(one.id) == [one.id]
    assert np.array_equal(library.open(one.id).audio.samples, one.audio.samples)
    assert library.card(one.id).note == "the bass"


def test_a_copy_that_is_kept_gives_way_to_its_original(library: Library, tmp_path: Path) -> None:
    one = piece()
    copy = read_file(one.export(tmp_path / "copy.opus"))
    library.keep(copy)
    kept = library.open(one.id)
    assert (kept.id, kept.is_copy, kept.remarks) == (one.id, True, ())
    assert np.array_equal(kept.audio.samples, copy.audio.samples)
    library.keep(one)
    assert np.array_equal(library.open(one.id).audio.samples, one.audio.samples)
    library.keep(copy)
    assert not library.open(one.id).is_copy, "a copy never replaces its original"
    assert np.array_equal(library.open(one.id).latent, one.latent)


def test_a_take_opened_without_its_latent_keeps_its_id_and_an_other_content_never_does(tmp_path: Path) -> None:
    one = piece()
    found = read_file(one.export(tmp_path / "a.flac"))
    assert found.replace(created=one.created).id == one.id
    assert found.replace(audio=song(3)).id != one.id
    assert found.replace(recipe=one.recipe.replace(seed=9)).id != one.id
    assert found.replace(parents=("take-other",)).id != one.id
    assert found.replace(latent=one.latent).id == one.id, "with all its content it earns the id anew"
    with pytest.raises(RecipeError, match="no field"):
        found.replace(manifest={})


# -- a session


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_diffusers(tmp_path_factory.mktemp("tiny") / "base", turbo=False, lm=False)


@pytest.fixture
def lab(tiny: Path, library: Library) -> Iterator[Session]:
    with Session(Ace15Engine(Checkpoint.open(tiny)), library=library) as session:
        yield session


def test_opening_an_edited_file_answers_with_the_edit_and_keeps_it(lab: Session, tmp_path: Path) -> None:
    one = lab.keep(piece())
    path = rewritten(one.export(tmp_path / "a.flac"), tmp_path / "edited.flac", louder(one.audio))
    with pytest.warns(UserWarning, match="new take"):
        edited = lab.load(path)
    assert np.array_equal(edited.audio.samples, louder(one.audio).on_grid().samples)
    kept = lab.keep(edited)
    assert kept.id == edited.id != one.id
    assert lab.load(edited.id) == edited
    assert np.array_equal(lab.load(one.id).audio.samples, one.audio.samples)
    assert lab.sound(one.id) is one
    assert len(lab.library) == 2


def test_a_claim_never_overwrites_what_a_session_remembers(lab: Session, tmp_path: Path) -> None:
    one, mine = piece(), song(5)
    assert lab.sound(one) is one
    claim = old(manifest.describe(one), mine)
    path = rewritten(one.export(tmp_path / "a.flac"), tmp_path / "forged.flac", mine, **claim)
    with pytest.warns(UserWarning, match="another take here"):
        forged = lab.load(path)
    assert forged.id != one.id
    lab.sound(read_file(path))
    assert lab.sound(one.id) is one
    assert lab.load(one.id) is one


def test_an_unharmed_file_opens_without_a_word(lab: Session, tmp_path: Path) -> None:
    one = piece()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("flac", "wav", *LOSSY):
            assert lab.load(one.export(tmp_path / f"a.{kind}")).id == one.id


@pytest.mark.parametrize("name", ["../../x", "take-", "take-A", "take-a\n", "take-" + "a" * 99, "take-é", "", "."])
def test_an_id_is_small_letters_and_nothing_else(name: str, lab: Session, library: Library) -> None:
    for verb in (library.open, library.sound, library.marks, library.card, library.bin, library.open_sound, lab.load):
        with pytest.raises(LibraryError):
            verb(name)
    with pytest.raises(RecipeError):
        take().code(f"lab.{name}")


# -- what is kept is what is opened


def test_every_flip_of_a_latent_is_noticed_and_costs_no_sound(library: Library) -> None:
    library.keep(one := take())
    path = library.folder / f"{one.id}.safetensors"
    whole, dice = path.read_bytes(), np.random.default_rng(0)
    for place in dice.integers(0, len(whole), 40):
        bytes_ = bytearray(whole)
        bytes_[place] ^= 1 << int(dice.integers(8))
        path.write_bytes(bytes_)
        found = library.open(one.id)
        assert "latent" in found.remarks[0]
        assert not found.latent.size
        assert found.verify(one).word == "same"
    path.write_bytes(whole)
    assert np.array_equal(library.open(one.id).latent, one.latent)


def test_every_flip_of_samples_is_an_error_and_of_a_manifest_too(library: Library) -> None:
    samples = np.random.default_rng(3).standard_normal((1, 4000))  # off the grid: a WAV of floats
    library.keep(one := take().replace(audio=Audio(samples, 8000)))
    sound, story = library.sound(one.id), library.folder / f"{one.id}.json"
    dice = np.random.default_rng(0)
    for path in (sound, story):
        whole = path.read_bytes()
        for place in dice.integers(
            len(whole) - 15_000 if path == sound else 0, len(whole), 30
        ):  # samples are at the end
            bytes_ = bytearray(whole)
            bytes_[place] ^= 1 << int(dice.integers(7))
            path.write_bytes(bytes_)
            with pytest.raises(
                LibraryError, match=r"damaged|not JSON|not UTF-8|NUL|is none|newer|another take|cannot be"
            ):
                library.open(one.id)
        path.write_bytes(whole)
    assert library.open(one.id) == one


def test_a_recording_that_changed_is_an_error(library: Library) -> None:
    recording = Audio(np.random.default_rng(0).standard_normal((2, 500)), 8000)
    path = library.keep_sound(recording)
    assert library.open_sound(recording.id) == recording
    data = bytearray(path.read_bytes())
    data[-9] ^= 4
    path.write_bytes(data)
    with pytest.raises(LibraryError, match="damaged"):
        library.open_sound(recording.id)


SOUNDS = {
    "over full scale": lambda noise: noise * 8,
    "off the grid": lambda noise: noise * np.float32(np.pi / 10),
    "denormal": lambda noise: noise * np.float32(1e-41),
    "full scale": lambda noise: np.sign(noise),
    "signs of zero": lambda noise: np.where(noise > 0, np.float32(-0.0), np.float32(0)),
    "the grid": lambda noise: Audio(noise / 8, 8000).on_grid().samples,
    "huge": lambda noise: noise * np.float32(1e30),
    "nine channels": lambda noise: np.repeat(noise, 9, axis=0)[:9],
}


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("rate", [8000, 768_000])
def test_a_kept_sound_is_the_takes_sample_for_sample(name: str, rate: int, library: Library, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal((2, 600)).astype(np.float32)
    one = take().replace(audio=Audio(SOUNDS[name](noise), rate))
    path = library.keep(one)
    again = library.open(one.id)
    assert again.audio == one.audio
    assert again.verify(one).word == "same"
    assert again.remarks == ()
    assert read_file(path).id == one.id, "the sound file alone tells the story too"
    assert read_file(one.export(tmp_path / "a.wav")).audio == one.audio


def test_a_flac_of_what_its_grid_does_not_hold_is_still_the_same_take(tmp_path: Path) -> None:
    for sound in (Audio(song().samples * np.float32(0.777), 24000), Audio(song().samples * np.float32(0.9), 24000)):
        one = piece().replace(audio=sound)
        found = read_file(one.export(tmp_path / "a.flac"))
        assert (found.id, found.remarks) == (one.id, ())
        assert np.allclose(found.audio.samples, one.audio.samples, rtol=0, atol=2**-23)
        edited = rewritten(tmp_path / "a.flac", tmp_path / "b.flac", louder(found.audio))
        assert read_file(edited).parents == (one.id,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_kept(bad: float, library: Library) -> None:
    samples = np.zeros((1, 100), np.float32)
    samples[0, 7] = bad
    with pytest.raises(LabError, match=r"not numbers|finite"):
        library.keep(take().replace(audio=Audio(samples, 8000)))
    with pytest.raises(LabError, match=r"not numbers|finite"):
        library.keep_sound(Audio(samples, 8000))
    with pytest.raises(LibraryError, match="no samples"):
        library.keep(take().replace(audio=Audio(samples[:, :0], 8000)))
    assert library.ids() == []


def test_a_long_story_fits_into_every_file(tmp_path: Path) -> None:
    one = take(lyrics="Über den Wolken 雲の上\n" * 4000)
    for kind in ("flac", "wav", *LOSSY):
        found = read_file(one.export(tmp_path / f"a.{kind}"))
        assert found.recipe.lyrics == one.recipe.lyrics
        assert (tmp_path / f"a.{kind}").exists()
    with soundfile.SoundFile(str(tmp_path / "a.wav")) as wav:
        assert wav.frames == one.audio.samples.shape[1], "other programs read it as before"


# -- manifests of earlier versions, and of strangers


def test_the_first_format_still_opens_with_its_id_and_without_dcw(library: Library) -> None:
    library.keep(one := take().replace(asked=Recipe("dub")))
    path = library.folder / f"{one.id}.json"
    path.write_text(json.dumps(old(json.loads(path.read_text()), one.audio)))
    library.rebuild()
    found = library.open(one.id)
    assert (found.id, found.remarks) == (one.id, ())
    assert found.recipe == one.recipe.replace(dcw="off")
    assert found.asked == Recipe("dub", dcw="off")
    assert library.card(one.id).recipe["dcw"] == "off"
    library.keep(found)
    assert library.open(one.id).recipe.dcw == "off"
    assert found.replace(made_with={**one.made_with, "note": 1}).id == one.id


def test_an_old_digest_that_told_zero_from_minus_zero_is_still_understood() -> None:
    import hashlib

    samples = np.random.default_rng(0).standard_normal(2000).astype("<f4")
    samples[[5, 700, 1500]] = 0
    signed = samples.copy()
    signed[700] = -0.0
    told = hashlib.sha256(signed.tobytes()).hexdigest()
    assert match_signs(samples, hashlib.sha256, told) == "same"
    samples[3] += 1
    assert match_signs(samples, hashlib.sha256, told) == "other"
    samples[100:200] = 0
    assert match_signs(samples, hashlib.sha256, told) == "unsure"


@pytest.mark.parametrize("place", ["/etc/passwd", "~/song.wav", "..\\song.wav", "song.wav", "audio-x/../y"])
def test_a_manifest_from_elsewhere_names_no_file_of_this_machine(place: str, tmp_path: Path) -> None:
    path = (one := take()).export(tmp_path / "a.flac")
    recipe = one.recipe.to_json() | {"task": {"task": "Repaint", "source": place, "regions": [[0.1, 0.2]]}}
    found = read_file(rewritten(path, tmp_path / "b.flac", one.audio, recipe=recipe, parents=[place]))
    assert found.recipe.task == Text2Music()
    assert found.parents == (one.id,)
    assert any("left out" in remark for remark in found.remarks)
    assert place not in found.code()


def test_our_own_manifests_name_no_file_of_this_machine(tmp_path: Path) -> None:
    recipe = Recipe("dub", task=Repaint("audio-1f", [Region(0.1, 0.2)]))
    one = take(task=recipe.task).replace(asked=Recipe("dub", task=Repaint("/home/me/song.wav", [Region(0.1, 0.2)])))
    path = one.export(tmp_path / "a.flac")
    assert "/home/me" not in read_comment(path)[0]
    assert read_file(path).asked == recipe


def test_a_take_is_made_of_a_recipe_a_sound_and_a_latent() -> None:
    one = take()
    wrong: list[dict[str, Any]] = [
        {"recipe": "dub"}, {"audio": None}, {"latent": "x"}, {"latent": np.zeros(3)}, {"made_with": 5},
        {"parents": 5}, {"parents": (None,)}, {"created": 7},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(LibraryError, match=f"A take's {next(iter(change))}"):
            one.replace(**change)


@pytest.mark.parametrize("field", ["created", "plan", "asked", "made_with"])
@pytest.mark.parametrize("kind", ["flac", "mp3"])
def test_a_manifest_edited_by_hand_is_a_new_take_whatever_was_edited(field: str, kind: str, tmp_path: Path) -> None:
    one = piece()
    new = {
        "created": "2099-01-01T00:00:00",
        "plan": {"bpm": 99, "caption": "forged"},
        "asked": Recipe("forged").to_json(),
        "made_with": {"checkpoint": "pretend", "gain": 2.0},
    }
    edited = rewritten(one.export(tmp_path / "one.flac"), tmp_path / f"edited.{kind}", one.audio, **{field: new[field]})
    found = read_file(edited)
    assert found.id != one.id
    assert found.parents == (one.id,)
    assert "is not the one that" in found.remarks[0]


@pytest.mark.parametrize("kind", LOSSY)
def test_channels_swapped_or_copied_and_high_sounds_added_are_edits_in_lossy_files_too(
    kind: str, tmp_path: Path
) -> None:
    left, right = song(1, rate=48000).samples[0], song(2, rate=48000).samples[0]
    one = piece().replace(audio=Audio(np.stack([left, 0.7 * right]), 48000).on_grid())
    whole = one.export(tmp_path / "one.flac")
    high = 0.08 * np.sin(2 * np.pi * 9000 * np.arange(left.size) / 48000)
    for name, samples in {
        "swapped": one.audio.samples[::-1],
        "copied": one.audio.samples[[0, 0]],
        "whistling": one.audio.samples + high.astype(np.float32),
    }.items():
        edited = rewritten(whole, tmp_path / f"{name}.{kind}", Audio(samples.copy(), 48000))
        assert read_file(edited).parents == (one.id,), name
    assert read_file(one.export(tmp_path / f"honest.{kind}")).id == one.id


@pytest.mark.parametrize("name", ["cafe\u0301", "\u212bngstr\u00f6m", "a\r\nb", "\ufeffx\u200b", "a\u2028\x85b"])
def test_names_of_any_letters_come_back_as_they_were(name: str, library: Library, tmp_path: Path) -> None:
    one = piece().replace(made_with={"checkpoint": name, "adapters": {name: 1.0}})
    library.keep(one)
    assert library.open(one.id) == one
    assert library.open(one.id).made_with == one.made_with
    assert library.problems(sounds=True) == ()
    assert read_file(one.export(tmp_path / "one.wav")) == one


def test_a_library_in_a_folder_whose_name_is_no_text_keeps_latents_as_well(tmp_path: Path) -> None:
    library = Library(tmp_path / "\udcff\udcfe")
    library.keep(piece())
    assert np.array_equal(library.open(piece().id).latent, piece().latent)
    library.close()


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_a_repaint_of_the_first_format_opens_although_its_digest_is_that_of_no_file(
    factor: float, library: Library
) -> None:
    """That version digested the spliced floats, and wrote them, clipped, as 24 bits; and some latents column by column."""
    floats = Audio(song().samples * np.float32(factor / 3), 24000)
    one = piece().replace(
        recipe=Recipe("dub", seed=1, seconds=3, task=Repaint("take-1f0c9a52", Region(1, 2))), audio=floats
    )
    library.keep(one)
    story = old(manifest.describe(one), floats)
    story["latent"] = {"shape": list(one.latent.shape), "sha256": digest(one.latent)}
    (library.folder / f"{one.id}.json").write_text(json.dumps(story))
    clipped = np.clip(floats.samples, -1, 1 - 2**-23)
    sound = library.sound(one.id)
    sound.unlink()
    soundfile.write(sound.with_suffix(".flac"), clipped.T, 24000, subtype="PCM_24")
    from safetensors.numpy import save_file

    columns = np.ascontiguousarray(one.latent.T).reshape(one.latent.shape)
    save_file({"latent": columns}, library.folder / f"{one.id}.safetensors")
    again = library.open(one.id)
    assert again.id == one.id
    assert np.abs(again.audio.samples - clipped).max() < 1e-6
    assert np.array_equal(again.latent, one.latent)
    assert again.remarks == ()
