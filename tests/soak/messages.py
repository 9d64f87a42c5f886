"""Hostile messages to every component of a page, in both hosts: each must end in a sentence or in work done.

    python -m tests.soak.messages --count 20000 --seed 7

Deterministic but for threads: the same seed sends the same messages in the same order.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from panel.models.esm import DataEvent

from acestep_lab.errors import MOST_CHARACTERS, RecipeError
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.forms import PLAIN_FIELDS
from acestep_lab.ui.studio import Studio
from tests.pretend import PretendSession, png
from tests.soak import Row

PARTS = (
    "prompt",
    "lyrics",
    "plan",
    "picker",
    "gallery",
    "player",
    "tree",
    "top",
    "queue",
    "drop",
    "preview",
    "switch",
    "describe",
    "adapters",
    "export",
    "song",
    "stems",
    "tabs",
)
BATCH = 50
MOST_RUNS = 10
PLAN = Plan(bpm=120, keyscale="A minor", timesignature="4", language="en", caption="dub", seconds=4.0, codes=(5, 17, 3))


def deep(levels: int, kind: type = list) -> Any:
    """Lists or tables in lists or tables."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 3.5, -0.0, 1e300, 1e-320, -1e308, math.nan, math.inf, -math.inf, 2**53, 2**63, -(2**64), 10**400,
    "", " ", "0", "-0", "²", "Ⅷ", "⑦", "½", "१२०", "１２０", "1e400", "1e5", "120,5", "--5", "+-1", "1_000", "0x1F", "nan", "inf", "NaN", "1/0", "9" * 5000,
    "\0", "\ud800", "a\udfffb", "\u202egnp.exe", "\u2028", "\ufeff", "\r\n", "'\"\\\n", '"""', "{0.__class__}", "%s%n", "${7*7}", "<img src=x onerror=alert(1)>",
    "</script><script>", "javascript:alert(1)", "../../etc/passwd", "take-000000000000", "take-../../x", "__class__", "_begin", "do_edit", "constructor", "__proto__",
    "x" * 200, "x" * 20_001, "語" * 70_000, "'; DROP TABLE takes; --", "a* OR NEAR(", '"', "Repaint", "Cover", "Extract", "Complete", "nobody", "bpm", "seed", "task", "caption",
    "Cover.strength", "Complete.stems", "Retake.seed", "Extend.after", "codes", "locked", "mode", "aggressive", "C major", "H minor", "4/4", "en", "xx", "flac", "exe", "zip",
    [], [None], [[]], ["drums"], ["drums", 5], ["x"] * 300, [math.nan], {}, {"a": 1}, {"field": {}}, deep(300), deep(300, dict), [0] * 50_000,
    b"", b"\xff\x00", bytearray(3), 3 + 4j, {1, 2}, object(), type, (1, 2), [("start", 1)],
    [{"name": "A", "start": 1, "end": 2}], [{"name": "A", "start": "1", "end": "2,5"}], [{"start": None, "end": None}], [{"start": [], "end": {}}], [{"name": {}, "start": 1, "end": 2}],
    [{"start": 10**400, "end": math.nan}], [{"name": "\ud800", "start": 0, "end": 1}], [{}] * 40, [{"start": -5, "end": 900}], [{"start": 3, "end": 1}], ["regions"], [5],
)  # fmt: skip
"""What a field is sent instead of what belongs there."""
KINDS: tuple[Any, ...] = (
    None, 5, [], {}, ["edit"], "", "unknown", "_begin", "__init__", "receive", "emit", "do_edit", "setup", "show_error", "ask", "\ud800", "\0", "x" * 100_000, True, math.nan, b"edit",
)  # fmt: skip
NO_MESSAGES: tuple[Any, ...] = (None, "edit", 5, [], ["kind", "edit"], [("kind", "edit")], {}, math.nan, True, b"{}", object(), deep(500), {"kind": deep(200)}, {5: 6}, {"kind": "ready", 5: 6},
                                {"kind": "ready", "self": 1}, {"kind": "code", "\ud800": 1}, {"kind": "ready", None: None})  # fmt: skip
