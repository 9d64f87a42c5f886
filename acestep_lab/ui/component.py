"""One component, two hosts: the same spec becomes an anywidget and a Panel component, so they cannot drift.

Knows nothing of music. State goes from Python to the browser as fields; everything the browser wants comes back as a
message (`model.send`), because trait changes from the browser can be muted by a kernel (see the tests), messages
never. Bulk (sound, peaks, pictures) travels in messages too and so never lands in a notebook file.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar

import anywidget
import param
import traitlets
from ipywidgets import Layout, Widget
from panel.custom import AnyWidgetComponent

from acestep_lab.errors import LabError, RecipeError, code_of, sentence, shown
from acestep_lab.ui import assets, locale
from acestep_lab.ui.messages import Name, field_of, fits, parse_message, validated

Buffer = bytes | bytearray | memoryview
Listener = Callable[..., None]
NOBODY = "Nobody listens here. Give me a session: {name}(session=lab); or a function of your own: .on({kind!r}, …)."
"""What a button says that asks for work where nobody does any."""


class Component:
    """The Python half of a component: fields the browser shows, `do_…` methods the browser may ask for.

    A subclass names its ES module, its fields with their defaults, and writes one `do_<kind>` per message, whose
    signature says how each field of the message is read (see `messages`). It runs unchanged under both hosts;
    `widget_and_pane` makes the two classes. Nothing a browser sends reaches a method, or a field, but through
    `receive`. Alone, with `session=lab`, it does what it does on the studio page.
    """

    module: ClassVar[str] = ""
    includes: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[Mapping[str, object]] = {}
    news: ClassVar[frozenset[str]] = frozenset({"ready", "changed", "at"})
    """What is told to whoever cares; all else asks for work, and where nobody does it the reader is told so."""

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        own = {name: work for name, work in vars(cls).items() if name.startswith("do_") and callable(work)}
        for name, work in own.items():
            setattr(cls, name, validated(work))
        asked = [name for name in dir(cls) if name.startswith("do_")]  # also of several bases, such as two lanes
        cls._requests = {name.removeprefix("do_"): getattr(cls, name) for name in asked}

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.fields and not fits(self.fields[name], value):
            raise RecipeError(f"The field {name!r} of a {type(self).__name__} cannot be {shown(value)}.")
        super().__setattr__(name, value)

    def setup(self, *arguments: Any, **keywords: Any) -> None:
        """Called once with the constructor's arguments, after the host's own constructor."""

    def _begin(self, *arguments: object, session: Any = None, **keywords: object) -> None:
        self._listeners: dict[str, list[Listener]] = {}
        self._receiving = threading.RLock()
        self._alone: Any = None
        if session is None:
            self.setup(*arguments, **keywords)
        else:
            from acestep_lab.ui.alone import studio_around

            self._alone = studio_around(self, session, arguments, keywords)

    def let_go(self) -> None:
        """Nobody uses it any more: what it does by a session of its own ends; runs and takes live on."""
        alone, self._alone = self._alone, None
        if alone is not None:
            alone.close()

    def emit(self, kind: str, *buffers: Buffer, **body: object) -> None:
        """Send one message, with bytes if need be, to every view of this component."""
        raise NotImplementedError

    @property
    def has_views(self) -> bool:
        """Whether any view may be looking; what costs work is only made for those."""
        return True

    def on(self, kind: str, listener: Listener) -> None:
        """Call `listener(**body)` whenever the component notifies of `kind`."""
        self._listeners.setdefault(kind, []).append(listener)

    def notify(self, kind: str, **body: object) -> None:
        """Tell whoever listens; a LabError or a failing disk becomes a sentence in view, and so does that nobody does."""
        listeners = self._listeners.get(kind, ())
        if not listeners and kind not in self.news:
            self.show_error(NOBODY.format(name=type(self).__name__, kind=kind))
        try:
            for listener in tuple(listeners):
                listener(**body)
        except (LabError, OSError) as problem:
            self.show_error(sentence(problem), code=code_of(problem))

    def show_error(self, text: str, field: str = "", code: str = "") -> None:
        """Show a sentence at the top of the component, or beside one of its fields."""
        self.emit("error", text=text, field=field, code=code)

    def receive(self, message: object, buffers: object = ()) -> None:
        """Do what one message asks; whatever makes no sense of it is one sentence in view, and nothing has changed."""
        with self._receiving:
            try:
                kind, body = parse_message(message, buffers, self._requests)
                getattr(self, f"do_{kind}")(**body)
            except (LabError, OSError) as problem:
                self.show_error(sentence(problem), field_of(message), code_of(problem))
                self._refused(message)

    def _refused(self, message: object) -> None:
        """A message was answered by a sentence; for a component whose page waits for more than that."""

    def stale_fields(self, state: object) -> list[str]:
        """Of a state a page claims, the fields that stand otherwise here: state goes from Python to the page only."""
        if not isinstance(state, Mapping):
            return []
        return [name for name in self.fields if name in state and not _same(state[name], getattr(self, name))]

    @validated
    def do_code(self) -> None:
        """Hand over the component's ES module (the host stores only a loader)."""
        key, _ = assets.loader(self.module, *self.includes)
        self.emit("code", key=key, text=assets.module(self.module, *self.includes))

    @validated
    def do_sentences(self, language: Name) -> None:
        """Hand over what Python says in another language; a page asks once, for all its components."""
        self.emit("sentences", language=language, table=dict(locale.sentences(language)))

    @validated
    def do_ready(self) -> None:
        """A view has been drawn; bulk data may be sent. Subclasses say which."""
        self.notify("ready")

    _requests: ClassVar[dict[str, Callable[..., object]]] = {
        "code": do_code,
        "ready": do_ready,
        "sentences": do_sentences,
    }


