// Chords, a piano roll and bars of a sound under its waveform. Part of widgets/waveform.js.
// Python half: acestep_lab/ui/note_lane.py.

/**
 * @typedef {{start: number, end: number, name: string, sure: boolean}} HeardChord
 * @typedef {{start: number, end: number, pitch: number}} HeardNote
 * @typedef {{there: boolean, chords: HeardChord[], melody: HeardNote[], bass: HeardNote[], beats: number[],
 *   bars: number[], stem: string, remarks: string[], spans: Record<string, string[]>}} Heard
 */

/** Pixels below which a chord's name does not fit. */
const CHORD_NAME = 20;
const ROLL_HEIGHT = 72;
const CHORDS_FOCUSED = { ArrowRight: 1, ArrowLeft: -1 };

/** Rows as Python sends them, read in their kind. @returns {Heard} */
function readNotes(body) {
  const rows = (value) => listOf(value).filter(Array.isArray);
  const note = (one) => ({ start: numberOf(one[0]), end: numberOf(one[1]), pitch: numberOf(one[2]) });
  const numbers = (value) => listOf(value).map((one) => numberOf(one));
  return {
    there: body.there === true,
    chords: rows(body.chords).map((one) => ({
      start: numberOf(one[0]),
      end: numberOf(one[1]),
      name: textOf(one[2]),
      sure: one[3] !== false,
    })),
    melody: rows(body.melody).map(note),
    bass: rows(body.bass).map(note),
    beats: numbers(body.beats),
    bars: numbers(body.bars),
    stem: textOf(body.stem),
    remarks: textsOf(body.remarks),
    spans: { melody: textsOf(body.melody_span), bass: textsOf(body.bass_span) },
  };
}

/** Lowest and highest pitch of all notes, an octave at least. */
function pitchRange({ melody, bass }) {
  const pitches = [...melody, ...bass].map((one) => one.pitch);
  if (!pitches.length) return [48, 72];
  const low = Math.min(...pitches) - 1,
    high = Math.max(...pitches) + 1;
  return [low, Math.max(high, low + 12)];
}

/**
 * @param {Host} host
 * @param {{track: () => any, part: (time: number) => number, at: (part: number) => number,
 *   hear: (time: number) => void}} about
 *   the sound; where a time lies on the picture, 0 to 1, and back; hear from there
 */