BUFFERS: tuple[Any, ...] = (
    (),
    (),
    (),
    None,
    [],
    5,
    {},
    "bytes",
    [5],
    ["x"],
    [None],
    [10**12],
    [b""],
    [b"RIFF"],
    [memoryview(b"abc")],
    [b"x"] * 40,
    [[b"x"]],
    [{}],
    [bytearray(10)],
)
UPDATES: tuple[Any, ...] = (
    None,
    5,
    [],
    "state",
    {"_esm": "alert(1)"},
    {"layout": 5},
    {"_model_name": None},
    {"nobody": 1},
    {"\ud800": 1},
    {5: 5},
)


class Hostile(PretendSession):
    """The pretend session with every verb a page may ask for, and an end to renders."""

    def start(self, recipe: Any, plan: Any = None, *, adapters: Any = None) -> Any:
        if len(self.started) >= MOST_RUNS:
            raise RecipeError("That is enough music for a trial.")
        return super().start(recipe, plan, adapters=adapters)

    def plan(self, recipe: Recipe, keep: Any = None, on_token: Callable[[Any], None] = lambda token: None) -> Plan:
        on_token("<think>\n")
        return PLAN

    def polish(self, caption: str, lyrics: str = "", seed: int = 0, on_token: Any = None, **fixed: Any) -> Plan:
        return PLAN

    def analyze(self, source: Any, bpm: Any = None) -> Any:
        return SimpleNamespace(
            bpm=120.0, pulse=0.5, key_confidence=0.1, loudness=-14.0, meter_confidence=0.9, keyscale="A minor", timesignature="4",
        )  # fmt: skip

    def plan_score(self, source: Any, plan: Any = None, scale: float = 0.1) -> Any:
        return SimpleNamespace(total=-1.0)


@dataclass
class Tally:
    """What became of the messages: how many by component and answer, and whatever was neither a sentence nor done."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    others: list[str] = field(default_factory=list)

    def total(self, answer: str) -> int:
        """Messages that were answered so."""
        return sum(count for (_, kind), count in self.counts.items() if kind == answer)

    def rows(self) -> list[Row]:
        """The same as lines of the soak's table: what was answered or done counts as survived."""
        made = {name: Row(f"hostile messages to the {name}") for name, _ in self.counts}
        for (name, kind), count in self.counts.items():
            made[name].tried += count
            made[name].survived += count * (kind != "other")
        for line in reversed(self.others):
            made[line.split(" → ")[0].split(":")[0]].note = line[-120:]
        return list(made.values())

    def table(self) -> str:
        """A row for each component."""
        rows = [f"{'component':24} {'tried':>7} {'sentence':>9} {'accepted':>9} {'other':>6}"]
        for name in dict.fromkeys(name for name, _ in self.counts):
            said, done, odd = (self.counts[name, kind] for kind in ("sentence", "accepted", "other"))
            rows.append(f"{name:24} {said + done + odd:7,} {said:9,} {done:9,} {odd:6,}")
        all_of = [self.total(kind) for kind in ("sentence", "accepted", "other")]
        return "\n".join([*rows, f"{'all':24} {sum(all_of):7,} {all_of[0]:9,} {all_of[1]:9,} {all_of[2]:6,}"])


class Room:
    """One component of a page as its browser half meets it: what is sent comes in by the host's own door."""

    def __init__(self, name: str, component: Any) -> None:
        self.name, self.it = f"{name} ({'panel' if hasattr(component, 'param') else 'anywidget'})", component
        self.part, self.heard = name, []
        component.emit = self._tell

    def _tell(self, kind: str, *buffers: Any, **body: Any) -> None:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        [bytes(one) for one in buffers]
        self.heard.append({"kind": kind, **body})

    def send(self, message: Any, buffers: Any = ()) -> list[dict[str, Any]]:
        """Send a message and return what the component told meanwhile."""
        self.heard.clear()
        if not hasattr(self.it, "param"):
            self.it._handle_msg({"content": {"data": {"method": "custom", "content": message}}, "buffers": buffers})
        else:
            whole = {**message, "_buffers": buffers} if isinstance(message, dict) and buffers != () else message
            self.it._process_event(DataEvent(None, whole))
        return list(self.heard)

    def update(self, state: Any) -> list[dict[str, Any]]:
        """Claim a state, as a front end does that sets fields itself."""
        self.heard.clear()
        if not hasattr(self.it, "param"):
            self.it._handle_msg({"content": {"data": {"method": "update", "state": state, "buffer_paths": [["a", 5]]}}})
        else:
            self.it._process_events(state)
        return list(self.heard)

    def state(self) -> str:
        """All fields as they travel; raises where they cannot."""
        return json.dumps(
            {name: getattr(self.it, name) for name in self.it.fields}, ensure_ascii=False, allow_nan=False
        )


