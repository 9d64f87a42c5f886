"""Does an engine keep the contract? Every check as a function that yields a sentence for what it found wrong.

For authors of engines, ours and other packages', to run in their tests on a small checkpoint::

    def test_my_engine_keeps_the_contract():
        assert check_engine(lambda: MyEngine("tests/tiny")) == []

Knows `engines.base` and no model. Each check gets an engine of its own, on a CPU, with all its components built in float32.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import (
    Aligns,
    Attaches,
    Capabilities,
    Engine,
    HasCodes,
    LyricAttention,
    Plans,
    Prepared,
    Previews,
    Rendered,
    Request,
    ShowsAttention,
    Sound,
    Trains,
    groups,
)
from acestep_lab.engines.step import Step
from acestep_lab.errors import CheckpointError, LabError, RecipeError, Stopped
from acestep_lab.models.lanes import Lanes, Watch, watching
from acestep_lab.models.memory_plan import MemoryPlan, budget
from acestep_lab.models.tiers import Machine
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import KINDS
from acestep_lab.prompt.tasks import (
    MODEL_TASKS,
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Retake,
    Task,
    Text2Music,
)
from acestep_lab.takes.take import Take

T = TypeVar("T")
Make = Callable[[], Engine]

CAPTION = "slow dub techno, tape hiss"
UNKNOWN = "no such component"
PLENTY = Machine("cpu", 2**36, 2**36, "CPU")
"""A machine with room for any small checkpoint."""
ROUNDING = 1e-4
"""How far sums in another order may move a latent or a sound, as a share of its largest value."""
PROTOCOLS: Mapping[str, type[Any]] = {
    "plans": Plans,
    "previews": Previews,
    "codes": HasCodes,
    "attaches": Attaches,
    "aligns": Aligns,
    "attends": ShowsAttention,
    "trains": Trains,
}
"""What a capability's flag promises that the engine can do."""
FOREIGN: Mapping[str, tuple[str, Any]] = {
    "flow": ("velocity_clamp", 2.0),
    "tokens": ("top_k", 7),
    "flow-v1": ("omega", 5.0),
}
"""A knob that only this kind of sampling has."""
SEAM = 0.1
"""Seconds at a seam in which old and new may be mixed."""
KEPT: Mapping[type[Any], Callable[[Any], Sequence[Region]]] = {
    Extend: lambda task: _longer_than_nothing((0.0, task.source.seconds - SEAM)),
    Repaint: lambda task: _longer_than_nothing(
        (0.0, task.regions[0].start - SEAM), (task.regions[0].end + SEAM, task.source.seconds)
    ),
}
"""What of its source a task of a bench keeps sample for sample."""


def _longer_than_nothing(*spans: tuple[float, float]) -> list[Region]:
    return [Region(*span) for span in spans if span[0] < span[1]]


