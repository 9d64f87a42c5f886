"""One component, two hosts: the same spec becomes an anywidget and a Panel component, so they cannot drift.

Knows nothing of music. State goes from Python to the browser as fields; everything the browser wants comes back as a
message (`model.send`), because trait changes from the browser can be muted by a kernel (see the tests), messages
never. Bulk (sound, peaks, pictures) travels in messages too and so never lands in a notebook file.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import anywidget
import param
import traitlets
from panel.custom import AnyWidgetComponent

from acestep_lab.errors import LabError
from acestep_lab.ui import assets

Buffer = bytes | bytearray | memoryview
Listener = Callable[..., None]


class Component:
    """The Python half of a component: fields the browser shows, `do_…` methods the browser may ask for.

    A subclass names its ES module, its fields with their defaults, and writes one `do_<kind>` per message. It runs
    unchanged under both hosts; `both` makes the two classes.
    """

    module: ClassVar[str] = ""
    parts: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[dict[str, Any]] = {}

    def setup(self, *arguments: Any, **keywords: Any) -> None:
        """Called once with the constructor's arguments, after the host's own constructor."""

    def _begin(self, *arguments: Any, **keywords: Any) -> None:
        self._ears: dict[str, list[Listener]] = {}
        self._turn = threading.RLock()
        self.setup(*arguments, **keywords)

    def tell(self, kind: str, *buffers: Buffer, **body: Any) -> None:
        """Send one message, with bytes if need be, to every view of this component."""
        raise NotImplementedError

    @property
    def seen(self) -> bool:
        """Whether any view may be looking; what costs work is only made for those."""
        return True

    def on(self, kind: str, listener: Listener) -> None:
        """Call `listener(**body)` whenever the component asks for `kind`."""
        self._ears.setdefault(kind, []).append(listener)

    def ask(self, kind: str, **body: Any) -> None:
        """Pass a wish on to whoever listens; a LabError or a failing disk becomes a sentence in view."""
        try:
            for listener in self._ears.get(kind, ()):
                listener(**body)
        except (LabError, OSError) as problem:
            self.complain(sentence(problem))

    def complain(self, text: str, field: str = "") -> None:
        """Show a sentence at the top of the component, or beside one of its fields."""
        self.tell("trouble", text=text, field=field)

    def receive(self, message: Any, buffers: list[Any]) -> None:
        """Do what one message asks; a kind nobody wrote a method for is ignored."""
        if not isinstance(message, dict):
            return
        body = {k: v for k, v in message.items() if isinstance(k, str) and k not in ("kind", "_buffers")}
        work = getattr(self, f"do_{message.get('kind')}", None)
        if work is None:
            return
        with self._turn:
            try:
                work(*([buffers] if buffers else []), **body)
            except (LabError, OSError) as problem:
                self.complain(sentence(problem), str(body.get("field", "")))

    def do_code(self) -> None:
        """Hand over the component's ES module (the host stores only a loader)."""
        key, _ = assets.loader(self.module, *self.parts)
        self.tell("code", key=key, text=assets.module(self.module, *self.parts))

    def do_ready(self) -> None:
        """A view has been drawn; bulk data may be sent. Subclasses say which."""
        self.ask("ready")


def sentence(problem: BaseException) -> str:
    """What a person is told about an error."""
    if isinstance(problem, OSError) and not isinstance(problem, LabError):
        why = problem.strerror or type(problem).__name__
        return f"The disk refused: {why.lower()}. Nothing already kept was lost."
    return str(problem)


class _WidgetHost(anywidget.AnyWidget):
    """Component over a Jupyter comm."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__()
        self.on_msg(lambda _, message, buffers: self.receive(message, list(buffers)))  # type: ignore[attr-defined]
        self._begin(*arguments, **keywords)  # type: ignore[attr-defined]

    def tell(self, kind: str, *buffers: Buffer, **body: Any) -> None:
        self.send({**body, "kind": kind}, list(buffers) or None)


class _PaneHost(AnyWidgetComponent):
    """Component over a Bokeh document, in an app or in a notebook."""

    __abstract = True

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(sizing_mode="stretch_width", margin=0)
        self._begin(*arguments, **keywords)  # type: ignore[attr-defined]

    @property
    def seen(self) -> bool:
        return bool(self._models)

    def tell(self, kind: str, *buffers: Buffer, **body: Any) -> None:
        self._send_msg({**body, "kind": kind, "_buffers": [bytes(b) for b in buffers]})

    def _handle_msg(self, data: Any) -> None:
        buffers = data.get("_buffers", []) if isinstance(data, dict) else []
        self.receive(data, list(buffers))  # type: ignore[attr-defined]


def both(core: type[Component]) -> tuple[type[Any], type[Any]]:
    """Return `(XWidget, XPane)` for a Component X."""
    own = {name for part in core.__mro__[:-1] for name in vars(part) if not name.startswith("__")} | set(core.fields)
    for host in (_WidgetHost, _PaneHost):
        if taken := sorted(own & set(dir(host.__base__))):
            raise TypeError(f"{core.__name__} uses names that belong to {host.__base__.__name__}: {', '.join(taken)}.")
    _, text = assets.loader(core.module, *core.parts)
    about = {"__doc__": core.__doc__, "__module__": core.__module__, "_esm": text}
    traits = {name: traitlets.Any(_fresh(value)).tag(sync=True) for name, value in core.fields.items()}
    params = {name: param.Parameter(copy.deepcopy(value), instantiate=True) for name, value in core.fields.items()}
    # The hosts' own `tell` must win over Component's, hence the order of the bases.
    widget = type(f"{core.__name__}Widget", (_WidgetHost, core), {**about, **traits})
    pane = type(_PaneHost)(f"{core.__name__}Pane", (_PaneHost, core), {**about, **params})
    return widget, pane


def _fresh(value: Any) -> Any:
    return tuple(value) if isinstance(value, tuple) else copy.deepcopy(value)