def fitting(dice: random.Random, name: str, take: str) -> Any:
    """Something that belongs into a field of this name, now and then."""
    words = {
        "id": take, "ids": [take], "among": [take], "winner": take, "field": dice.choice([*PLAIN_FIELDS, "caption", "task", "lyrics"]),
        "on": True, "place": 0, "key": "start", "change_id": "me:1", "regions": [{"name": "A", "start": 1, "end": 2}], "selected": 0, "snapped": True, "force": False,
        "name": dice.choice(["mode", "caption", "strength", "wave_crossfade", "a.wav", "Waltz for strings"]), "to": "off", "start": 0.5, "end": 1.5, "pixels": 200, "text": "[Verse]\nla",
        "code": "en", "step": 0, "form": "wav", "seconds": 1.0, "size": 4, "at": 0, "x": "seed", "xs": "1,2", "y": "steps", "ys": "2", "revision": None, "star": True, "reject": False, "note": "fine", "title": "named", "tags": ["slow"], "tag": "", "batch": "", "down": True, "by": "when", "blind": True, "how": dice.choice(["whole", "ear", "beat", "1.5"]), "block": 1, "edge": "end", "beats": -1, "stems": ["drums"], "stem": "bass", "sentence": "a sad song", "level": "peak", "target": -1.0, "turn": "a", "levels": [{"name": "drums", "decibels": -6, "heard": True}],
    }  # fmt: skip
    return words.get(name, dice.choice(["120", "0.5", "dub", 1]))


def hostile(dice: random.Random, room: Room, take: str) -> tuple[Any, Any]:
    """One message and its buffers: a right one with some of it wrong, or none at all."""
    if dice.random() < 0.06:
        return dice.choice(NO_MESSAGES), dice.choice(BUFFERS)
    kind = dice.choice(KINDS) if dice.random() < 0.06 else dice.choice(sorted(room.it._requests))
    names = (
        room.it._requests[kind].__wrapped__.__code__ if isinstance(kind, str) and kind in room.it._requests else None
    )
    fields = [] if names is None else [n for n in names.co_varnames[1 : names.co_argcount] if n != "buffers"]
    body: dict[Any, Any] = {"kind": kind}
    for name in fields:
        if dice.random() < 0.9:
            body[name] = dice.choice(STRANGE) if dice.random() < 0.55 else fitting(dice, name, take)
    if dice.random() < 0.06:
        body[dice.choice(["self", "buffers", "extra", "field", "x" * 5000, "\ud800", "__class__"])] = dice.choice(
            STRANGE
        )
    return body, dice.choice(BUFFERS) if dice.random() < 0.2 else ()


def claimed(dice: random.Random, room: Room) -> Any:
    """A state as a hostile front end would set it."""
    if dice.random() < 0.2:
        return dice.choice(UPDATES)
    return {name: dice.choice(STRANGE) for name in dice.sample(sorted(room.it.fields), k=min(2, len(room.it.fields)))}


def tried(tally: Tally, room: Room, what: str, work: Callable[[], list[dict[str, Any]]]) -> None:
    """Do one trial and write down how it was answered."""
    try:
        said = [one for one in work() if one["kind"] == "error" and one["text"] != ""]  # "" takes the last one away
        room.state()
        for one in said:
            if not one["text"].strip() or len(one["text"]) > MOST_CHARACTERS or len(one["field"]) > 60:
                raise AssertionError(f"no sentence: {one}")
    except Exception as problem:  # noqa: BLE001 - whatever comes out is what is counted here
        tally.counts[room.name, "other"] += 1
        tally.others.append(f"{room.name}: {what[:300]} → {type(problem).__name__}: {str(problem)[:200]}")
        return
    tally.counts[room.name, "sentence" if said else "accepted"] += 1


# -- after everything, a right message still works


def _prompt(room: Room, page: Studio) -> bool:
    for name in PLAIN_FIELDS:
        room.send({"kind": "lock", "field": name, "on": False})
        room.send({"kind": "edit", "field": name, "value": None})
    for name, value in (("task", "Text2Music"), ("caption", "dub"), ("bpm", "120"), ("seed", "7")):
        room.send({"kind": "edit", "field": name, "value": value})
    page.lyrics.load("")
    page.picker.mark([])
    recipe = room.it.recipe()
    return (recipe.caption, recipe.bpm, recipe.seed) == ("dub", 120, 7) and room.it.errors == {}


