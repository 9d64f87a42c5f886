"""The evaluation: every metric stands beside chance and ceiling, and the same checkpoint gives the same table twice."""

import json
import math

import pytest

from acestep_lab.errors import RecipeError
from acestep_lab.evaluate import MEASURES, Metric, Report, evaluate, prompts
from acestep_lab.evaluate import prompts as fixed
from acestep_lab.evaluate.measures import FIVE_ROLES, instrument_accuracy
from acestep_lab.evaluate.prompts import recomposed
from acestep_lab.train.synthetic_music import compose


@pytest.fixture(scope="module")
def report():
    return evaluate("pocket", prompts=4, seconds=5.0, only=("round_trip", "prompt_adherence", "seeds"))


def test_the_prompts_are_fixed_and_the_composer_still_writes_them():
    assert len(prompts(128)) == 128
    assert recomposed()[:8] == fixed(8)
    for prompt in prompts(8):
        song = prompt.song()
        assert (song.bpm, song.keyscale, song.instruments) == (prompt.bpm, prompt.keyscale, prompt.instruments)


def test_solo_prompts_ask_for_one_instrument():
    for prompt in prompts(16, solo=True):
        assert prompt.instruments == compose(prompt.seed, 10.0, instruments=prompt.instruments).instruments
        assert len(prompt.instruments) == 1


def test_only_instruments_that_a_prompt_names_are_asked_for():
    left_out = [set(p.instruments) - p.named for p in prompts(128)]
    assert all(p.named <= set(p.instruments) for p in prompts(128))
    assert 0.05 < sum(map(len, left_out)) / sum(len(p.instruments) for p in prompts(128)) < 0.12
    disco = next(
        p for p in prompts(128) if p.caption.startswith("Quick groovy disco funk: plucked synth, clean guitar")
    )
    assert set(disco.instruments) - disco.named == {"woodwinds"}
    assert all(p.named == set(p.instruments) for p in prompts(32, solo=True))


class EchoingTagger:
    """Detects what it is handed: a sound is the set of its stems."""

    roles = ("drums", "percussion", "bass")

    def present(self, sound: frozenset[str]) -> frozenset[str]:
        return sound


def test_a_role_is_there_when_any_of_its_stems_is():
    asked = [p for p in prompts(128) if "fx" not in p.instruments]
    drums = [
        "percussion" if "drums" in p.named else "drums" if "percussion" in p.named else "fx" for p in asked
    ]  # always the other stem of the role
    detected = [frozenset({stem}) for stem in drums]
    roles = {"drums": FIVE_ROLES["drums"]}
    assert instrument_accuracy(EchoingTagger(), detected, asked) < 0.5
    assert instrument_accuracy(EchoingTagger(), detected, asked, roles=roles) == 1.0
    assert instrument_accuracy(EchoingTagger(), [frozenset({"drums"})] * len(asked), asked, roles=roles) == 0.5


def test_metrics_come_with_chance_ceiling_and_count(report):
    adherence = [metric for metric in report.metrics if metric.group == "prompt adherence"]
    assert adherence
    assert all(f.chance is not None and f.ceiling is not None and f.n for f in adherence)
    assert report["same recipe, same bytes"].value == 1.0
    few = ("present or absent", "the caption leaves out", "five roles")  # four songs are too few for these
    certain = [f for f in report.metrics if not any(name in f.name for name in few)]
    assert all(math.isfinite(f.value) for f in certain)


def test_a_second_evaluation_gives_the_same_metrics(report):
    again = evaluate("pocket", prompts=4, seconds=5.0, only=("prompt_adherence",))
    first = [f for f in report.metrics if f.group == "prompt adherence"]
    assert [f.value for f in again.metrics] == pytest.approx([f.value for f in first], nan_ok=True)


def test_a_report_is_a_table_a_picture_and_files(report, tmp_path):
    folder = report.write(tmp_path / "table")
    assert "| measure | value | chance | ceiling | n | threshold |" in (folder / "evaluation.md").read_text()
    assert (folder / "evaluation.svg").read_text().startswith("<svg")
    facts = json.loads((folder / "evaluation.json").read_text())
    assert len(facts["metrics"]) == len(report.metrics)


def test_a_threshold_is_met_or_not_or_absent():
    assert Metric("a", "b", 0.9, threshold=0.8).met
    assert Metric("a", "b", 0.7, threshold=0.8).met is False
    assert Metric("a", "b", 0.7).met is None
    assert "✗" in Report("x", {}, (Metric("a", "b", 0.7, threshold=0.8),)).table()


def test_an_unknown_measure_and_too_many_prompts_are_refused_before_any_work():
    with pytest.raises(RecipeError, match=f"there are {', '.join(MEASURES)}"):
        evaluate("pocket", only=("loudness",))
    with pytest.raises(RecipeError, match="fixed prompts"):
        evaluate("pocket", prompts=1000)
