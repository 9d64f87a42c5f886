// The Bokeh figure of the waveform: embeds what acestep_lab/ui/waveform_figure.py built and fills its sources by name.
// Part of widgets/waveform.js; it takes no pointer events, what one touches lies above it.

/**
 * @typedef {{start: number, end: number, pairs: Int8Array, id: string}} Peaks
 * @typedef {{values: Uint8Array, bins: number, rows: number}} Lane
 * @typedef {{wave: Peaks | null, overview: Peaks | null, difference: Peaks | null, grid: number[], codes: Lane | null,
 *   marks: {start: number, end: number}[], lanes: {difference: boolean, codes: boolean}}} Shown
 */

/** BokehJS: the host's own, else Python's, once per page. */
function needBokeh(host) {
  const there = () => Boolean(globalThis.Bokeh?.embed);
  return new Promise((resolve) => {
    const look = () => {
      if (there()) return resolve(globalThis.Bokeh);
      if (pageState.bokehAsker) return;
      pageState.bokehAsker = host;
      host.send("bokeh");
    };
    host.on("bokeh", (_, [bytes]) => {
      if (!bytes || pageState.bokehAsker !== host || there()) return;
      const script = h("script", { src: URL.createObjectURL(new Blob([bytes], { type: "text/javascript" })) });
      script.onload = () => {
        URL.revokeObjectURL(script.src);
        broadcast("bokeh", {});
      };
      document.head.append(script);
    });
    const off = onBroadcast("bokeh", look);
    host.onClose(() => {
      off();
      if (pageState.bokehAsker !== host || there()) return;
      pageState.bokehAsker = null; // closed before the answer came: another one asks
      broadcast("bokeh", {});
    });
    look();
  });
}

/** Lows and highs of a sound as the columns of a source; from the `floor` up where only highs count. */
function bandOf({ start, end, pairs }, floor = false) {
  const bins = pairs.length >> 1,
    each = (end - start) / (bins || 1),
    columns = { x: new Float64Array(bins), low: new Float64Array(bins), high: new Float64Array(bins) };
  for (let bin = 0; bin < bins; bin++) {
    columns.x[bin] = start + (bin + 0.5) * each;
    columns.low[bin] = floor ? 0 : pairs[2 * bin] / 127;
    columns.high[bin] = pairs[2 * bin + 1] / 127;
  }
  return columns;
}

/** Rows from below: twelve pitch classes, C lowest, one left empty, three of attacks. */
function pictureOf({ values, bins, rows }) {
  const from = [...Array(rows - 1).keys(), null, rows - 1, rows - 1, rows - 1],
    cells = new Float32Array(from.length * bins);
  from.forEach((row, y) => {
    for (let bin = 0; bin < bins; bin++) cells[y * bins + bin] = row == null ? NaN : values[bin * rows + row];
  });
  return { cells, shape: [from.length, bins] };
}

/** A clock under the waveform. */
function clockLabels(ticks) {
  return ticks.map((time) => {
    const whole = Math.floor(time + 1e-6),
      part = Math.round((time - whole) * 1000) / 1000;
    return formatTime(whole) + (part > 0 ? String(part).slice(1) : "");
  });
}

/**
 * @param {Host} host
 * @param {{view: any, total: () => number, shown: () => Shown, drawn: () => void}} about
 *   what is in view; what is shown; who is told once the figure stands
 */