def _same(claimed: object, own: object) -> bool:
    """Whether what a page claims is what stands here; a page may send arrays, whose comparison is no yes or no."""
    try:
        return bool(claimed == own)
    except (ValueError, TypeError, RecursionError):
        return False


_staying: list[Widget] = []


def _one_that_stays() -> Widget:
    """A widget without a view that is never closed, so that one comm is open for as long as the kernel lives.

    JupyterLab gives all comms of widgets one subshell of the kernel and ends it with the last of them. Where the next comm opens at
    that moment, as when a cell's player takes the place of its progress, it is given the subshell that is ending, and everything
    its page says from then on is lost ("Unknown subshell_id" in the kernel's log; seen in JupyterLab 4.6.6 with ipykernel 7.4.0).
    """
    if not _staying or _staying[0].comm is None:  # somebody may have closed all widgets
        _staying[:] = [Layout()]
    return _staying[0]


class _WidgetHost(anywidget.AnyWidget):
    """Component over a Jupyter comm; everything a front end sends comes in by `_handle_msg`."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        _one_that_stays()
        super().__init__()
        self._begin(*arguments, **keywords)

    def emit(self, kind: str, *buffers: Buffer, **body: object) -> None:
        self.send({**body, "kind": kind}, list(buffers) or None)

    def _handle_msg(self, msg: object) -> None:
        content = msg.get("content") if isinstance(msg, Mapping) else None
        data = content.get("data") if isinstance(content, Mapping) else None
        if not isinstance(msg, Mapping) or not isinstance(data, Mapping):
            return
        method = data.get("method")
        if method == "custom":
            self._handle_custom_msg(data.get("content"), msg.get("buffers"))
        elif method == "update":
            self.set_state(data.get("state"))
        elif method == "request_state":
            self.send_state()

    def _handle_custom_msg(self, content: object, buffers: object) -> None:
        self.receive(content, buffers)

    def set_state(self, sync_data: object) -> None:
        if names := self.stale_fields(sync_data):
            self.send_state(names)

    def close(self) -> None:
        layout = self.layout
        super().close()
        if layout is not None:  # it has a comm of its own, which would be kept for as long as the kernel lives
            layout.close()
        self.let_go()


class _Unseen:
    """Component without any view: a part of a page of which somebody wanted only another part."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        for name, value in self.fields.items():  # type: ignore[attr-defined]
            setattr(self, name, copy.deepcopy(value))
        self._begin(*arguments, **keywords)  # type: ignore[attr-defined]

    has_views = False

    def emit(self, kind: str, *buffers: Buffer, **body: object) -> None:
        """Nobody is there to hear it."""


class _PaneHost(AnyWidgetComponent):
    """Component over a Bokeh document, in an app or in a notebook; a page's events come in by the two methods below."""

    __abstract = True

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(sizing_mode="stretch_width", margin=0)
        self._begin(*arguments, **keywords)  # type: ignore[attr-defined]

    @property
    def has_views(self) -> bool:
        return bool(self._models)

    def emit(self, kind: str, *buffers: Buffer, **body: object) -> None:
        self._send_msg({**body, "kind": kind, "_buffers": [bytes(b) for b in buffers]})

    def _handle_msg(self, data: object) -> None:
        self.receive(data, data.get("_buffers") if isinstance(data, Mapping) else None)  # type: ignore[attr-defined]

    def _update_model(self, events: Any, msg: dict[str, Any], *where: Any) -> None:
        """Tell a page what stands now: what another thread changed is told later, and would cover what came since."""
        fields = self.fields  # type: ignore[attr-defined]
        super()._update_model(events, {k: getattr(self, k) if k in fields else v for k, v in msg.items()}, *where)

    def _process_events(self, events: object) -> None:
        for name in self.stale_fields(events):  # type: ignore[attr-defined]
            self.param.trigger(name)


@cache
def unseen(core: type[Component]) -> type[Any]:
    """The class of a component that works and is not looked at."""
    return type(f"{core.__name__}Unseen", (_Unseen, core), {"__doc__": core.__doc__, "__module__": core.__module__})


def widget_and_pane(core: type[Component]) -> tuple[type[Any], type[Any]]:
    """Return `(XWidget, XPane)` for a Component X."""
    own = {name for part in core.__mro__[:-1] for name in vars(part) if not name.startswith("__")} | set(core.fields)
    for host in (_WidgetHost, _PaneHost):
        foreign = host.__bases__[0]
        if taken := sorted(own & set(dir(foreign))):
            raise TypeError(f"{core.__name__} uses names that belong to {foreign.__name__}: {', '.join(taken)}.")
    _, text = assets.loader(core.module, *core.includes)
    about = {"__doc__": core.__doc__, "__module__": core.__module__, "_esm": text}
    traits = {name: traitlets.Any(_fresh(value)).tag(sync=True) for name, value in core.fields.items()}
    params = {name: param.Parameter(copy.deepcopy(value), instantiate=True) for name, value in core.fields.items()}
    # The hosts' own `emit` must win over Component's, hence the order of the bases.
    widget = type(f"{core.__name__}Widget", (_WidgetHost, core), {**about, **traits})
    metaclass: Any = type(_PaneHost)
    pane = metaclass(f"{core.__name__}Pane", (_PaneHost, core), {**about, **params})
    return widget, pane


def _fresh(value: object) -> object:
    return tuple(value) if isinstance(value, tuple) else copy.deepcopy(value)