function noteLane(host, { track, part, at, hear }) {
  let heard = readNotes({}),
    focus = 0,
    now = 0;
  const chords = h("div.chords", { role: "group", "aria-label": t("note_lane.chords") }),
    head = h("div.playhead", { "aria-hidden": "true" }),
    roll = makeCanvas(ROLL_HEIGHT, draw, { role: "img" }),
    lane = h("div.note-lane", { dir: "ltr", hidden: true }, chords, h("div.roll", {}, roll.canvas, head));
  const find = h("button.plain", { title: t("note_lane.find_title"), onclick: () => ask("") }, t("note_lane.find")),
    stem = h("select", { "aria-label": t("note_lane.stem"), onchange: () => ask(stem.value) }),
    midi = h("button.small", { onclick: () => host.send("midi", { id: textOf(track().id) }) }, t("note_lane.midi")),
    remarks = h("span.tiny.quiet", { role: "status" }),
    legend = h(
      "span.tiny.legend",
      { "aria-hidden": "true" },
      h("span.key.melody", {}, t("note_lane.melody")),
      h("span.key.bass", {}, t("note_lane.bass")),
    ),
    under = h("div.row.note-tools", { hidden: true }, legend, stem, midi, remarks);

  function ask(from) {
    host.send("find_notes", { id: textOf(track().id), stem: from });
  }
  const spanOf = (name) =>
    heard[name].length
      ? t("note_lane.line", { n: heard[name].length, low: heard.spans[name][0], high: heard.spans[name][1] })
      : t("note_lane.none");
  const nameOf = (one) =>
    t(one.sure ? "note_lane.chord" : "note_lane.chord_unsure", { name: one.name, from: formatNumber(one.start, 1) });
  function draw(context, width, height) {
    const [low, high] = pitchRange(heard),
      row = height / (high - low + 1),
      colour = (name) => cssColour(host.root, name),
      x = (time) => part(time) * width;
    context.fillStyle = colour("well");
    for (let pitch = low; pitch <= high; pitch++)
      if ([1, 3, 6, 8, 10].includes(((pitch % 12) + 12) % 12)) context.fillRect(0, (high - pitch) * row, width, row);
    drawBars(context, width, height, x, colour);
    drawNotes(
      context,
      heard.bass,
      x,
      (pitch) => Math.min((high - pitch) * row, height - 4),
      row,
      colour("region"),
      true,
    );
    drawNotes(context, heard.melody, x, (pitch) => (high - pitch) * row, row, colour("wave"), false);
  }
  /** Bars as lines, and beats where there is room for them. */
  function drawBars(context, width, height, x, colour) {
    const line = (times, paint) => {
      const gap = times.length > 1 ? x(times[1]) - x(times[0]) : width;
      if (gap < 5) return;
      context.fillStyle = paint;
      for (const time of times)
        if (x(time) >= 0 && x(time) <= width) context.fillRect(Math.round(x(time)), 0, 1, height);
    };
    line(heard.beats, colour("line"));
    line(heard.bars, colour("faint"));
  }
  /** Notes as bars; those of the bass are hollow, so that colour alone says nothing. */
  function drawNotes(context, notes, x, y, row, paint, hollow) {
    context.fillStyle = context.strokeStyle = paint;
    const tall = Math.max(3, row - 1);
    for (const one of notes) {
      const left = x(one.start),
        wide = Math.max(2, x(one.end) - left - 1);
      if (hollow) context.strokeRect(left + 0.5, y(one.pitch) + 0.5, wide - 1, tall - 1);
      else context.fillRect(left, y(one.pitch), wide, tall);
    }
  }
  function build() {
    focus = Math.min(focus, Math.max(0, heard.chords.length - 1));
    chords.replaceChildren(
      ...heard.chords.map((one, place) =>
        h(
          one.sure ? "button.chord" : "button.chord.unsure",
          {
            tabIndex: place === focus ? 0 : -1,
            title: nameOf(one),
            "aria-label": nameOf(one),
            onclick: () => hear(one.start),
            onfocus: () => (focus = place),
          },
          h("span", { "aria-hidden": "true" }, one.name.replace("#", "♯")),
        ),
      ),
    );
    roll.canvas.setAttribute(
      "aria-label",
      t("note_lane.roll", { melody: spanOf("melody"), bass: spanOf("bass"), bars: heard.bars.length }),
    );
    lane.hidden = under.hidden = !heard.there;
    chords.hidden = !heard.chords.length;
    setText(remarks, heard.remarks.map((one) => say(one)).join(" "));
    host.root.dataset.notes = heard.there
      ? `${heard.chords.length} ${heard.melody.length} ${heard.bass.length} ${heard.bars.length}`
      : "";
    offer();
    place();
  }
  /** Stems whose line may be listened to, and whether there is anything to ask for yet. */
  function offer() {
    const stems = textsOf(host.get("note_stems"));
    stem.replaceChildren(
      h("option", { value: "" }, t("note_lane.mix")),
      ...stems.map((one) => h("option", { value: one }, t("note_lane.of_stem", { stem: one.replaceAll("_", " ") }))),
    );
    stem.value = heard.stem;
    stem.hidden = !stems.length;
    find.hidden = heard.there || host.text("finding") === "notes";
    stem.disabled = host.text("finding") === "notes";
  }
  /** Put everything where it lies on what is in view. */
  function place() {
    if (lane.hidden) return;
    const wide = lane.clientWidth || 0;
    heard.chords.forEach((one, index) => {
      const node = chords.children[index],
        left = Math.max(0, part(one.start)),
        right = Math.min(1, part(one.end));
      node.hidden = right <= left;
      node.style.left = `${left * 100}%`;
      node.style.width = `${Math.max(0, right - left) * 100}%`;
      node.classList.toggle("narrow", (right - left) * wide < CHORD_NAME);
    });
    roll.paint();
    follow(now);
  }
  /** The sound is at this time. */
  function follow(time) {
    now = time;
    if (lane.hidden) return;
    const there = part(time);
    head.hidden = there < -0.001 || there > 1.001;
    head.style.transform = `translateX(${(there * (roll.canvas.clientWidth || 0)).toFixed(1)}px)`;
    heard.chords.forEach((one, index) => {
      chords.children[index].classList.toggle("now", time >= one.start && time < one.end);
    });
  }
  chords.addEventListener("keydown", (event) => {
    const step = CHORDS_FOCUSED[event.key];
    if (event.key === "Enter" || event.key === " ") return event.stopPropagation();
    if (!step || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const wanted = between(0, focus + step, heard.chords.length - 1);
    [...chords.children].forEach((node, index) => (node.tabIndex = index === wanted ? 0 : -1));
    focus = wanted;
    chords.children[wanted].focus();
  });
  roll.canvas.addEventListener("click", (event) => {
    const box = roll.canvas.getBoundingClientRect();
    hear(Math.max(0, at((event.clientX - box.left) / (box.width || 1))));
  });
  host.on("notes", (body) => {
    if (body.id !== textOf(track().id)) return;
    heard = readNotes(body);
    build();
  });
  host.on("midi", (body, [bytes]) => {
    if (bytes) saveFile(host.root, bytes, textOf(body.name), "audio/midi");
  });
  host.watch(["note_stems", "finding"], offer);
  host.onTheme(roll.paint);
  host.onClose(roll.close);
  /** Another sound is shown: ask for what is known of it. */
  function load() {
    heard = readNotes({});
    focus = 0;
    build();
    if (track().id) host.send("notes", { id: textOf(track().id) });
  }
  return { lane, under, find, place, follow, load };
}
