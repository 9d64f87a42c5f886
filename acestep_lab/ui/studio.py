"""The Studio: the whole road on one page; every click is a Session verb. Knows no model and no host.

It makes the components, hands each what it needs, and passes their wishes to the Desk. `panes=False` makes anywidgets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acestep_lab.errors import LabError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.ui import latent_preview, player, prompt_editor, queue_view, sound, topbar
from acestep_lab.ui.desk import Desk, Job
from acestep_lab.ui.pace import Pace
from acestep_lab.ui.spec import sentence

PROGRESS_PER_SECOND = 8.0


class Studio:
    """One person's page over a Desk: the components and what their buttons do."""

    def __init__(
        self,
        desk: Desk,
        owner: str = "",
        *,
        panes: bool = True,
        page: bool = False,
        url: sound.UrlOf | None = None,
        picture: Callable[[Any], bytes] = latent_preview.picture_of,
    ) -> None:
        self.desk, self.owner, self._url = desk, owner, url
        self.hand: Take | None = None
        """The take in hand: what the player plays and a task starts from."""
        self._watched: Job | None = None
        self._pace = Pace(PROGRESS_PER_SECOND)
        made = (lambda pane, widget: pane) if panes else (lambda pane, widget: widget)
        self.top = made(topbar.TopbarPane, topbar.TopbarWidget)()
        self.top.page = page
        self.prompt = made(prompt_editor.PromptEditorPane, prompt_editor.PromptEditorWidget)(
            abilities=abilities(desk.session), defaults=defaults(desk.session), presets=self._presets(), source=lambda: self.hand
        )
        self.queue = made(queue_view.RunQueuePane, queue_view.RunQueueWidget)()
        self.preview = made(latent_preview.LatentPreviewPane, latent_preview.LatentPreviewWidget)(picture=picture)
        self.player = made(player.PlayerPane, player.PlayerWidget)(url=url)
        self._wire()
        self.refresh()
        self._unsubscribe = desk.subscribe(self._heard)
        self._attach()

    def close(self) -> None:
        """Let go of the desk; runs and takes live on."""
        self._unsubscribe()

    # -- wishes ---------------------------------------------------------------------------------------------------------

    def _wire(self) -> None:
        self.prompt.on("go", self.go)
        self.queue.on("stop", lambda id: self.desk.stop(id, self.owner))
        self.queue.on("dismiss", lambda id: self.desk.dismiss(id, self.owner))
        self.queue.on("look", self._look)
        self.preview.on("stop", lambda: self._watched and self.desk.stop(self._watched.id, self.owner))
        self.preview.on("keep", self._keep_step)
        self.preview.on("hear", self._hear_step)
        self.top.on("again", self._save_again)

    def go(self, recipe: Recipe, plan: Any = None) -> Job:
        """Start a render and watch it."""
        job = self.desk.start(recipe, plan, self.owner)
        if self._watched is None or self._watched.over:
            self._watch(job)
        return job

    def _look(self, id: str) -> None:
        job = self.desk.job(id)
        if job is not None and job.owner == self.owner:
            self._watch(job)

    def _watch(self, job: Job) -> None:
        self._watched = job
        recipe = job.run.recipe
        self.preview.begin(job.id, recipe.seconds or 0.0, recipe.steps or 0)
        for frame in getattr(job.run, "frames", ()):
            self.preview.add(frame)
        if job.over:
            self.preview.end()

    def _keep_step(self, step: int) -> None:
        job = self._needed()
        self._took(job.run.keep(step))

    def _hear_step(self, step: int, start: float, end: float) -> None:
        job = self._needed()
        audio = job.run.hear(step, start, end)
        self.preview.sound(audio, step, start)

    def _needed(self) -> Job:
        if self._watched is None:
            raise LabError("Nothing is being made yet.")
        return self._watched

    def _save_again(self) -> None:
        self.top.banner = self.desk.keep_unsaved()
        self.refresh()

    # -- news -----------------------------------------------------------------------------------------------------------

    def _heard(self, job: Job | None, event: Any) -> None:
        """Something happened at the desk; called from any thread."""
        kind = getattr(event, "kind", "")
        if job is not None and job is self._watched:
            if kind == "frame":
                self.preview.add(event.value)
            if job.over:
                self.preview.end("" if job.run.state == "done" else "Stopped. The steps so far can still be heard and kept." if job.run.state == "stopped" else job.problem)
        over = job is not None and job.over and kind == "state"
        self._pace.offer(self._show_queue)
        if over:
            self._pace.flush()
            self._finished(job)

    def _finished(self, job: Job) -> None:
        if job.owner != self.owner:
            return
        if job.problem and job.run.state == "done":
            self.top.banner = job.problem
        if job.takes:
            self._took(self.desk.take(job.takes[0]), keep=False)
        waiting = next((j for j in reversed(self.desk.jobs(self.owner)) if not j.over), None)
        if waiting is not None and job is self._watched:
            self._watch(waiting)

    def _took(self, take: Take, keep: bool = True) -> None:
        """A new take exists: keep it, take it in hand, list it."""
        if keep:
            self.top.banner = self.desk.keep(take, self.owner)
        self.pick(take)
        self.refresh()

    def pick(self, take: Take) -> None:
        """Take a take in hand."""
        self.hand = take
        self.player.load(take)
        self.prompt.refresh(sound.title_of(take, 60))

    def refresh(self) -> None:
        """Show queue and takes as they are."""
        self._show_queue()
        session = self.desk.session
        self.top.about = about(session)

    def _attach(self) -> None:
        """A page that (re)opens takes up what is under way and the latest take."""
        mine = self.desk.jobs(self.owner)
        live = next((job for job in reversed(mine) if not job.over), mine[0] if mine else None)
        if live is not None:
            self._watch(live)
        try:
            latest = self.desk.takes(self.owner, most=1)
        except LabError as problem:
            self.top.banner = sentence(problem)
            return
        if latest:
            self.pick(latest[0])

    def _show_queue(self) -> None:
        jobs = self.desk.jobs()
        live = [job for job in reversed(jobs) if not job.over]
        done = [job for job in jobs if job.over and job.owner == self.owner][:4]
        self.queue.rows = [job.row(self.owner) for job in (*live, *done)]

    def _presets(self) -> Any:
        folder = getattr(self.desk.session.library, "folder", None)
        return folder / "presets.yaml" if folder is not None else None


def abilities(session: Any) -> dict[str, str | None]:
    """For each task None, or why the session's checkpoint cannot do it."""
    from acestep_lab.prompt.tasks import TASKS

    row = getattr(getattr(session, "checkpoint", None), "row", None)
    if row is None:
        return dict.fromkeys(TASKS)
    return {
        name: None if row.allows(task.name) else f"{row.name} was not trained for this; a base checkpoint is."
        for name, task in TASKS.items()
    }


def defaults(session: Any) -> dict[str, Any]:
    """What Auto means for the sampler's fields of this checkpoint."""
    row = getattr(getattr(session, "checkpoint", None), "row", None)
    return {name: getattr(row, name, None) for name in ("steps", "shift", "guidance", "guidance_scale")} if row else {}


def about(session: Any) -> list[str]:
    """A few facts on what is loaded."""
    checkpoint, tier = getattr(session, "checkpoint", None), getattr(session, "tier", None)
    facts = [str(checkpoint.name)] if checkpoint is not None else []
    facts += [f"{tier.name} tier"] if tier is not None else []
    return facts


