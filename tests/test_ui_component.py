"""One spec, two hosts: the same component as an anywidget and as a Panel component, without a browser."""

from __future__ import annotations

import inspect
import json
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from acestep_lab import ui
from acestep_lab.errors import LabError, RecipeError
from acestep_lab.ui import assets, component
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.throttle import Throttle

CORES = sorted({name.removesuffix("Widget") for name in ui.__all__ if name.endswith("Widget")})


class Bell(Component):
    """A bell for the tests."""

    module = "topbar"
    fields: ClassVar[dict[str, Any]] = {"rung": 0, "who": []}

    def do_ring(self, by: str = "") -> None:
        self.rung = self.rung + 1
        self.who = [*self.who, by]
        self.notify("ring", by=by)

    def do_sound(self, buffers: list[Any], name: str = "") -> None:
        self.heard = (name, bytes(buffers[0]))


BellWidget, BellPane = widget_and_pane(Bell)


@pytest.fixture(params=[BellWidget, BellPane], ids=["anywidget", "panel"])
def bell(request: pytest.FixtureRequest) -> Any:
    return request.param()


def send(component: Any, message: dict[str, Any], *buffers: bytes) -> None:
    """What the browser's `model.send` ends in, in each host."""
    if isinstance(component, BellPane):
        component._handle_msg({**message, "_buffers": list(buffers)})
    else:
        component._handle_custom_msg(message, [memoryview(b) for b in buffers])


def test_a_message_from_the_browser_becomes_state_and_reaches_a_listener(bell: Any) -> None:
    heard = []
    bell.on("ring", lambda by: heard.append(by))
    send(bell, {"kind": "ring", "by": "Ada"})
    assert (bell.rung, bell.who, heard) == (1, ["Ada"], ["Ada"])


def test_one_comm_stays_open_while_components_come_and_go() -> None:
    """JupyterLab ends the kernel's subshell with the last comm, and would give the ending one to a comm that opens just then."""
    from ipywidgets import Widget

    BellWidget().close()
    [stays] = [one for one in Widget.widgets.values() if one is component._one_that_stays()]
    BellWidget().close()
    assert Widget.widgets[stays.model_id] is stays is component._one_that_stays()
    assert stays.comm is not None
    Widget.close_all()
    BellWidget()
    assert component._one_that_stays().comm is not None, "whoever closes all widgets goes on with one open"


def test_bytes_arrive_whole(bell: Any) -> None:
    send(bell, {"kind": "sound", "name": "a"}, b"\x00\xff\x80")
    assert bell.heard == ("a", b"\x00\xff\x80")


@pytest.mark.parametrize(
    "message", [{}, {"kind": "unknown"}, {"kind": "_begin"}, {"kind": ["ring"]}, "ring", None, {"kind": "receive"}]
)
def test_a_message_nobody_wrote_a_method_for_does_nothing(bell: Any, message: Any) -> None:
    bell.receive(message, [])
    assert bell.rung == 0


