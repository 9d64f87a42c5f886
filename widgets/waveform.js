// WaveformPicker: regions on a Bokeh waveform, zoom, overview, playhead, difference lane.
// Python half: acestep_lab/ui/waveform_picker.py.
// The figure comes from Python as JSON and is embedded here, so it is the same in every host; BokehJS too, where
// the page has none.

async function needBokeh(host) {
  if (globalThis.Bokeh?.embed) return globalThis.Bokeh;
  return (pageState.bokeh ??= new Promise((resolve) => {
    host.on("bokeh", (_, [bytes]) => {
      if (globalThis.Bokeh?.embed) return resolve(globalThis.Bokeh);
      const script = h("script", { src: URL.createObjectURL(new Blob([bytes], { type: "text/javascript" })) });
      script.onload = () => resolve(globalThis.Bokeh);
      document.head.append(script);
    });
    host.send("bokeh");
  }));
}

export default mount(
  "Waveform",
  [
    ["A", "add a region at the playhead (or double-click)"],
    ["← →", "move the region by 0.1 s (Shift: 1 s, Alt: one beat)"],
    ["[ ]", "set its start, its end at the playhead"],
    ["N", "next region"],
    ["Delete", "remove the region"],
    ["Space", "play or pause"],
    ["P", "play the region"],
    ["+ −", "zoom in, out"],
    ["0", "see it all"],
    ["Z", "undo the last change of the regions"],
    ["R", "repaint"],
  ],
  (host) => {
    /** @type {any} */
    let views = null;
    /** @type {any} */
    let building = null;
    let again = false,
      models = {},
      item = null,
      pending = {},
      head = 0,
      marks = [],
      dragging = false,
      timer = 0,
      viewTimer = 0,
      tip = -1,
      asked = 0;
    let local = [],
      selected = 0;
    const track = () => host.table("track"),
      total = () => numberOf(track().seconds);
    const stage = h("div.stage", {
        tabIndex: 0,
        role: "group",
        "aria-label": "Waveform with regions; A adds one, arrows move it",
      }),
      table = h("div.regions"),
      error = h("p.error", { role: "alert" }),
      verdict = h("p.verdict");
    const hint = h(
      "p.tiny",
      {},
      "Double-click to mark a region, drag it or its edges. Ctrl + wheel zooms, drag moves the view.",
    );
    const find = (name) => models[name];

    async function draw() {
      const wanted = item;
      if (!wanted) return;
      const Bokeh = await needBokeh(host);
      if (wanted !== item || !stage.isConnected) return;
      drop();
      const target = h("div");
      stage.replaceChildren(target);
      views = await Bokeh.embed.embed_item(JSON.parse(wanted), target);
      const root = [...(views.roots ?? views)][0]?.model ?? views[0]?.model;
      models = {};
      for (const model of root.document._all_models.values()) if (model.name) models[model.name] = model;
      find("clock").doFormat = (ticks) =>
        ticks.map((tick) => {
          const part = Math.round((tick - Math.floor(tick)) * 1000) / 1000;
          return formatTime(Math.floor(tick)) + (part ? String(part).slice(1) : "");
        });
      ["main", "overview"].forEach((name) => patient(views.find_one(find(name))));
      const range = find("view");
      const moved = () => {
        clearTimeout(viewTimer);
        viewTimer = setTimeout(askView, 70);
      };
      find("main").on_event?.("rangesupdate", moved);
      range.properties.start.change.connect(moved);
      range.properties.end.change.connect(moved);
      find("main").on_event?.("doubletap", (event) => add(event.x));
      find("main").on_event?.("tap", (event) => {
        const hit = local.findIndex((r) => event.x >= r.start && event.x <= r.end);
        if (hit >= 0) choose(hit);
        broadcast("seek", { id: track().id, time: event.x });
        moveHead(event.x);
      });
      for (const [lane, body] of Object.entries(pending)) fill(lane, body);
      paintTheme();
      syncBoxes();
      showLanes();
      host.root.dataset.drawn = track().id;
      moved();
    }
    /** Bokeh takes a button held still for 0.3 s for a press, which then never becomes a drag; here all is dragged. */
    function patient(view) {
      const gestures = view?.canvas_view?.ui_event_bus?.ui_gestures;
      if (gestures?._start_timeout) gestures._start_timeout = () => {};
    }
    function drop() {
      marks = [];
      building = null;
      if (views) {
        try {
          views.clear ? views.clear() : [...views].forEach((v) => v.remove?.());
        } catch {
          /* the host has removed it already */
        }
      }
      views = null;
      models = {};
    }
    function askView() {
      const range = find("view");
      if (!range) return;
      const span = range.end - range.start,
        start = Math.max(0, range.start - span * 0.1),
        end = Math.min(total(), range.end + span * 0.1);
      asked++;
      host.send("view", { start, end, pixels: Math.round((stage.clientWidth || 900) * 1.2) });
      host.root.dataset.view = `${range.start.toFixed(3)} ${range.end.toFixed(3)}`;
    }
    function fill(lane, { start, end, pairs }) {
      const source = find(lane);
      if (!source) return;
      const bins = pairs.length >> 1,
        x = new Float64Array(bins),
        low = new Float64Array(bins),
        high = new Float64Array(bins),
        each = (end - start) / bins;
      for (let i = 0; i < bins; i++) {
        x[i] = start + (i + 0.5) * each;
        low[i] = pairs[2 * i] / 127;
        high[i] = pairs[2 * i + 1] / 127;
      }
      if (lane === "difference data") low.fill(0);
      source.data = { x, low, high };
      if (lane === "wave") host.root.dataset.bins = String(bins);
      showLanes();
    }
    function showLanes() {
      if (building) {
        again = true;
        return;
      }
      if (find("difference")) find("difference").visible = Boolean(host.text("verdict"));
      if (find("codes")) find("codes").visible = Boolean(host.get("has_codes"));
    }
    function paintTheme() {
      const ink = cssColour(host.root, "soft"),
        line = cssColour(host.root, "line"),
        wave = cssColour(host.root, "wave"),
        soft = cssColour(host.root, "wave-soft"),
        mark = cssColour(host.root, "head");
      const paper = cssColour(host.root, "paper");
      for (const name of ["main", "difference", "codes", "overview"]) {
        const plot = find(name);
        if (plot) Object.assign(plot, { background_fill_color: paper, border_fill_color: paper });
      }
      for (const name of ["main"])
        for (const axis of [...(find(name)?.below ?? [])])
          Object.assign(axis, {
            major_label_text_color: ink,
            major_tick_line_color: line,
            major_label_text_font_size: "11px",
          });
      for (const [name, paint] of [
        ["wave", wave],
        ["overview wave", soft],
        ["difference", mark],
      ]) {
        const band = find(`${name} band`)?.glyph;
        if (band) band.fill_color = { value: paint };
        for (const edge of ["top", "bottom"]) {
          const glyph = find(`${name} ${edge}`)?.glyph;
          if (glyph) glyph.line_color = { value: paint };
        }
      }
      for (const name of ["playhead", "difference playhead", "codes playhead"])
        if (find(name)) find(name).line_color = mark;
      marks.forEach((m) => m.paint());
    }
    function moveHead(time) {
      head = time;
      for (const name of ["playhead", "difference playhead", "codes playhead"]) {
        const span = find(name);
        if (span) span.location = time;
      }
      host.root.dataset.head = time.toFixed(3);
    }

    // -- regions: the boxes of the figure and the numbers below it are two views of `local`
    /** Seconds of crossfade outside a region: of samples (hatched: they change), of latents (faint: they do not). */
    const crossfadesNow = () => {
      const [latent, wave] = host.list("crossfades").map((one) => numberOf(one));
      return [numberOf(host.get("wave_crossfade"), wave ?? 0), numberOf(host.get("latent_crossfade"), latent ?? 0)];
    };
    /** Pixels of a region's edge: what one can take hold of to resize it; the rest of the box moves it. */
    const GRIP = matchMedia("(pointer: coarse)").matches ? 16 : 7;
    function newMark(region, place) {
      const Box = globalThis.Bokeh.Models.get
        ? globalThis.Bokeh.Models.get("BoxAnnotation")
        : globalThis.Bokeh.Models("BoxAnnotation");
      const box = new Box({
        left: region.start,
        right: region.end,
        movable: "x",
        resizable: "x",
        editable: true,
        use_handles: false,
        fill_alpha: 0.22,
        line_width: GRIP,
        hover_fill_alpha: 0.32,
        level: "annotation",
      });
      const side = (how) =>
        new Box({
          left: 0,
          right: 0,
          editable: false,
          movable: "none",
          resizable: "none",
          use_handles: false,
          line_alpha: 0,
          ...how,
        });
      const hatched = { fill_alpha: 0.12, hatch_pattern: "right_diagonal_line", hatch_alpha: 0.6, hatch_scale: 6 },
        faint = { fill_alpha: 0.08 };
      const sides = [
        [side(hatched), side(hatched)],
        [side(faint), side(faint)],
      ];
      const mark = {
        box,
        sides,
        all: [...sides.flat(), box],
        place,
        setting: false,
        paint: () => {
          const paint = cssColour(host.root, "region"),
            on = mark.place === selected;
          for (const b of mark.all) {
            b.fill_color = paint;
            b.hatch_color = paint;
          }
          box.line_color = paint;
          box.line_alpha = on ? 0.95 : 0.5;
          box.hatch_pattern = mark.place % 2 ? "dot" : "blank";
          box.hatch_alpha = 0.4;
          box.hatch_color = paint;
        },
        put: (start, end) =>
          crossfadesNow().forEach((wide, kind) => {
            const [before, after] = mark.sides[kind];
            before.setv({ left: Math.max(0, start - wide), right: start, visible: wide > 0 });
            after.setv({ left: end, right: Math.min(total(), end + wide), visible: wide > 0 });
          }),
      };
      const onRegionChange = () => {
        if (!mark.setting) fromBox(mark);
      };
      box.properties.left.change.connect(onRegionChange);
      box.properties.right.change.connect(onRegionChange);
      return mark;
    }
    /** Bokeh builds the views of new boxes in its own time and fails when asked to lay out before: one at a time. */
    async function grow(plot, fresh) {
      const mine = (building = views);
      // Edges lie under all boxes: they must not catch what is meant for a neighbour.
      plot.center = [...fresh.flatMap((mark) => mark.sides.flat()), ...plot.center, ...fresh.map((mark) => mark.box)];
      for (
        let i = 0;
        i < 200 && mine === views && fresh.some((mark) => mark.all.some((box) => !mine.find_one(box)));
        i++
      )
        await new Promise((resolve) => setTimeout(resolve, 16));
      if (mine !== views) return;
      building = null;
      if (again) {
        again = false;
        showLanes();
        syncBoxes();
      }
    }
    function syncBoxes() {
      const plot = find("main");
      host.root.dataset.regions = JSON.stringify(
        local.map((r) => [Number(r.start.toFixed(3)), Number(r.end.toFixed(3))]),
      );
      if (!plot || dragging) return;
      if (building) {
        again = true;
        return;
      }
      const fresh = local.slice(marks.length).map((region, i) => newMark(region, marks.length + i));
      marks.push(...fresh);
      marks.forEach((mark, place) => {
        const region = local[place];
        mark.place = place;
        if (!region) {
          for (const box of mark.all) box.visible = false;
          return;
        }
        mark.setting = true;
        if (mark.box.left !== region.start || mark.box.right !== region.end || !mark.box.visible)
          mark.box.setv({ left: region.start, right: region.end, visible: true });
        mark.put(region.start, region.end);
        mark.setting = false;
        mark.paint();
      });
      if (fresh.length) grow(plot, fresh);
    }
    function fromBox(mark) {
      dragging = true;
      const { left, right } = mark.box,
        [start, end] = left <= right ? [left, right] : [right, left];
      selected = mark.place;
      local = local.map((r, i) => (i === mark.place ? { ...r, start, end } : r));
      mark.put(start, end);
      showNumbers();
      clearTimeout(timer);
      timer = setTimeout(() => {
        dragging = false;
        sendRegions(true);
        syncBoxes();
      }, 160);
    }
    const past = [];
    /** The regions as Python has them. */
    const marked = () =>
      tablesOf(host.get("regions")).map((r) => ({
        name: textOf(r.name),
        start: numberOf(r.start),
        end: numberOf(r.end),
      }));
    const remember = () => {
      const now = JSON.stringify(marked());
      if (past[past.length - 1] !== now) past.push(now);
      if (past.length > 100) past.shift();
    };
    // Every change carries an id that Python hands back with its answer; until then this is newer than what Python has.
    const view = Math.random().toString(36).slice(2);
    let changes = 0,
      waiting = "",
      patience = 0;
    const newChange = () => {
      clearTimeout(patience);
      patience = setTimeout(() => {
        waiting = "";
        fromPython();
      }, 8000);
      return (waiting = `${view}:${++changes}`);
    };
    host.onClose(() => clearTimeout(patience));
    const back = () => {
      const before = past.pop();
      if (before) {
        local = JSON.parse(before);
        selected = Math.max(0, Math.min(selected, local.length - 1));
        syncBoxes();
        showNumbers();
        setText(error, "");
        host.send("regions", { regions: local, selected, snapped: false, force: true, change_id: newChange() });
      }
    };
    const sendRegions = (snapped = false, force = false) => {
      setText(error, "");
      remember();
      host.send("regions", { regions: local, selected, snapped, force, change_id: newChange() });
    };
    function change(next, keep = selected) {
      local = next;
      selected = Math.max(0, Math.min(keep, next.length - 1));
      syncBoxes();
      showNumbers();
      sendRegions(true, true);
    }
    function choose(place) {
      selected = place;
      marks.forEach((m) => m.paint());
      showNumbers();
    }
    function add(at = head) {
      const taken = [...local].sort((a, b) => a.start - b.start),
        edges = [0, ...taken.flatMap((r) => [r.start, r.end]), total()];
      const gaps = edges
        .flatMap((edge, i) => (i % 2 ? [] : [[edge, edges[i + 1]]]))
        .filter(([from, to]) => to - from >= 0.2)
        .sort(([a, b], [c, d]) => Math.max(a - at, at - b, 0) - Math.max(c - at, at - d, 0));
      if (!gaps.length) {
        setText(error, "The whole sound is marked already: make a region shorter, or remove one.");
        return;
      }
      const [from, to] = gaps[0],
        range = find("view"),
        wide = Math.min(to - from, Math.max(0.5, ((range?.end ?? total()) - (range?.start ?? 0)) * 0.15)),
        start = Math.max(from, Math.min(at - wide / 2, to - wide));
      const used = new Set(local.map((r) => r.name)),
        name = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].find((n) => !used.has(n)) ?? "Z";
      change([...local, { name, start, end: start + wide }], local.length);
    }
    const remove = (place) => change(local.filter((_, i) => i !== place));
    const nudge = (by) => {
      const r = local[selected];
      if (r) {
        const shift = Math.max(-r.start, Math.min(by, total() - r.end));
        newChange();
        local = local.map((q, i) => (i === selected ? { ...q, start: q.start + shift, end: q.end + shift } : q));
        syncBoxes();
        showNumbers();
        clearTimeout(timer);
        timer = setTimeout(() => sendRegions(false, true), 200);
        host.announce(`${r.name}: ${(r.start + shift).toFixed(1)} to ${(r.end + shift).toFixed(1)} seconds`);
      }
    };
    const rows = new Map();
    function rowOf(place) {
      const edge = (key, label) =>
        h("input", {
          type: "text",
          inputmode: "decimal",
          "aria-label": label,
          onfocus: () => choose(place),
          oninput: (event) => {
            event.target.dataset.typing = "yes";
          }, // an answer to the field before must not overwrite this one
          onchange: (event) => {
            delete event.target.dataset.typing;
            remember();
            host.send("edge", { place, key, value: event.target.value, change_id: newChange() });
            setText(error, "");
          },
        });
      const name = h("input", {
        type: "text",
        "aria-label": "Name of the region",
        maxLength: 40,
        onfocus: () => choose(place),
        onchange: () =>
          change(
            local.map((r, i) => (i === place ? { ...r, name: name.value } : r)),
            place,
          ),
      });
      const from = edge("start", "Start in seconds"),
        to = edge("end", "End in seconds"),
        length = h("span.tiny.num");
      const node = h(
        "div.region",
        { "data-region": place },
        h("span.swatch", { "aria-hidden": "true" }),
        name,
        from,
        h("span.tiny", {}, "to"),
        to,
        length,
        h("button.plain.icon", { title: "Play it", "aria-label": "Play the region", onclick: () => play(place) }, "▶"),
        h(
          "button.plain.icon",
          { title: "Remove it", "aria-label": "Remove the region", onclick: () => remove(place) },
          "✕",
        ),
      );
      return { node, name, from, to, length };
    }
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
        ])
          if (!input.dataset.typing && (input !== focus || stale)) input.value = value;
        setText(row.length, `${(r.end - r.start).toFixed(2)} s`);
        row.node.classList.toggle("on", place === selected);
      });
      hint.hidden = local.length > 0;
      go.disabled = !local.length || Boolean(host.get("cannot"));
    }
    let stale = false,
      seen = -1;
    function fromPython() {
      if (waiting && host.get("change_id") === waiting) {
        waiting = "";
        clearTimeout(patience);
      }
      if (!waiting && (host.get("revision") !== seen || !dragging)) {
        stale = host.get("revision") !== seen;
        seen = host.get("revision");
        if (!dragging && !timerPending()) {
          local = marked();
          selected = Math.min(selected, Math.max(0, local.length - 1));
        }
        syncBoxes();
        showNumbers();
        stale = false;
      }
      settings();
    }
    const timerPending = () => dragging;
    const play = (place) => {
      const r = local[place];
      if (r) broadcast("play", { id: track().id, start: r.start, end: r.end });
    };
    function zoom(by) {
      const range = find("view");
      if (!range) return;
      const span = Math.min(total(), Math.max(0.05, (range.end - range.start) * by)),
        middle = Math.min(range.end, Math.max(range.start, head || (range.start + range.end) / 2)),
        start = Math.max(0, Math.min(middle - span / 2, total() - span));
      range.setv({ start, end: start + span });
    }
    const whole = () => find("view")?.setv({ start: 0, end: total() });

    // -- how to repaint
    const caption = h("input", {
      type: "text",
      maxLength: 20000,
      dir: "auto",
      "aria-label": "What should sound there",
      placeholder: "What should sound there? Empty: the take's own words",
      onchange: () => host.send("setting", { name: "caption", value: caption.value }),
    });
    const modes = h("div.seg", { role: "group", "aria-label": "Repaint mode" }),
      strength = h("input", {
        type: "range",
        min: "0",
        max: "1",
        step: "0.01",
        "aria-label": "Strength",
        style: "width:110px",
        onchange: () => host.send("setting", { name: "strength", value: Number(strength.value) }),
        oninput: () => setText(strong, Number(strength.value).toFixed(2)),
      }),
      strong = h("output.tiny.num");
    const fadeBox = (name, label, title) =>
      h(
        "label.inline",
        { title },
        label,
        h("input", {
          type: "text",
          inputmode: "decimal",
          placeholder: "auto",
          "data-fade": name,
          onchange: (event) => host.send("setting", { name, value: event.target.value }),
        }),
      );
    const fades = [
      fadeBox(
        "wave_crossfade",
        "Crossfade of samples, s",
        "Old and new samples are blended over this long, just outside the region: the hatched edge",
      ),
      fadeBox(
        "latent_crossfade",
        "of latents, s",
        "While the music forms, old and new are blended over this long: the faint edge. No sample changes there",
      ),
    ];
    const snap = h("select", { "aria-label": "Snap to", onchange: () => host.send("snap", { to: snap.value }) });
    const go = h(
      "button.go",
      {
        onclick: () => {
          if (!go.disabled) {
            setText(error, "");
            go.disabled = true;
            setTimeout(() => showNumbers(), 700);
            caption.blur();
            host.send("setting", { name: "caption", value: caption.value });
            host.send("repaint");
            broadcast("begun", {});
          }
        },
      },
      "Repaint",
    );
    const cannot = h("p.quiet"),
      busy = h("span.quiet", { role: "status" });
    host.onClose(onBroadcast("busy", () => setText(busy, pageState.busy || "")));
    function settings() {
      const focus = /** @type {any} */ (host.root.getRootNode()).activeElement;
      modes.replaceChildren(
        ...textsOf(host.get("modes")).map((mode) =>
          h(
            "button",
            {
              "aria-pressed": String(mode === host.get("mode")),
              onclick: () => host.send("setting", { name: "mode", value: mode }),
            },
            mode,
          ),
        ),
      );
      if (focus !== strength) strength.value = String(numberOf(host.get("strength"), 0.5));
      setText(strong, Number(strength.value).toFixed(2));
      if (focus !== caption) caption.value = host.text("caption");
      for (const label of fades) {
        const input = label.querySelector("input");
        if (input !== focus) input.value = textOf(host.get(input.dataset.fade));
        const own = host.list("crossfades")[input.dataset.fade === "wave_crossfade" ? 1 : 0];
        input.placeholder = own ? `auto ${Number(own).toFixed(2)}` : "auto";
      }
      snap.replaceChildren(
        ...textsOf(host.get("snaps")).map((name) =>
          h("option", { value: name }, name === "off" ? "Snap: off" : `Snap to ${name}`),
        ),
      );
      snap.value = host.text("snap");
      snap.hidden = host.list("snaps").length < 2;
      setText(verdict, host.text("verdict"));
      setText(cannot, host.text("cannot"));
      showLanes();
      tools.hidden = !total();
      empty.hidden = Boolean(total());
      stage.hidden = !total();
    }
    host.on("figure", (body) => {
      item = body.item;
      pending = {};
      draw();
    });
    host.on("peaks", (body, [bytes]) => {
      if (!bytes || body.id !== track().id) return;
      const pairs = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      pending[body.lane] = { start: body.start, end: body.end, pairs };
      fill(body.lane, pending[body.lane]);
    });
    host.on("grid", (_, [bytes]) => {
      if (!bytes) return;
      beats = [...new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))];
      const source = find("grid");
      if (source) source.data = { x: beats };
    });
    host.on("codes", (body, [bytes]) => {
      if (!bytes) return;
      const codes = new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
      const source = find("codes data");
      if (source)
        source.data = {
          left: Float64Array.from(codes, (_, i) => i * body.each),
          right: Float64Array.from(codes, (_, i) => (i + 0.94) * body.each),
          colour: [...codes].map(codeColour),
        };
      host.root.dataset.codes = String(codes.length);
    });
    let beats = [];
    host.on("error", (body) => {
      setText(error, body.text);
    });
    if (host.get("standalone")) {
      const own = audioPlayer(host, track, moveHead);
      host.watch("track", own.reset);
    } else
      host.onClose(
        onBroadcast("time", (news) => {
          if (news.id === track().id) moveHead(news.time);
        }),
      );
    host.root.addEventListener("keydown", (event) => {
      if (isTyping(event) || event.ctrlKey || event.metaKey) return;
      const beat = beats.length > 1 ? beats[1] - beats[0] : 0.5,
        step = event.altKey ? beat : event.shiftKey ? 1 : 0.1,
        r = local[selected];
      const set = (key) => r && change(local.map((q, i) => (i === selected ? { ...q, [key]: head } : q)));
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
        "+": () => zoom(0.5),
        "=": () => zoom(0.5),
        "-": () => zoom(2),
        0: whole,
        z: back,
        r: () => go.click(),
      }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (actions && !(event.key === " " && event.target.tagName === "BUTTON") && event.target.type !== "range") {
        actions();
        event.preventDefault();
      }
    });
    const empty = h(
      "p.empty",
      {},
      "Once there is a take, its waveform is here: mark what you would like to hear anew.",
    );
    const tools = h(
      "div.stack.tools",
      {},
      table,
      hint,
      h(
        "div.row",
        {},
        h("button", { onclick: () => add() }, "Add a region"),
        snap,
        h("span.spring"),
        h("button.plain.icon", { "aria-label": "Zoom in", title: "Zoom in", onclick: () => zoom(0.5) }, "+"),
        h("button.plain.icon", { "aria-label": "Zoom out", title: "Zoom out", onclick: () => zoom(2) }, "−"),
        h("button.plain", { onclick: whole }, "See it all"),
      ),
      h(
        "div.repaint.stack",
        {},
        caption,
        h(
          "div.row",
          {},
          modes,
          h("label.inline", {}, "Strength", strength, strong),
          h("details", {}, h("summary", {}, "Crossfade"), h("div.row", {}, ...fades)),
        ),
        h(
          "div.row",
          {},
          go,
          busy,
          cannot,
          h("span.spring"),
          h("button.plain", { onclick: () => copyText(host.root, host.text("code"), host.announce) }, "Copy as code"),
        ),
      ),
    );
    host.root.append(h("div.head", {}, h("h2", {}, "Pick and repaint")), empty, stage, verdict, tools, error);
    host.onTheme(paintTheme);
    host.watch(
      [
        "regions",
        "change_id",
        "revision",
        "mode",
        "modes",
        "strength",
        "caption",
        "wave_crossfade",
        "latent_crossfade",
        "crossfades",
        "snap",
        "snaps",
        "verdict",
        "cannot",
        "has_codes",
      ],
      fromPython,
    );
    host.watch("track", () => {
      moveHead(0);
      setText(error, "");
      settings();
    });
    host.onClose(() => {
      clearTimeout(timer);
      clearTimeout(viewTimer);
      drop();
    });
    fromPython();
  },
);
