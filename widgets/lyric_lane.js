// The lyrics of a sound in time: a lane of sections and lines under its waveform, a list of them, and the line that is
// sung lit word by word. Part of widgets/player.js and widgets/waveform.js. Python half: acestep_lab/ui/lyric_lane.py.

/**
 * @typedef {{text: string, start: number, end: number}} Section
 * @typedef {Section & {sure: boolean, words: Section[]}} Sung
 */

/** Pixels a pointer moves before a press is a drag. */
const LANE_DRAG = 4;
/** Pixels between two ends of the lane's own keys: a line shorter than this is a mark without words. */
const NARROW = 22;

/** Rows as Python sends them, read in their kind. @returns {{lines: Sung[], sections: Section[], heard: boolean}} */
function readLyrics(body) {
  /** @param {any[]} one */
  const row = (one) => ({ text: textOf(one[0]), start: numberOf(one[1]), end: numberOf(one[2]) });
  const rows = (value) => listOf(value).filter(Array.isArray);
  /** @type {Sung[]} */
  const lines = rows(body.lines).map((one) => ({ ...row(one), sure: one[3] !== false, words: [] }));
  for (const one of rows(body.words)) lines[one[3]]?.words.push(row(one));
  return { lines, sections: rows(body.sections).map(row), heard: body.heard !== false };
}

/** The pieces of a line: its words, each with its time, and what stands between them. */
function piecesOf(line) {
  const pieces = [];
  let at = 0;
  for (const word of line.words) {
    const place = line.text.indexOf(word.text, at);
    if (place < 0) continue;
    if (place > at) pieces.push({ text: line.text.slice(at, place) });
    pieces.push({ ...word, sung: true });
    at = place + word.text.length;
  }
  if (at < line.text.length) pieces.push({ text: line.text.slice(at) });
  return pieces;
}

/**
 * @param {Host} host
 * @param {{track: () => any, part: (time: number) => number, at: (part: number) => number,
 *   hear: (time: number) => void, mark: (start: number, end: number) => void, listed?: boolean}} about
 *   the sound; where a time lies on the picture, 0 to 1, and back; hear from there; make a region of a span
 */
