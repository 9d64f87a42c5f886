"""ComparisonView: what differs between two takes, words first, with the difference of their spectrograms; and the same as a page that
stands alone. The browser half is `widgets/comparison_view.js`.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from acestep_lab.errors import SourceError
from acestep_lab.files import write_whole
from acestep_lab.listen.comparison import Row, TakeComparison
from acestep_lab.prompt import checks
from acestep_lab.ui import mel_image
from acestep_lab.ui.component import Component, widget_and_pane

LEGEND = "The difference of the two spectrograms: amber where the second is louder, blue where it is quieter."
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2229;background:#fff}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:start;padding:.3rem .6rem;border-bottom:1px solid #ddd;"
    "vertical-align:top;overflow-wrap:anywhere}img{width:100%;height:12rem;image-rendering:pixelated}"
    "@media(prefers-color-scheme:dark){body{color:#e8e6e1;background:#1a1e23}th,td{border-color:#30363d}}"
)


class ComparisonView(Component):
    """A table of differences and a picture of them.

    ::

        view = ComparisonViewWidget(lab.compare(one, other))
    """

    module = "comparison_view"
    includes = ("difference_table",)
    fields: ClassVar[Mapping[str, object]] = {"titles": [], "rows": [], "picture": "", "axis": [], "seconds": 0.0}

    def setup(self, comparison: TakeComparison | None = None) -> None:
        """Show a comparison, if one is given."""
        self._shown: TakeComparison | None = None
        if comparison is not None:
            self.hold(comparison)

    @property
    def value(self) -> TakeComparison | None:
        """The comparison that is shown."""
        return self._shown

    def hold(self, comparison: TakeComparison) -> None:
        """Show another comparison; RecipeError for what is none."""
        self._shown = checks.instance("A view of differences", comparison, TakeComparison)
        self.titles = list(comparison.titles)
        told = told_of(comparison)
        self.rows, self.picture, self.axis = told["rows"], told["picture"], told["axis"]
        self.seconds = min(comparison.one.seconds, comparison.other.seconds)


def told_of(comparison: TakeComparison) -> dict[str, Any]:
    """What `widgets/difference_table.js` is told: titles, rows (with whether their figures are words of ours), the picture."""
    picture, axis = _picture(comparison)
    rows = [[*row, not row.quotes] for row in comparison.rows]
    return {"titles": list(comparison.titles), "rows": rows, "picture": picture, "axis": axis}


def _picture(comparison: TakeComparison) -> tuple[str, list[list[object]]]:
    """The picture as an address, and where its frequencies lie; nothing where one has no samples."""
    try:
        first, then = comparison.levels
    except SourceError:
        return "", []
    data = base64.b64encode(mel_image.change_png(then, first)).decode()
    return f"data:image/png;base64,{data}", mel_image.axis(min(comparison.one.audio.rate, comparison.other.audio.rate))


def comparison_table(comparison: TakeComparison) -> str:
    """The differences as HTML that needs nothing else: a table, and a picture."""
    first, then = (html.escape(title) for title in comparison.titles)
    rows = "".join(map(_row, comparison.rows))
    head = f"<tr><th></th><th>what differs</th><th dir='auto'>{first}</th><th dir='auto'>{then}</th></tr>"
    picture = _picture(comparison)[0]
    shown_as = (
        f"<figure><img src='{picture}' alt='{LEGEND}'><figcaption>{LEGEND}</figcaption></figure>" if picture else ""
    )
    return f"<table>{head}{rows}</table>{shown_as}"


def _row(row: Row) -> str:
    what, *cells = (html.escape(one) for one in row)
    return f"<tr><th scope='row'>{what}</th>{''.join(f'<td dir=auto>{cell}</td>' for cell in cells)}</tr>"


def comparison_page(comparison: TakeComparison, path: Path) -> Path:
    """Write a page that stands alone, and return where it is."""
    first, then = (html.escape(title) for title in comparison.titles)
    text = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{first} and {then}</title><style>{_STYLE}</style><h1 dir='auto'>{first} → {then}</h1>"
        f"{comparison_table(comparison)}</html>"
    )
    return write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))


ComparisonViewWidget, ComparisonViewPane = widget_and_pane(ComparisonView)
