"""Latent shift, level, fades, instruction and captions of a stems checkpoint: recipe fields that change the sound as they say."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab import Extend, Lego, Recipe, Region, Repaint, Session, Take
from acestep_lab.audio.mastering import fade
from acestep_lab.engines.ace15.conditioning import PromptFields, encode_text, prompt_texts
from acestep_lab.errors import RecipeError
from tests.closeness import assert_near
from tests.tiny import tiny_components, tiny_tokenizer

WORDS = Recipe("dub", seconds=1.0, seed=3, steps=2, thinking=False)


@pytest.fixture(scope="module")
def lab(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session.open(tiny_base, library=tmp_path_factory.mktemp("takes"))


@pytest.fixture(scope="module")
def plain(lab: Session) -> Take:
    return lab.make(WORDS)


def peak_db(take: Take) -> float:
    return float(20 * np.log10(take.audio.peak))


def test_a_song_comes_to_the_peak_it_is_asked_for_and_to_minus_one_otherwise(lab: Session, plain: Take) -> None:
    assert peak_db(plain) == pytest.approx(-1.0, abs=1e-3)
    assert peak_db(lab.make(WORDS.replace(peak_db=-12.0))) == pytest.approx(-12.0, abs=1e-3)


def test_a_song_that_is_not_normalized_keeps_the_decoders_level_and_nothing_is_clipped(
    lab: Session, plain: Take
) -> None:
    raw = lab.make(WORDS.replace(normalize=False))
    assert raw.made_with["gain"] == 1.0
    louder = lab.make(WORDS.replace(normalize=False, latent_rescale=10.0))
    assert_near(raw.audio.samples * plain.made_with["gain"], plain.audio.samples, 1e-6)
    assert lab.library.open(louder.id).audio == louder.audio


def test_fades_are_straight_lines_over_the_finished_level(lab: Session, plain: Take) -> None:
    faded = lab.make(WORDS.replace(fade_in=0.25, fade_out=0.5)).audio.samples
    wanted, rate = plain.audio.samples.copy(), plain.audio.rate
    wanted[:, : rate // 4] *= np.linspace(0, 1, rate // 4, dtype=np.float32)
    wanted[:, -(rate // 2) :] *= np.linspace(1, 0, rate // 2, dtype=np.float32)
    assert_near(faded, wanted, 1e-6)
    assert not faded[:, 0].any()
    assert not faded[:, -1].any()


@pytest.mark.parametrize(("into", "out"), [(0, 0), (5, 0), (99, 99), (3, 7)])
def test_a_fade_longer_than_the_song_is_as_long_as_the_song(into: int, out: int) -> None:
    samples = np.ones((2, 10), np.float32)
    fade(samples, into, out)
    assert np.isfinite(samples).all()
    assert samples.max() <= 1.0
    assert (samples[:, 0] == 0).all() == (into > 0)
    assert (samples[:, -1] == 0).all() == (out > 0)


def test_the_latent_is_scaled_then_shifted_before_it_is_decoded(lab: Session, plain: Take) -> None:
    moved = lab.make(WORDS.replace(latent_shift=0.1, latent_rescale=0.8))
    assert_near(moved.latent, plain.latent * 0.8 + 0.1)
    assert moved.audio != plain.audio


def test_a_repaint_keeps_its_outside_whatever_is_asked_of_level_and_fades(lab: Session, plain: Take) -> None:
    with pytest.warns(UserWarning, match="takes the level of the source|only where a region reaches them"):
        new = lab.make(
            WORDS.replace(
                task=Repaint(plain, (Region(0.2, 0.4),), wave_crossfade=0.0, latent_crossfade=0.0), seconds=None,
                peak_db=-20.0, fade_out=0.9, latent_shift=0.2,
            )
        )  # fmt: skip
    rate = plain.audio.rate
    assert (new.audio.samples[:, : rate // 5] == plain.audio.samples[:, : rate // 5]).all()
    assert (new.audio.samples[:, 2 * rate // 5 :] == plain.audio.samples[:, 2 * rate // 5 :]).all()


def test_what_is_added_at_the_end_fades_out(lab: Session, plain: Take) -> None:
    longer = lab.make(WORDS.replace(task=Extend(plain, after=1.0, wave_crossfade=0.0), seconds=None, fade_out=0.5))
    assert not longer.audio.samples[:, -1].any()
    assert (longer.audio.samples[:, : plain.audio.rate] == plain.audio.samples).all()


def test_an_instruction_of_ones_own_is_what_the_text_encoder_reads(lab: Session, plain: Take) -> None:
    same = lab.make(WORDS.replace(instruction="Fill the audio semantic mask based on the given conditions:"))
    other = lab.make(WORDS.replace(instruction="Generate the LEAD track based on the audio context:"))
    assert same.audio == plain.audio
    assert other.audio != plain.audio


def test_an_instruction_that_fills_the_prompt_is_refused(lab: Session) -> None:
    with pytest.raises(RecipeError, match="no room for a caption"):
        lab.make(WORDS.replace(instruction="la " * 600))


def test_the_mask_may_be_ones_everywhere_and_the_outside_stays_all_the_same(lab: Session, plain: Take) -> None:
    region = (Region(0.2, 0.4),)
    asked = [Repaint(plain, region, wave_crossfade=0.0, mask=mask) for mask in ("explicit", "auto")]
    takes = [lab.make(WORDS.replace(task=task, seconds=None)) for task in asked]
    rate = plain.audio.rate
    assert takes[0].audio != takes[1].audio
    for take in takes:
        assert (take.audio.samples[:, 2 * rate // 5 :] == plain.audio.samples[:, 2 * rate // 5 :]).all()
    assert Repaint("x", region, mask="auto").to_json()["mask"] == "auto"
    assert "mask" not in Repaint("x", region).to_json()


# -- checkpoints finely tuned on stems ------------------------------------------------------------------------------------


def caption_block(**words: Any) -> str:
    return prompt_texts(PromptFields("bass line", **words))[0].split("# Caption\n")[1].split("\n\n# Metas")[0]


def test_a_stems_checkpoint_reads_its_captions_in_the_block_it_was_taught_with() -> None:
    full = "Generate the BASS track based on the audio context:"
    segment = "Generate a segment of the BASS track based on the audio context:"
    whole = {"global_caption": "a dub song", "instruction": full}
    assert caption_block(**whole, mask_control=True) == "Global: a dub song\nLocal: bass line\nMask Control: true"
    assert caption_block(**whole, mask_control=False) == "Global: a dub song\nLocal: bass line\nMask Control: false"
    assert caption_block(instruction=segment, mask_control=True) == "Local: bass line\nMask Control: true"
    assert caption_block(**whole) == "bass line"


def test_the_song_gives_way_before_the_stem_where_both_captions_are_long() -> None:
    components = tiny_components(turbo=False)
    words = PromptFields("bass line", global_caption="slow dub techno " * 300, mask_control=True, bpm=100)
    reading = encode_text(components["text"], tiny_tokenizer(0), [words])[0]
    assert len(reading.text) <= 256
    assert "The song's caption is longer" in reading.notes[0]


def test_what_a_stems_checkpoint_is_told_comes_from_the_recipe(tiny_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stems"
    shutil.copytree(tiny_base, folder)
    file = folder / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"is_lego_sft": True}))
    stems = Session.open(folder, library=tmp_path / "takes")
    assert stems.engine.checkpoint.row.stem_captions
    source = stems.make(WORDS)
    lego = WORDS.replace(task=Lego(source, "bass"), seconds=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sounds = {stems.make(lego.replace(global_caption=song)).audio.id for song in ("", "a dub song")}
    sounds.add(stems.make(lego.replace(task=Lego(source, "bass", mask="auto"))).audio.id)
    assert len(sounds) == 3


def test_other_checkpoints_say_that_they_read_one_caption(lab: Session) -> None:
    with pytest.warns(UserWarning, match="global_caption is not used"):
        lab.make(WORDS.replace(global_caption="a dub song"))