function lyricLane(host, { track, part, at, hear, mark, listed = true }) {
  /** @type {{lines: Sung[], sections: Section[], heard: boolean}} */
  let lyrics = readLyrics({});
  let now = 0,
    current = -1,
    focus = 0,
    shownFor = "";
  const strip = h("div.strip", { role: "group", "aria-label": t("lyric_lane.sections") }),
    lines = h("div.lines", { role: "group", "aria-label": t("lyric_lane.lines") }),
    draft = h("div.draft", { hidden: true }, h("span")),
    here = h("div.here"),
    lane = h("div.lyric-lane", { dir: "ltr" }, strip, lines, draft, here),
    why = h("span.why"),
    find = h("button.small", { "data-do": "find-lyrics", onclick: () => ask("sound") }, t("lyric_lane.find")),
    plan = h("button.small", { "data-do": "plan-lyrics", onclick: () => ask("plan") }, t("lyric_lane.plan")),
    missing = h("div.row.lyric-missing", { role: "status" }, why, find, plan),
    all = h("ol.lyric-list"),
    more = h("details.lyric-all", { hidden: true }, h("summary", {}, t("lyric_lane.all")), all);
  const sung = h("p.line.karaoke", { "aria-live": "off", dir: "auto" }),
    next = h("p.line.next", { "aria-hidden": "true", dir: "auto" });

  function ask(by) {
    setText(why, t(by === "sound" ? "lyric_lane.finding" : "lyric_lane.planning"));
    find.hidden = plan.hidden = true;
    host.send("find_lyrics", { id: textOf(track().id), by });
  }
  const clock = (line) => `${formatTime(line.start)}–${formatTime(line.end)}`;
  const nameOf = (line) =>
    t(line.sure === false ? "lyric_lane.line_unsure" : "lyric_lane.line", {
      text: line.text,
      from: formatNumber(line.start, 1),
      to: formatNumber(line.end, 1),
    });
  /** Put a node where a span lies on the picture; how wide that is in pixels. */
  function put(node, { start, end }) {
    const from = part(start),
      to = part(end);
    node.hidden = to <= 0 || from >= 1;
    const left = Math.max(0, from),
      right = Math.min(1, to);
    node.style.left = `${(left * 100).toFixed(3)}%`;
    node.style.width = `${(Math.max(0, right - left) * 100).toFixed(3)}%`;
    return (right - left) * (lane.clientWidth || 0);
  }
  function button(kind, span, name) {
    return h(
      `button.${kind}`,
      { tabIndex: -1, title: name, "aria-label": name, "data-start": String(span.start) },
      h("span", { dir: "auto", "aria-hidden": "true" }, span.text),
    );
  }
  function build() {
    strip.replaceChildren(
      ...lyrics.sections.map((one) =>
        button(
          lyrics.heard ? "part" : "part.planned",
          one,
          t("lyric_lane.section", {
            text: one.text,
            from: formatNumber(one.start, 1),
            to: formatNumber(one.end, 1),
          }),
        ),
      ),
    );
    lines.replaceChildren(
      ...lyrics.lines.map((line) => button(line.sure ? "words" : "words.unsure", line, nameOf(line))),
    );
    all.replaceChildren(
      ...lyrics.lines.map((line, place) =>
        h(
          "li",
          {},
          h(
            "button.plain.go-there",
            { "data-line": String(place), "aria-label": nameOf(line), onclick: () => hear(line.start) },
            h("span.num.tiny", { dir: "ltr" }, clock(line)),
            h(line.sure ? "span.said" : "span.said.unsure", { dir: "auto" }, line.text),
          ),
          h(
            "button.plain.small",
            {
              "aria-label": t("lyric_lane.mark_line", { text: line.text }),
              title: t("lyric_lane.mark_line", { text: line.text }),
              onclick: () => take(line),
            },
            t("lyric_lane.mark"),
          ),
        ),
      ),
    );
    strip.hidden = !lyrics.sections.length;
    lines.hidden = !lyrics.lines.length;
    lane.hidden = strip.hidden && lines.hidden;
    more.hidden = lines.hidden || !listed;
    focus = 0;
    current = -1;
    host.root.dataset.lyrics = String(lyrics.lines.length);
    host.root.dataset.sections = String(lyrics.sections.length);
    place();
    follow(now);
  }
  const spans = () => [...lyrics.sections, ...lyrics.lines];
  const nodes = () => /** @type {HTMLElement[]} */ ([...strip.children, ...lines.children]);
  /** Where all lies on the picture now; what is in view changed. */
  function place() {
    const all = spans();
    nodes().forEach((node, index) => {
      node.classList.toggle("narrow", put(node, all[index]) < NARROW);
      node.tabIndex = index === focus ? 0 : -1;
    });
  }
  function take(span) {
    mark(span.start, span.end);
    host.announce(
      t("lyric_lane.marked", {
        from: formatNumber(span.start, 1),
        to: formatNumber(span.end, 1),
        text: span.text ?? "",
      }),
    );
  }

  // -- keys: one stop for Tab, arrows go from line to line
  lane.addEventListener("keydown", (event) => {
    const all = nodes(),
      here = all.indexOf(/** @type {any} */ (event.target));
    if (here < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const from = lyrics.sections.length,
      inLines = here >= from,
      [low, high] = inLines ? [from, all.length - 1] : [0, from - 1];
    const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: low, End: high }[event.key];
    const across = { ArrowDown: inLines ? here : from, ArrowUp: inLines && from ? 0 : here }[event.key];
    if (to != null) go(Math.max(low, Math.min(to, high)));
    else if (across != null && across < all.length) go(across);
    else if (event.key === "Enter" && event.shiftKey) take(spans()[here]);
    else if (event.key === "Enter" || event.key === " ") hear(spans()[here].start);
    else if (event.key.toLowerCase() === "m") take(spans()[here]);
    else return;
    event.preventDefault();
    event.stopPropagation();
    function go(index) {
      focus = index;
      place();
      if (all[index].hidden) hear(spans()[index].start);
      all[index].focus();
    }
  });

  // -- pointer: a press hears from there, a drag takes all lines it touches
  /** @type {{x: number, node: Element | null, moved: boolean} | null} */
  let press = null;
  const timeAt = (x) => {
    const box = lane.getBoundingClientRect();
    return between(0, at((x - box.left) / (box.width || 1)), numberOf(track().seconds));
  };
  const between = (low, value, high) => Math.min(high, Math.max(low, value));
  /** What a drag takes: all lines it touches; as it is where it touches none, or with Alt. */
  function taken(from, to, exact) {
    const [low, high] = [Math.min(from, to), Math.max(from, to)],
      touched = exact ? [] : lyrics.lines.filter((line) => line.start < high && line.end > low);
    return touched.length
      ? { start: Math.min(...touched.map((one) => one.start)), end: Math.max(...touched.map((one) => one.end)) }
      : { start: low, end: high };
  }
  lane.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    const target = /** @type {Element} */ (event.target);
    press = { x: event.clientX, node: target.closest("button"), moved: false };
    lane.setPointerCapture(event.pointerId);
  });
  lane.addEventListener("pointermove", (event) => {
    if (!press) return;
    if (!press.moved && Math.abs(event.clientX - press.x) < LANE_DRAG * (event.pointerType === "touch" ? 3 : 1)) return;
    press.moved = true;
    const span = taken(timeAt(press.x), timeAt(event.clientX), event.altKey);
    put(draft, span);
    draft.hidden = false;
    setText(draft.firstChild, formatSeconds(span.end - span.start));
  });
  const release = (event) => {
    const was = press;
    press = null;
    draft.hidden = true;
    if (!was || event.type === "pointercancel") return;
    if (was.moved) {
      const span = taken(timeAt(was.x), timeAt(event.clientX), event.altKey);
      if (span.end - span.start > 0.02) take(span);
      return;
    }
    const index = was.node ? nodes().indexOf(/** @type {any} */ (was.node)) : -1;
    if (index >= 0) {
      focus = index;
      place();
      nodes()[index].focus({ preventScroll: true });
    }
    hear(index >= 0 ? spans()[index].start : timeAt(was.x));
  };
  lane.addEventListener("pointerup", release);
  lane.addEventListener("pointercancel", release);
  const onEscape = (event) => {
    if (event.key !== "Escape" || !press) return;
    press = null;
    draft.hidden = true;
    event.stopPropagation();
  };
  globalThis.addEventListener("keydown", onEscape, true);
  host.onClose(() => globalThis.removeEventListener("keydown", onEscape, true));

  // -- karaoke
  /** The sound is here now: light the line and the word. */
  function follow(time) {
    now = time;
    const place = part(time);
    here.hidden = !(place >= 0 && place <= 1);
    here.style.left = `${(place * 100).toFixed(2)}%`;
    let found = -1;
    lyrics.lines.forEach((line, index) => {
      if (line.start <= time + 0.05 && time < line.end) found = index;
    });
    if (found !== current) {
      current = found;
      show();
    }
    const line = lyrics.lines[current];
    if (!line) return;
    for (const node of sung.children) {
      const span = /** @type {HTMLElement} */ (node);
      if (!span.dataset.start) continue;
      const from = Number(span.dataset.start),
        to = Number(span.dataset.end);
      span.classList.toggle("on", from <= time + 0.05 && time < to);
      span.classList.toggle("past", time >= to);
    }
  }
  function show() {
    const line = lyrics.lines[current],
      coming = lyrics.lines[current + 1];
    sung.replaceChildren(
      ...(line ? piecesOf(line) : []).map((piece) =>
        h(
          piece.sung ? "span.word" : "span",
          piece.sung ? { "data-start": String(piece.start), "data-end": String(piece.end) } : {},
          piece.text,
        ),
      ),
    );
    sung.classList.toggle("unsure", Boolean(line) && !line.sure);
    sung.title = line && !line.sure ? t("lyric_lane.unsure") : "";
    setText(next, line && coming && coming.start - line.end < 6 ? coming.text : "");
    host.root.dataset.line = line?.text ?? "";
    const from = lyrics.sections.length;
    nodes().forEach((node, index) => {
      if (index >= from) node.classList.toggle("on", index - from === current);
    });
    [...all.children].forEach((item, index) => {
      item.classList.toggle("on", index === current);
      if (index === current) item.setAttribute("aria-current", "true");
      else item.removeAttribute("aria-current");
    });
    const row = /** @type {HTMLElement | undefined} */ (all.children[current]);
    if (row && more.open) all.scrollTop = row.offsetTop - all.offsetTop - all.clientHeight / 2;
  }

  // -- what Python has
  function told(body) {
    if (textOf(body.id) !== textOf(track().id)) return;
    shownFor = textOf(body.id);
    lyrics = readLyrics(body);
    const offers = textsOf(body.offers);
    const remarks = textsOf(body.remarks).map(say).join(" ");
    setText(why, [say(textOf(body.why)), remarks].filter(Boolean).join(" "));
    find.hidden = !offers.includes("sound");
    plan.hidden = !offers.includes("plan");
    missing.hidden = !why.textContent && find.hidden && plan.hidden;
    build();
  }
  /** Another sound is shown. */
  function load() {
    if (shownFor !== textOf(track().id) || !shownFor) {
      lyrics = readLyrics({});
      setText(why, "");
      missing.hidden = true;
      now = 0;
      build();
    }
    askLyrics();
  }
  /** Ask until they are here: a kernel that was busy may never have heard it. */
  function askLyrics(times = 0) {
    clearTimeout(asking);
    const id = textOf(track().id);
    if (!id || times > 30 || (times && shownFor === id)) return;
    host.send("lyrics", { id });
    asking = setTimeout(() => askLyrics(times + 1), 4000);
  }
  let asking = 0;
  host.onClose(() => clearTimeout(asking));
  host.on("lyrics", told);
  host.on("error", () => {
    if (find.hidden && plan.hidden && !lyrics.lines.length && track().id)
      host.send("lyrics", { id: textOf(track().id) });
  });
  const resized = new ResizeObserver(place);
  resized.observe(lane);
  host.onClose(() => resized.disconnect());
  return { lane, missing, all: more, sung, next, place, follow, load };
}
