"""The judge: every figure stands beside chance and ceiling, and the same checkpoint gives the same table twice."""

import json
import math

import pytest

from acestep_lab.errors import RecipeError
from acestep_lab.evaluate import MEASURES, Figure, Report, judge, prompts
from acestep_lab.evaluate import prompts as fixed
from acestep_lab.evaluate.measures import FIVE_ROLES, presence_accuracy
from acestep_lab.evaluate.prompts import written
from acestep_lab.train.synthetic_music import compose


@pytest.fixture(scope="module")
def report():
    return judge("pocket", prompts=4, seconds=5.0, only=("round_trip", "words", "seeds"))


def test_the_prompts_are_fixed_and_the_world_still_plays_them():
    assert len(prompts(128)) == 128
    assert written()[:8] == fixed(8)
    for prompt in prompts(8):
        song = prompt.song()
        assert (song.bpm, song.keyscale, song.instruments) == (prompt.bpm, prompt.keyscale, prompt.instruments)


def test_solo_prompts_ask_for_one_instrument():
    for prompt in prompts(16, solo=True):
        assert prompt.instruments == compose(prompt.seed, 10.0, instruments=prompt.instruments).instruments
        assert len(prompt.instruments) == 1


def test_only_instruments_that_the_words_name_are_asked_for():
    left_out = [set(p.instruments) - p.named for p in prompts(128)]
    assert all(p.named <= set(p.instruments) for p in prompts(128))
    assert 0.05 < sum(map(len, left_out)) / sum(len(p.instruments) for p in prompts(128)) < 0.12
    disco = next(
        p for p in prompts(128) if p.caption.startswith("Quick groovy disco funk: plucked synth, clean guitar")
    )
    assert set(disco.instruments) - disco.named == {"woodwinds"}
    assert all(p.named == set(p.instruments) for p in prompts(32, solo=True))


class Listener:
    """Hears what it is told to, one set of stems a sound."""

    roles = ("drums", "percussion", "bass")

    def heard(self, sound: frozenset[str]) -> frozenset[str]:
        return sound


def test_a_role_is_there_when_any_of_its_stems_is():
    asked = [p for p in prompts(128) if "fx" not in p.instruments]
    drums = [
        "percussion" if "drums" in p.named else "drums" if "percussion" in p.named else "fx" for p in asked
    ]  # always the other stem of the role
    heard = [frozenset({stem}) for stem in drums]
    roles = {"drums": FIVE_ROLES["drums"]}
    assert presence_accuracy(Listener(), heard, asked) < 0.5
    assert presence_accuracy(Listener(), heard, asked, roles=roles) == 1.0
    assert presence_accuracy(Listener(), [frozenset({"drums"})] * len(asked), asked, roles=roles) == 0.5


def test_figures_come_with_chance_ceiling_and_count(report):
    obedience = [figure for figure in report.figures if figure.group == "words"]
    assert obedience
    assert all(f.chance is not None and f.ceiling is not None and f.n for f in obedience)
    assert report["same recipe, same bytes"].value == 1.0
    few = ("present or absent", "the words leave out", "five roles")  # four songs are too few for these
    told = [f for f in report.figures if not any(name in f.name for name in few)]
    assert all(math.isfinite(f.value) for f in told)


def test_a_second_judging_gives_the_same_figures(report):
    again = judge("pocket", prompts=4, seconds=5.0, only=("words",))
    first = [f for f in report.figures if f.group == "words"]
    assert [f.value for f in again.figures] == pytest.approx([f.value for f in first], nan_ok=True)


def test_a_report_is_a_table_a_picture_and_files(report, tmp_path):
    folder = report.write(tmp_path / "judged")
    assert "| measure | value | chance | ceiling | n | wanted |" in (folder / "judge.md").read_text()
    assert (folder / "judge.svg").read_text().startswith("<svg")
    facts = json.loads((folder / "judge.json").read_text())
    assert len(facts["figures"]) == len(report.figures)


def test_a_threshold_is_met_or_not_or_absent():
    assert Figure("a", "b", 0.9, wanted=0.8).met
    assert Figure("a", "b", 0.7, wanted=0.8).met is False
    assert Figure("a", "b", 0.7).met is None
    assert "✗" in Report("x", {}, (Figure("a", "b", 0.7, wanted=0.8),)).table()


def test_an_unknown_measure_and_too_many_prompts_are_refused_before_any_work():
    with pytest.raises(RecipeError, match=f"there are {', '.join(MEASURES)}"):
        judge("pocket", only=("loudness",))
    with pytest.raises(RecipeError, match="fixed prompts"):
        judge("pocket", prompts=1000)
