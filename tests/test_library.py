"""A library keeps takes whole, finds them again, and loses none of them to a crash, a second process or a slip."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from acestep_lab import Audio, LibraryError, Recipe, Region, Repaint, Take
from acestep_lab.takes import Library, compare, read_file


def take(seed: int = 1, caption: str = "slow dub techno", **more: object) -> Take:
    noise = np.random.default_rng(seed)
    sound = Audio(noise.standard_normal((1, 4000)) * 0.1, 8000).on_grid()
    recipe = Recipe(caption, seed=seed, seconds=0.5, **more)  # type: ignore[arg-type]
    return Take(recipe, sound, noise.standard_normal((50, 4)), made_with={"checkpoint": "pretend"})


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "takes")


def test_a_kept_take_comes_back_the_same_sample_for_sample(library: Library) -> None:
    one = take(lyrics="[Verse]\nÜber den Wolken 雲の上", keyscale="F# minor", bpm=118)
    library.keep(one)
    again = library.open(one.id)
    assert again.id == one.id
    assert np.array_equal(again.audio.samples, one.audio.samples)
    assert np.array_equal(again.latent, one.latent)
    assert again.recipe == one.recipe
    assert one.verify(again).word == "same"


def test_any_of_our_files_opens_on_its_own_and_brings_recipe_and_parents(library: Library, tmp_path: Path) -> None:
    one = take(caption="", task=Repaint("take-parent", [Region(0.1, 0.2)])).replace(parents=("take-parent",))
    for kind in ("flac", "wav", "opus", "mp3"):
        found = read_file(one.export(tmp_path / f"anything.{kind}"))
        assert (found.id, found.recipe, found.parents) == (one.id, one.recipe, one.parents)
    Audio(np.zeros((1, 800)), 8000).write(tmp_path / "other.flac")
    with pytest.raises(LibraryError, match="no take of ours"):
        read_file(tmp_path / "other.flac")


def test_the_sound_written_into_a_zip_stands_beside_latent_and_manifest(tmp_path: Path) -> None:
    one = take()
    with zipfile.ZipFile(one.export(tmp_path / "all.zip")) as archive:
        assert sorted(archive.namelist()) == sorted(f"{one.id}.{kind}" for kind in ("flac", "json", "safetensors"))


def test_search_finds_words_by_their_beginnings_and_never_fails_on_odd_queries(library: Library) -> None:
    library.keep(take(1, "slow dub techno, tape hiss"))
    library.keep(take(2, "bright bossa nova", bpm=140))
    assert [c.seed for c in library.cards("tech")] == [1]
    assert [c.seed for c in library.cards("140 bossa")] == [2]
    assert library.cards("dub bossa") == []
    for odd in ('"', "* OR", "(((", "NEAR(", "a AND", "--", "'; DROP TABLE takes"):
        library.cards(odd)
    assert len(library) == 2


def test_stars_notes_and_the_trash(library: Library) -> None:
    takes = [take(seed) for seed in range(4)]
    for one in takes:
        library.keep(one)
    library.mark(takes[0].id, star=True, note="die Bassfigur")
    assert library.mark(takes[1].id, reject=True).reject
    assert library.mark(takes[1].id, star=True).reject is False
    assert [c.id for c in library.cards("bassfigur")] == [takes[0].id]
    binned = library.keep_starred()
    assert set(library.ids()) == {takes[0].id, takes[1].id}
    assert set(library.trash()) == set(binned) == {takes[2].id, takes[3].id}
    assert library.restore(takes[2].id) == [takes[2].id]
    assert library.open(takes[2].id).id == takes[2].id
    library.empty_trash()
    assert library.trash() == []


def test_the_index_is_made_again_from_the_files(library: Library) -> None:
    library.keep(take(1))
    library.mark(take(1).id, star=True, tags=["keeper"])
    before = library.cards()
    library.rebuild()
    assert library.cards() == before
    library.close()
    library._index.path.write_bytes(b"not a database at all, just bytes" * 100)
    assert library.cards() == before


def test_two_processes_may_keep_takes_in_one_folder(library: Library) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.test_library import take; from acestep_lab.takes import Library\n"
        "library = Library(sys.argv[1])\nfor seed in range(100, 115): library.keep(take(seed))\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(library.folder)])
    for seed in range(15):
        library.keep(take(seed))
    assert other.wait(60) == 0
    assert len(library) == 30
    assert len(Library(library.folder).cards("techno")) == 30


def test_a_take_half_written_is_no_take(library: Library) -> None:
    one = take()
    library.keep(one)
    (library.folder / f"{one.id}.json").unlink()
    assert library.ids() == []
    assert library.keep(one).is_file()
    assert library.ids() == [one.id]


def test_a_vanished_or_forbidden_folder_is_a_sentence_and_comes_back_by_itself(
    library: Library, tmp_path: Path
) -> None:
    import shutil

    library.keep(take(1))
    shutil.rmtree(library.folder)
    with pytest.raises(LibraryError, match="is gone"):
        library.ids()
    library.keep(take(2))
    assert [c.seed for c in library.cards()] == [2]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LibraryError, match="cannot be made"):
        Library(tmp_path / "file" / "takes")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", ".index", "a/b", "take\0"])
def test_no_name_leads_out_of_the_folder(library: Library, name: str) -> None:
    with pytest.raises(LibraryError):
        library.open(name)


def test_sameness_is_told_from_likeness_and_difference() -> None:
    one = take().audio
    nearly = Audio(one.samples + 1e-5, one.rate)
    assert compare(one, nearly).word == "same to the ear"
    assert compare(one, take(2).audio).word == "different"
    assert compare(one, one.cut(Region(0, 0.25))).word == "different"
    assert not compare(one, take(2).audio)
