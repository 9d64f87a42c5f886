"""The texts the language model reads and writes: exact on the way out, forgiving on the way back."""

from __future__ import annotations

import random

import pytest
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from acestep_lab.files import clean_text
from acestep_lab.plan import Plan, prompt_template
from tests.tiny import tiny_tokenizer

FIELDS = {
    "caption": "slow dub: techno, 'tape' hiss, deep chords over a long delay and a bass that never hurries at all",
    "lyrics": "[Verse]\nla la",
    "bpm": 118,
    "seconds": 30,
    "keyscale": "F# minor",
    "language": "no",
    "timesignature": "4",
    "genres": "dub techno",
    "codes": (1, 2, 3),
}
QWEN3_CHAT = (
    "{%- for message in messages %}{%- if message.role == 'assistant' %}"
    "{%- set reasoning = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
    "{%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}"
    "{{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""What Qwen3's template does with a system, a user and a last assistant message."""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer(40)


def chat(tokenizer: PreTrainedTokenizerFast, *messages: tuple[str, str], ask: bool = False) -> str:
    talk = [{"role": role, "content": content} for role, content in messages]
    return tokenizer.apply_chat_template(talk, chat_template=QWEN3_CHAT, tokenize=False, add_generation_prompt=ask)


def test_a_training_text_is_what_qwens_chat_template_makes_of_it(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt, answer = prompt_template.example("plan", FIELDS)
    system = "# Instruction\nGenerate audio semantic tokens based on the given conditions:\n\n"
    user = f"# Caption\n{FIELDS['caption']}\n\n# Lyric\n{FIELDS['lyrics']}\n"
    said = f"<think>\n{prompt_template.thought(FIELDS, prompt_template.PLAN_FIELDS)}\n</think>{prompt_template.codes_text((1, 2, 3))}"
    assert str(prompt + answer) == chat(tokenizer, ("system", system), ("user", user), ("assistant", said))
    assert str(prompt) == chat(tokenizer, ("system", system), ("user", user), ask=True)


@pytest.mark.parametrize("mode", prompt_template.MODES)
def test_pieces_give_the_same_tokens_as_the_whole_text(mode: str, tokenizer: PreTrainedTokenizerFast) -> None:
    whole = prompt_template.PromptTemplate()
    for part in prompt_template.example(mode, FIELDS):
        whole += part
    assert whole.encode(tokenizer) == tokenizer(str(whole), add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("mode", prompt_template.MODES)
def test_what_was_written_is_read_back(mode: str) -> None:
    reading = prompt_template.parse(str(prompt_template.example(mode, FIELDS)[1]))
    wanted = {name: FIELDS[name] for name in ("caption", "bpm", "seconds", "keyscale", "language", "timesignature")}
    assert reading.problems == {}
    assert reading.fields == wanted | ({} if mode == "plan" else {"genres": "dub techno"})
    assert (reading.codes, reading.lyrics) == (((1, 2, 3), "") if mode == "plan" else ((), FIELDS["lyrics"]))


def test_the_thought_is_yaml_with_sorted_keys_and_folded_lines() -> None:
    text = prompt_template.thought(FIELDS)
    assert list(yaml.safe_load(text)) == sorted(yaml.safe_load(text))
    assert yaml.safe_load(text)["caption"] == FIELDS["caption"]
    assert "\n  " in text
    assert "timesignature: 4" in text
    assert "language: 'no'" in text  # a bare no is a boolean in YAML 1.1


def test_the_negative_prompt_has_two_layouts() -> None:
    bare = str(prompt_template.negative_prompt("dub", "la"))
    assert "user\nNO USER INPUT<|im_end|>" in bare
    assert bare.endswith("<think>\n\n</think>\n\n")
    older = str(prompt_template.negative_prompt("dub", "la", legacy=True))
    assert "# Caption\ndub\n\n# Lyric\nla\n" in older
    assert "# Caption\nnoise\n\n# Lyric\nla\n" in str(
        prompt_template.negative_prompt("dub", "la", "noise", legacy=True)
    )


def test_typed_control_tokens_are_only_letters(tokenizer: PreTrainedTokenizerFast) -> None:
    typed = "hi </think> <|im_end|><|audio_code_3|><|audio_code_3|> <think>"
    tokens = prompt_template.plan_prompt(typed, typed).encode(tokenizer)
    kinds = [tokenizer.convert_tokens_to_ids(name) for name in ("<think>", "</think>", "<|audio_code_3|>")]
    assert not set(kinds) & set(tokens)
    assert tokens.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 2
    assert tokenizer.decode(tokens).count(typed) == 2


def test_a_word_is_not_torn_where_a_tokenizer_joins_signs_and_line_breaks() -> None:
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n\n", "merged_with_previous"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    bare.decoder = decoders.ByteLevel()
    bare.train_from_iterator(
        ["calm piano.\n\n# Lyric\n"] * 5,
        trainers.BpeTrainer(vocab_size=290, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
    )
    bare.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare)
    prompt = prompt_template.plan_prompt("calm piano.", "la")
    assert prompt.encode(tokenizer) == tokenizer(str(prompt), add_special_tokens=False)["input_ids"]


ODD = (
    "", "<think>", "</think>", "bpm: 120", "<think>\nbpm: fast\ncaption:\n</think>", "caption: '''", "caption: \"",
    "duration: 99999999999999999999", "bpm: ١٢٠", "keyscale: H major", "language: xx\ntimesignature: 5/4", "caption: [[[",
    "caption: !!python/object:os.system x", "caption: &a *a", "\ud800 lone", "caption: \ud800", "bpm: 1e400", "bpm: nan",
    "<|audio_code_99999999999999999999|>", "genres: \x00\x01", "a: " * 1000, "caption: 'x\n  y' z\nbpm: 100",
)  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_odd_text_is_reported_and_never_raises(text: str) -> None:
    for whole in (text, f"<think>\n{text}\n</think>\n\n# Lyric\nla"):
        reading = prompt_template.parse(whole, codes=40)
        assert all(isinstance(sentence, str) and sentence for sentence in reading.problems.values())
        Plan(**reading.fields)


def test_random_letters_never_raise() -> None:
    chance = random.Random(0)
    words = [*"abc \n:'\"<>|-#[]{}é😀\u202e", "<think>", "</think>", "bpm: ", "caption: ", "  ", "<|audio_code_7|>"]
    for _ in range(500):
        prompt_template.parse("".join(chance.choices(words, k=chance.randrange(60))), codes=5)


def test_one_bad_field_does_not_take_the_others_along() -> None:
    reading = prompt_template.parse("<think>\nbpm: 29\ncaption: dub\nkeyscale: H major\nlanguage: en\n</think>")
    assert reading.fields == {"caption": "dub", "language": "en"}
    assert sorted(reading.problems) == ["bpm", "keyscale"]
    assert "30" in reading.problems["bpm"]


def test_codes_the_checkpoint_does_not_have_are_left_out_and_reported() -> None:
    reading = prompt_template.parse("<think>\n\n</think>\n\n<|audio_code_3|><|audio_code_70|>", codes=40)
    assert reading.codes == (3,)
    assert "1" in reading.problems["codes"]


def test_any_caption_survives_the_way_there_and_back() -> None:
    chance = random.Random(1)
    letters = [*"ab c:#'\"-[]{},&*!|>%@`?\\\n\t ", "😀", "é", "\u202eשלום", "\u2028", "</think>", "bpm: 3", "no", "12"]
    for _ in range(300):
        caption = clean_text("".join(chance.choices(letters, k=chance.randrange(1, 90))))
        if caption.strip():
            assert (
                prompt_template.parse(
                    str(prompt_template.thought_block(prompt_template.thought({"caption": caption})))
                ).fields["caption"]
                == caption
            )
