# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The components, one cell each
#
# **What this notebook shows.** Every piece of the studio is an object of its own. `…Widget` is an anywidget (JupyterLab, VS Code,
# Colab, marimo); `…Pane` is the same thing for Panel. With `session=lab` each does what it does on the studio page; without one
# it takes Python values and tells you what was done in it: `component.on("make", function)`. Nothing you hear or see here is
# stored in the notebook file, but for `take.embed()`, which is there for that.
#
# **How to read it.** Each part has one live cell, then a table that `about(…)` reads off the class, so that it is never out of date:
# the *fields* (an anywidget calls them traits) with what they are at first, what the browser may ask (each is a method `do_…`, which
# you may call too), and what is told to `.on(kind, function)`, with the keywords your function is called with. Every component also
# tells `ready` when a view of it has been drawn. A field is set by plain assignment; one that cannot be is refused in a sentence.
# The songs are four seconds of four steps: this page is about the parts, not about the music.

# %%
from acestep_lab import Dataset, Recipe, Session
from acestep_lab.ui import (
    AdaptersWidget,
    AttributionWidget,
    CheckpointSwitchWidget,
    ComparisonViewWidget,
    DatasetTableWidget,
    DescribeStripWidget,
    ExportWidget,
    GalleryWidget,
    LatentPreviewWidget,
    LyricsEditorWidget,
    PlanViewWidget,
    PlayerWidget,
    PromptEditorWidget,
    RunQueueWidget,
    RunViewWidget,
    SongBuilderWidget,
    SoundDropWidget,
    StemsViewWidget,
    SweepFormWidget,
    SweepViewWidget,
    TakeTreeWidget,
    TrainingFormWidget,
    TrainingViewWidget,
    WaveformPickerWidget,
)
from acestep_lab.ui.reference import about
from acestep_lab.ui.stems_view import Lane

lab = Session.open()

# %% [markdown]
# ## Player — Space plays, arrows move, it starts at −6 dB
# A take shows itself as one; put it last in a cell.

# %%
take = lab.make(Recipe("slow dub techno with deep bass and a soft pad", seconds=4, steps=4, seed=7, bpm=112))
PlayerWidget(take)

# %%
about(PlayerWidget)

# %% [markdown]
# ## DescribeStrip — a song in a sentence: the planner writes caption, lyrics and numbers; the dice have an example
# What it writes here is `strip.value`, a Plan.

# %%
strip = DescribeStripWidget(session=lab)
strip

# %%
about(DescribeStripWidget)

# %% [markdown]
# ## PromptEditor — captions, metadata with Auto and locks, tasks, presets, undo
# `prompt.recipe()` is the Recipe as it stands; `prompt.code` the Python line for it.

# %%
prompt = PromptEditorWidget(take.recipe, session=lab)
prompt

# %%
prompt.recipe()

# %%
about(PromptEditorWidget)

# %% [markdown]
# ## LyricsEditor — section tags, estimates, any script

# %%
lyrics = LyricsEditorWidget("[Verse]\nRain on the tin roof\nnobody is home\n\n[Chorus]\nStay, stay a while", language="en", seconds=20, bpm=90)
lyrics

# %%
about(LyricsEditorWidget)

# %% [markdown]
# ## PlanView — what the planner decided, as fields and as a difference
# `on_token=view.add_token` shows its tokens as they are written.

# %%
view = PlanViewWidget()
recipe = Recipe("a waltz for strings", seconds=3, steps=3, seed=3)
view.begin()
plan = lab.plan(recipe, on_token=view.add_token)
view.end()
view.show_plan(plan, recipe)
view

# %%
about(PlanViewWidget)

# %% [markdown]
# ## LatentPreview — the music appearing, step by step
# Pictures go out at most four times a second; the scrubber has every step.

# %%
watch = LatentPreviewWidget()
run = lab.start(recipe, plan)
watch.follow(run)
waltz = run.take()
watch

# %%
about(LatentPreviewWidget)

# %% [markdown]
# ## WaveformPicker — regions dragged, typed, moved by keys; and the proof of what a repaint left alone

# %%
picker = WaveformPickerWidget(take)
picker.do_regions([{"name": "bridge", "start": 1, "end": 2.5}])
picker

# %%
bridge = lab.repaint(take, picker.value, "brushed snare, softer", seed=8, steps=3)
proof = WaveformPickerWidget(bridge)
proof.compare(take)
proof

# %%
about(WaveformPickerWidget)

# %% [markdown]
# ## Gallery — star, name, tag, bin; compare up to four at equal loudness, blind if you like (keys 1–4)

# %%
takes = [take, bridge, waltz]
GalleryWidget(takes, open=lab.load)

# %%
about(GalleryWidget)

# %% [markdown]
# ## SongBuilder — sections in another order, joined on the beat; in Python: `lab.stitch([(take, Region(0, 2)), bridge])`

# %%
builder = SongBuilderWidget(lab.load)
builder.hold(take)
builder.do_fill("whole")
builder.do_split(1, 1.5)
builder.do_move(2, 0)
song = lab.stitch(builder.draft.arrangement.pieces(lab.load))
builder

# %%
about(SongBuilderWidget)

# %% [markdown]
# ## StemsView — a take in lanes: mute, solo, level, one playhead; the lanes add up to the mix

