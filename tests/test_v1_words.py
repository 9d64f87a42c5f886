"""ACE-Step v1's words: which language a line is in, how it is spelt, which tokens it becomes, and what UMT5 says of a prompt."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from acestep_lab._libraries import transformers
from acestep_lab.engines.ace_v1 import languages, lyric_cleaning, lyric_tokenizer, text_encoder
from acestep_lab.engines.ace_v1.languages import NAMES, languages_of, script_of, spoken
from acestep_lab.engines.ace_v1.lyric_cleaning import Readers, clean
from acestep_lab.engines.ace_v1.lyric_tokenizer import LyricReader, LyricTokenizer, LyricTokens, open_vocabulary
from acestep_lab.engines.ace_v1.text_encoder import PromptReader
from acestep_lab.errors import CheckpointError, RecipeError
from tests.tiny_v1_words import SIGNS, tiny_umt5, tiny_vocabulary


class OnCpu:
    """Where one component is, as a stand-in for the device manager."""

    device = torch.device("cpu")

    def __init__(self, module: Any) -> None:
        self.module, self.asked = module, 0

    def device_for(self, component: str) -> torch.device:
        return self.device

    def run_with_retry(self, component: str, operation: Callable[[Any], Any]) -> Any:
        assert component == "text"
        self.asked += 1
        return operation(self.module)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vocabulary(tmp_path_factory.mktemp("words") / "vocab.json")


@pytest.fixture(scope="module")
def umt5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_umt5(tmp_path_factory.mktemp("umt5") / "umt5-base")


@pytest.fixture
def words(vocabulary: Path) -> LyricTokenizer:
    return LyricTokenizer(open_vocabulary(vocabulary))


@pytest.fixture
def prompts(umt5: Path) -> PromptReader:
    return PromptReader(umt5, OnCpu(text_encoder.build(umt5, torch.float32)))  # type: ignore[arg-type]


# -- languages ---------------------------------------------------------------------------------------------------------


def test_a_line_in_its_own_letters_is_in_their_language_and_the_named_one_where_it_has_them() -> None:
    lines = ["你好", "안녕", "привет", "مرحبا", "नमस्ते", "きみ", "bonjour"]
    assert languages_of(lines, "fr") == ["ja", "ko", "ru", "ar", "hi", "ja", "fr"]
    assert languages_of(["夜空", "12", ""], "ja") == ["ja", "ja", "ja"]
    assert languages_of(["月亮", "hello"], "zh", lambda text: ("en", 1.0)) == ["zh", "en"]
    assert [script_of(line) for line in ("α love", "Ｌｏｖｅ", "ﬁ", "itʼs", "々", "12")] == [*["latin"] * 4, None, None]
    assert script_of("love 사랑") == "hangul"  # as the original: a few words of English make no line English


LINES = {
    "en": "City hums in dead of night", "de": "Ich liebe dich so sehr, mein Schatz", "fr": "La mer qu'on voit danser le long des golfes",
    "es": "Bésame mucho como si fuera esta noche", "it": "Nel blu dipinto di blu", "pt": "Tristeza não tem fim, felicidade sim",
    "pl": "Kocham cię mocno, moja miła", "tr": "Seni seviyorum, sevgilim benim", "cs": "Škoda lásky, kterou jsem tobě dala",
    "nl": "Ik hou van jou, alleen van jou", "hu": "Szomorú vasárnap száz fehér virággal",
}  # fmt: skip


def test_languages_in_latin_letters_are_told_apart_by_py3langid() -> None:
    assert {code: languages_of([line])[0] for code, line in LINES.items()} == {code: code for code in LINES}


def test_a_short_line_is_in_the_language_of_the_others() -> None:
    def guess(text: str) -> tuple[str, float]:
        return ("it", 0.95) if "cielo" in text else ("tr", 0.4)

    assert languages_of(["la la", "il cielo in una stanza"], None, guess) == ["it", "it"]
    assert languages_of(["la la"], None, guess) == ["en"]


def test_there_are_seventeen_languages_and_any_other_is_a_sentence() -> None:
    assert len(NAMES) == 17
    assert [spoken(word) for word in ("Portuguese", "zh-CN", "unknown", "", None)] == ["pt", "zh", None, None, None]
    with pytest.raises(RecipeError, match="reads no lyrics in 'vi'; it reads en, de"):
        spoken("vi")
    for line, script in (("สวัสดี", "Thai"), ("καλημέρα", "Greek"), ("ሰላም", "Ethiopic")):
        with pytest.raises(RecipeError, match=f"Line 2 of the lyrics is in {script} letters"):
            languages_of(["hello", line], "en")


# -- spelling ----------------------------------------------------------------------------------------------------------

SPELT = [
    ("en", "Mr. Fox has 3 cats & 20% luck", "mister fox has three cats and twenty percent luck"),
    ("en", "$20 or $20.15, the 1st of 1,234", "twenty dollars or twenty dollars, fifteen cents, the first of one thousand, "
     "two hundred and thirty-four"),
    ("en", 'He  said "go"', "he said go"),
    ("fr", "En 12,5 secondes, le 1er", "en douze virgule cinq secondes, le premier"),
    ("de", "Es gab 1.000 Soldaten am 1. Mai", "es gab eintausend soldaten am erste mai"),
    ("es", "La Dra. cuesta 20,15€", "la doctora cuesta veinte euros con quince céntimos"),
    ("pt", "vale $21", "vale vinte e um dólares"),
    ("ru", "д-р Живаго, 50 солдат", "доктор живаго, пятьдесят солдат"),
    ("tr", "İstanbul 50", "istanbul elli"),
    ("cs", "Bylo tam 50 vojáků", "bylo tam padesát vojáků"),
    ("ar", "كان ٥٠", "كان خمسون"),
    ("zh", "在12.5秒内，有213名！", "zai4shi2er4dian3wu3miao3nei4,you3liang3bai3yi1shi2san1ming2,"),
    ("zh", "2024年 20%", "er4ling2er4si4nian2 bai3fen1zhi1er4shi2"),
    ("ko", "사랑 50", "salang osib"),
    ("hi", "तुम  12", "तुम 12"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "line", "spelt"), SPELT)
def test_a_line_is_spelt_as_the_model_was_taught(language: str, line: str, spelt: str) -> None:
    assert clean(line, language) == lyric_cleaning.Cleaned(spelt)


def test_japanese_is_romanized_by_cutlet_or_by_what_stands_in_for_it() -> None:
    assert clean("夜  空", "ja", Readers(romaji=lambda line: f"Yo {line}")).text == "yo 夜 空"
    pytest.importorskip("cutlet")
    pytest.importorskip("unidic_lite")
    assert clean("夜空を見上げて", "ja").text == "yozora wo miagete"


@pytest.mark.parametrize(
    ("language", "line", "library"),
    [("zh", "你好", "pypinyin"), ("ko", "안녕", "hangul_romanize"), ("ja", "きみ", "cutlet")],
)
def test_a_line_whose_library_is_missing_is_an_error_that_names_the_extra(
    language: str, line: str, library: str, words: LyricTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lyric_cleaning._cutlet.cache_clear()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(RecipeError, match=rf"{NAMES[language]} lyrics are read with .*acestep_lab\[ace-v1\]"):
        words.read(f"la la\n{line}", "en")


def test_numbers_without_num2words_or_without_words_stay_digits_and_that_is_told(vocabulary: Path) -> None:
    without = LyricTokenizer(open_vocabulary(vocabulary), Readers(number=None)).read("three 3", "en")
    assert without.remarks == (
        "Numbers stayed digits ('3'): `pip install \"acestep_lab[ace-v1]\"` reads them in words.",
    )
    for line in ("9" * 30_000, "9," * 9_000 + "$", "你" + "9" * 30_000):  # in a time that grows with the line
        assert "$" not in clean(line, "zh" if "你" in line else "de", Readers(number=lambda *_, **__: "x")).text
    assert (
        LyricTokenizer(open_vocabulary(vocabulary))
        .read("9" * 50, "en")
        .remarks[0]
        .startswith("Numbers that have no words")
    )


def test_without_py3langid_latin_lines_are_english_and_that_is_told(
    words: LyricTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(languages, "guesser", lambda: None)
    assert words.read("je ne regrette rien").languages == ("en",)
    assert "taken for English" in words.read("je ne regrette rien").remarks[0]
    assert words.read("je ne regrette rien", "fr").remarks == ()


# -- tokens ------------------------------------------------------------------------------------------------------------


def told(words: LyricTokenizer, tokens: LyricTokens) -> str:
    return "".join(words.vocabulary.id_to_token(one) for one in tokens.ids)


def test_lyrics_begin_with_261_and_each_line_has_its_language_before_it_and_2_behind(words: LyricTokenizer) -> None:
    tokens = words.read("[Verse 2]\nil mare\n\nпривет", "it")
    assert tokens.ids[:4] == (261, SIGNS["[en]"], SIGNS["[verse]"], 2)
    assert told(words, tokens) == "[START][en][verse][SPACE][it]il[SPACE]mare[SPACE][SPACE][ru]пр[UNK]вет[SPACE]"
    assert tokens.mask == (1,) * len(tokens.ids)
    assert tokens.languages == ("it", "ru")


def test_section_tags_are_read_as_the_nearest_token_and_words_behind_them_in_their_own_language(
    words: LyricTokenizer,
) -> None:
    tokens = words.read("[Guitar Solo] [Pre Chorus 1]\n[chorus] 사랑\n[Whisper]", "en")
    assert told(words, tokens).startswith(
        "[START][en][solo][SPACE][en][pre-chorus][SPACE][en][chorus][SPACE][ko]salang"
    )
    assert "'[Guitar Solo]'" in tokens.remarks[0]
    assert tokens.remarks[1].startswith("ACE-Step v1 may sing tags it does not know: 'Whisper'")


def test_what_the_vocabulary_cannot_write_is_a_remark(words: LyricTokenizer) -> None:
    tokens = words.read("so ~ so ☭", "en")
    assert tokens.remarks == ("The lyric vocabulary has no sign for '~', '☭': not sung as written.",)
    assert tokens.ids.count(lyric_tokenizer.UNKNOWN) == 2


def test_at_most_4096_tokens_are_read_and_from_where_on_not_is_told(words: LyricTokenizer) -> None:
    whole = words.read("\n".join(["aaaaaa"] * 511), "en")  # 1 + 511 · (1 + 6 + 1)
    assert (len(whole.ids), whole.remarks) == (4089, ())
    cut = words.read("\n".join(["aaaaaa"] * 600), "en")
    assert len(cut.ids) == len(cut.mask) == 4096
    assert cut.remarks == ("ACE-Step v1 reads 4,096 tokens of lyrics: from line 512 on they were not read.",)


def test_a_song_without_words_is_one_masked_token_and_needs_no_vocabulary(tmp_path: Path) -> None:
    tokens = LyricReader(tmp_path).read(" \n ")
    assert (tokens.ids, tokens.mask) == ((0,), (0,))


def test_the_vocabulary_is_found_beside_the_weights_or_by_the_setting_or_a_sentence_says_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = LyricReader(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"needs vocab.json of github.com/ace-step/ACE-Step .* songs without words"
    ):
        reader.read("la", "en")
    monkeypatch.setenv(lyric_tokenizer.SETTING, str(tmp_path / "elsewhere" / "v.json"))
    with pytest.raises(CheckpointError, match="where no file is"):
        reader.read("la", "en")
    tiny_vocabulary(tmp_path / "elsewhere" / "v.json")
    assert reader.read("la", "en").ids[0] == 261
    for place in reversed(lyric_tokenizer.PLACES):
        tiny_vocabulary(tmp_path / place)
        assert lyric_tokenizer.find_vocabulary(tmp_path) == tmp_path / place


def test_another_or_a_damaged_vocabulary_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"\[START\] is 7 where ACE-Step v1 has 261"):
        open_vocabulary(tiny_vocabulary(tmp_path / "a.json", START=7))
    with pytest.raises(CheckpointError, match="and the model 10: they are not of a kind"):
        open_vocabulary(tiny_vocabulary(tmp_path / "b.json"), size=10)
    (tmp_path / "c.json").write_text('{"model": 3}')
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_vocabulary(tmp_path / "c.json")
    lacks = LyricTokenizer(open_vocabulary(tiny_vocabulary(tmp_path / "d.json", without="[hu]")))
    with pytest.raises(RecipeError, match="Line 2 of the lyrics is in Hungarian, which this vocabulary lacks"):
        lacks.read("[verse]\nla", "hu")


# -- prompts -----------------------------------------------------------------------------------------------------------


def test_states_are_umt5s_own_and_a_prompt_does_not_hear_its_neighbours(umt5: Path, prompts: PromptReader) -> None:
    own = transformers.UMT5EncoderModel.from_pretrained(umt5).eval()
    alone = [prompts.read([prompt])[0].states for prompt in ("dub techno", "slow")]
    ids, _ = text_encoder.token_ids(text_encoder.open_tokenizer(umt5), "dub techno")
    with torch.no_grad():
        assert torch.equal(alone[0], own(input_ids=torch.tensor([ids])).last_hidden_state[0])
    fresh = PromptReader(prompts.folder, prompts.devices)
    assert all(
        torch.equal(one.states, other) for one, other in zip(fresh.read(["dub techno", "slow"]), alone, strict=True)
    )


def test_a_prompt_is_read_once_for_each_side(prompts: PromptReader) -> None:
    prompts.read(["dub", "dub"])
    prompts.read(["dub"], dampened=True)
    prompts.read(["dub"])
    assert prompts.devices.asked == 2  # type: ignore[attr-defined]


def test_at_most_256_tokens_of_a_prompt_are_read_and_more_are_told(prompts: PromptReader) -> None:
    read = prompts.read(["dub " * 255, "dub " * 300, ""])
    assert [len(one.states) for one in read] == [256, 256, 1]
    assert [one.remarks for one in read] == [(), ("The prompt has 301 tokens; the first 255 of them are read.",), ()]
    assert torch.equal(read[0].states, read[1].states)


def test_dampening_is_queries_times_a_hundredth_in_blocks_8_and_9_and_leaves_nothing_behind(umt5: Path) -> None:
    model: Any = text_encoder.build(umt5, torch.float32)
    names = text_encoder.queries(model)
    assert names == [f"encoder.block.{place}.layer.0.SelfAttention.q" for place in (8, 9)]
    ids = torch.tensor([[3, 4, 5, 1]])
    before = model(input_ids=ids).last_hidden_state
    with text_encoder.dampened(model, names):
        quiet = model(input_ids=ids).last_hidden_state
    with pytest.raises(ZeroDivisionError), text_encoder.dampened(model, names):
        _ = 1 / 0
    assert torch.equal(model(input_ids=ids).last_hidden_state, before)
    assert not any(module._forward_hooks for module in model.modules())
    for name in names:
        model.get_submodule(name).weight.data.mul_(0.01)
    torch.testing.assert_close(model(input_ids=ids).last_hidden_state, quiet)
    assert not torch.allclose(quiet, before)


def test_a_text_encoder_that_is_not_whole_is_a_sentence(umt5: Path, tmp_path: Path) -> None:
    def changed(name: str, change: Callable[[Path], object]) -> Path:
        folder = Path(shutil.copytree(umt5, tmp_path / name))
        change(folder)
        return folder

    def weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    lost = changed("lost", lambda f: weights(f, lambda t: t.pop("encoder.final_layer_norm.weight")))
    over = changed("over", lambda f: weights(f, lambda t: t.update(extra=torch.zeros(1))))
    short = changed(
        "short", lambda f: (f / "model.safetensors").write_bytes((umt5 / "model.safetensors").read_bytes()[:-9])
    )
    pickle = changed("pickle", lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"))
    other = changed("other", lambda f: (f / "config.json").write_text(json.dumps({"model_type": "t5"})))
    said = {
        lost: "lacks the weights",
        over: "no place for",
        short: "cut short",
        pickle: "as a pickle",
        other: "'umt5' belongs",
    }
    for folder, sentence in said.items():
        with pytest.raises(CheckpointError, match=sentence):
            text_encoder.verify(folder)
    (other / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer.json is missing"):
        text_encoder.open_tokenizer(other, {"vocab_size": 9})


# -- defects of the original -------------------------------------------------------------------------------------------


def test_defect_5_the_tags_guidance_has_its_second_reading_whatever_is_asked_of_the_lyrics(
    prompts: PromptReader,
) -> None:
    plain, quiet = prompts.read(["slow dub"])[0], prompts.read(["slow dub"], dampened=True)[0]
    assert plain.states.shape == quiet.states.shape
    assert not torch.allclose(plain.states, quiet.states)


def test_defect_10_each_song_of_a_batch_has_its_own_words_and_prompt(
    words: LyricTokenizer, prompts: PromptReader
) -> None:
    songs = [words.read("la la la", "en"), words.read("so", "de"), lyric_tokenizer.NO_WORDS]
    ids, mask = lyric_tokenizer.batch(songs)
    for row, song in enumerate(songs):
        assert tuple(ids[row, : len(song.ids)].tolist()) == song.ids
        assert mask[row].tolist() == [*song.mask, *[0] * (ids.shape[1] - len(song.ids))]
    read = prompts.read(["dub techno", "slow", ""])
    states, heard = text_encoder.batch(read)
    for row, one in enumerate(read):
        assert torch.equal(states[row][heard[row].bool()], one.states)
    assert states[~heard.bool()].abs().sum() == 0