def _lyrics(room: Room, page: Studio) -> bool:
    room.send({"kind": "instrumental", "on": False})
    return room.send({"kind": "text", "text": "[Verse]\nla la"}) == [] and room.it.value == "[Verse]\nla la"


def _plan(room: Room, page: Studio) -> bool:
    room.it.show_plan(PLAN, Recipe("dub", seed=1))
    room.send({"kind": "edit", "field": "bpm", "value": "90"})
    return room.it.value.bpm == 90


def _picker(room: Room, page: Studio) -> bool:
    room.send({"kind": "snap", "to": "off"})
    room.send({"kind": "regions", "regions": [{"name": "", "start": 1, "end": 2}], "change_id": "me:9"})
    return [(r["start"], r["end"]) for r in room.it.regions] == [(1.0, 2.0)] and room.it.change_id == "me:9"


def _gallery(room: Room, page: Studio) -> bool:
    room.send({"kind": "restore"})
    room.send({"kind": "search", "text": ""})
    room.send({"kind": "narrow", "star": False, "tag": "", "batch": ""})
    id = room.it.cards[0]["id"]
    room.send({"kind": "mark", "id": id, "note": "still here"})
    room.send({"kind": "peaks", "id": id})
    for thread in [one for one in threading.enumerate() if one.name == "acestep_lab waveforms"]:
        thread.join(30)
    seen = [one["kind"] for one in room.send({"kind": "peaks", "id": id})]  # at hand now, so at once
    return seen == ["peaks"] and room.it.cards[0]["note"] == "still here"


def _player(room: Room, page: Studio) -> bool:
    asked = room.send({"kind": "peaks", "id": room.it.track["id"], "pixels": 100})
    return [one["kind"] for one in asked] == ["peaks"]


def _tree(room: Room, page: Studio) -> bool:
    return room.send({"kind": "select", "id": page.selected.id}) == []


def _top(room: Room, page: Studio) -> bool:
    return [one["kind"] for one in room.send({"kind": "heartbeat"})] == ["heartbeat"]


def _queue(room: Room, page: Studio) -> bool:
    return room.send({"kind": "watch", "id": "run-none"}) == []


def _drop(room: Room, page: Studio) -> bool:
    return [one["kind"] for one in room.send({"kind": "begin", "name": "a.wav", "size": 10})] == ["next"]


def _preview(room: Room, page: Studio) -> bool:
    # Another run may have come in hand meanwhile, or a sound of no run.
    page.watching.watch(next(run for run in page.watching.renders() if run.steps))
    room.send({"kind": "picture", "step": max(room.it._by_index)})
    return any("picture" in [one["kind"] for one in room.heard] or threading.Event().wait(0.05) for _ in range(40))


def _switch(room: Room, page: Studio) -> bool:
    room.send({"kind": "list"})
    threading.Event().wait(0.1)
    return any(choice["name"] == page.backend.session.name for choice in page.switch.choices)


def _describe(room: Room, page: Studio) -> bool:
    room.send({"kind": "stop"})
    return room.send({"kind": "new_seed"}) == [] and room.send({"kind": "dice"}) == []


def _adapters(room: Room, page: Studio) -> bool:
    said = room.send({"kind": "remove", "name": "nobody"})
    return [one["kind"] for one in said] == ["error"] and "nobody" in said[0]["text"]


def _export(room: Room, page: Studio) -> bool:
    room.send({"kind": "open", "ids": [page.selected.id]})
    room.send({"kind": "write", "form": "wav", "bits": 16})
    for thread in [one for one in threading.enumerate() if one.name == "acestep_lab export"]:
        thread.join(30)
    return "file" in [one["kind"] for one in room.heard] and room.it.writing == 0


def _song(room: Room, page: Studio) -> bool:
    room.send({"kind": "clear"})
    return room.send({"kind": "fill", "how": "whole"}) == [] and len(room.it.blocks) == 1


def _stems(room: Room, page: Studio) -> bool:
    return room.send({"kind": "open", "on": False}) == [] and room.it.opened is False


def _tabs(room: Room, page: Studio) -> bool:
    return room.send({"kind": "ready"}) == []


