"""One boundary for files and texts from outside: whatever they hold, the answer is a value or a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acestep_lab.errors import MOST_CHARACTERS, CheckpointError, LabError, LibraryError, RecipeError, shown
from acestep_lab.files import clean_text, decode_text, parse_json, read_bytes, read_json, read_text, write_whole

TEXT = "[Verse]\nNaïve café, ça va – 音楽\n"


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_text_is_the_same_in_every_unicode_coding(coding: str) -> None:
    assert decode_text(TEXT.encode(coding)) == TEXT


def test_line_ends_invisible_characters_and_composed_letters_have_one_form() -> None:
    assert clean_text("\ufeff\u200ba\r\nb\rc\u200b") == "a\nb\nc"
    assert clean_text("e\u0301") == "\u00e9"


@pytest.mark.parametrize("data", ["café".encode("latin-1"), "日本".encode("shift-jis"), b"\xff\xfe\x00\xd8"])
def test_other_codings_are_one_sentence_that_says_what_to_do(data: bytes) -> None:
    with pytest.raises(RecipeError, match="UTF-8"):
        decode_text(data, "lyrics.txt")


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_a_sentence(data: bytes) -> None:
    for read in (decode_text, parse_json):
        try:
            said = repr(read(data))
        except LabError as error:
            said = str(error)
        assert said


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 50_000, "NaN", "[1e999]", '"\\ud800', "9" * 5000, "", "{}x"], ids=repr
)
def test_json_that_is_none_is_a_sentence(text: str) -> None:
    with pytest.raises(LibraryError) as caught:
        parse_json(text, "x.json", LibraryError)
    assert len(str(caught.value)) <= MOST_CHARACTERS


def test_what_is_no_ordinary_file_is_a_sentence_and_does_not_wait(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, tmp_path / "none", "a\0b", Path("/dev/zero")):
        with pytest.raises(CheckpointError):
            read_bytes(path, error=CheckpointError)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_bytes(b" " * 101)
    with pytest.raises(LibraryError, match="101 bytes"):
        read_json(tmp_path / "big.json", error=LibraryError, most=100)


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "words.txt").write_text("la", encoding="utf-16")
    assert read_text("~/words.txt") == "la"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_whole(target, lambda path: path.write_text("one"))

    def fails(path: Path) -> None:
        path.write_text("tw")
        raise OSError(28, "No space left on device")

    with pytest.raises(LibraryError, match="No space left"):
        write_whole(target, fails)
    assert target.read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("value", [10**400, 10**100_000, "x" * 10**6, "\ud800", object(), [[]] * 10_000], ids=type)
def test_any_value_can_be_quoted_in_a_sentence(value: object) -> None:
    text = shown(value)
    text.encode()
    assert len(text) <= 60
    assert len(str(RecipeError(f"{text} is wrong"))) <= MOST_CHARACTERS
