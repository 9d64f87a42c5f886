"""A session as a card in a notebook: what is open, where it lies, what was kept, what to write next.

HTML without scripts, every word escaped, in the colours of the notebook around it. Nothing is loaded for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from acestep_lab.engines.offered import licence_note
from acestep_lab.models.memory_plan import MemoryPlan, gb
from acestep_lab.takes.page import escaped

if TYPE_CHECKING:
    from acestep_lab.session import Session

MOST_RUNS = 5
_STYLE = """
.acl-card { color-scheme: inherit; font: 13px/1.5 var(--jp-ui-font-family, system-ui, sans-serif); max-width: 760px;
  color: var(--jp-ui-font-color1, inherit); border: 1px solid var(--jp-border-color2, #8884); border-radius: 10px;
  padding: 14px 18px; }
.acl-card h4 { margin: 0 0 2px; font-size: 15px; }
.acl-card h5 { margin: 12px 0 2px; font-size: 12px; font-weight: 600; opacity: .75; }
.acl-card p { margin: 2px 0; } .acl-card .acl-soft { opacity: .78; }
.acl-card table { border-collapse: collapse; margin: 4px 0; font-size: 12.5px; }
.acl-card table tr { background: none; }
.acl-card table th, .acl-card table td { text-align: start; padding: 2px 14px 2px 0; background: none; border: none; color: inherit; }
.acl-card .acl-bar { height: 10px; border-radius: 5px; background: var(--jp-layout-color3, #8883); overflow: hidden;
  max-width: 420px; }
.acl-card .acl-bar i { display: block; height: 100%; background: var(--jp-brand-color1, #0072b2); }
.acl-card pre { margin: 2px 0; font: 12px/1.5 var(--jp-code-font-family, monospace); white-space: pre-wrap; color: inherit;
  background: var(--jp-layout-color2, #8881); padding: 6px 10px; border-radius: 6px; user-select: all; }
"""


def card(session: Session) -> str:
    """The card as HTML."""
    parts = [_head(session), _components(session), _memory(session), _library(session), _runs(session), _next(session)]
    return f'<style>{_STYLE}</style><div class="acl-card">{"".join(parts)}</div>'


def _head(session: Session) -> str:
    can = session.capabilities
    others = [name for name in session.checkpoints if name != session.name]
    facts = [f"{can.family}", f"{can.latent.rate:,} Hz".replace(",", " "), f"{session.tier.name} tier"]
    facts += ["with a planner" if session.has_planner else "without a planner"]
    facts += [f"also open: {', '.join(others)}"] if others else []
    terms = licence_note(can.licence) or f"Licence of the weights: {can.licence}."
    return f"<h4>{escaped(session.name)}</h4>{_p(' · '.join(facts))}{_p(terms)}"


def _components(session: Session) -> str:
    """Where each component of the checkpoint in use lies."""
    plan, here = session.explain(), set(session.engines.on_device())
    rows = [(name, gb(plan.device_bytes(name)), *_place(plan, name, name in here)) for name in plan.names]
    rows += [(name, "–", "–", "–", "no room on this machine") for name in plan.left_out]
    return _heading("Components") + _table(("component", "size", "device", "kept as", "now"), rows)


def _place(plan: MemoryPlan, name: str, loaded: bool) -> tuple[str, str, str]:
    kept = plan.stored(name)
    return plan.device, plan.dtype_name if kept == "full" else kept, "loaded" if loaded else "not loaded"


def _memory(session: Session) -> str:
    """A bar: what is loaded, of what there is."""
    plan, here = session.explain(), set(session.engines.on_device())
    used = sum(plan.device_bytes(name) for name in plan.names if name in here)
    share = min(1.0, used / max(1, plan.have_bytes))
    text = f"{gb(used)} of {gb(plan.have_bytes)} are taken by loaded components; a render needs about {gb(plan.need_bytes)}"
    bar = (
        f'<div class="acl-bar" role="img" aria-label="{escaped(text)}"><i style="width: {100 * share:.1f}%"></i></div>'
    )
    return f"{_heading('Memory')}{bar}{_p(f'{text}. {plan.summary()}.')}"


def _library(session: Session) -> str:
    takes = len(session.library)
    kept = "1 take" if takes == 1 else f"{takes} takes"
    return f"{_heading('Library')}{_p(f'{kept} in {_folder(session.library.folder)}')}"


def _folder(folder: Path) -> str:
    """A folder as its owner calls it: a notebook that is handed on tells nobody's name."""
    home = Path.home()
    return f"~/{folder.relative_to(home).as_posix()}" if folder.is_relative_to(home) else str(folder)


def _runs(session: Session) -> str:
    runs = session.runs
    if not runs:
        return ""
    rows = [(run.title, run.doing, f"{100 * run.fraction:.0f} %") for run in runs[:MOST_RUNS]]
    more = _p(f"and {len(runs) - MOST_RUNS} more") if len(runs) > MOST_RUNS else ""
    return _heading("Runs under way") + _table(("run", "doing", "done"), rows) + more


def _next(session: Session) -> str:
    """Lines of Python to go on with, for what this checkpoint can do."""
    can = session.capabilities
    lines = [
        'take = lab.make(Recipe("slow dub techno", seconds=20))',
        'run = lab.start(Recipe("slow dub techno", seconds=20)); run',
    ]
    lines += ['lab.repaint(take, Region(4, 8), "a flute solo")'] if "Repaint" in can.tasks else []
    lines += ["lab.extend(take, after=8)"] if "Extend" in can.tasks else []
    lines += ['lab.plan(Recipe("a sad song about rain"))'] if session.has_planner else []
    lines += ["studio(lab)", "take.embed(seconds=10)"]
    return _heading("Next") + "".join(f"<pre>{escaped(line)}</pre>" for line in lines)


def _heading(text: str) -> str:
    return f"<h5>{escaped(text)}</h5>"


def _p(text: str) -> str:
    return f'<p class="acl-soft">{escaped(text)}</p>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    tops = "".join(f'<th scope="col">{escaped(name)}</th>' for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escaped(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{tops}</tr></thead><tbody>{lines}</tbody></table>"