RIGHT: dict[str, Callable[[Room, Studio], bool]] = {
    "prompt": _prompt, "lyrics": _lyrics, "plan": _plan, "picker": _picker, "gallery": _gallery, "player": _player, "tree": _tree, "top": _top, "queue": _queue, "switch": _switch,
    "drop": _drop, "preview": _preview, "describe": _describe, "adapters": _adapters, "export": _export, "song": _song, "stems": _stems, "tabs": _tabs,
}  # fmt: skip


@contextmanager
def _threads(tally: Tally) -> Iterator[None]:
    """What dies in a thread of the page is counted too."""
    before = threading.excepthook

    def died(args: Any) -> None:
        tally.counts[f"thread {args.thread.name}", "other"] += 1
        tally.others.append(f"thread {args.thread.name} → {args.exc_type.__name__}: {args.exc_value}")

    threading.excepthook = died
    try:
        yield
    finally:
        threading.excepthook = before


def _opened(folder: Path, panes: bool) -> tuple[Hostile, Studio]:
    """A page with a take selected, and a finished run to look at."""
    session = Hostile(folder, pause=0.0)
    page = Studio(
        backend_of(session),
        panes=panes,
        picture=png,
        crossfades=lambda mode, strength: (0.04, 0.05),
        catalog=list,
    )
    job = page.start(Recipe("dub", seconds=4, seed=3, bpm=120, steps=3))
    for _ in range(600):
        if page.selected is not None and page.gallery.cards and job.over:
            break
        threading.Event().wait(0.02)
    return session, page


def run(count: int, seed: int, folder: Path, tell: Callable[[str], None] = lambda line: None) -> Tally:
    """Send `count` hostile messages in all, shared out over components and hosts; after each batch a right one must work."""
    tally, dice = Tally(), random.Random(seed)
    each = max(1, count // (2 * len(PARTS)))
    with _threads(tally):
        for panes in (False, True):
            session, page = _opened(folder / ("panes" if panes else "widgets"), panes)
            rooms = {name: Room(name, getattr(page, name)) for name in PARTS}
            for room in rooms.values():
                for start in range(0, each, BATCH):
                    for _ in range(min(BATCH, each - start)):
                        _once(
                            tally, dice, room, page.backend.takes.ids()[0] if page.backend.takes.ids() else "take-gone"
                        )
                    _right(tally, room, page)
                tell(f"{room.name}: {each} messages")
            _settle()
            page.close()
            session.close()
            session.library.close()
    return tally


def trial(seconds: float, seed: int, folder: Path) -> list[Row]:
    """Send messages for about so long; a row for each component in each host."""
    whole, began, turn = Tally(), time.monotonic(), 0
    while turn == 0 or time.monotonic() - began < seconds:
        found = run(1100, seed + turn, folder / f"messages-{turn}")
        whole.counts.update(found.counts)
        whole.others += found.others
        turn += 1
    return whole.rows()


def _once(tally: Tally, dice: random.Random, room: Room, take: str) -> None:
    if dice.random() < 0.1:
        state = claimed(dice, room)
        tried(tally, room, f"state {state!r}"[:400], lambda: room.update(state))
        return
    message, buffers = hostile(dice, room, take)
    tried(tally, room, f"{message!r:.300} with {buffers!r:.80}", lambda: room.send(message, buffers))


def _right(tally: Tally, room: Room, page: Studio) -> None:
    """After a batch, a right message; its failure is counted as something other than an answer.

    It has three goes, since a run or a measurement that ends in between brings other cards and another sound.
    """

    def work() -> list[dict[str, Any]]:
        if not any(RIGHT[room.part](room, page) or threading.Event().wait(0.3) for _ in range(3)):
            raise AssertionError("a right message no longer works")
        return []

    tried(tally, room, "a right message", work)


def _settle() -> None:
    """Let the page's own threads end."""
    for thread in threading.enumerate():
        if thread.name.startswith("acestep_lab ") and thread.name != "acestep_lab worker" and thread.daemon:
            thread.join(0.5)


def main() -> int:
    """Run by hand; 1 where anything but a sentence or work came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="acestep-lab-soak-") as folder:
        tally = run(asked.count, asked.seed, Path(folder), lambda line: print(line, file=sys.stderr))
    print(tally.table())
    for line in list(dict.fromkeys(tally.others))[:40]:
        print("!", line.encode("utf-8", "backslashreplace").decode())
    return 1 if tally.others else 0


if __name__ == "__main__":
    sys.exit(main())
