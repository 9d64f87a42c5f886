"""The evaluation: every metric stands beside chance and ceiling, and the same checkpoint gives the same table twice."""

import json
import math

import pytest

from acestep_lab import Library, Session
from acestep_lab.errors import RecipeError
from acestep_lab.evaluate import MEASURES, Metric, Report, evaluate, prompts
from acestep_lab.evaluate import prompts as fixed
from acestep_lab.evaluate.measures import FIVE_ROLES, instrument_accuracy
from acestep_lab.evaluate.prompts import recomposed
from acestep_lab.train.synthetic_music import compose
from tests.tiny_musicgen import tiny_musicgen


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


# -- engines that cannot do everything


@pytest.fixture(scope="module")
def token_engine(tmp_path_factory):
    """A session on a tiny MusicGen that follows melodies."""
    folder = tmp_path_factory.mktemp("musicgen")
    with Session.open(tiny_musicgen(folder / "melody", melody=True), library=Library(folder / "takes")) as lab:
        yield lab


@pytest.fixture(scope="module")
def token_report(token_engine):
    return evaluate(token_engine, prompts=2, seconds=4.0)


def test_a_token_engine_is_measured_by_all_that_it_promises_and_nothing_else(token_report):
    assert {metric.group for metric in token_report.metrics} == {"autoencoder", "prompt adherence", "cover", "seeds"}
    assert "single instrument" in {metric.name for metric in token_report.metrics}
    assert token_report["same recipe, same bytes"].value == 1.0
    assert 0 <= token_report["tokens that another seed has too"].value < 1


def test_the_report_says_what_was_left_out_and_why(token_report, tmp_path):
    assert set(token_report.left_out) == {"stems", "repaint", "planner", "prompt_adherence_without_planner"}
    assert "does not do Extract and Lego and Complete" in token_report.left_out["stems"]
    assert "has no planner" in token_report.left_out["planner"]
    assert "Left out: repaint. melody does not do Repaint." in token_report.table()
    folder = token_report.write(tmp_path)
    assert json.loads((folder / "evaluation.json").read_text())["left_out"] == token_report.left_out
    assert "Left out: stems." in (folder / "evaluation.md").read_text()


def test_a_report_tells_the_knobs_that_its_engine_has(token_report, report):
    assert {"temperature", "top_k", "guidance_scale"} <= set(token_report.settings)
    assert not {"steps", "shift", "solver"} & set(token_report.settings)
    assert {"steps", "shift", "guidance"} <= set(report.settings)
    assert report.left_out == {}


def test_an_engine_that_does_not_sing_is_asked_for_no_lyrics_and_no_sections(token_engine, token_report):
    recipes = [take.recipe for take in token_engine.library]
    assert recipes
    assert not any(recipe.lyrics or recipe.language for recipe in recipes)
    assert "drums per section as asked" not in {metric.name for metric in token_report.metrics}


def test_a_checkpoint_without_melodies_is_not_asked_for_covers(tmp_path):
    with Session.open(tiny_musicgen(tmp_path / "mono"), library=Library(tmp_path / "takes")) as lab:
        left_out = {name: group.missing(lab) for name, group in MEASURES.items()}
    assert "does not do Cover" in left_out["cover"]
    assert left_out["solo"] == left_out["seeds"] == left_out["round_trip"] == ""


def test_only_what_cannot_be_measured_is_refused_before_any_work(token_engine):
    made = len(token_engine.library)
    with pytest.raises(RecipeError, match="Nothing of this can be measured: melody does not do Extract"):
        evaluate(token_engine, prompts=1, only=("stems", "planner"))
    with pytest.raises(RecipeError, match="The length of a song by melody lies between"):
        evaluate(token_engine, prompts=1, seconds=200.0, only=("seeds",))
    assert len(token_engine.library) == made


def test_an_unknown_measure_and_too_many_prompts_are_refused_before_any_work():
    with pytest.raises(RecipeError, match=f"there are {', '.join(MEASURES)}"):
        evaluate("pocket", only=("loudness",))
    with pytest.raises(RecipeError, match="fixed prompts"):
        evaluate("pocket", prompts=1000)