function waveformFigure(host, { view, total, shown, drawn }) {
  const node = h("div.figure", { "aria-hidden": "true", inert: true }),
    held = new Map();
  /** @type {any} */
  let views = null;
  /** @type {Record<string, any>} */
  let models = {};
  let key = "",
    closed = false;

  /** Embed a figure, unless it is the one that stands here already. */
  async function show(wanted) {
    if (wanted.key === key) return;
    key = wanted.key;
    const Bokeh = await needBokeh(host);
    if (closed || key !== wanted.key) return;
    const target = h("div"),
      before = views;
    node.append(target);
    const made = await Bokeh.embed.embed_item(JSON.parse(wanted.text), target);
    if (closed || key !== wanted.key) return remove(made, target);
    if (before) remove(before, node.firstChild);
    take(made);
  }
  function take(made) {
    views = made;
    held.clear();
    models = {};
    for (const model of [...made][0].model.references()) if (model.name) models[model.name] = model;
    models.clock.doFormat = clockLabels;
    paintTheme();
    update();
    drawn();
  }
  function remove(made, target) {
    made.clear();
    target.remove();
  }

  /** Give a source new columns where they are made of something else than those it has. */
  function fill(name, of, columns) {
    if (held.get(name) === of) return;
    held.set(name, of);
    models[name].data = columns();
  }
  const fillBand = (name, peaks, floor = false) =>
    fill(name, peaks, () => bandOf(peaks ?? { start: 0, end: 0, pairs: new Int8Array() }, floor));
  /** The finest peaks that cover what is in view. */
  function waveNow({ wave, overview }) {
    const [from, to] = view.span;
    return wave && wave.start <= from + 1e-3 && wave.end >= to - 1e-3 ? wave : (overview ?? wave);
  }
  /** Lines closer than four pixels would hide the sound. */
  function fillGrid(grid) {
    const [from, to] = view.span,
      least = (4 * (to - from)) / (node.clientWidth || 900),
      every = grid.length > 1 ? Math.max(1, Math.ceil(least / ((grid.at(-1) - grid[0]) / (grid.length - 1)))) : 1;
    if (held.get("grid every") !== every) held.delete("grid");
    held.set("grid every", every);
    fill("grid", grid, () => ({ x: Float64Array.from(grid.filter((_, place) => place % every === 0)) }));
  }
  function fillCodes(lane) {
    fill("codes data", lane, () => {
      const { cells, shape } = lane ? pictureOf(lane) : { cells: new Float32Array([NaN]), shape: [1, 1] },
        Picture = models["codes data"].data.image[0].constructor; // an array with a shape, as Bokeh has them
      return { image: [new Picture(cells, shape)], seconds: [total() || 1] };
    });
  }
  function fillMarks(marks) {
    fill("marks", marks, () => ({ start: marks.map((r) => r.start), end: marks.map((r) => r.end) }));
  }
  /** Show what there is to show now. */
  function update() {
    const [start, end] = view.span,
      now = shown();
    if (!views || end <= start) return;
    models.ticks.desired_num_ticks = Math.max(2, Math.round(node.clientWidth / 110));
    models.view.setv({ start, end });
    models.whole.setv({ start: 0, end: total() });
    for (const name of ["shade", "window"])
      models[name].setv({ left: start, right: end, visible: end - start < total() - 1e-6 });
    models.difference.visible = now.lanes.difference;
    models.codes.visible = now.lanes.codes;
    fillBand("wave", waveNow(now));
    fillBand("overview wave", now.overview);
    fillBand("difference data", now.difference, true);
    fillGrid(now.grid);
    fillCodes(now.codes);
    fillMarks(now.marks);
  }
  function paintTheme() {
    if (!views) return;
    const colour = (name) => cssColour(host.root, name),
      glyph = (name, values) => models[name].glyph.setv(values),
      band = (name, paint) => {
        glyph(`${name} band`, { fill_color: { value: paint } });
        for (const edge of ["high", "low"])
          if (models[`${name} ${edge}`]) glyph(`${name} ${edge}`, { line_color: { value: paint } });
      };
    for (const [name, paper] of Object.entries({ main: "paper", difference: "wash", codes: "wash", overview: "paper" }))
      models[name].setv({ background_fill_color: colour(paper), border_fill_color: colour("paper") });
    models.time.setv({ major_label_text_color: colour("soft"), major_tick_line_color: colour("soft") });
    band("wave", colour("wave"));
    band("overview wave", colour("wave-soft"));
    band("difference data", colour("head"));
    glyph("grid lines", { line_color: { value: colour("faint") } });
    glyph("marks boxes", { fill_color: { value: colour("region") }, line_color: { value: colour("region") } });
    models.window.line_color = colour("wave");
    models.shade.fill_color = colour("wash");
  }
  host.onClose(() => {
    closed = true;
    if (views) remove(views, node.firstChild);
  });
  return {
    node,
    show,
    update,
    paintTheme,
    get stands() {
      return Boolean(views);
    },
  };
}