class PlainDevices:
    """All components on the CPU, built when first wanted; `wanted` lists each time one was asked for, `said` what was told."""

    device = torch.device("cpu")

    def __init__(self, engine: Engine):
        self.engine = engine
        self.wanted: list[str] = []
        self.said: list[str] = []
        self._built: dict[str, Any] = {}
        engine.connect(self)

    @contextmanager
    def on(self, component: str) -> Iterator[Any]:
        self.wanted.append(component)
        if component not in self._built:
            self._built[component] = self.engine.build(component, torch.float32)
        yield self._built[component]

    def device_for(self, component: str) -> torch.device:
        return self.device

    def run_with_retry(self, component: str, operation: Callable[[object], T]) -> T:
        with self.on(component) as module:
            return operation(module)

    @property
    def memory_plan(self) -> MemoryPlan:
        return budget(PLENTY, self.engine.component_specs())

    lanes: Lanes | None = None

    def watched(self) -> AbstractContextManager[Watch]:
        return watching(Watch(), ())

    def free(self) -> None:
        self._built.clear()

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@dataclass
class Bench:
    """An engine at work for a check."""

    engine: Engine
    seconds: float
    knobs: Mapping[str, Any]
    devices: PlainDevices = field(init=False)

    def __post_init__(self) -> None:
        self.devices = PlainDevices(self.engine)

    @property
    def can(self) -> Capabilities:
        return self.engine.capabilities

    def recipe(self, seed: int = 1, task: Task | None = None, **changes: Any) -> Recipe:
        """A short recipe in this family's own knobs."""
        plain = Recipe(
            CAPTION, seconds=self.seconds, seed=seed, task=task or Text2Music(), sampling=self.can.sampling()
        )
        return plain.replace(**{**self.knobs, **changes})

    def resolve(self, recipe: Recipe, longest: float = 600.0) -> Request:
        return self.engine.resolve(recipe, None, lambda sound: cast("Sound", sound), longest)

    def rendered(self, recipes: Sequence[Recipe]) -> list[Rendered]:
        """Recipes made together."""
        prepared = self.engine.prepare([self.resolve(recipe) for recipe in recipes])
        made: dict[int, Rendered] = {}
        for places in groups(prepared, len(recipes)):
            group = [prepared[place] for place in places]
            latents = final_states(self.engine.sample(group, lambda: None))
            for place, one, latent in zip(places, group, latents, strict=True):
                made[place] = self.engine.decode(one, latent)
        return [made[place] for place in range(len(recipes))]

    def take(self, recipe: Recipe, rendered: Rendered) -> Take:
        """What a session would keep of it."""
        made_with = dict(self.engine.made_with()) | {"gain": rendered.gain}
        kept = recipe.replace(task=recipe.task.with_ids())
        return Take(kept, rendered.audio, rendered.latent.cpu().numpy(), made_with=made_with)

    def tasks(self) -> dict[str, Task]:
        """One of each task, from a sound of this engine's own rate; a retake from a take."""
        sound = tone(self.seconds, self.can.latent.rate, self.can.latent.audio_channels)
        frames = max(1, round(self.seconds * self.can.latent.frames_per_second))
        take = Take(self.recipe(), sound, np.zeros((frames, self.can.latent.channels), np.float32))
        return {
            "Text2Music": Text2Music(),
            "Repaint": Repaint(sound, (Region(0.3 * self.seconds, 0.6 * self.seconds),)),
            "Extend": Extend(sound, after=0.5 * self.seconds),
            "Cover": Cover(sound, through_codes=self.can.codes),
            "Retake": Retake(take, 0.5, 3),
            "Extract": Extract(sound, "drums"),
            "Lego": Lego(sound, "drums"),
            "Complete": Complete(sound, ("drums",)),
            "FlowEdit": FlowEdit(sound, caption="a piano"),
        }


def check_engine(make: Make, seconds: float = 1.0, **knobs: Any) -> list[str]:
    """Every way in which an engine breaks the contract, as sentences; none where it keeps it.

    `make` opens it anew for each check. `seconds` is the length of the songs that are made, and `knobs` are its own sampling's
    (such as `steps=2`), to make them quickly.
    """
    return [sentence for check in CHECKS for sentence in check_one(check, make, seconds, **knobs)]


def check_one(check: Callable[[Bench], Iterator[str]], make: Make, seconds: float = 1.0, **knobs: Any) -> list[str]:
    """What one check finds; an error that the engine raises where none belongs is a finding too."""
    found: list[str] = []
    try:
        found.extend(check(Bench(make(), seconds, knobs)))
    except Exception as error:  # noqa: BLE001 - somebody else's engine may raise anything, and that is what is looked for
        said = " ".join(str(error).split())[:160]
        found.append(f"{check.__name__}: {type(error).__name__} where none belongs: {said}")
    return found


# --- the checks ------------------------------------------------------------------------------------------------------


def says_what_it_is(bench: Bench) -> Iterator[str]:
    """Name, family, licence and limits are there before anything else."""
    can = bench.can
    for name in ("family", "licence"):
        if not str(getattr(can, name)).strip():
            yield f"Its capabilities name no {name}."
    if not bench.engine.name.strip():
        yield "It has no name."
    if unknown := sorted(can.tasks - set(MODEL_TASKS)):
        yield f"It promises tasks that there are not: {', '.join(unknown)}."
    if can.sampling not in KINDS.values():
        yield f"Its sampling is {can.sampling!r}, none of {', '.join(KINDS)}."
    if not 0 < can.seconds[0] < can.seconds[1]:
        yield f"Its shortest and longest song are {can.seconds}."


