"""The arguments of a pipeline's call, by the names that diffusers and ACE-Step's own pipelines have, as recipes.

Knows no session and no torch. Everything is read before any work begins; whatever is not understood is one RecipeError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import FLAT_PLANNING, Recipe
from acestep_lab.prompt.sampling import KNOBS
from acestep_lab.prompt.tasks import MAX_SEED

MOST_WAVEFORMS = 64
"""Of one prompt, in one call."""
MOST_PROMPTS = 1000

FIELDS: Mapping[str, str] = {
    "prompt": "caption", "duration": "seconds", "num_inference_steps": "steps", "scheduler": "solver",
}  # fmt: skip
"""Arguments that a recipe has under another name."""
ALIASES: Mapping[str, str] = {
    "caption": "prompt", "tags": "prompt",
    "audio_duration": "duration", "seconds": "duration", "audio_end_in_s": "duration",
    "infer_step": "num_inference_steps", "infer_steps": "num_inference_steps",
    "inference_steps": "num_inference_steps", "steps": "num_inference_steps",
    "manual_seeds": "seed", "seeds": "seed",
    "num_images_per_prompt": "num_waveforms_per_prompt", "batch_size": "num_waveforms_per_prompt",
    "scheduler_type": "scheduler", "solver": "scheduler", "infer_method": "scheduler", "sampler": "scheduler",
    "vocal_language": "language", "key_scale": "keyscale", "time_signature": "timesignature", "cfg_type": "guidance",
    "omega_scale": "omega", "oss_steps": "own_steps", "guidance_interval_decay": "guidance_decay",
    "use_erg_tag": "erg_tag", "use_erg_lyric": "erg_lyric", "use_erg_diffusion": "erg_diffusion",
}  # fmt: skip
"""Other names for arguments, as other pipelines have them."""
OWN = ("lyrics", "seed", "generator", "num_waveforms_per_prompt", "negative_prompt", *FIELDS)
SOLVERS: Mapping[str, str] = {
    "euler": "euler", "ode": "euler", "heun": "heun", "pingpong": "sde", "sde": "sde", "dpmpp2m": "dpmpp2m",
}  # fmt: skip
"""Schedulers by the names that are in use; "pingpong" estimates the music and noises it afresh, which is our "sde"."""
ELSEWHERE: Mapping[str, str] = {
    "checkpoint": "A pipeline has one checkpoint: load another with load(name).",
    "latents": "Music here begins from the noise of its seed; leave latents out and say seed=42.",
    "output_type": "result.audios is always a numpy array [batch, channels, samples]; leave output_type out.",
    "return_dict": "A pipeline always returns a Result, which has .audios; leave return_dict out.",
    "save_path": "A pipeline writes no file by itself; leave save_path out and say result.save('song.mp3').",
    "format": "The kind of file is said when it is written: result.save('song.mp3'); leave format out.",
}
"""Arguments of other pipelines that have another way here, each with a sentence that says which."""
RECIPE_NAMES = tuple(
    name
    for name in [*(f.name for f in fields(Recipe)), *sorted(KNOBS), *FLAT_PLANNING]
    if name not in ELSEWHERE and name not in ALIASES
)
KNOWN = tuple(dict.fromkeys([*OWN, *ALIASES, *RECIPE_NAMES]))
"""Every name that an argument may have."""
_CLASS = re.compile(r"flowmatch|discrete|scheduler|[\s_-]")
"""What a scheduler's class is called beside its own name: FlowMatchEulerDiscreteScheduler."""


@dataclass(frozen=True)
class Model:
    """What a call is read for: the checkpoint that will make it."""

    name: str
    family: str
    knobs: tuple[str, ...]
    """The knobs of its kind of sampling."""
    has_planner: bool


@dataclass(frozen=True)
class Asked:
    """A call, read."""

    recipes: tuple[Recipe, ...]
    """Prompt after prompt, the waveforms of one beside each other."""
    each: int
    """Waveforms of a prompt."""
    is_list: bool
    """Whether a list of prompts was handed in, so that a list of results comes back."""


def read(given: Mapping[str, object], model: Model) -> Asked:
    """The recipes of a call; RecipeError, with the nearest name, for what is unknown, of a wrong type, or not the model's."""
    found = _named_once(given)
    _fits(found, model)
    each = checks.whole("num_waveforms_per_prompt", found.pop("num_waveforms_per_prompt", 1), 1, MOST_WAVEFORMS)
    prompts, is_list = _texts("prompt", found.pop("prompt", ""))
    lyrics = _lyrics(found.pop("lyrics", ""), len(prompts), is_list)
    seeds = _seeds(found.pop("seed", None), found.pop("generator", None), len(prompts), each)
    negative = found.pop("negative_prompt", "")
    common = {FIELDS.get(name, name): value for name, value in found.items()}
    songs = [(prompt, words) for prompt, words in zip(prompts, lyrics, strict=True) for _ in range(each)]
    recipes = [
        Recipe(caption=prompt, lyrics=words, seed=seed, **common)
        for (prompt, words), seed in zip(songs, seeds, strict=True)
    ]
    return Asked(tuple(_without(negative, recipe, model) for recipe in recipes), each, is_list)


