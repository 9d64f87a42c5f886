// TrainingView: a training's curves, pace, previews, and then its strength.
// Python half: acestep_lab/ui/training_view.py.

const STATES = ["queued", "encoding", "training", "previewing", "done", "stopped", "failed"];
/** A chart's picture in its own units; the page scales it. */
const WIDE = 420,
  TALL = 150,
  MARGIN = { left: 46, right: 10, top: 10, bottom: 22 };

/** @returns {any} */
function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  node.append(...children);
  return node;
}

/** A curve over steps, with a line that says what is under the pointer, and the numbers as a table. */
function chart(name, hint, kind, unit = t("training_view.loss")) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, role: "img", class: kind }),
    line = h("p.tiny.num.reading"),
    body = h("tbody"),
    head = [t("training_view.step"), unit].map((one) => h("th", { scope: "col" }, one)),
    table = h("table", {}, h("thead", {}, h("tr", {}, ...head)), body),
    numbers = h("details", {}, h("summary", {}, t("training_view.numbers")), h("div.numbers", {}, table)),
    node = h("figure.chart", {}, h("figcaption", {}, h("strong", {}, name), h("span.tiny", {}, hint)), picture, line);
  node.append(numbers);
  let points = /** @type {number[][]} */ ([]),
    scale = /** @type {any} */ (null);
  const told = (/** @type {number[]} */ [step, loss]) =>
    t(kind === "aligned" ? "training_view.aligned_at_step" : "training_view.at_step", {
      step,
      loss: formatNumber(loss, 3),
    });
  function show(given, steps) {
    points = given.filter((one) => one.slice(0, 2).every((value) => Number.isFinite(value)));
    node.hidden = !points.length;
    if (!points.length) return;
    const losses = points.map((one) => one[1]),
      low = Math.min(...losses),
      high = Math.max(...losses),
      room = Math.max(1e-6, (high - low) * 0.08, Math.abs(high) * 1e-3),
      last = Math.max(steps, points[points.length - 1][0], 1),
      x = (step) => MARGIN.left + (step / last) * (WIDE - MARGIN.left - MARGIN.right),
      y = (loss) =>
        TALL - MARGIN.bottom - ((loss - low + room) / (high - low + 2 * room)) * (TALL - MARGIN.bottom - MARGIN.top);
    scale = { x, y };
    const best = points.filter((one) => one[2]).pop(),
      path = points.map(([step, loss], n) => `${n ? "L" : "M"}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`).join(""),
      text = (at, height, anchor, words) => svg("text", { x: at, y: height, "text-anchor": anchor }, words);
    picture.replaceChildren(
      svg("path", { class: "axis", d: `M${MARGIN.left} ${MARGIN.top}V${TALL - MARGIN.bottom}H${WIDE - MARGIN.right}` }),
      text(MARGIN.left - 5, y(high) + 4, "end", formatNumber(high, 2)),
      ...(high - low > 1e-9 ? [text(MARGIN.left - 5, y(low) + 4, "end", formatNumber(low, 2))] : []),
      text(MARGIN.left, TALL - 6, "start", "0"),
      text(WIDE - MARGIN.right, TALL - 6, "end", formatNumber(last)),
      svg("path", { class: "curve", d: path }),
      ...(points.length < 40
        ? points.map(([step, loss]) => svg("circle", { class: "dot", cx: x(step), cy: y(loss), r: 2.5 }))
        : []),
      ...(best && kind === "held" ? [svg("circle", { class: "best", cx: x(best[0]), cy: y(best[1]), r: 5 })] : []),
      svg("path", { class: "cursor", d: "" }),
    );
    const end = points[points.length - 1];
    picture.setAttribute(
      "aria-label",
      t("training_view.chart", { name, first: told(points[0]), last: told(end), low: formatNumber(low, 3) }),
    );
    setText(line, best && kind === "held" ? `${told(end)} · ${t("training_view.best", { step: best[0] })}` : told(end));
    if (numbers.open) fill();
  }
  function fill() {
    body.replaceChildren(
      ...points.map(([step, loss]) =>
        h("tr", {}, h("td.num", {}, formatNumber(step)), h("td.num", {}, formatNumber(loss, 4))),
      ),
    );
  }
  numbers.addEventListener("toggle", () => numbers.open && fill());
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    if (!scale || !box.width) return;
    const at = ((event.clientX - box.left) / box.width) * WIDE,
      near = points.reduce((one, other) =>
        Math.abs(scale.x(other[0]) - at) < Math.abs(scale.x(one[0]) - at) ? other : one,
      );
    setText(line, told(near));
    picture.querySelector(".cursor")?.setAttribute("d", `M${scale.x(near[0])} ${MARGIN.top}V${TALL - MARGIN.bottom}`);
  });
  return { node, show };
}