def names_its_components(bench: Bench) -> Iterator[str]:
    """What is named is measured and can be built; what is not named is refused."""
    can, sizes = bench.can, {one.name: one.bytes for one in bench.engine.component_specs()}
    if sorted(sizes) != sorted(can.components):
        yield f"Its capabilities name {', '.join(can.components)}, its specs {', '.join(sizes)}."
    for name in can.components:
        if sizes.get(name, 1) <= 0:
            yield f"Its component {name!r} has a size of {sizes[name]} bytes."
        try:
            module = bench.engine.build(name, torch.float32)
        except LabError as error:
            yield f"Its component {name!r} cannot be built: {error}"
            continue
        if any(tensor.device.type == "meta" for tensor in module.state_dict().values()):
            yield f"Its component {name!r} comes without its weights."
    try:
        bench.engine.build(UNKNOWN, torch.float32)
        yield "It builds a component that there is not."
    except CheckpointError:
        pass


def decides_everything(bench: Bench) -> Iterator[str]:
    """A resolved recipe has no open field, and resolving it again changes nothing."""
    asked = bench.recipe().replace(seed=None, seconds=None)
    request = bench.resolve(asked)
    if request.recipe.seed != request.seed or request.recipe.seconds != request.seconds:
        yield "A request's seed and seconds are not those of its recipe."
    yield from _odd_sampling(bench, request)
    if not all(isinstance(remark, str) for remark in request.remarks):
        yield "A request's remarks are not all sentences."
    again = bench.resolve(request.recipe)
    if again.recipe != request.recipe:
        yield "Resolving a resolved recipe changes it."
    plain = request.recipe.replace(task=request.task.with_ids())
    if Recipe.from_json(plain.to_json()) != plain:
        yield "A resolved recipe comes out of JSON as another one."
    yield from _left_open(bench)
    if bench.devices.wanted:
        yield f"Resolving asks for {', '.join(sorted(set(bench.devices.wanted)))}: it is to be done before any work."


def _odd_sampling(bench: Bench, request: Request) -> Iterator[str]:
    """What a request's sampling leaves open of the knobs that have a default, or that it is of another kind."""
    usual, decided = bench.engine.defaults(request.task), request.recipe.sampling
    given = [name for name in usual.names() if getattr(usual, name) is not None]
    if left := [name for name in given if getattr(decided, name, None) is None]:
        yield f"A request leaves {', '.join(left)} open."
    if type(decided) is not bench.can.sampling:
        yield f"A request's sampling is {type(decided).__name__}, not {bench.can.sampling.__name__}."


def _left_open(bench: Bench) -> Iterator[str]:
    """A sentence for each field of a request that is None, over all tasks."""
    for name, task in bench.tasks().items():
        if name in bench.can.tasks:
            request = bench.resolve(bench.recipe(task=task).replace(seed=None, seconds=None))
            if left := list(_open_fields(request)):
                yield f"A request for {name} leaves {', '.join(left)} open."


def _open_fields(value: Any, path: str = "") -> Iterator[str]:
    """The fields of a request, and of the values it is made of, that are None; what its recipe leaves unsaid is no number."""
    if value is None:
        yield path
    elif isinstance(value, tuple):
        for place, one in enumerate(value):
            yield from _open_fields(one, f"{path}[{place}]")
    elif is_dataclass(value) and not isinstance(value, Recipe):
        for one in fields(value):
            yield from _open_fields(getattr(value, one.name), f"{path}.{one.name}".lstrip("."))


def same_seed_same_bytes(bench: Bench) -> Iterator[str]:
    """The same recipe gives the same bytes, its resolved form too; another seed gives others."""
    recipe = bench.recipe()
    first, again, resolved = (bench.rendered([one])[0] for one in (recipe, recipe, bench.resolve(recipe).recipe))
    if digest(first) != digest(again):
        yield "The same recipe made twice gives different bytes."
    if digest(first) != digest(resolved):
        yield "A recipe as it was resolved gives other bytes than as it was asked."
    if np.array_equal(first.latent.cpu().numpy(), bench.rendered([bench.recipe(seed=2)])[0].latent.cpu().numpy()):
        yield "Another seed gives the same music."


