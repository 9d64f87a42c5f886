"""A song's two wordings: which of them its lessons have, and that a data set without `genre_ratio` learns as it did before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from acestep_lab import Dataset, Recipe, Session
from acestep_lab.errors import RecipeError
from acestep_lab.jobs.training import TrainingRun
from acestep_lab.takes.library import Library
from acestep_lab.train.rows import by_genre, captioned, genre_share
from acestep_lab.train.wordings import Wordings

QUICK: dict[str, Any] = {"steps": 6, "rank": 2, "warm_up": 0, "learning_rate": 1e-2, "held_out": 0.0, "seed": 3}


@pytest.fixture(scope="module")
def lab(tiny_original_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(tiny_original_turbo, library=Library(tmp_path_factory.mktemp("library"))) as lab:
        lab.jobs.progress = False
        yield lab


@pytest.fixture(scope="module")
def songs(lab: Session) -> Dataset:
    """Three songs with a caption and a genre each."""
    takes = [lab.make(Recipe(f"song {n}", seconds=2, seed=n, steps=1)) for n in range(3)]
    return Dataset.of_takes(takes).edit(genre="dub")


def overridden(data: Dataset, *words: str | None) -> Dataset:
    """Songs with a `prompt_override` each, as the reference's JSON has it."""
    pairs = zip(data.songs, words, strict=True)
    return replace(data, songs=tuple(replace(song, given={"prompt_override": word}) for song, word in pairs))


def adapter(run: TrainingRun) -> bytes:
    """Its weights, without what is said of how they came to be."""
    weights = load_file(run.result() / "last" / "adapter_model.safetensors")
    return b"".join(weights[name].numpy().tobytes() for name in sorted(weights))


def test_the_share_and_the_songs_it_is_of_are_read_as_the_reference_writes_them(songs: Dataset) -> None:
    assert by_genre(songs) == ()
    assert [song.caption for song in by_genre(songs.describe(genre_ratio=30))] == ["dub"] * 3
    assert genre_share(songs.describe(genre_ratio=30)) == 0.3
    for wrong in (101, -1, "half", True):
        with pytest.raises(RecipeError, match="percentage"):
            genre_share(songs.describe(genre_ratio=wrong))
    chosen = overridden(
        songs.edit(tag="zafu").describe(genre_ratio=30, tag_position="append"), "genre", "caption", None
    )
    assert [song.caption for song in captioned(chosen)] == ["dub, zafu", "song 1, zafu", "song 2, zafu"]
    assert [song.caption for song in by_genre(chosen)] == ["dub, zafu"]
    assert [song.name for song in by_genre(chosen)] == [songs[2].name], "an override is no matter of chance"


def test_a_lot_of_the_seed_says_which_wording_a_pass_hears() -> None:
    def drawn(share: float, seed: int) -> list[bool]:
        words = Wordings((), (), {}, share, seed)
        return [words.by_lot(place, turn) for turn in range(200) for place in range(5)]

    assert drawn(0.3, 1) == drawn(0.3, 1) != drawn(0.3, 2)
    assert 0.25 < sum(drawn(0.3, 1)) / 1000 < 0.35
    assert not any(drawn(0.0, 1))
    assert all(drawn(1.0, 1))


def test_both_wordings_are_lessons_and_the_ratio_says_which_is_learnt(
    lab: Session, songs: Dataset, tmp_path: Path
) -> None:
    def run(data: Dataset, name: str) -> TrainingRun:
        made = lab.train(data, folder=tmp_path / name, **QUICK)
        made.result()
        return made

    plain, mixed = run(songs, "plain"), run(songs.describe(genre_ratio=50), "mixed")
    assert (plain.lessons, mixed.lessons) == (3, 6)
    always, genres = run(songs.describe(genre_ratio=100), "always"), run(songs.edit(caption="dub"), "genres")
    assert adapter(always) == adapter(genres), "always the genre is as if there were no caption"
    assert adapter(plain) == adapter(run(songs.describe(genre_ratio=0), "none"))
    assert len({adapter(one) for one in (plain, mixed, always)}) == 3
    assert adapter(mixed) == adapter(run(songs.describe(genre_ratio=50), "again"))


def test_overrides_come_back_from_the_reference_s_json_and_are_learnt(
    lab: Session, songs: Dataset, tmp_path: Path
) -> None:
    folder = songs.write(tmp_path / "songs")
    data = overridden(Dataset.scan(folder), "genre", "genre", "caption")
    path = data.describe(genre_ratio=40).write_reference_json(folder / "set.json")
    read = Dataset.scan(path)
    assert json.loads(path.read_text())["metadata"]["genre_ratio"] == 40
    assert [song.caption for song in captioned(read)] == ["dub", "dub", read[2].caption]
    run = lab.train(read, folder=tmp_path / "run", **QUICK)
    run.result()
    assert run.lessons == 3, "every song has its one wording"


def test_a_song_without_words_is_left_out_and_previews_take_another_s(
    lab: Session, songs: Dataset, tmp_path: Path
) -> None:
    bare = songs.edit(0, caption="", genre="").edit(1, caption="a harp")
    assert lab.train(bare, dry_run=True, **QUICK).fits in (True, False)
    run = lab.train(bare, folder=tmp_path / "bare", **QUICK | {"preview_every": 6, "held_out": 0.1})
    run.result()
    assert run.lessons == 2
    assert any(bare[0].name in message and "no words" in message for message in run.messages)
    assert run.previews[0].bare.recipe.caption == "a harp"
    assert any("With 3 songs none is held out (4 are enough)" in message for message in run.messages)
    with pytest.raises(RecipeError, match="None of these songs has words"):
        lab.train(songs.edit(caption="", genre=""), **QUICK)


def test_one_song_alone_is_learnt_and_it_is_said_that_none_is_held_out(
    lab: Session, songs: Dataset, tmp_path: Path
) -> None:
    run = lab.train(
        songs[:1].edit(caption="", genre="", tag="zafu"), folder=tmp_path / "one", **QUICK | {"held_out": 0.2}
    )
    run.result()
    assert (run.lessons, run.held_out_curve) == (1, ())
    assert run.messages[0].startswith("With one song none is held out")
    assert len(run.curve) == 6
