"""The schemas say what the readers take: what is written validates, what they refuse does not, and the files are of today."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from acestep_lab import LabError, Plan, Planning, Recipe
from acestep_lab.prompt.sampling import KINDS, TokenSampling
from acestep_lab.prompt.tasks import TASKS, task_from_json
from acestep_lab.schemas import NAMES, making, schema
from acestep_lab.schemas.asking import Asking
from acestep_lab.takes import manifest
from tests import values

READERS: dict[str, Callable[[Any], Any]] = {"Recipe": Recipe.from_json, "Plan": Plan.from_json}
REMARK = "run `python -m acestep_lab.schemas --write` and commit what it writes"


@cache
def validator(name: str) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema(name))
    return Draft202012Validator(schema(name))


def is_read(reader: Callable[[Any], Any], plain: Any) -> bool:
    try:
        reader(plain)
    except LabError:
        return False
    return True


def test_the_files_hold_what_the_readers_of_today_take() -> None:
    for name, content in making.made().items():
        assert making.bare(schema(name)) == json.loads(json.dumps(content)), f"{name}.json is not of today; {REMARK}."


@pytest.mark.parametrize("name", NAMES)
def test_its_id_holds_its_version(name: str) -> None:
    assert schema(name)["$id"] == f"urn:acestep_lab:{name}:{schema(name)['version']}"


def test_the_version_goes_up_when_the_content_changes_and_only_then() -> None:
    first = making.versioned("plan", {"type": "object"}, None)
    assert first["version"] == 1
    assert making.versioned("plan", {"type": "object"}, first) == first
    assert making.versioned("plan", {"type": "array"}, first)["version"] == 2


def test_no_field_is_forgotten() -> None:
    known = set(schema("recipe")["properties"])
    flat = {f.name for kind in (Recipe, *KINDS.values()) for f in fields(kind)} | {"thinking"}
    assert known == flat
    assert set(schema("plan")["properties"]) == {f.name for f in fields(Plan)}
    planning = schema("recipe")["properties"]["planning"]["properties"]
    assert set(planning) == {f.name for f in fields(Planning)} - {"thinking"}
    told: dict[str, set[str]] = {}
    for task in schema("recipe")["$defs"]["task"]["anyOf"]:
        told.setdefault(task["title"], set()).update(task["properties"])
    assert told == {name: {"task", *(f.name for f in fields(kind))} for name, kind in TASKS.items()}


def recipes() -> list[Recipe]:
    """Full and sparse ones, of every task and every kind of sampling."""
    words = [Recipe("dub"), making.RECIPE, making.RECIPE.replace(sampling=making.FLOW)]
    tokens = [Recipe("dub", sampling=making.TOKENS), Recipe("dub", sampling=TokenSampling()), Recipe("dub", top_k=50)]
    every = [Recipe("dub", task=task, seconds=7) for task in (*making.TASKS, making.COVER_OF_CODES)]
    first = [
        Recipe("dub", sampling=making.FLOW_V1),
        Recipe("dub", sampling="flow-v1", steps=60),
        Recipe("dub", omega=5.0),
    ]
    return [
        *words,
        *tokens,
        *first,
        *every,
        Recipe("dub", guidance_scale=3.0),
        Recipe("dub", fade_in=600, seed=2**63 - 1),
    ]


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: type(recipe.task).__name__)
def test_a_recipe_that_is_written_validates(recipe: Recipe) -> None:
    validator("recipe").validate(json.loads(json.dumps(recipe.to_json())))


def test_a_plan_and_a_manifest_that_are_written_validate() -> None:
    for plan in (Plan(), making.PLAN, making.PLAN.replace(bpm=99), making.PLAN.lock("caption")):
        validator("plan").validate(json.loads(json.dumps(plan.to_json())))
    whole = json.loads(manifest.to_text(making.example_manifest()))
    validator("manifest").validate(whole)
    validator("manifest").validate({**whole, "plan": None, "asked": None, "made_with": {"anything": [1]}})
    original = {**whole["audio"], "original": whole["audio"]}
    validator("manifest").validate({**whole, "audio": original})


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("recipe", {}),
        ("recipe", {"caption": "x", "steps": 0}),
        ("recipe", {"caption": "x", "seconds": 0.4}),
        ("recipe", {"caption": "x", "nonsense": 1}),
        ("recipe", {"caption": "x", "steps": 8, "top_k": 5}),
        ("recipe", {"caption": "x", "sampling": "song"}),
        ("recipe", {"caption": "x", "solver": "rk45"}),
        ("recipe", {"caption": "x", "task": {"task": "Cover"}}),
        ("recipe", {"caption": "x", "task": {"task": "Repaint", "source": "take-1", "regions": []}}),
        ("recipe", {"caption": "x", "task": {"task": "Retake", "source": "take-1", "variance": 2, "seed": 1}}),
        ("recipe", {"caption": "x", "planning": {"temperature": 3}}),
        ("plan", {"bpm": 400}),
        ("plan", {"codes": [-1]}),
        ("plan", {"locked": ["tempo"]}),
    ],
)
def test_what_the_reader_refuses_does_not_validate(name: str, plain: dict[str, Any]) -> None:
    assert not is_read(READERS[name.capitalize()], plain)
    with pytest.raises(ValidationError):
        validator(name).validate(plain)


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", "take-../x"), ("created", "yesterday"), ("audio", {}), ("latent", {"shape": [1]}), ("format", "acestep_lab.take/3")],
)  # fmt: skip
def test_a_damaged_manifest_does_not_validate(field: str, value: Any) -> None:
    damaged = {**making.example_manifest(), field: value}
    assert not is_read(lambda plain: manifest.checked(plain, "It"), damaged)
    assert not validator("manifest").is_valid(damaged)


def plain_values() -> st.SearchStrategy[Any]:
    numbers = st.integers(-3, 1000) | st.floats(allow_nan=False, allow_infinity=False)
    words = st.sampled_from(making.ASKING.words) | st.text(max_size=8)
    leaves = st.one_of(
        st.none(), st.booleans(), numbers, words, st.lists(numbers, max_size=4), st.lists(words, max_size=3)
    )
    return leaves | st.dictionaries(words, leaves, max_size=2)


PLACES = [
    (kind, name)
    for kind, name in values.FIELDS
    if name not in ("nonsense", "self") and kind not in ("Region", "Planning")
]


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.sampled_from(PLACES), plain_values())
def test_what_validates_is_read_and_what_was_read_validates_when_it_is_written(
    place: tuple[str, str], value: Any
) -> None:
    kind, name = place
    good = json.loads(json.dumps(values.made(kind).to_json()))
    plain = {**good, name: value}
    reader = READERS.get(kind, task_from_json)
    whole = plain if kind in READERS else {"caption": "x", "task": plain}
    which = validator("plan" if kind == "Plan" else "recipe")
    if is_read(reader, plain):
        again = json.loads(json.dumps(reader(plain).to_json()))
        which.validate(again if kind in READERS else {"caption": "x", "task": again})
    elif which.is_valid(whole):
        assert (kind, name) in TOGETHER, f"{kind}.{name} = {value!r} validates, and the reader refuses it"


TOGETHER = {
    *((kind, name) for kind, names in (("Repaint", ["regions"]), ("Lego", ["region"]), ("Extend", ["after"])) for name in names),
    *(("Recipe", name) for name in ("caption", "task", "timesteps", "guidance_interval", "sampling")),
    *(("FlowEdit", name) for name in ("n_min", "n_max")),
    *(("Plan", name) for name in ("asked", "problems")),
    *(("Cover", name) for name in ("codes", "noise_strength")),
}  # fmt: skip
"""Fields whose order, blanks or neighbours matter to the reader, which no schema of single fields can say; and a plan's notes,
plain data of any kind, whose numbers end at 1e30."""


def test_the_ends_of_a_range_are_found_to_the_last_digit() -> None:
    def ends(accepts: Callable[[Any], bool], example: Any = 0.5) -> dict[str, Any]:
        return Asking().describe(example, lambda value: type(value) in (int, float) and accepts(value))

    assert ends(lambda v: 0 <= v < 1) == {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    assert ends(lambda v: v > 0) == {"type": "number", "exclusiveMinimum": 0}
    assert ends(lambda v: v == int(v) and -3 <= v <= 70, 5) == {"type": "integer", "minimum": -3, "maximum": 70}
    with pytest.raises(ValueError, match="refused by its own reader"):
        ends(lambda v: v > 1)


def test_a_schema_is_printed_by_the_module_and_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    from acestep_lab.cli import main

    assert main(["schema", "plan"]) == 0
    assert json.loads(capsys.readouterr().out) == schema("plan")
    assert main(["schema", "song"]) == 2
    module = [sys.executable, "-m", "acestep_lab.schemas"]
    assert json.loads(subprocess.run([*module, "manifest"], capture_output=True, text=True).stdout) == schema(
        "manifest"
    )
    refused = subprocess.run([*module, "song"], capture_output=True, text=True)
    assert (refused.returncode, refused.stderr) == (
        2,
        "There is no schema of 'song'; there are recipe, plan, manifest.\n",
    )


def test_takes_that_earlier_versions_kept_validate_where_their_format_is_todays() -> None:
    files = sorted((Path(__file__).parent / "data").rglob("take-*.json"))
    kept = [plain for file in files if "format" in (plain := json.loads(file.read_text(encoding="utf-8")))]
    verdicts = {(plain["format"], validator("manifest").is_valid(plain)) for plain in kept}
    assert verdicts == {("acestep_lab.take/2", True), ("acestep_lab.take/1", False)}