def alone_as_in_a_batch(bench: Bench) -> Iterator[str]:
    """An item does not depend on what is made beside it: codes and their sound in every byte, since one code that comes out
    otherwise changes all that follow; numbers of a continuous latent but for rounding, since rows are summed in another order.
    """
    recipes = [bench.recipe(seed=seed) for seed in (1, 2)] + [bench.recipe(seed=1, caption="a")]
    together = bench.rendered(recipes)
    for place, recipe in enumerate(recipes):
        if not _alike(together[place], bench.rendered([recipe])[0], bench.can.latent.kind == "tokens"):
            yield f"Item {place + 1} of a batch of {len(recipes)} comes out otherwise than alone."


def _alike(one: Rendered, other: Rendered, exactly: bool) -> bool:
    """Whether two are the same, in every byte or but for rounding."""
    if exactly or one.latent.shape != other.latent.shape:
        return digest(one) == digest(other)
    pairs = ((one.latent.cpu().numpy(), other.latent.cpu().numpy()), (one.audio.samples, other.audio.samples))
    return all(np.abs(mine - theirs).max() <= ROUNDING * np.abs(theirs).max() for mine, theirs in pairs)


def stops_within_a_step(bench: Bench) -> Iterator[str]:
    """`check` is called at least once a step, and no step comes after it raised."""
    request = bench.resolve(bench.recipe())
    prepared = bench.engine.prepare([request])
    counted: list[int] = [0]
    seen: list[Step] = []

    def count() -> None:
        counted[0] += 1

    for step in bench.engine.sample(prepared, count):
        seen.append(step)
        if counted[0] < len(seen):
            yield f"Step {step.index + 1} came without check() having been called for it."
            return
    yield from _odd_steps(seen)
    if seen and request.steps != seen[-1].steps:
        yield f"A request says {request.steps} steps, and its loop {seen[-1].steps}."
    yield from _goes_on_after_stop(bench, prepared, len(seen) // 2)


def _goes_on_after_stop(bench: Bench, prepared: Sequence[Prepared], after: int) -> Iterator[str]:
    came: list[Step] = []

    def check() -> None:
        if len(came) >= after:
            raise Stopped("Enough.")

    try:
        for step in bench.engine.sample(prepared, check):
            came.append(step)
            if len(came) > after + 1:
                break
        yield "It swallows what check() raises, and goes on or ends as if it were done."
    except Stopped:
        if len(came) > after:
            yield f"{len(came) - after} steps came after check() had raised."


def _odd_steps(seen: Sequence[Step]) -> Iterator[str]:
    if not seen:
        yield "Its loop gives no step."
        return
    if [step.index for step in seen] != list(range(len(seen))) or seen[-1].index + 1 > seen[-1].steps:
        yield "Its steps are not counted from 0 up to the number they name."
    if seen[-1].t != 0:
        yield f"Its last step is at t = {seen[-1].t:g} and not at 0, the finished music."
    if seen[-1].state is None:
        yield "Its last step has no state, which is the latent to decode."


def keeps_its_promises(bench: Bench) -> Iterator[str]:
    """Every task it promises gives finished sound of the right kind."""
    for name, task in bench.tasks().items():
        if name not in bench.can.tasks:
            continue
        try:
            yield from (f"{name}: {sentence}" for sentence in _odd_render(bench, task))
        except LabError as error:
            yield f"It promises {name} and refuses it: {error}"


def _odd_render(bench: Bench, task: Task) -> Iterator[str]:
    spec, recipe = bench.can.latent, bench.recipe(task=task)
    made = bench.rendered([recipe])[0]
    seconds = bench.resolve(recipe).seconds
    if made.audio.rate != spec.rate:
        yield f"its sound has {made.audio.rate} samples a second, not the {spec.rate} of its capabilities."
    if made.audio.channels != spec.audio_channels:
        yield f"its sound has {made.audio.channels} channels, not the {spec.audio_channels} of its capabilities."
    if abs(made.audio.seconds - seconds) > 1.5 / spec.frames_per_second:
        yield f"its sound lasts {made.audio.seconds:.3f} s and not {seconds:.3f} s."
    if made.latent.ndim != 2 or made.latent.shape[1] != spec.channels:
        yield f"its latent has the shape {list(made.latent.shape)}, not [frames, {spec.channels}]."
    elif abs(made.latent.shape[0] / spec.frames_per_second - seconds) > 1.5 / spec.frames_per_second + 0.05 * seconds:
        yield f"its latent has {made.latent.shape[0]} frames, and {spec.frames_per_second:g} are a second."
    if made.audio.peak == 0.0:
        yield "its sound is silent."
    for region in KEPT.get(type(task), lambda task: ())(task):
        span = region.samples(spec.rate)
        if not np.array_equal(made.audio.samples[:, span], task.source.samples[:, span]):  # type: ignore[union-attr]
            yield f"the source's own samples do not stay ({region.start:.2f}–{region.end:.2f} s)."


def refuses_the_rest(bench: Bench) -> Iterator[str]:
    """Every other task is refused by a sentence, before any component is asked for."""
    for name, task in bench.tasks().items():
        if name in bench.can.tasks:
            continue
        yield from _not_refused(bench, bench.recipe(task=task), f"{name}, which it does not promise")
    too_long = bench.recipe().replace(seconds=min(600.0, bench.can.seconds[1]))
    yield from _not_refused(bench, too_long, "a song longer than the machine has room for", longest=bench.seconds)


def refuses_foreign_knobs(bench: Bench) -> Iterator[str]:
    """A knob of another family's sampling is refused by a sentence."""
    for kind, (knob, value) in FOREIGN.items():
        if KINDS[kind] is not bench.can.sampling:
            recipe = Recipe(CAPTION, seconds=bench.seconds, sampling=KINDS[kind](**{knob: value}))
            yield from _not_refused(bench, recipe, f"{knob}={value}, a knob it does not have")


def _not_refused(bench: Bench, recipe: Recipe, what: str, longest: float = 600.0) -> Iterator[str]:
    before = len(bench.devices.wanted)
    try:
        bench.resolve(recipe, longest)
        yield f"It does not refuse {what}."
    except RecipeError as error:
        if len(str(error).split()) < 4 or not str(error).endswith((".", "?", "!")):
            yield f"It refuses {what} with no sentence: {str(error)!r}."
    if bench.devices.wanted[before:]:
        yield f"It asks for {bench.devices.wanted[before]} before it refuses {what}."


def uses_only_what_it_names(bench: Bench) -> Iterator[str]:
    """No component beyond those it names, which are all that memory is planned for."""
    for name, task in bench.tasks().items():
        if name in bench.can.tasks:
            bench.rendered([bench.recipe(task=task)])
    if stray := sorted(set(bench.devices.wanted) - set(bench.can.components)):
        yield f"It uses {', '.join(stray)}, which its capabilities do not name."


def flags_and_protocols_agree(bench: Bench) -> Iterator[str]:
    """What a flag promises can be done."""
    for flag, protocol in PROTOCOLS.items():
        if getattr(bench.can, flag) and not isinstance(bench.engine, protocol):
            yield f"Its capabilities say {flag}, and it lacks the methods of {protocol.__name__}."
    if not (bench.can.previews and isinstance(bench.engine, Previews)):
        return
    latent = bench.rendered([bench.recipe()])[0].latent
    heard = bench.engine.preview(latent, bench.seconds / 2, bench.seconds / 4)
    if not isinstance(heard, Audio) or heard.rate != bench.can.latent.rate or not heard.samples.size:
        yield "Its capabilities say previews, and a preview gives no sound of its rate."


def hears_its_lyrics(bench: Bench) -> Iterator[str]:
    """Attention on lyrics: shares of a whole, of tokens that stand in the lyrics, at the same rate as the sound, the same twice."""
    if not (bench.can.aligns and isinstance(bench.engine, Aligns)):
        return
    lyrics = "[verse]\nla la la\nlo"
    yield from _attends(bench, bench.engine.lyric_attention, bench.recipe(lyrics=lyrics), "lyrics", lyrics)


def shows_where_it_looks(bench: Bench) -> Iterator[str]:
    """Attention on the caption, as on the lyrics."""
    if bench.can.attends and isinstance(bench.engine, ShowsAttention):
        recipe = bench.recipe(lyrics="la la")
        yield from _attends(bench, bench.engine.caption_attention, recipe, "caption", CAPTION)


def _attends(
    bench: Bench, listen: Callable[..., LyricAttention], recipe: Recipe, called: str, words: str
) -> Iterator[str]:
    sound = tone(bench.seconds, bench.can.latent.rate, bench.can.latent.audio_channels)
    prepared = bench.engine.prepare([bench.resolve(recipe)])[0]
    latent = bench.engine.encode(sound)
    found, again = (listen(prepared, latent, ((0.5, 3),)) for _ in range(2))
    whole = np.exp(found.log).sum(axis=0) + np.exp(found.rest)
    if not np.allclose(whole, 1.0, atol=1e-2):
        yield f"Shares of attention on the {called} and on the rest are no whole."
    if "".join(words[start:end] for start, end in found.spans) != words:
        yield f"The tokens of the {called} do not spell them."
    if abs(found.log.shape[1] * found.seconds_per_frame - bench.seconds) > 2 * found.seconds_per_frame:
        yield "Attention does not last as long as the sound."
    if not np.array_equal(found.log, again.log):
        yield "Listening twice hears two things."


def encodes_and_decodes(bench: Bench) -> Iterator[str]:
    """A sound becomes a latent and back; a latent of another shape is refused; a take of its own keeps its latent."""
    spec, recipe = bench.can.latent, bench.recipe()
    latent = bench.engine.encode(tone(bench.seconds, spec.rate, spec.audio_channels)).cpu()
    if latent.ndim != 2 or latent.shape[1] != spec.channels or latent.dtype != torch.float32:
        yield f"A sound's latent has the shape {list(latent.shape)} in {latent.dtype}, not float32 [frames, {spec.channels}]."
        return
    back = bench.engine.decode_latent(latent.numpy())
    if (back.rate, back.channels) != (spec.rate, spec.audio_channels) or abs(back.seconds - bench.seconds) > 0.2:
        yield f"A latent of {bench.seconds:g} s becomes {back!r}."
    try:
        bench.engine.decode_latent(np.zeros((4, spec.channels + 1), np.float32))
        yield "It decodes a latent with more channels than it has."
    except RecipeError:
        pass
    take = bench.take(recipe, bench.rendered([recipe])[0])
    if not np.array_equal(bench.engine.encode(take).cpu().numpy(), take.latent):
        yield "A take it has made itself does not keep its latent when it is encoded."


CHECKS: tuple[Callable[[Bench], Iterator[str]], ...] = (
    says_what_it_is,
    names_its_components,
    decides_everything,
    refuses_the_rest,
    refuses_foreign_knobs,
    flags_and_protocols_agree,
    uses_only_what_it_names,
    keeps_its_promises,
    same_seed_same_bytes,
    alone_as_in_a_batch,
    stops_within_a_step,
    encodes_and_decodes,
    hears_its_lyrics,
    shows_where_it_looks,
)


def final_states(steps: Iterator[Step]) -> list[torch.Tensor]:
    """The latents a loop ends with, in the order of its items."""
    last = deque(steps, maxlen=1)
    assert last, "The loop gave no step."
    state = last[0].state
    assert state is not None, "The loop's last step has no state."
    return list(state)


def tone(seconds: float, rate: int, channels: int) -> Audio:
    """A little melody of tones, with a beat: float32 at half of full scale."""
    at = np.arange(round(seconds * rate)) / rate
    pitch = 220.0 * 2 ** (np.floor(at * 4) % 5 / 12)
    sound = 0.5 * np.sin(2 * np.pi * pitch * at) * np.exp(-4 * (at * 4 % 1))
    return Audio(np.tile(sound.astype(np.float32), (channels, 1)), rate)


def digest(rendered: Rendered) -> str:
    """A name for the bytes of a sound and its latent."""
    whole = hashlib.blake2b(rendered.audio.samples.tobytes(), digest_size=16)
    whole.update(np.ascontiguousarray(rendered.latent.float().cpu().numpy()).tobytes())
    return whole.hexdigest()
