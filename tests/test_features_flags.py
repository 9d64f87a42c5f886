"""Feature flags: code over environment over default; what is off says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acestep_lab import Session
from acestep_lab import features as module
from acestep_lab.cli import main
from acestep_lab.doctor import features as listed
from acestep_lab.errors import LabError
from acestep_lab.features import Feature, FeatureFlags, is_feature_enabled
from acestep_lab.settings import FEATURES


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    FeatureFlags.reset()
    yield
    FeatureFlags.reset()


def test_the_defaults_are_the_reference_s_but_for_training_which_works_here() -> None:
    on = {feature.name for feature in Feature if is_feature_enabled(feature, {})}
    assert on == {"LORA_TRAINING", "ADVANCED_EDITING", "BATCH_GENERATION", "EXPERIMENTAL_SCORING"}


def test_the_names_that_settings_know_are_the_features() -> None:
    assert list(FEATURES) == [feature.name for feature in Feature]
    assert all(Feature[name] for name in FEATURES)


@pytest.mark.parametrize(("word", "on"), [("true", True), ("1", True), ("YES", True), (" on ", True), ("0", False)])
def test_the_environment_switches(word: str, on: bool) -> None:
    feature = Feature.LORA_TRAINING
    assert is_feature_enabled(feature, {feature.variable: word}) is on


def test_code_comes_before_the_environment_until_it_is_reset() -> None:
    feature = Feature.LORA_TRAINING
    environ = {feature.variable: "true"}
    FeatureFlags.disable(feature)
    assert FeatureFlags.look_up(feature, environ) == (False, "code")
    FeatureFlags.enable(Feature.API_TRAINING_ENDPOINTS)
    FeatureFlags.reset(feature)
    assert FeatureFlags.look_up(feature, environ) == (True, feature.variable)
    assert is_feature_enabled(Feature.API_TRAINING_ENDPOINTS, {})


def test_an_unknown_word_or_feature_is_a_sentence() -> None:
    feature = Feature.BATCH_GENERATION
    with pytest.raises(LabError, match=r"ACESTEP_FEATURE_BATCH_GENERATION is true.*'perhaps'"):
        is_feature_enabled(feature, {feature.variable: "perhaps"})
    with pytest.raises(LabError, match="one of Feature"):
        FeatureFlags.enable("LORA_TRAINING")  # type: ignore[arg-type]


def test_what_is_off_refuses_and_names_the_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACESTEP_FEATURE_BATCH_GENERATION", "no")
    (tmp_path / "songs.toml").write_text('[[take]]\ncaption = "a waltz"\n')
    assert main(["batch", str(tmp_path / "songs.toml")]) == 2
    assert "ACESTEP_FEATURE_BATCH_GENERATION=true switches it on" in capsys.readouterr().err
    FeatureFlags.enable(Feature.BATCH_GENERATION)
    module.require(Feature.BATCH_GENERATION)


def test_the_doctor_lists_each_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACESTEP_FEATURE_LORA_TRAINING", "on")
    said = [finding.message for finding in listed()]
    assert said[0].startswith("LORA_TRAINING is on, from ACESTEP_FEATURE_LORA_TRAINING")
    assert len(said) == len(Feature)


def test_training_switched_off_refuses_before_anything_is_read(tmp_path: Path) -> None:
    FeatureFlags.disable(Feature.LORA_TRAINING)
    with Session.open(library=tmp_path) as lab, pytest.raises(LabError, match="ACESTEP_FEATURE_LORA_TRAINING=true"):
        lab.train(tmp_path / "no such folder")
