// WaveformPicker: regions drawn on a waveform, zoom, overview, playhead, what changed, what codes keep.
// Python half: acestep_lab/ui/waveform_picker.py.
// A Bokeh figure shows the sound (waveform_figure.js); regions and playhead are elements above it, so that the playhead
// moves without a repaint.

/** @typedef {{name: string, start: number, end: number, words: string}} Mark */
/** @typedef {{kind: string, place: number, from: number, x: number, view: number[], before: Mark[], moved: boolean,
 *   snapped: boolean, draft: number[] | null, touch: boolean}} Gesture */

const NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

export default mount(
  "Waveform",
  [
    ["A", "waveform.key_add"],
    ["← →", "waveform.key_move"],
    ["[ ]", "waveform.key_edges"],
    ["N", "waveform.key_next"],
    ["Delete", "waveform.key_delete"],
    ["Space", "waveform.key_play"],
    ["P", "waveform.key_region"],
    ["O", "waveform.key_loop"],
    ["B", "waveform.key_before"],
    ["+ −", "waveform.key_zoom"],
    ["0", "waveform.key_whole"],
    ["Z", "waveform.key_undo"],
    ["R", "waveform.key_repaint"],
    ["Enter", "lyric_lane.key_hear"],
    ["M", "lyric_lane.key_mark"],
  ],
  (host) => {
    const coarse = matchMedia("(pointer: coarse)");
    const grip = () => (coarse.matches ? 18 : 7);
    /** @type {Mark[]} */
    let local = [];
    /** @type {Gesture | null} */
    let gesture = null;
    let selected = 0,
      head = 0,
      pending = {},
      lane = null,
      grid = [],
      timer = 0,
      viewTimer = 0,
      holdTimer = 0,
      marking = false,
      shownId = "",
      gridId = "",
      lastHeard = "after";
    let loop = /** @type {{place: number} | null} */ (null);
    const pointers = new Map();
    let pinch = /** @type {{wide: number, span: number[], at: number} | null} */ (null);
    const track = () => host.table("track"),
      total = () => numberOf(track().seconds);
    const view = makeView(total, () => {
      paint();
      host.root.dataset.view = view.span.map((at) => at.toFixed(3)).join(" ");
      clearTimeout(viewTimer);
      viewTimer = setTimeout(askView, 70);
    });
    const error = h("p.error", { role: "alert" }),
      verdict = h("p.verdict", { role: "status" }),
      chain = h("p.quiet.chain", { role: "status" });

    // -- the picture: a figure, and above it elements that are as tall as its parts
    const figure = waveformFigure(host, { view, total, shown, drawn: tellDrawn });
    const glass = h("div.glass"),
      headLine = h("div.playhead"),
      overviewHead = h("div.playhead"),
      overview = h("div.over", {}, overviewHead),
      draft = h("div.mark.draft", { hidden: true }, h("span.name"));
    const lanes = {
      difference: h("div.lane.difference", { hidden: true }, h("span.label", {}, t("waveform.lane_changes"))),
      codes: h("div.lane.codes", { hidden: true }, h("span.label", {}, t("waveform.lane_codes"))),
    };
    const timeline = h("div.timeline", {}, h("div.main", {}, glass), lanes.difference, lanes.codes, headLine);
    const beneath = {
      track,
      part: view.part,
      at: view.at,
      hear: (time) => {
        broadcast("play", { id: track().id, start: time });
        moveHead(time);
      },
    };
    const lyric = lyricLane(host, { ...beneath, mark: markSpan });
    const notes = noteLane(host, beneath);
    const stage = h(
      "div.stage",
      { tabIndex: 0, role: "group", "aria-label": t("waveform.stage") },
      h("div.picture", { dir: "ltr" }, figure.node, timeline, overview),
      lyric.lane,
      notes.lane,
    );
    /** Peaks may be here before the field that names their sound, or after it. */
    const peaksOf = (name) => (pending[name]?.id === track().id ? pending[name] : null);
    function shown() {
      return {
        wave: peaksOf("wave"),
        overview: peaksOf("overview"),
        difference: peaksOf("difference"),
        grid,
        codes: lane?.id === track().id ? lane : null,
        marks: local,
        lanes: { difference: !lanes.difference.hidden, codes: !lanes.codes.hidden },
      };
    }
    const paint = () => {
      figure.update();
      placeMarks();
      lyric.place();
      notes.place();
      moveHead(head);
    };
    /** For whoever watches: whose picture this is. */
    function tellDrawn() {
      const seen = peaksOf("wave");
      if (!seen || !figure.stands) return;
      host.root.dataset.bins = String(seen.pairs.length >> 1);
      host.root.dataset.drawn = shownId;
    }
    function askView() {
      const [start, end] = view.span,
        margin = (end - start) * 0.1;
      if (end <= start) return;
      host.send("view", {
        start: Math.max(0, start - margin),
        end: Math.min(total(), end + margin),
        pixels: Math.round((timeline.clientWidth || 900) * 1.2),
      });
    }
    function moveHead(time) {
      head = time;
      const part = view.part(time);
      headLine.hidden = !(part >= -0.001 && part <= 1.001);
      const to = (share) => `translateX(${(share * (timeline.clientWidth || 0)).toFixed(1)}px)`;
      headLine.style.transform = to(part);
      overviewHead.style.transform = to(time / (total() || 1));
      lyric.follow(time);
      notes.follow(time);
      host.root.dataset.head = time.toFixed(3);
    }
    // -- regions above the picture: these elements and the numbers below it are two views of `local`
    const nodes = new Map();
    /** Seconds of crossfade outside a region: of samples (hatched: they change), of latents (faint: they do not). */
    const crossfadesNow = () => {
      const [latent, samples] = host.list("crossfades").map((one) => numberOf(one));
      return [numberOf(host.get("wave_crossfade"), samples ?? 0), numberOf(host.get("latent_crossfade"), latent ?? 0)];
    };
    const put = (node, start, end) => {
      const from = view.part(start) * 100,
        to = view.part(end) * 100;
      node.hidden = end <= start || to < 0 || from > 100;
      node.style.left = `${from}%`;
      node.style.width = `${to - from}%`;
    };
    function nodesOf(place) {
      if (!nodes.has(place)) {
        const made = {
          box: h("div.mark", {}, h("span.edge.first"), h("span.name"), h("span.edge.last")),
          fades: ["samples", "samples", "latents", "latents"].map((kind) => h(`div.fade.${kind}`)),
        };
        glass.append(...made.fades, made.box);
        nodes.set(place, made);
      }
      return nodes.get(place);
    }
    function placeMarks() {
      for (const [place, { box, fades }] of nodes)
        if (place >= local.length) {
          [box, ...fades].forEach((node) => node.remove());
          nodes.delete(place);
        }
      local.forEach((region, place) => {
        const { box, fades } = nodesOf(place);
        put(box, region.start, region.end);
        box.classList.toggle("on", place === selected);
        box.classList.toggle("odd", place % 2 === 1);
        box.classList.toggle("looping", loop?.place === place);
        setText(box.querySelector(".name"), region.name);
        crossfadesNow().forEach((wide, kind) => {
          put(fades[2 * kind], Math.max(0, region.start - wide), region.start);
          put(fades[2 * kind + 1], region.end, Math.min(total(), region.end + wide));
        });
      });
      host.root.dataset.regions = JSON.stringify(
        local.map((r) => [Number(r.start.toFixed(3)), Number(r.end.toFixed(3))]),
      );
    }

    // -- gestures: dragging draws, moves or resizes a region; Shift, the overview and a finger pan
    const partAt = (x) => {
      const box = glass.getBoundingClientRect();
      return (x - box.left) / (box.width || 1);
    };
    const timeAt = (x) => between(0, view.at(partAt(x)), total());
    /** What lies under a pointer: an edge or the body of a region, the selected one first. */
    function hit(x) {
      const reach = (grip() / (glass.clientWidth || 1)) * (view.span[1] - view.span[0]),
        time = timeAt(x),
        order = [selected, ...local.keys()].filter((place) => local[place]);
      for (const place of order) {
        const { start, end } = local[place],
          narrow = Math.min(reach, (end - start) / 3 + reach / 3);
        if (Math.abs(time - start) <= narrow) return { kind: "start", place };
        if (Math.abs(time - end) <= narrow) return { kind: "end", place };
      }
      const place = order.find((one) => time > local[one].start && time < local[one].end);
      return place == null ? null : { kind: "move", place };
    }
    /** The room around a region, or around a time, that no other one takes. */
    function room(place, from, to) {
      const others = local.filter((_, i) => i !== place);
      return [
        Math.max(0, ...others.filter((r) => r.end <= from + 1e-6).map((r) => r.end)),
        Math.min(total(), ...others.filter((r) => r.start >= to - 1e-6).map((r) => r.start)),
      ];
    }
    const snapped = (time, on) => {
      if (!on || host.text("snap") === "off" || !grid.length) return time;
      return [0, ...grid, total()].reduce((best, one) => (Math.abs(one - time) < Math.abs(best - time) ? one : best));
    };
    function beginGesture(event) {
      if (event.button > 0 || !total()) return;
      stage.focus({ preventScroll: true });
      pointers.set(event.pointerId, event.clientX);
      glass.setPointerCapture?.(event.pointerId);
      if (pointers.size === 2) return beginPinch();
      if (pointers.size > 2) return;
      const touch = event.pointerType === "touch",
        under = hit(event.clientX);
      let kind = event.shiftKey ? "pan" : (under?.kind ?? "draw");
      if (touch && !marking && !(under && under.place === selected)) kind = "pan";
      gesture = {
        kind,
        place: under?.place ?? -1,
        from: timeAt(event.clientX),
        x: event.clientX,
        view: view.span,
        before: local,
        moved: false,
        snapped: true,
        draft: null,
        touch,
      };
      if (kind === "pan" && touch) holdTimer = setTimeout(() => pressedLong(event.clientX), 450);
    }
    /** A finger held still begins a region; one that moves at once looks around. */
    function pressedLong(x) {
      if (!gesture || gesture.moved) return;
      gesture = { ...gesture, kind: "draw", from: timeAt(x), place: -1 };
      navigator.vibrate?.(15);
      glass.classList.add("drawing");
      showDraft(gesture.from, Math.min(total(), gesture.from + (view.span[1] - view.span[0]) * 0.01));
    }
    function moveGesture(event) {
      if (pointers.has(event.pointerId)) pointers.set(event.pointerId, event.clientX);
      if (pinch) return movePinch();
      if (!gesture) {
        const under = event.shiftKey ? { kind: "pan" } : hit(event.clientX);
        glass.style.cursor =
          { start: "ew-resize", end: "ew-resize", move: "grab", pan: "all-scroll" }[under?.kind ?? "none"] ??
          "crosshair";
        return;
      }
      if (!gesture.moved && Math.abs(event.clientX - gesture.x) < (gesture.touch ? 8 : 4)) return;
      gesture.moved = true;
      clearTimeout(holdTimer);
      gesture.snapped = !event.altKey;
      follow(gesture, event.clientX);
    }
    function follow(now, x) {
      const time = timeAt(x);
      if (now.kind === "pan") {
        const by = ((now.x - x) / (glass.clientWidth || 1)) * (now.view[1] - now.view[0]);
        return view.set(now.view[0] + by, now.view[1] + by);
      }
      if (now.kind === "draw") {
        const [low, high] = room(-1, now.from, now.from),
          ends = [snapped(now.from, now.snapped), snapped(time, now.snapped)].map((at) => between(low, at, high));
        now.draft = [Math.min(...ends), Math.max(...ends)];
        return showDraft(...now.draft);
      }
      const old = now.before[now.place],
        [low, high] = room(now.place, old.start, old.end);
      let { start, end } = old;
      if (now.kind === "start") start = between(low, snapped(time, now.snapped), end - 0.02);
      else if (now.kind === "end") end = between(start + 0.02, snapped(time, now.snapped), high);
      else {
        start = between(low, snapped(old.start + time - now.from, now.snapped), high - (old.end - old.start));
        end = start + old.end - old.start;
      }
      selected = now.place;
      local = local.map((r, i) => (i === now.place ? { ...r, start, end } : r));
      placeMarks();
      showNumbers();
    }
    function showDraft(start, end) {
      put(draft, start, end);
      setText(draft.firstChild, t("waveform.seconds", { n: formatNumber(end - start, 2) }));
    }
    function endGesture(event) {
      pointers.delete(event.pointerId);
      clearTimeout(holdTimer);
      if (pinch) {
        if (pointers.size < 2) pinch = null;
        gesture = null;
        return;
      }
      const now = gesture;
      forgetGesture();
      if (!now) return;
      if (!now.moved) return now.kind === "draw" && now.touch && !marking ? add(now.from) : tapped(now);
      if (now.kind === "draw" && now.draft && now.draft[1] - now.draft[0] > 0.02) {
        change([...local, { name: freeName(), start: now.draft[0], end: now.draft[1], words: "" }], {
          keep: local.length,
          snap: now.snapped,
        });
      } else if (now.kind !== "pan" && now.kind !== "draw") change(local, { keep: now.place, snap: now.snapped });
    }
    function tapped(now) {
      if (now.place >= 0) choose(now.place);
      broadcast("seek", { id: track().id, time: now.from });
      moveHead(now.from);
    }
    function forgetGesture() {
      gesture = null;
      draft.hidden = true;
      glass.classList.remove("drawing");
    }
    /** Escape, a call, another take: all is as it was before the drag. */
    function cancelGesture() {
      if (!gesture) return;
      clearTimeout(holdTimer);
      local = gesture.before;
      if (gesture.kind === "pan") view.set(gesture.view[0], gesture.view[1]);
      forgetGesture();
      placeMarks();
      showNumbers();
      fromPython();
    }
    function beginPinch() {
      cancelGesture();
      const [one, two] = [...pointers.values()];
      pinch = { wide: Math.max(10, Math.abs(one - two)), span: view.span, at: timeAt((one + two) / 2) };
    }
    function movePinch() {
      if (!pinch || pointers.size < 2) return;
      const [one, two] = [...pointers.values()],
        wide = ((pinch.span[1] - pinch.span[0]) * pinch.wide) / Math.max(10, Math.abs(one - two)),
        part = partAt((one + two) / 2);
      view.set(pinch.at - part * wide, pinch.at + (1 - part) * wide);
    }
    glass.append(draft);
    glass.addEventListener("pointerdown", beginGesture);
    glass.addEventListener("pointermove", moveGesture);
    glass.addEventListener("pointerup", endGesture);
    glass.addEventListener("pointercancel", (event) => {
      pointers.delete(event.pointerId);
      pinch = null;
      cancelGesture();
    });
    glass.addEventListener("dblclick", (event) => {
      if (!hit(event.clientX)) add(timeAt(event.clientX));
    });
    glass.addEventListener("contextmenu", (event) => {
      if (coarse.matches) event.preventDefault(); // a long press marks
    });
    const onEscape = (event) => {
      if (event.key !== "Escape" || !gesture) return;
      event.stopPropagation();
      event.preventDefault();
      cancelGesture();
    };
    globalThis.addEventListener("keydown", onEscape, true);
    host.onClose(() => globalThis.removeEventListener("keydown", onEscape, true));
    timeline.addEventListener(
      "wheel",
      (event) => {
        const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
        if (event.ctrlKey || event.metaKey)
          view.zoom(2 ** (between(-200, event.deltaY, 200) / 200), timeAt(event.clientX));
        else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
          view.pan((sideways / (timeline.clientWidth || 900)) * (view.span[1] - view.span[0]));
        else return;
        event.preventDefault();
      },
      { passive: false },
    );
    // the overview: press beside the window to go there, drag to pan
    let overFrom = null;
    const overTime = (event) => {
      const box = overview.getBoundingClientRect();
      return ((event.clientX - box.left) / (box.width || 1)) * total();
    };
    overview.addEventListener("pointerdown", (event) => {
      overview.setPointerCapture?.(event.pointerId);
      const at = overTime(event),
        [from, to] = view.span;
      if (at < from || at > to) view.set(at - (to - from) / 2, at + (to - from) / 2);
      overFrom = { at, start: view.span[0] };
    });
    overview.addEventListener("pointermove", (event) => {
      if (!overFrom || !event.buttons) return;
      const start = overFrom.start + overTime(event) - overFrom.at,
        wide = view.span[1] - view.span[0];
      view.set(start, start + wide);
    });
    overview.addEventListener("pointerup", () => (overFrom = null));

    // -- changes, and what Python has
    /** The regions as Python has them. @returns {Mark[]} */
    const marked = () =>
      tablesOf(host.get("regions")).map((r) => ({
        name: textOf(r.name),
        start: numberOf(r.start),
        end: numberOf(r.end),
        words: textOf(r.words),
      }));
    // Every change carries an id that Python hands back with its answer; until then this is newer than what Python has.
    const me = Math.random().toString(36).slice(2);
    let count = 0,
      waiting = "",
      patience = 0;
    const newChange = () => {
      clearTimeout(patience);
      patience = setTimeout(() => {
        waiting = "";
        fromPython();
      }, 8000);
      return (waiting = `${me}:${++count}`);
    };
    host.onClose(() => clearTimeout(patience));
    const back = () => {
      flush();
      setText(error, "");
      host.send("undo", { change_id: newChange() });
    };
    const sendRegions = (snap = false) => {
      setText(error, "");
      host.send("regions", {
        regions: local,
        selected,
        snapped: snap,
        force: true,
        change_id: newChange(),
        take: textOf(track().id),
      });
    };
    /** What keys have moved is sent once they rest. */
    const flush = () => {
      if (!timer) return;
      clearTimeout(timer);
      timer = 0;
      sendRegions();
    };
    function change(next, { keep = selected, snap = false } = {}) {
      clearTimeout(timer);
      timer = 0;
      local = next;
      selected = Math.max(0, Math.min(keep, next.length - 1));
      placeMarks();
      showNumbers();
      figure.update();
      sendRegions(snap);
      followLoop();
    }
    function choose(place) {
      const other = selected !== place;
      selected = place;
      placeMarks();
      showNumbers();
      if (other) followLoop();
    }
    const freeName = () => {
      const used = new Set(local.map((r) => r.name));
      return [...NAMES].find((one) => !used.has(one)) ?? "Z";
    };
    function add(at = head) {
      const taken = [...local].sort((a, b) => a.start - b.start),
        edges = [0, ...taken.flatMap((r) => [r.start, r.end]), total()];
      const gaps = edges
        .flatMap((edge, i) => (i % 2 ? [] : [[edge, edges[i + 1]]]))
        .filter(([from, to]) => to - from >= 0.2)
        .sort(([a, b], [c, d]) => Math.max(a - at, at - b, 0) - Math.max(c - at, at - d, 0));
      if (!gaps.length) return setText(error, t("waveform.all_marked"));
      const [from, to] = gaps[0],
        wide = Math.min(to - from, Math.max(0.5, (view.span[1] - view.span[0]) * 0.15)),
        start = Math.max(from, Math.min(at - wide / 2, to - wide));
      change([...local, { name: freeName(), start, end: start + wide, words: "" }], {
        keep: local.length,
        snap: true,
      });
    }
    /** A region of what is free in a span; where nothing is, the one that lies there is chosen. */
    function markSpan(start, end) {
      const taken = local.filter((r) => r.start < end && r.end > start).sort((a, b) => a.start - b.start),
        edges = [start, ...taken.flatMap((r) => [Math.max(start, r.start), Math.min(end, r.end)]), end],
        [from, to] = edges
          .flatMap((edge, i) => (i % 2 ? [] : [[edge, edges[i + 1]]]))
          .reduce((best, one) => (one[1] - one[0] > best[1] - best[0] ? one : best));
      if (to - from < 0.1 && taken.length) return choose(local.indexOf(taken[0]));
      change([...local, { name: freeName(), start: from, end: to, words: "" }], { keep: local.length });
    }
    const remove = (place) => {
      if (!local[place]) return;
      if (loop?.place === place) setLoop(null);
      else if (loop && loop.place > place) loop = { place: loop.place - 1 };
      change(
        local.filter((_, i) => i !== place),
        { keep: selected > place ? selected - 1 : selected },
      );
    };
    const nudge = (by) => {
      const r = local[selected];
      if (!r) return;
      const shift = Math.max(-r.start, Math.min(by, total() - r.end));
      newChange();
      local = local.map((q, i) => (i === selected ? { ...q, start: q.start + shift, end: q.end + shift } : q));
      placeMarks();
      showNumbers();
      clearTimeout(timer);
      timer = setTimeout(flush, 200);
      followLoop();
      host.announce(
        t("waveform.moved", {
          name: r.name,
          from: formatNumber(r.start + shift, 1),
          to: formatNumber(r.end + shift, 1),
        }),
      );
    };

    // -- hearing: a region, in a loop, before and after
    const region = () => local[selected] ?? { start: 0, end: total() };
    const play = (place) => {
      const r = local[place];
      if (r) broadcast("play", { id: track().id, start: r.start, end: r.end });
    };
    /** A player may loop the region that is chosen here; `loop` is there only where it is switched on or off. */
    const tellRegion = (about = {}) => {
      const r = local[selected];
      broadcast("region", { id: track().id, start: r?.start ?? null, end: r?.end ?? null, from: "waveform", ...about });
    };
    const tellLoop = (on, r) => tellRegion({ start: r.start, end: r.end, loop: on });
    function setLoop(place) {
      const before = loop && local[loop.place];
      loop = place == null || !local[place] ? null : { place };
      if (loop) {
        tellLoop(true, local[loop.place]);
        broadcast("play", { id: track().id, start: local[loop.place].start });
      } else tellLoop(false, before ?? region());
      placeMarks();
      showNumbers();
    }
    const toggleLoop = (place) => {
      if (local[place]) setLoop(loop?.place === place ? null : place);
    };
    /** The looped region was moved: the loop goes with it. */
    function followLoop() {
      if (loop && local[loop.place]) tellLoop(true, local[loop.place]);
      else tellRegion();
    }
    host.onClose(
      onBroadcast("region", (news) => {
        if (news?.from === "waveform" || news?.id !== track().id || news.loop !== false || !loop) return;
        loop = null;
        placeMarks();
        showNumbers();
      }),
    );
    const older = audioPlayer(
      host,
      () => host.table("before"),
      (seconds, playing) => {
        if (playing) moveHead(seconds);
      },
    );
    host.watch("before", older.reset);
    const hear = (which) => {
      if (!host.table("before").id) return;
      lastHeard = which;
      const { start, end } = region();
      if (which === "before") older.playSpan(start, end);
      else {
        older.pause();
        broadcast("play", { id: track().id, start, end });
      }
      beforeButton.setAttribute("aria-pressed", String(which === "before"));
      afterButton.setAttribute("aria-pressed", String(which === "after"));
    };
    const beforeButton = h(
        "button",
        { "aria-pressed": "false", title: t("waveform.before_title"), onclick: () => hear("before") },
        t("waveform.before"),
      ),
      afterButton = h(
        "button",
        { "aria-pressed": "false", title: t("waveform.after_title"), onclick: () => hear("after") },
        t("waveform.after"),
      );
    const proof = h(
      "div.row.proof",
      {},
      verdict,
      h("span.seg", { role: "group", "aria-label": t("waveform.before_after") }, beforeButton, afterButton),
    );

    // -- a line for every region
    const table = h("div.regions");
    const rows = new Map();
    function rowOf(place) {
      const edge = (key) =>
        h("input", {
          type: "text",
          inputmode: "decimal",
          "aria-label": t(`waveform.${key}`),
          onfocus: () => choose(place),
          oninput: typing,
          onchange: (event) => {
            delete event.target.dataset.typing;
            flush();
            setText(error, "");
            host.send("edge", {
              place,
              key,
              value: event.target.value,
              change_id: newChange(),
              take: textOf(track().id),
            });
          },
        });
      const own = (key, more) =>
        h("input", {
          type: "text",
          oninput: typing,
          onfocus: () => choose(place),
          onchange: (event) => {
            delete event.target.dataset.typing;
            change(
              local.map((r, i) => (i === place ? { ...r, [key]: event.target.value } : r)),
              { keep: place },
            );
          },
          ...more,
        });
      const name = own("name", { "aria-label": t("waveform.name"), maxLength: 40, dir: "auto" }),
        words = own("words", {
          "aria-label": t("waveform.own_words"),
          placeholder: t("waveform.own_words_hint"),
          maxLength: 20000,
          dir: "auto",
        });
      const from = edge("start"),
        to = edge("end"),
        length = h("span.tiny.num.length");
      const looping = h(
        "button.plain.icon",
        { title: t("waveform.loop"), "aria-label": t("waveform.loop"), onclick: () => toggleLoop(place) },
        "↻",
      );
      name.classList.add("called");
      words.classList.add("words");
      const node = h(
        "div.region",
        { "data-region": place },
        h("span.swatch", { "aria-hidden": "true" }),
        name,
        from,
        h("span.tiny.dash", { "aria-hidden": "true" }, "–"),
        to,
        length,
        words,
        h(
          "button.plain.icon",
          { title: t("waveform.play_region"), "aria-label": t("waveform.play_region"), onclick: () => play(place) },
          "▶",
        ),
        looping,
        h(
          "button.plain.icon",
          { title: t("waveform.remove"), "aria-label": t("waveform.remove"), onclick: () => remove(place) },
          "✕",
        ),
      );
      return { node, name, from, to, length, words, looping };
    }
    /** An answer to the field before must not overwrite one that is being typed. */
    const typing = (event) => {
      event.target.dataset.typing = "yes";
    };
    let stale = false,
      seen = -1;
    function showNumbers() {
      const focus = /** @type {any} */ (host.root.getRootNode()).activeElement;
      for (const [place, row] of rows)
        if (place >= local.length) {
          row.node.remove();
          rows.delete(place);
        }
      local.forEach((r, place) => {
        if (!rows.has(place)) {
          rows.set(place, rowOf(place));
          table.append(rows.get(place).node);
        }
        const row = rows.get(place);
        for (const [input, value] of [
          [row.name, r.name],
          [row.from, Number(r.start).toFixed(2)],
          [row.to, Number(r.end).toFixed(2)],
          [row.words, r.words],
        ])
          if (!input.dataset.typing && (input !== focus || stale)) input.value = value;
        setText(row.length, t("waveform.seconds", { n: formatNumber(r.end - r.start, 2) }));
        row.node.classList.toggle("on", place === selected);
        row.looping.setAttribute("aria-pressed", String(loop?.place === place));
      });
      hint.hidden = local.length > 0;
      go.disabled = !local.length || Boolean(host.get("cannot"));
      undo.disabled = !host.get("can_undo");
    }
    function fromPython() {
      if (waiting && host.get("change_id") === waiting) {
        waiting = "";
        clearTimeout(patience);
      }
      if (!waiting && !gesture) {
        stale = host.get("revision") !== seen;
        seen = host.get("revision");
        local = marked();
        if (stale) selected = numberOf(host.get("selected"), selected);
        selected = Math.min(selected, Math.max(0, local.length - 1));
        if (loop && !local[loop.place]) setLoop(null);
        placeMarks();
        showNumbers();
        figure.update();
        stale = false;
      }
      settings();
    }

    // -- how to repaint
    const sendSetting = (name, value) => host.send("setting", { name, value });
    const caption = h("input.caption", {
      type: "text",
      maxLength: 20000,
      dir: "auto",
      "aria-label": t("waveform.words"),
      placeholder: t("waveform.words_hint"),
      onchange: () => sendSetting("caption", caption.value),
    });
    const modes = h("div.seg", { role: "group", "aria-label": t("waveform.mode") }),
      strength = h("input", {
        type: "range",
        min: "0",
        max: "1",
        step: "0.01",
        "aria-label": t("waveform.strength"),
        onchange: () => sendSetting("strength", Number(strength.value)),
        oninput: () => setText(strong, formatNumber(Number(strength.value), 2)),
      }),
      strong = h("output.tiny.num");
    const numberBox = (name) =>
      h(
        "label.inline",
        { title: t(`waveform.${name}_title`) },
        t(`waveform.${name}`),
        h("input", {
          type: "text",
          inputmode: "decimal",
          placeholder: t("waveform.auto"),
          "data-setting": name,
          onchange: (event) => sendSetting(name, event.target.value),
        }),
      );
    const boxes = ["wave_crossfade", "latent_crossfade", "injection"].map(numberBox);
    const snap = h("select", {
      "aria-label": t("waveform.snap"),
      title: t("waveform.snap_title"),
      onchange: () => host.send("snap", { to: snap.value }),
    });
    const findBeat = h(
        "button.plain",
        { title: t("waveform.find_beat_title"), onclick: () => host.send("find_beat") },
        t("waveform.find_beat"),
      ),
      findCodes = h(
        "button.plain",
        { title: t("waveform.find_codes_title"), onclick: () => host.send("find_codes") },
        t("waveform.find_codes"),
      );
    const go = h(
      "button.go",
      {
        onclick: () => {
          if (go.disabled || justPressed(700, go)) return;
          setText(error, "");
          const typed = /** @type {any} */ (host.root.getRootNode()).activeElement;
          if (typed?.matches("input, textarea")) typed.blur(); // what is being typed counts
          flush();
          if (caption.value !== host.text("caption")) sendSetting("caption", caption.value);
          host.send("repaint", { clicks: numberOf(host.get("clicks")) });
          broadcast("begun", {});
        },
      },
      t("waveform.repaint"),
    );
    const cannot = h("p.quiet.cannot"),
      busy = h("span.quiet", { role: "status" });
    host.onClose(onBroadcast("busy", () => setText(busy, say(pageState.busy || ""))));
    function settings() {
      const focus = /** @type {any} */ (host.root.getRootNode()).activeElement,
        mode = host.get("mode");
      if (modes.children.length !== host.list("modes").length)
        modes.replaceChildren(
          ...textsOf(host.get("modes")).map((one) =>
            h(
              "button",
              {
                "data-mode": one,
                title: t(`waveform.mode_${one}_title`),
                onclick: () => sendSetting("mode", one),
              },
              t(`waveform.mode_${one}`),
            ),
          ),
        );
      for (const button of modes.children) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
      if (focus !== strength) strength.value = String(numberOf(host.get("strength"), 0.5));
      strength.disabled = mode !== "balanced"; // the other two stand for the ends of it
      setText(strong, formatNumber(Number(strength.value), 2));
      if (focus !== caption) caption.value = host.text("caption");
      for (const label of boxes) {
        const input = label.querySelector("input"),
          name = input.dataset.setting;
        label.hidden = host.list("unused").includes(name);
        if (input !== focus) input.value = textOf(host.get(name));
        const own = { wave_crossfade: host.list("crossfades")[1], latent_crossfade: host.list("crossfades")[0] }[name];
        input.placeholder = own ? `${t("waveform.auto")} ${formatNumber(Number(own), 2)}` : t("waveform.auto");
      }
      const snaps = textsOf(host.get("snaps"));
      if (snap.dataset.snaps !== snaps.join()) {
        snap.dataset.snaps = snaps.join();
        snap.replaceChildren(...snaps.map((name) => h("option", { value: name }, t(`waveform.snap_${name}`))));
      }
      snap.value = host.text("snap");
      const finding = host.text("finding");
      findBeat.hidden = !host.get("can_find_beat") || finding === "beat";
      findCodes.hidden = !host.get("can_find_codes") || finding === "codes";
      setText(looking, finding ? t(`waveform.finding_${finding}`) : "");
      const said = host.text("verdict");
      setText(verdict, say(said));
      verdict.classList.toggle("kept", numberOf(host.get("kept")) > 0);
      proof.hidden = !said;
      setText(chain, say(host.text("chain")));
      setText(cannot, say(host.text("cannot")));
      lanes.difference.hidden = !said;
      lanes.codes.hidden = !host.get("has_codes");
      const there = Boolean(total());
      [tools, stage, knobs].forEach((node) => (node.hidden = !there));
      empty.hidden = there;
      host.root.classList.toggle("nothing", !there);
      figure.update();
    }
    const looking = h("span.tiny", { role: "status" });

    host.on("peaks", (body, [bytes]) => {
      if (!bytes) return;
      const pairs = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      pending[body.lane] = { start: body.start, end: body.end, pairs, id: body.id };
      if (body.id !== shownId) return;
      figure.update();
      tellDrawn();
    });
    host.on("figure", (body) => figure.show({ key: textOf(body.key), text: textOf(body.item) }));
    host.on("grid", (body, [bytes]) => {
      gridId = body.id;
      grid = bytes
        ? [...new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))]
        : [];
      host.root.dataset.grid = String(grid.length);
      figure.update();
    });
    host.on("codes", (body, [bytes]) => {
      if (!bytes) return;
      const values = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      lane = { values, bins: body.bins, rows: body.rows, id: body.id };
      host.root.dataset.codes = String(body.bins);
      figure.update();
    });
    host.on("error", (body) => setText(error, say(body.text)));
    if (host.get("standalone")) {
      const own = audioPlayer(host, track, (time, playing) => {
        moveHead(time);
        const looped = loop && local[loop.place];
        if (looped && playing && (time >= looped.end || time < looped.start - 0.05))
          own.audio.currentTime = looped.start;
      });
      host.watch("track", own.reset);
    } else
      host.onClose(
        onBroadcast("time", (news) => {
          if (news?.id === track().id) moveHead(numberOf(news.time));
        }),
      );
    host.root.addEventListener("keydown", (event) => {
      if (isTyping(event) || event.ctrlKey || event.metaKey) return;
      const beat = host.text("snap") === "beats" && grid.length > 1 ? grid[1] - grid[0] : 0.5,
        step = event.altKey ? beat : event.shiftKey ? 1 : 0.1;
      const set = (key) => local[selected] && change(local.map((q, i) => (i === selected ? { ...q, [key]: head } : q)));
      const actions = {
        a: () => add(),
        ArrowLeft: () => nudge(-step),
        ArrowRight: () => nudge(step),
        "[": () => set("start"),
        "]": () => set("end"),
        n: () => local.length && choose((selected + 1) % local.length),
        Delete: () => remove(selected),
        Backspace: () => remove(selected),
        " ": () => broadcast("toggle", { id: track().id }),
        p: () => play(selected),
        o: () => toggleLoop(selected),
        b: () => hear(lastHeard === "before" ? "after" : "before"),
        "+": () => view.zoom(0.5, head || undefined),
        "=": () => view.zoom(0.5, head || undefined),
        "-": () => view.zoom(2, head || undefined),
        0: view.whole,
        z: back,
        r: () => go.click(),
      }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (actions && !(event.key === " " && event.target.tagName === "BUTTON") && event.target.type !== "range") {
        actions();
        event.preventDefault();
      }
    });
    const icon = (name, sign, work) =>
      h(
        "button.plain.icon",
        { "aria-label": t(`waveform.${name}`), title: t(`waveform.${name}`), onclick: work },
        sign,
      );
    const markButton = h(
      "button",
      {
        "aria-pressed": "false",
        title: t("waveform.mark_title"),
        onclick: () => {
          marking = !marking;
          markButton.setAttribute("aria-pressed", String(marking));
          glass.classList.toggle("marking", marking);
        },
      },
      t("waveform.mark"),
    );
    const undo = icon("undo", "↶", back);
    const tools = h(
      "div.row.tools",
      {},
      looking,
      notes.find,
      findBeat,
      snap,
      markButton,
      h("button", { onclick: () => add() }, t("waveform.add")),
      undo,
      icon("zoom_in", "+", () => view.zoom(0.5, head || undefined)),
      icon("zoom_out", "−", () => view.zoom(2, head || undefined)),
      icon("whole", "⤢", view.whole),
    );
    const hint = h("p.tiny.hint");
    const showDevice = () => {
      setText(hint, t(coarse.matches ? "waveform.hint_touch" : "waveform.hint_mouse"));
      markButton.hidden = !coarse.matches;
    };
    coarse.addEventListener("change", showDevice);
    host.onClose(() => coarse.removeEventListener("change", showDevice));
    const empty = h("p.empty", {}, t("waveform.empty"));
    const more = h(
      "details.more",
      {},
      h("summary", {}, t("waveform.more")),
      h(
        "div.row",
        {},
        ...boxes,
        findCodes,
        h("span.spring"),
        h(
          "button.plain",
          { onclick: () => copyText(host.root, host.text("code"), host.announce) },
          t("waveform.copy_code"),
        ),
      ),
    );
    const knobs = h(
      "div.knobs",
      {},
      table,
      hint,
      h("div.row.how", {}, caption, modes, h("label.inline", {}, t("waveform.strength"), strength, strong), go),
      h("div.row.under", {}, more, lyric.all, lyric.missing, busy, cannot, chain),
    );
    host.root.append(
      h("div.head", {}, h("h2", {}, t("waveform.title")), h("span.spring"), tools),
      empty,
      stage,
      ...(host.get("standalone") ? [lyric.sung] : []),
      notes.under,
      proof,
      knobs,
      error,
    );
    host.onTheme(figure.paintTheme);
    host.watch(
      [
        "regions",
        "change_id",
        "revision",
        "mode",
        "modes",
        "strength",
        "injection",
        "caption",
        "wave_crossfade",
        "latent_crossfade",
        "crossfades",
        "unused",
        "snap",
        "snaps",
        "finding",
        "can_find_beat",
        "can_find_codes",
        "can_undo",
        "verdict",
        "kept",
        "before",
        "chain",
        "cannot",
        "has_codes",
      ],
      fromPython,
    );
    const showTrack = () => {
      if (shownId === track().id) return;
      cancelGesture();
      clearTimeout(timer);
      timer = 0;
      if (loop) tellLoop(false, { start: 0, end: 0 });
      loop = null;
      waiting = "";
      shownId = textOf(track().id);
      for (const name of Object.keys(pending)) if (pending[name].id !== shownId) delete pending[name];
      if (gridId !== shownId) grid = [];
      setText(error, "");
      beforeButton.setAttribute("aria-pressed", "false");
      afterButton.setAttribute("aria-pressed", "false");
      lastHeard = "after";
      fromPython();
      lyric.load();
      notes.load();
      moveHead(0);
      view.whole();
      tellDrawn();
    };
    host.watch("track", showTrack);
    const resized = new ResizeObserver(() => {
      paint();
    });
    resized.observe(timeline);
    host.onClose(() => {
      resized.disconnect();
      [timer, viewTimer, holdTimer].forEach(clearTimeout);
    });
    showDevice();
    fromPython();
    showTrack();
  },
);
