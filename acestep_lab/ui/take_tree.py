"""TakeTree: who came from whom. The browser half is `widgets/tree.js`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from acestep_lab.errors import LabError
from acestep_lab.prompt.literal import literal
from acestep_lab.takes.lineage import Relative
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Id

SELECTABLE = ("here", "recording")
"""States of what can be clicked; see `takes/lineage.py`."""


class TakeTree(Component):
    """The lineage of takes as a picture one can click. Listener: "select" (id).

    `draw` wants for each take its id, title, parents and perhaps star and task; parents that are gone are drawn hollow.

    ::

        tree = TakeTreeWidget()
        tree.draw([{"id": one.id, "title": one.recipe.caption, "parents": one.parents} for one in takes])
    """

    module = "tree"
    fields: ClassVar[Mapping[str, object]] = {"nodes": [], "edges": [], "selected": "", "code": ""}

    def draw_family(self, family: Sequence[Relative], selected: str, stars: Mapping[str, bool] | None = None) -> None:
        """Draw one family, as somebody may see it: what lies in the bin, is somebody else's, a recording, or gone says so."""
        known = {one.id for one in family}
        takes = [
            {
                "id": one.id,
                "title": one.title,
                "parents": [parent for parent in one.parents if parent in known],
                "state": one.state,
                "star": (stars or {}).get(one.id, False),
            }
            for one in family
        ]
        self.draw(takes, selected)

    def draw(self, takes: Sequence[Mapping[str, Any]], selected: str = "") -> None:
        """Draw these takes; only families (takes with a parent or a child) are drawn."""
        known = {str(t["id"]): t for t in takes}
        edges = [(p, id) for id, t in known.items() for p in t.get("parents", ())]
        family = {id for edge in edges for id in edge}
        depth = depths(family, edges)
        rows = places(family, edges, depth)
        self.nodes = [
            {
                "id": id,
                "title": known[id]["title"] if id in known else "",
                "task": known[id].get("task", "") if id in known else "",
                "star": bool(known[id].get("star")) if id in known else False,
                "state": (state := known[id].get("state", "here") if id in known else "gone"),
                "here": state in SELECTABLE,
                "x": depth[id],
                "y": rows[id],
            }
            for id in sorted(family, key=lambda i: (rows[i], depth[i]))
        ]
        self.edges = [list(edge) for edge in edges]
        self.selected = selected
        self.code = f"take = lab.library.open({literal(selected)})" if selected else ""

    def do_select(self, id: Id) -> None:
        """A take, or a recording it came from, was clicked."""
        if id != self.selected and not any(node["id"] == id and node["here"] for node in self.nodes):
            raise LabError("That one cannot be selected: it is not among your takes.")
        self.notify("select", id=id)


def depths(ids: set[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """How many generations each take is from its oldest ancestor; a circle, which cannot be, ends the walk."""
    depth = dict.fromkeys(ids, 0)
    for _ in range(len(ids)):
        moved = False
        for parent, child in edges:
            if depth[child] < depth[parent] + 1 <= len(ids):
                depth[child] = depth[parent] + 1
                moved = True
        if not moved:
            break
    return depth


def places(ids: set[str], edges: Sequence[tuple[str, str]], depth: Mapping[str, int]) -> dict[str, int]:
    """A row for each take: a first child stands on its parent's row, each further one begins a new row."""
    children: dict[str, list[str]] = {}
    for parent, child in edges:
        if depth[child] == depth[parent] + 1 and not any(child in c for c in children.values()):
            children.setdefault(parent, []).append(child)
    placed: dict[str, int] = {}
    free = 0
    stack = sorted((id for id in ids if depth[id] == 0), reverse=True)
    row_of = {}
    for root in reversed(stack):
        line = [(root, free)]
        free += 1
        while line:
            id, row = line.pop()
            if id in placed:
                continue
            placed[id] = row
            for place, child in enumerate(children.get(id, [])):
                if place == 0:
                    row_of[child] = row
                else:
                    row_of[child] = free
                    free += 1
                line.append((child, row_of[child]))
    return {id: placed.get(id, free) for id in ids}


TakeTreeWidget, TakeTreePane = widget_and_pane(TakeTree)
