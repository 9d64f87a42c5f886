"""Words that come in: one form for every text, keys and languages by meaning, and nothing sung that is not meant to be."""

from __future__ import annotations

import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acestep_lab import Audio, FlowEdit, Plan, Planning, Recipe, RecipeError, Session, SourceError, Take
from acestep_lab.errors import LintWarning
from acestep_lab.files import INVISIBLE, clean_text
from acestep_lab.prompt import keys, languages, lyrics, vocabulary
from acestep_lab.prompt.tags import corrected_tag
from acestep_lab.prompt.times import timed_line, without_times

# -- one form ----------------------------------------------------------------------------------------------------------


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(
    st.text(
        st.sampled_from("ab [] \t\r\n\x0b\x0c\x85\u2028\u2029\ufeff\u200b\u200e\u00ad\u0301eé\u1100\u1161"), max_size=40
    )
)
def test_a_cleaned_text_stays_as_it_is_and_has_no_odd_ends(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert clean == unicodedata.normalize("NFC", clean)
    assert clean.split("\n") == clean.splitlines() or clean.endswith("\n") or not clean
    assert all(line.strip(" \t")[:1] not in tuple(INVISIBLE) for line in clean.split("\n") if line.strip(" \t"))


MESSY, CLEAN = "\ufeff\u200b[Verse]\r\nCafe\u0301\u2028\u200b[Chorus]\rla\u200b", "[Verse]\nCafé\n[Chorus]\nla"


def test_every_text_of_a_recipe_goes_through_the_one_reader() -> None:
    recipe = Recipe(MESSY, MESSY, instruction=MESSY, global_caption=MESSY, planning=Planning(negative_prompt=MESSY))
    task, plan = FlowEdit("take-1", MESSY, MESSY), Plan(caption=MESSY, lyrics=MESSY, genres=MESSY)
    found = [recipe.caption, recipe.lyrics, recipe.instruction, recipe.global_caption, recipe.planning.negative_prompt]
    found += [
        task.caption,
        task.lyrics,
        plan.caption,
        plan.lyrics,
        plan.genres,
        Plan().replace(lyrics=MESSY).lyrics,
    ]
    assert set(found) == {CLEAN}


def test_letters_joined_on_purpose_stay_joined() -> None:
    kept = "می\u200cخواهم 👨\u200d👩\u200d👧 ภาษา\u200bไทย"
    assert Recipe("x", kept).lyrics == kept


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_lyrics_file_is_the_same_song_in_every_coding(coding: str, tmp_path: Path) -> None:
    from acestep_lab.cli.options import text_or_file

    (tmp_path / "song.txt").write_bytes("[Verse]\r\nCafé".encode(coding))
    assert text_or_file(f"@{tmp_path / 'song.txt'}") == "[Verse]\nCafé"
    (tmp_path / "old.txt").write_bytes("Café".encode("latin-1"))
    with pytest.raises(RecipeError, match="save it as UTF-8"):
        text_or_file(f"@{tmp_path / 'old.txt'}")


# -- keys, languages, numbers ------------------------------------------------------------------------------------------


KEYS = {
    "C major": ["C", "C Major", "C:maj", "Cmaj", "CM", "C-Dur", "Do majeur", "Do mayor", "dó maior", "C大调", "ハ長調", "다장조", "8B"],
    "F# minor": ["F# Minor", "f sharp minor", "F♯m", "F#:min", "fis-moll", "Fis moll", "Fa dièse mineur", "升F小调", "嬰ヘ短調"],
    "Bb major": ["B-flat Major", "Bb", "B♭ maj", "B-Dur", "Si bémol majeur", "si bemolle maggiore", "降B大调", "変ロ長調", "6B"],
    "Bb minor": ["Bbm", "b flat minor", "b-moll", "Bb moll", "B♭:minor"],
    "B minor": ["Bm", "B minor", "H-Moll", "h moll", "si mineur", "B:min"],
    "B major": ["B", "B Major", "H-Dur", "si majeur"],
    "A minor": ["Am", "A min", "a minor", "La mineur", "la menor", "A natural minor", "A aeolian", "ля минор", "8A", "key of A minor"],
    "Eb major": ["Es-Dur", "Eb Major", "E flat", "Mi♭ majeur"],
    "Ab minor": ["as-moll", "Ab minor", "A♭m"],
    "C# minor": ["c♯ min", "C#m", "cis-moll", "C# Minor", "Ｃ＃ｍ", "до-диез минор"],
}  # fmt: skip


@pytest.mark.parametrize(("key", "spelling"), [(key, one) for key, many in KEYS.items() for one in many])
def test_a_key_is_read_in_every_usual_spelling(key: str, spelling: str) -> None:
    assert vocabulary.keyscale(spelling) == key
    assert key in vocabulary.KEYSCALES


@pytest.mark.parametrize(
    "word", ["Ebmaj7", "H major", "C##", "F#/Gb", "m", "", "La", "Hdur#", "C blues", "13A", "x" * 5000]
)
def test_what_is_no_key_is_a_sentence(word: str) -> None:
    with pytest.raises(RecipeError, match="no key"):
        vocabulary.keyscale(word)


def test_a_church_mode_names_the_nearest_key_the_models_know() -> None:
    with pytest.raises(RecipeError, match=r"no dorian; the nearest is 'D minor'"):
        Recipe("x", keyscale="D dorian")


def test_every_key_of_the_grammar_reads_as_itself_and_the_wheel_has_all_24() -> None:
    for key in vocabulary.KEYSCALES:
        assert vocabulary.keyscale(key) == key.replace("♯", "#").replace("♭", "b")
    wheel = {vocabulary.key_parts(f"{n}{side}") for n in range(1, 13) for side in "AB"}
    assert wheel == {(tonic, minor) for tonic in range(12) for minor in (True, False)}


LANGUAGES = {
    "pt": "pt pt-BR pt_BR.UTF-8 Portuguese português PT",
    "ja": "ja jp jpn Japanese 日本語 ja-JP",
    "zh": "zh cn zh-CN zh-Hans zh-Hant-TW Chinese Mandarin 中文 cmn",
    "yue": "yue zh-HK Cantonese 粵語",
    "en": "en English eng en-US en-GB gb EN",
    "de": "de Deutsch German ger deu de-AT",
    "ko": "ko kr Korean 한국어",
    "es": "es español Spanish espanol es-MX",
    "cs": "cs cz Czech",
    "da": "da dk Danish",
    "sv": "sv se Swedish svenska",
    "uk": "uk ua Ukrainian",
    "el": "el gr Greek",
    "vi": "vi vn Vietnamese",
    "he": "he iw il Hebrew",
    "id": "id in Indonesian",
    "no": "no nb nn nb-NO Norwegian",
    "tl": "tl fil Tagalog Filipino",
}


@pytest.mark.parametrize(
    ("code", "word"), [(code, word) for code, words in LANGUAGES.items() for word in words.split()]
)
def test_a_language_is_taken_for_what_it_means(code: str, word: str) -> None:
    assert vocabulary.language(word) == code


def test_each_of_the_languages_has_a_row_and_reads_as_itself() -> None:
    assert all(vocabulary.language(code) == code for code in vocabulary.LANGUAGES)
    assert {languages.read(word) for word in languages.names()} <= set(vocabulary.LANGUAGES)


@pytest.mark.parametrize(
    ("word", "says"), [("br", "'pt'"), ("Englsh", "'english'"), ("auto", "Leave it away"), ("klingon", "no language")]
)
def test_a_language_nobody_knows_gets_a_hint_by_meaning_or_none(word: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        vocabulary.language(word)
    assert word != "klingon" or "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "beats"), [("120 bpm", 120), ("128.0", 128), ("♩ = 96", 96), ("120,4", 120), ("１２０", 120), (119.6, 120)]
)
def test_a_tempo_is_read_with_its_unit(said: object, beats: int) -> None:
    assert vocabulary.bpm(said) == beats


@pytest.mark.parametrize("said", ["²", "Ⅷ", "fast", "", "1e3", "nan", "1.2.3", True, None])
def test_what_is_no_tempo_is_a_sentence(said: object) -> None:
    with pytest.raises(RecipeError, match="beats per minute"):
        vocabulary.bpm(said)


@pytest.mark.parametrize(
    ("said", "beats"), [("3/4 time", "3"), ("4/4", "4"), (6, "6"), ("6/8", "6"), ("2 beats", "2"), (4.0, "4")]
)
def test_a_meter_is_read_with_its_words(said: object, beats: str) -> None:
    assert vocabulary.timesignature(said) == beats


# -- what would be sung ------------------------------------------------------------------------------------------------

LRC = """[ar:Somebody]
[ti:Song]
[offset:+500]

[00:01.00][00:09.50]Chorus one
[00:02.00]Chorus two
[Verse]
[00:05.00]<00:05.00>Word <00:05.50>by <00:06.00>word
"""
SRT = """1
00:00:01,000 --> 00:00:02,000
<i>Hello</i> there
again

2
00:00:03,000 --> 00:00:04,000 X1:10
1999
"""
VTT = """WEBVTT - Title
Kind: captions

NOTE nothing
to sing

intro
00:01.000 --> 00:02.000 align:start
<v Roger>Hi <00:01.500><c>you</c>

00:00:03.000 --> 00:00:04.000
{\\an8}bye
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LRC, "Chorus one\nChorus two\n[Verse]\nWord by word\nChorus one"),
        (SRT, "Hello there\nagain\n1999"),
        (VTT, "Hi you\nbye"),
    ],
    ids=["lrc", "srt", "vtt"],
)
def test_times_are_taken_off_on_request_and_remarked_otherwise(text: str, words: str) -> None:
    assert Recipe("x", text).lyrics == clean_text(text)
    assert without_times(text) == words
    assert "without_times" in lyrics.remarks(text)[0].text
    assert without_times(words) == words
    assert timed_line(words) is None


def test_lyrics_without_times_are_left_as_they_are() -> None:
    words = "[Verse]\n  I left at 5:15 <3\n\n\n\n1\n[ar you ready]"
    assert without_times(words) == words


TAGS = {
    "【Verse】": "[Verse]", "(Verse 1)": "[Verse 1]", "Verse 1:": "[Verse 1]", "{Chorus}": "[Chorus]", "［Chorus］": "[Chorus]",
    "**Chorus**": "[Chorus]", "## Bridge": "[Bridge]", "Chorus": "[Chorus]", "VERSE 2": "[Verse 2]", "(Chorus x2)": "[Chorus]",
    "【副歌】": "[Chorus]", "[主歌]": "[Verse]", "副歌：": "[Chorus]", "サビ": "[Chorus]", "[Refrain]": "[Chorus]", "[[Verse]]": "[Verse]",
    "«Припев»": "[Chorus]", "(Verse one)": "[Verse 1]", "--- Outro ---": "[Outro]", "<Pre-Chorus>": "[Pre-Chorus]",
    "[Verse 1] words here": "[Verse 1] on a line of its own", "[Chorus]: la la": "[Chorus] on a line of its own",
}  # fmt: skip


@pytest.mark.parametrize(("line", "right"), TAGS.items())
def test_a_look_alike_tag_gets_a_remark_with_the_right_form(line: str, right: str) -> None:
    assert corrected_tag(line) == right
    assert [(r.line, right in r.text) for r in lyrics.remarks(f"la\n{line}\nla")] == [(1, True)]


@pytest.mark.parametrize(
    "line",
    ["[Verse]", "[verse 2]", "[Chorus - anthemic]", "[Intro: soft piano]", "[Verse][whispered]", "Silence", "Bridge over water", "(ooh)",
     "hold the line", "The chorus", "***", "", "[Guitar Solo]", "(", "(yeah, verse)", "break", "x" * 500],
)  # fmt: skip
def test_what_is_a_tag_or_a_sung_line_is_left_in_peace(line: str) -> None:
    assert corrected_tag(line) is None


def test_lyrics_with_times_and_false_tags_are_told_when_a_run_begins(tiny_turbo: Path, tmp_path: Path) -> None:
    recipe = Recipe("dub", "[00:01.00]la\n(Verse 1)\nla\n(Chorus)\nla", seconds=1, steps=1, seed=1, thinking=False)
    with Session.open(tiny_turbo, library=tmp_path) as lab:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            run = lab.start(recipe)
        assert isinstance(run.take(), Take)
    assert ["without_times" in str(one.message) for one in warned if one.category is LintWarning] == [True, False]
    told = " ".join(run.messages)
    assert "Lyrics, line 1" in told
    assert "[Verse 1]" in told
    assert "1 more line" in told


def test_nothing_takes_long_on_hostile_text() -> None:
    for text in (
        "[" * 50_000,
        "<" * 50_000,
        "[00:01.00]" * 9_000,
        "{\\" * 40_000,
        " " * 90_000 + "x",
        "0:00 -->" * 10_000,
        "\u200b \t" * 30_000,
    ):
        assert clean_text(text) is not None
        assert isinstance(without_times(text), str)
        assert isinstance(lyrics.remarks(text), list)
    assert keys.read("#" * 60) is None


@pytest.mark.parametrize("bad", ["\ufffe", "\uffff", "\ud800", "\0"])
def test_what_is_no_character_never_reaches_a_files_tags(bad: str, tmp_path: Path) -> None:
    """libFLAC refuses the first two in a tag, and libsndfile then aborts the process."""
    with pytest.raises(RecipeError, match="none"):
        Recipe("dub", f"la {bad}")
    sound = Audio(np.full((2, 800), 0.1, np.float32), 8000)
    with pytest.raises(SourceError, match=r"is no character|is text"):
        sound.write(tmp_path / "song.flac", comment=bad, title="song")
    named = Take(Recipe("dub"), sound, np.zeros((5, 8), np.float32), made_with={"adapters": {f"my{bad}lora": 1.0}})
    assert named.export(tmp_path / "take.flac").is_file()


@pytest.mark.parametrize(
    ("said", "meant_by_it"),
    [("C-", "C minor"), ("F#-", "F# minor"), ("Dmi", "D minor"), ("Lam", "A minor"), ("Hm", "B minor"), ("C-duuri", "C major"),
     ("fis mol", "F# minor"), ("A (minor)", "A minor"), ("08A", "A minor"), ("'C♮ major'", "C major"), ("\ufeffAm\u200b", "A minor")],
)  # fmt: skip
def test_keys_of_lead_sheets_and_other_tongues_are_read(said: str, meant_by_it: str) -> None:
    assert vocabulary.keyscale(said) == meant_by_it


@pytest.mark.parametrize("words", ["no vocals", "in english", "is it", "la la", "it is", "zh-min-nan", "no problem"])
def test_words_that_begin_like_a_language_tag_are_none(words: str) -> None:
    with pytest.raises(RecipeError, match="no language"):
        vocabulary.language(words)


@pytest.mark.parametrize(
    ("said", "code"),
    [("British English", "en"), ("Chinese Simplified", "zh"), ("Latin American Spanish", "es"), ("Egyptian Arabic", "ar"),
     ("anglais", "en"), ("日语", "ja"), ("\ufeffen\u200b", "en"), ("zh-Hant-HK", "yue"), ("de-CH-1996", "de")],
)  # fmt: skip
def test_kinds_and_foreign_names_of_languages_are_read(said: str, code: str) -> None:
    assert vocabulary.language(said) == code


@pytest.mark.parametrize(
    ("timed", "plain"),
    [
        ("[01:02:03.50]One\n[01:02:05.50]two", "One\ntwo"),
        ("[-00:01.00]One\n[00:05]two", "One\ntwo"),
        ("(0:12) One\n【00:15.5】two\n［00:17］three", "One\ntwo\nthree"),
        ("0:12 One\n[Chorus]\n0:15 - two", "One\n[Chorus]\ntwo"),
        ("[00:12.00]When[00:12.50] you[00:13.00] go", "When you go"),
        ("WEBVTT\n\n00:12.000 --> 00:15.000\n<00:12.500><c>a</c><00:13.000><c> word</c>", "a word"),
        ("1\n00:00:12 -> 00:00:15\nOne\n\n2\n00:00:16,0 → 00:00:18,0\ntwo", "One\n\ntwo"),
        ("0:00:12.000,0:00:15.000\nOne", "One"),
    ],
)
def test_times_in_any_brackets_are_noticed_and_come_off_whole(timed: str, plain: str) -> None:
    assert timed_line(timed) is not None
    found = without_times(timed)
    assert found.replace("\n\n", "\n") == plain.replace("\n\n", "\n")
    assert timed_line(found) is None


def test_a_time_of_day_in_a_song_is_sung() -> None:
    words = "[Verse]\n5:15 the angels have gone\nMeet me at 12:30"
    assert timed_line(words) is None
    assert without_times(words) == words


@pytest.mark.parametrize(
    "look", ["“{}”", "⟨{}⟩", "◆{}◆", "► {}", "• {}", "/{}/", "<b>{}</b>", "{} (x2)", "'{}'", "1. {}", "--{}--"]
)
def test_a_tag_in_any_ornament_gets_a_remark_with_the_right_form(look: str) -> None:
    assert corrected_tag(look.format("Chorus")) == "[Chorus]"


@pytest.mark.parametrize(
    "sung", ["Drop!", "“Silence!”", "Break...", "(yeah)", "Chorus of angels", "[Guitar Solo]", "♪", "***"]
)
def test_what_is_sung_or_right_gets_none(sung: str) -> None:
    assert corrected_tag(sung) is None