export default mount("Training", [["X", "training_view.key_stop"]], (host) => {
  let track = /** @type {any} */ (null),
    moving = false,
    toldState = "";
  const cards = new Map(), // id of a preview → {node, button, wave}
    peaks = new Map();
  const run = () => host.table("run");

  // -- how far it is
  const title = h("h3"),
    state = h("span.chip.state"),
    facts = h("p.tiny.num.facts"),
    bar = h("div.bar", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, h("div")),
    stop = h("button.stop", { title: t("training_view.stop_hint"), onclick: () => host.send("stop") }),
    note = h("p.quiet.note"),
    problem = h("p.error"),
    error = h("p.error", { role: "alert" }),
    live = h("p.hidden", { "aria-live": "polite" }),
    nothing = h("p.empty", {}, t("training_view.empty"));
  const held = chart(t("training_view.held_out"), t("training_view.held_out_hint"), "held"),
    running = chart(t("training_view.running"), t("training_view.running_hint"), "running"),
    aligned = chart(
      t("training_view.aligned"),
      t("training_view.aligned_hint"),
      "aligned",
      t("training_view.aligned_unit"),
    );

  // -- takes with and without, at one seed
  const player = audioPlayer(
    host,
    () => track,
    () => {
      for (const [id, card] of cards) {
        const on = track?.take === id;
        if (on || card.on) card.wave.paint();
        card.on = on;
        showButton(card, on && !player.audio.paused);
      }
      host.root.dataset.playing = String(!player.audio.paused);
    },
  );
  /** Play one; while another one sounds, from the place where that one is. */
  function listen(told, at = /** @type {number | null} */ (null)) {
    if (track?.take === told.id && at == null) return player.toggle();
    const from = at ?? (track && !player.audio.paused ? player.time : 0);
    if (track?.take !== told.id) {
      player.reset();
      track = { id: told.sound, url: told.url, seconds: told.seconds, take: told.id };
    }
    if (from > 0) player.seek(from);
    player.play();
  }
  const nameOf = (told) =>
    told.bare ? t("training_view.without") : t("training_view.with_step", { step: formatNumber(numberOf(told.step)) });
  function showButton(card, on) {
    setText(card.button.firstChild, on ? "❚❚" : "▶");
    card.button.setAttribute("aria-label", t(on ? "training_view.pause" : "training_view.play", { name: card.name }));
    card.button.setAttribute("aria-pressed", String(on));
  }
  function makeCard(told) {
    const button = h(
        "button.icon.play.small",
        { onclick: () => listen(told) },
        h("span", { "aria-hidden": "true" }, "▶"),
      ),
      wave = makeCanvas(44, (context, width, tall) => {
        const done = track?.take === told.id && told.seconds ? player.time / told.seconds : 0,
          colour = (name) => cssColour(host.root, name);
        drawWave(context, width, tall, peaks.get(told.id), done, colour("wave"), colour("wave-soft"));
      });
    wave.canvas.setAttribute("aria-hidden", "true");
    wave.canvas.addEventListener("click", (event) => {
      const box = wave.canvas.getBoundingClientRect();
      listen(told, ((event.clientX - box.left) / box.width) * told.seconds);
    });
    const node = h(
      "li.preview",
      { "data-take": told.id, "data-bare": String(Boolean(told.bare)) },
      h(
        "div.row",
        {},
        button,
        h("div", {}, h("strong", {}, nameOf(told)), h("p.tiny.num", {}, formatSeconds(told.seconds))),
      ),
      wave.canvas,
    );
    host.send("peaks", { id: told.id, pixels: 300 });
    return { node, button, wave, name: nameOf(told), on: false };
  }
  host.on("peaks", (body, [bytes]) => {
    if (!bytes) return;
    peaks.set(body.id, new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    cards.get(body.id)?.wave.paint();
  });
  const row = h("ul.previews", { "aria-label": t("training_view.previews") }),
    heading = h("h3.previews-head", {}, t("training_view.previews")),
    seed = h("p.tiny");
  function showPreviews() {
    const told = tablesOf(host.get("previews")).filter((one) => typeof one.id === "string");
    for (const [id, card] of cards)
      if (!told.some((one) => one.id === id)) {
        card.wave.close();
        card.node.remove();
        cards.delete(id);
      }
    told.forEach((one, place) => {
      if (!cards.has(one.id)) cards.set(one.id, makeCard(one));
      const card = cards.get(one.id);
      showButton(card, track?.take === one.id && !player.audio.paused);
      if (row.children[place] !== card.node) row.insertBefore(card.node, row.children[place] ?? null);
    });
    heading.hidden = row.hidden = seed.hidden = !told.length;
    if (told.length)
      setText(seed, t("training_view.seed", { seed: String(told[0].seed ?? ""), caption: textOf(told[0].caption) }));
    showChanges();
  }

  // -- what it changed
  const measure = h("button", { onclick: () => host.send("measure") }, t("training_view.measure")),
    changes = h("div.changes"),
    changesHead = h("div.row", {}, h("h3", {}, t("training_view.changed")), h("span.spring"), measure);
  const valueOf = (kind, value) => {
    if (value == null) return "–";
    if (typeof value === "string") return kind === "key" ? say(value) : value;
    if (kind === "instrument" || kind === "pulse") return `${Math.round(100 * value)} %`;
    return kind === "tempo"
      ? t("training_view.beats", { n: formatNumber(value) })
      : t("training_view.lufs", { n: formatNumber(value, 1) });
  };
  /** Chance as the lowest and the highest of several takes, or as the words that were heard. */
  const chanceOf = (one) => {
    const found = listOf(one.chance).map((value) => valueOf(one.kind, value));
    if (!found.length) return "–";
    return typeof listOf(one.chance)[0] === "string"
      ? found.join(", ")
      : t("training_view.range", { low: found[0], high: found[found.length - 1] });
  };
  function showChanges() {
    const what = host.table("changes"),
      rows = tablesOf(what.rows),
      some = tablesOf(host.get("previews")).length > 0;
    changesHead.hidden = !some;
    measure.disabled = Boolean(what.busy);
    setText(measure, t(what.busy ? "training_view.measuring" : "training_view.measure"));
    changes.hidden = !rows.length;
    if (!rows.length) return;
    const told = (one, name) => (name === "chance" ? listOf(one.chance).length > 0 : one[name] != null),
      columns = ["before", "after", "songs", "chance"].filter((name) => rows.some((one) => told(one, name))),
      head = [h("th", { scope: "col" }, t("training_view.measured"))],
      stem = (name) => (say(name) === name ? textOf(name).replaceAll("_", " ") : say(name));
    const beyond = columns.includes("chance");
    head.push(...columns.map((name) => h("th", { scope: "col" }, t(`training_view.column_${name}`))));
    if (beyond) head.push(h("th", { scope: "col" }, t("training_view.column_beyond")));
    const body = rows.map((one) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, one.kind === "instrument" ? stem(one.stem) : t(`training_view.kind_${one.kind}`)),
        ...columns.map((name) => h("td.num", {}, name === "chance" ? chanceOf(one) : valueOf(one.kind, one[name]))),
        ...(beyond
          ? [h("td", {}, typeof one.beyond === "boolean" ? t(`training_view.beyond_${one.beyond}`) : "–")]
          : []),
      ),
    );
    changes.replaceChildren(
      h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...body)),
      ...(beyond ? [h("p.tiny", {}, t("training_view.chance", { n: formatNumber(numberOf(what.seeds) - 1) }))] : []),
      h("p.tiny", {}, t("training_view.one_take", { step: formatNumber(numberOf(what.step)) })),
    );
  }

  // -- how strongly it is on
  const range = h("input", { type: "range", step: "0.05", "aria-label": t("training_view.strength") }),
    amount = h("output.num"),
    on = h("button.go", { onclick: () => weigh(Number(range.value) || 1) }, t("training_view.put_on")),
    off = h("button", { onclick: () => weigh(0) }, t("training_view.take_off")),
    worn = h("p.tiny", { role: "status" }),
    strength = h("div.strength", {}, h("label", {}, t("training_view.strength")), range, amount, on, off);
  range.value = "1";
  const weigh = (value) => {
    setText(error, "");
    host.send("weigh", { strength: value });
  };
  range.addEventListener("input", () => {
    moving = true;
    setText(amount, formatNumber(Number(range.value), 2));
  });
  range.addEventListener("change", () => {
    moving = false;
    if (numberOf(host.table("worn").strength)) weigh(Number(range.value));
  });
  function showWorn() {
    const what = host.table("worn"),
      is = numberOf(what.strength),
      able = Boolean(run().over && numberOf(run().saved)),
      [low, high] = [0, 1].map((n) => numberOf(listOf(run().range)[n], n ? 3 : -3));
    strength.hidden = worn.hidden = !able;
    range.min = String(low);
    range.max = String(high);
    if (!moving && is) range.value = String(is);
    setText(amount, formatNumber(Number(range.value), 2));
    off.hidden = !is;
    on.hidden = Boolean(is);
    setText(
      worn,
      what.strength == null
        ? ""
        : what.waits
          ? t("training_view.waits")
          : is
            ? t("training_view.is_on", { strength: formatNumber(is, 2) })
            : t("training_view.is_off"),
    );
  }

  function show() {
    const now = run(),
      over = now.over !== false,
      percent = Math.round(100 * Math.max(0, Math.min(1, numberOf(now.fraction)))),
      known = STATES.includes(now.state),
      word = known ? t(`training_view.state_${now.state}`) : textOf(now.state);
    host.hide(Boolean(host.get("hidden")));
    nothing.hidden = Boolean(now.id);
    board.hidden = !now.id;
    if (!now.id) return;
    setText(title, say(now.title));
    setText(state, now.stopping && !over ? t("training_view.stopping") : word);
    host.root.dataset.state = textOf(now.state);
    bar.firstChild.style.inlineSize = `${percent}%`;
    bar.setAttribute("aria-valuenow", String(percent));
    bar.setAttribute("aria-label", t("training_view.bar", { title: say(now.title), percent }));
    bar.hidden = stop.hidden = over;
    stop.disabled = Boolean(now.stopping);
    setText(stop, t("training_view.stop"));
    const parts = [t("training_view.steps", { n: numberOf(now.step), of: formatNumber(numberOf(now.steps)) })];
    if (now.rate) parts.push(paceOf(numberOf(now.rate)));
    if (over) parts.push(t("training_view.took", { time: formatTime(numberOf(now.took)) }));
    else if (now.eta != null) parts.push(t("training_view.to_go", { wait: formatWait(now.eta) }));
    if (numberOf(now.memory)) parts.push(t("training_view.memory", { n: formatNumber(numberOf(now.memory) / 1e9, 1) }));
    if (numberOf(now.saved)) parts.push(t("training_view.saved", { step: formatNumber(numberOf(now.saved)) }));
    setText(facts, parts.join(" · "));
    setText(
      note,
      textsOf(now.messages)
        .map((one) => say(one))
        .join(" "),
    );
    setText(problem, now.state === "failed" || now.problem ? say(now.problem) : "");
    const saying = `${word}: ${say(now.title)}`;
    if (saying !== toldState) {
      toldState = saying;
      setText(live, saying);
    }
    const curves = host.table("curves");
    held.show(listOf(curves.held_out).map(listOf), numberOf(now.steps));
    running.show(listOf(curves.running).map(listOf), numberOf(now.steps));
    aligned.show(listOf(curves.aligned).map(listOf), numberOf(now.steps));
    showWorn();
  }
  const paceOf = (rate) =>
    rate >= 1
      ? t("training_view.steps_a_second", { n: formatNumber(rate, 1) })
      : t("training_view.seconds_a_step", { n: formatNumber(1 / rate, 1) });
  host.on("error", (body) => setText(error, say(body.text)));
  host.root.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "x" && !isTyping(event) && !stop.hidden && !stop.disabled) stop.click();
  });
  const board = h(
    "div.board",
    {},
    h("div.row", {}, state, title, h("span.spring"), stop),
    bar,
    facts,
    note,
    problem,
    h("div.charts", {}, held.node, running.node, aligned.node),
    strength,
    worn,
    heading,
    seed,
    row,
    changesHead,
    changes,
  );
  host.root.append(h("div.head", {}, h("h2", {}, titleOf("Training"))), nothing, board, error, live);
  host.onTheme(() => cards.forEach((card) => card.wave.paint()));
  host.onClose(() => cards.forEach((card) => card.wave.close()));
  host.watch(["run", "curves", "hidden"], show);
  host.watch("previews", showPreviews);
  host.watch("changes", showChanges);
  host.watch("worn", showWorn);
  show();
  showPreviews();
});