def _named_once(given: Mapping[str, object]) -> dict[str, Any]:
    """What was given by each argument's one name here; None, as in other pipelines, is nothing said."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in ELSEWHERE:
            raise RecipeError(ELSEWHERE[name])
        if name not in KNOWN:
            raise RecipeError(f"A pipeline has no argument {shown(name)}.{checks.nearest(name, KNOWN)}")
        own = ALIASES.get(name, name)
        if value is not None and own in found:
            raise RecipeError(f"{own} is said twice, also as {name}; say it once.")
        if value is not None:
            found[own] = value
    if "seed" in found and "generator" in found:
        raise RecipeError("seed and generator say the same thing; leave one out.")
    if "scheduler" in found:
        found["scheduler"] = _solver(found["scheduler"])
    return found


def _solver(value: object) -> str:
    """A solver by any of its names, or by its scheduler's class name."""
    bare = _CLASS.sub("", checks.word(value))
    return SOLVERS[checks.choice("scheduler", bare or value, SOLVERS)]


def _fits(found: Iterable[str], model: Model) -> None:
    """Refuse a knob that the model's kind does not have, by the name it has in a call."""
    for name in found:
        field = FIELDS.get(name, name)
        if field in KNOBS and field not in model.knobs:
            raise RecipeError(
                f"{model.name} has no {name}: its family, {model.family}, has {', '.join(model.knobs[:6])}. "
                f"Leave {name} out."
            )


def _texts(what: str, value: object) -> tuple[list[str], bool]:
    """One text or a list of them, and whether it was a list."""
    if checks.is_a(value, str):
        return [str(value)], False
    if not checks.is_a(value, list, tuple):
        raise RecipeError(f"{what} is text or a list of texts, not {checks.kind_of(value)}.")
    found = checks.sequence(what, value, MOST_PROMPTS)
    if not found:
        raise RecipeError(f"The list of {what}s is empty; write one such as ['slow dub techno, tape hiss'].")
    return list(found), True


def _lyrics(value: object, prompts: int, is_list: bool) -> list[str]:
    """Lyrics for each prompt: the same for all, or a list as long as theirs."""
    found, several = _texts("lyrics", value)
    if several and (not is_list or len(found) != prompts):
        raise RecipeError(
            f"lyrics is one text, or a list with one for each of the {prompts} prompts, not {len(found)}."
        )
    return found if several else found * prompts


def _seeds(seed: object, generator: object, prompts: int, each: int) -> Sequence[int | None]:
    """A seed for each waveform: from one, those that follow it, beginning anew with every prompt; a list has them all."""
    value = seed if generator is None else _initial_seeds(generator)
    if value is None:
        return [None] * (prompts * each)
    if checks.is_a(value, list, tuple):
        found = [checks.whole("A seed", one, 0, MAX_SEED) for one in checks.sequence("seed", value, ordered=True)]
        if len(found) != prompts * each:
            raise RecipeError(f"A list of seeds has one for each of the {prompts * each} waveforms, not {len(found)}.")
        return found
    first = checks.whole("A seed", value, 0, MAX_SEED)
    return [(first + more) % (MAX_SEED + 1) for more in range(each)] * prompts


def _initial_seeds(generator: object) -> int | list[int]:
    """The seed that a torch.Generator began with, or those of a list of them."""
    if checks.is_a(generator, list, tuple):
        return [_initial_seed(one) for one in checks.sequence("generator", generator, ordered=True)]
    return _initial_seed(generator)


def _initial_seed(generator: Any) -> int:
    is_torch = type(generator).__name__ == "Generator" and type(generator).__module__.startswith("torch")
    if not is_torch:
        raise RecipeError(
            f"generator is a torch.Generator, or a list of them, not {checks.kind_of(generator)}; seed=42 will do."
        )
    return int(generator.initial_seed()) & MAX_SEED


def _without(negative: object, recipe: Recipe, model: Model) -> Recipe:
    """The recipe with what the planner is to keep away from; RecipeError where nobody would read it."""
    words = checks.text("negative_prompt", negative)
    if not words.strip():
        return recipe
    if not model.has_planner:
        raise RecipeError(f"{model.name} has no planner here, and only that reads a negative_prompt. Leave it out.")
    if recipe.planning.thinking is False:
        raise RecipeError(
            "Only the planner reads a negative_prompt, and thinking=False leaves it out; drop one of them."
        )
    return recipe.replace(planning=recipe.planning.replace(negative_prompt=words))