# %%
stems = lab.stems(take, ["drums"], steps=2)
view = StemsViewWidget()
view.hold(take, known=lab.capabilities.vocabulary.stems)
view.lay(Lane("drums", "stem", "drums", stems["drums"].id, stems.sound("drums")))
view.lay(Lane("residual", "residual", audio=stems.residual))
view

# %%
about(StemsViewWidget)

# %% [markdown]
# ## ComparisonView — what differs between two takes, words first
# As a cell's last line `lab.compare(one, other)` shows the same; `.export("differences.html")` writes a page.

# %%
ComparisonViewWidget(lab.compare(take, bridge))

# %%
about(ComparisonViewWidget)

# %% [markdown]
# ## TakeTree — who came from whom

# %%
tree = TakeTreeWidget()
tree.draw([{"id": t.id, "title": t.recipe.caption, "parents": t.parents, "task": type(t.recipe.task).__name__} for t in takes], bridge.id)
tree

# %%
about(TakeTreeWidget)

# %% [markdown]
# ## RunView — how far a run is, and Stop
# A run as a cell's last line shows more: the music as it forms, then its player.

# %%
RunViewWidget(run)

# %%
about(RunViewWidget)

# %% [markdown]
# ## Export — a take as a file for others: form, bits or bitrate, rate, level, fades
# In Python: `take.export("song.wav", bits=16, lufs=-14, fade_out=3)`.

# %%
ExportWidget(take)

# %%
about(ExportWidget)

# %% [markdown]
# ## A preview that stays in the file: it plays where no kernel is

# %%
take.embed(seconds=2)

# %% [markdown]
# ## SoundDrop — bring a file in; RunQueue — what is being made

# %%
drop = SoundDropWidget()
drop.on("sound", lambda sound, name: print(name, sound))
drop

# %%
queue = RunQueueWidget()
queue.rows = lab.jobs.rows()
queue

# %%
about(SoundDropWidget)

# %%
about(RunQueueWidget)

# %% [markdown]
# ## CheckpointSwitch — what makes the music, and what another checkpoint would cost

# %%
from acestep_lab.engines.offered import licence_note
from acestep_lab.ui.checkpoint_switch import Choice

switch = CheckpointSwitchWidget()
switch.set_current(lab.name, licence_note(lab.capabilities.licence))
switch.on("list", lambda: switch.offer([Choice(name, is_open=True) for name in lab.checkpoints]))
switch.on("cost", lambda name: switch.price(name, f"{name} is open already."))
switch.on("use", lambda name: (lab.use(name), switch.set_current(name)))
switch

# %%
about(CheckpointSwitchWidget)

# %% [markdown]
# ## Adapters — LoRAs with strength and switch; "with and without" makes a pair to compare
# In Python: `lab.lora("folder or file")`.

# %%
AdaptersWidget(session=lab)

# %%
about(AdaptersWidget)

# %% [markdown]
# ## DatasetTable — songs to learn from: every field edited in place, with where it comes from and a lock
# In Python: `Dataset.scan("songs")`, and `table.dataset` is what the table shows now.

# %%
table = DatasetTableWidget(Dataset.of_takes([take]))
table

# %%
about(DatasetTableWidget)

# %% [markdown]
# ## TrainingForm and TrainingView — what is taught, and how far it is
# In Python: `lab.train(table.dataset, steps=120)`. The form only says what was pressed; in the studio's Train tab somebody listens.

# %%
TrainingFormWidget(standalone=True)

# %%
import tempfile

run = lab.train(table.dataset, steps=2, held_out_every=2, folder=tempfile.mkdtemp())
TrainingViewWidget(run)

# %%
run.wait()
run.state

# %%
about(TrainingFormWidget)

# %%
about(TrainingViewWidget)

# %% [markdown]
# ## SweepView — many takes that differ in what is named, as a grid of players
# In Python: `lab.sweep(recipe, shift=[1, 3, 5], seed=range(4))` shows itself; `run.best(by="loudness")`, `run.to_records()`.

# %%
swept = lab.sweep(take.recipe.replace(seconds=1.0, steps=2), seed=[1, 2], name="components")
SweepViewWidget(swept)

# %%
about(SweepViewWidget)

# %% [markdown]
# ## SweepForm — what a sweep goes over, and what it would cost
# With a session it asks for the sweep of the recipe in the form; here it only shows itself. `on("sweep", function)` hears the button.

# %%
SweepFormWidget(standalone=True)

# %%
len(swept.result())

# %%
about(SweepFormWidget)

# %% [markdown]
# ## Attribution — what each word of a take did
# A heat strip under the caption and along the song: how far the music moves without each phrase, tag and field, held against what
# another seed does. In Python: `lab.attribute(take)` shows itself; `run.result().ranked`, `.to_records()`.

# %%
asked = lab.attribute(swept.result()[0], steps=2, what="phrases")
AttributionWidget(asked)

# %%
len(asked.result().effects)

# %%
about(AttributionWidget)

# %% [markdown]
# ## All of it on one page
# `studio(lab)` shows the page that `acestep-lab serve` serves. Panel needs its JavaScript in this notebook once; without the
# internet that is 6 MB in the file, so it is not run here:
#
# ```python
# from acestep_lab.ui.notebook import setup, studio
# setup()
# studio(lab)        # again after a reload: what runs goes on
# ```

# %%
lab.close()