def test_an_error_on_purpose_becomes_a_sentence_in_view(bell: Any) -> None:
    said: list[dict[str, Any]] = []
    bell.emit = lambda kind, *buffers, **body: said.append({"kind": kind, **body})

    def refuse(by: str) -> None:
        raise RecipeError("There are no words to work from.")

    bell.on("ring", refuse)
    send(bell, {"kind": "ring", "by": ""})
    bell.on("ring", lambda by: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    bell._listeners["ring"].pop(0)
    send(bell, {"kind": "ring", "by": ""})
    assert [s["text"] for s in said] == [
        "There are no words to work from.",
        "The disk refused: no space left on device. Nothing already kept was lost.",
    ]
    assert [s["code"] for s in said] == ["RECIPE", "DISK"]


def test_messages_from_many_threads_are_done_one_after_another(bell: Any) -> None:
    threads = [
        threading.Thread(target=lambda: [send(bell, {"kind": "ring", "by": "x"}) for _ in range(20)]) for _ in range(4)
    ]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert bell.rung == 80
    assert len(bell.who) == 80


def test_two_of_a_kind_share_no_state() -> None:
    for kind in (BellWidget, BellPane):
        one, other = kind(), kind()
        one.do_ring("Ada")
        assert other.who == []
        assert other.rung == 0


@pytest.mark.parametrize("name", CORES)
def test_both_hosts_have_the_same_fields_requests_and_module(name: str) -> None:
    widget, pane = getattr(ui, f"{name}Widget"), getattr(ui, f"{name}Pane")
    core = next(c for c in widget.__mro__ if c.__name__ == name)
    assert core in pane.__mro__
    assert all(
        widget.class_traits().get(f) is not None and widget.class_traits()[f].metadata.get("sync") for f in core.fields
    )
    assert set(core.fields) <= set(pane.param)
    assert str(widget._esm) == str(pane._esm)
    assert json.dumps(core.fields), "fields are plain data"


@pytest.mark.parametrize("name", CORES)
def test_what_the_browser_half_sends_has_a_method_and_what_it_reads_is_a_field(name: str) -> None:
    import re

    core = next(c for c in getattr(ui, f"{name}Widget").__mro__ if c.__name__ == name)
    text = assets.read(f"{core.module}.js") + "".join(assets.read(f"{part}.js") for part in core.includes)
    for kind in set(re.findall(r"host\.send\(\"(\w+)\"", text)):
        assert kind in core._requests, f"nobody does {kind!r}"
    for field in set(re.findall(r"host\.(?:get|list|table|text|number)\(\"(\w+)\"\)", text)):
        assert field in core.fields, f"{field!r} is no field of {name}"
    for field in set(re.findall(r"host\.watch\(\"(\w+)\"", text)):
        assert field in core.fields, f"{field!r} is watched but no field of {name}"


def test_what_a_host_stores_of_a_component_is_small_and_fetches_nothing() -> None:
    for name in CORES:
        core = next(c for c in getattr(ui, f"{name}Widget").__mro__ if c.__name__ == name)
        _, loader = assets.loader(core.module, *core.includes)
        assert len(loader) < 2500
        for text in (loader, assets.module(core.module, *core.includes)):
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
            assert "https://" not in text
            assert "innerHTML" not in text, "words are shown as text, never as markup"


def test_a_name_that_belongs_to_a_host_is_refused() -> None:
    class Wrong(Component):
        """Uses a name of Panel's."""

        module = "topbar"
        fields: ClassVar[dict[str, Any]] = {"tags": []}

    with pytest.raises(TypeError, match="tags"):
        widget_and_pane(Wrong)


def test_every_request_has_a_docstring_and_defaults() -> None:
    for name in CORES:
        core = next(c for c in getattr(ui, f"{name}Widget").__mro__ if c.__name__ == name)
        for kind, work in inspect.getmembers(core, inspect.isfunction):
            if kind.startswith("do_"):
                assert work.__doc__, f"{name}.{kind}"


def test_the_latest_wins_and_the_last_always_arrives() -> None:
    now, done = [0.0], []
    pace = Throttle(10.0, now=lambda: now[0])
    for value in range(5):
        pace.offer(lambda value=value: done.append(value))
    assert done == [0]
    pace.flush()
    assert done == [0, 4]
    now[0] = 1.0
    pace.offer(lambda: done.append(9))
    assert done == [0, 4, 9]


def test_the_browser_halves_are_found_in_a_checkout() -> None:
    assert (assets.folder() / "host.js").is_file()
    assert Path(assets.folder()).name in ("widgets", "static")


def test_a_lab_error_in_a_request_is_told_and_not_raised(bell: Any) -> None:
    bell.on("ring", lambda by: (_ for _ in ()).throw(LabError("no")))
    send(bell, {"kind": "ring", "by": "a"})
    assert bell.rung == 1


def test_what_another_thread_changed_is_told_as_it_stands_and_covers_nothing_newer() -> None:
    from bokeh.document import Document

    pane, document = BellPane(), Document()
    root = pane.get_root(document)
    pane.rung = 2  # by the page's own thread, while a change of another thread still waits for its turn
    pane._update_model({}, {"rung": 1}, root, root, document, None)
    assert root.data.rung == 2


def test_what_a_throttle_does_from_two_threads_is_done_one_after_another() -> None:
    throttle, inside, most = Throttle(1000.0), 0, 0

    def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.01)
        inside -= 1

    threads = [threading.Thread(target=throttle.now, args=(work,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    throttle.offer(work)
    for thread in threads:
        thread.join()
    throttle.flush()
    assert most == 1
