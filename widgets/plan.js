// PlanView: the planner's words as they come, then fields, differences and codes.
// Python half: acestep_lab/ui/plan_view.py.

const NOTES = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
const ROW = 7, // pixels of a pitch class
  ONSETS = 20,
  GUTTER = 22;

export default mount("Plan", [["Ctrl Enter", "plan.key_make"]], (host) => {
  const stream = h("pre.stream.mono", { "aria-live": "off", tabIndex: 0, "aria-label": t("plan.stream") }),
    fields = h("div.grid.planfields"),
    diffs = h("div.stack.diffs"),
    error = h("p.error", { role: "alert" }),
    live = h("span.chip", { role: "status" });
  /** What is known of the codes: twelve pitch classes and the onset of each; or how often each comes. */
  let lane = { of: "", codes: 0, values: new Uint8Array(0) };
  const strip = makeCanvas(12 * ROW + ONSETS + 4, draw, { role: "img" });
  function draw(context, width, height) {
    const { of, codes: count, values } = lane,
      each = (width - GUTTER) / Math.max(1, count),
      wide = Math.max(1, each - (each > 4 ? 0.5 : 0)),
      at = (i) => GUTTER + i * each;
    context.fillStyle = cssColour(host.root, "wave");
    if (of === "sound") {
      for (let i = 0; i < count; i++)
        for (let note = 0; note < 12; note++) {
          context.globalAlpha = (values[13 * i + note] / 255) ** 1.5;
          context.fillRect(at(i), (11 - note) * ROW, wide, ROW - 0.5);
        }
      context.globalAlpha = 1;
      context.fillStyle = cssColour(host.root, "region");
      for (let i = 0; i < count; i++) {
        const tall = (values[13 * i + 12] / 255) * ONSETS;
        context.fillRect(at(i), height - tall, wide, tall);
      }
      context.fillStyle = cssColour(host.root, "soft");
      context.font = "9px sans-serif";
      context.textBaseline = "middle";
      for (const note of [0, 2, 4, 5, 7, 9, 11]) context.fillText(NOTES[note], 2, (11.5 - note) * ROW);
    } else {
      const most = Math.log(1 + Math.max(2, ...values));
      for (let i = 0; i < count; i++) {
        const tall = (height - 4) * (Math.log(1 + values[i]) / most);
        context.globalAlpha = values[i] > 1 ? 1 : 0.4;
        context.fillRect(at(i), height - tall, wide, tall);
      }
      context.globalAlpha = 1;
    }
  }
  const stop = h("button.stop", { onclick: () => host.send("stop") }, t("plan.stop"));
  const count = h("p.tiny"),
    codesOf = h("div.codes", { dir: "ltr" }, strip.canvas, count);
  const make = h(
    "button.go",
    {
      onclick: () => {
        if (!make.disabled) {
          make.disabled = true;
          setTimeout(show, 700);
          setText(error, "");
          host.send("make");
        }
      },
    },
    t("plan.make"),
  );
  const rows = () =>
    tablesOf(host.get("rows")).map((row) => ({
      ...row,
      name: textOf(row.name),
      label: say(row.label),
      options: textsOf(row.options),
      parts: listOf(row.parts).filter(Array.isArray),
    }));
  const boxes = new Map();
  function box(row) {
    let input, set;
    if (row.kind === "choice") {
      input = h(
        "select",
        { "aria-label": row.label, onchange: () => host.send("edit", { field: row.name, value: input.value || null }) },
        h("option", { value: "" }, "–"),
        row.options.map((o) => h("option", { value: o }, say(o))),
      );
      set = (v) => {
        const text = v == null ? "" : String(v);
        if (text && ![...input.options].some((o) => o.value === text))
          input.append(h("option", { value: text }, say(text)));
        input.value = text;
      };
    } else {
      input = row.long
        ? h("textarea", { rows: row.name === "lyrics" ? 4 : 2, dir: "auto", "aria-label": row.label })
        : h("input", { type: "text", "aria-label": row.label });
      input.addEventListener("change", () => host.send("edit", { field: row.name, value: input.value }));
      set = (v) => {
        input.value = textOf(v);
      };
    }
    const lock = h("button.plain.icon.lock", {
        "aria-label": t("plan.lock", { name: row.label }),
        onclick: () => host.send("lock", { field: row.name, on: lock.getAttribute("aria-pressed") !== "true" }),
      }),
      error = h("p.error", { "aria-live": "polite" });
    const node = h(
      "div.box",
      { class: row.long ? "box long" : "box" },
      h("div.label", {}, h("label.field", {}, h("span.name", {}, row.label)), row.lockable ? lock : null),
      input,
      error,
    );
    return { node, input, set, lock, error };
  }
  function diff(row) {
    const text = h(
      "p.text",
      { dir: "auto" },
      row.parts.map(([kind, words]) =>
        kind === "-" ? h("del", {}, textOf(words)) : kind === "+" ? h("ins", {}, textOf(words)) : textOf(words),
      ),
    );
    return h(
      "div.diff",
      { "data-field": row.name, class: row.accepted ? "diff accepted" : "diff" },
      h(
        "div.row",
        {},
        h("h3", {}, row.label),
        h("span.spring"),
        h(
          "div.seg",
          { role: "group", "aria-label": t("plan.whose", { name: row.label }) },
          h(
            "button",
            {
              "aria-pressed": String(!row.accepted),
              onclick: () => host.send("accept", { field: row.name, on: false }),
            },
            t("plan.mine"),
          ),
          h(
            "button",
            { "aria-pressed": String(row.accepted), onclick: () => host.send("accept", { field: row.name, on: true }) },
            t("plan.planners"),
          ),
        ),
      ),
      text,
    );
  }
  const SHORT = {
    bpm: (v) => `${v} bpm`,
    seconds: (v) => t("common.seconds", { n: v }),
    timesignature: (v) => (v === "6" ? "6/8" : `${v}/4`),
    language: (v) => (v === "unknown" ? "" : textOf(v)),
  };
  const brief = () => {
    const facts = rows()
      .filter((row) => !row.long && row.name !== "genres" && row.value != null && row.value !== "" && !row.typed)
      .map((row) => (Object.hasOwn(SHORT, row.name) ? SHORT[row.name](row.value) : textOf(row.value)))
      .filter(Boolean);
    if (!facts.length && lane.codes) facts.push(t("plan.codes", { n: lane.codes }));
    return t("plan.brief", { facts: facts.join(" · ") || t("plan.words_only") });
  };
  let seen = -1,
    wasWriting = false;
  function show() {
    const writing = Boolean(host.get("live")),
      list = rows(),
      focus = /** @type {any} */ (host.root.getRootNode()).activeElement,
      force = host.get("revision") !== seen,
      n = host.number("codes");
    seen = host.get("revision");
    host.hide(!writing && !list.length && !n && !error.textContent);
    setText(stream, host.text("stream").trim());
    stream.scrollTop = stream.scrollHeight;
    setText(live, writing ? t("plan.writing") : list.length && card.isOpen() ? t("plan.ready") : "");
    live.hidden = !live.textContent;
    stop.hidden = !writing;
    for (const [name, b] of boxes)
      if (!list.some((row) => row.name === name)) {
        b.node.remove();
        boxes.delete(name);
      }
    for (const row of list) {
      if (!boxes.has(row.name)) {
        boxes.set(row.name, box(row));
        fields.append(boxes.get(row.name).node);
      }
      const b = boxes.get(row.name);
      if ((force && !row.typed) || b.input !== focus) b.set(row.value);
      showLock(b.lock, row.locked);
      setText(b.error, say(row.problem || ""));
      b.input.setAttribute("aria-invalid", String(Boolean(row.typed)));
    }
    wrote.hidden = !host.get("stream");
    if (writing !== wasWriting) {
      wrote.open = wasWriting = writing;
      if (writing) card.reset(); // another song
    }
    if (!writing && !list.length && !n) card.reset();
    diffs.replaceChildren(...list.filter((row) => row.differs && !row.typed).map(diff));
    host.root.dataset.diffs = String(diffs.children.length);
    host.root.dataset.codes = String(n);
    host.root.dataset.lane = lane.of;
    codesOf.hidden = !n;
    const about = n ? t(`plan.lane_${lane.of || "repeats"}`, { n }) : "";
    setText(count, about);
    strip.canvas.setAttribute("aria-label", about);
    make.disabled = !list.length || writing || !host.get("offered");
    actions.hidden = fields.hidden = !list.length;
    card.show();
    strip.paint();
  }
  host.on("lane", (body, [bytes]) => {
    const values = bytes ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength).slice() : new Uint8Array(0);
    lane = { of: textOf(body.of), codes: numberOf(body.codes), values };
    strip.canvas.style.height = `${lane.of === "sound" ? 12 * ROW + ONSETS + 4 : 26}px`;
    show();
  });
  host.on("error", (body) => {
    const text = say(body.text);
    if (boxes.has(body.field)) setText(boxes.get(body.field).error, text);
    else setText(error, text);
    show();
  });
  host.root.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) make.click();
  });
  const actions = h(
    "div.row",
    {},
    make,
    h("span.spring"),
    h("button.plain", { onclick: () => copyText(host.root, host.text("code"), host.announce) }, t("plan.copy")),
  );
  const wrote = h("details.wrote", {}, h("summary", {}, t("plan.as_written")), stream);
  const card = foldingCard(host, {
    title: t("titles.Plan"),
    brief,
    wants: () => Boolean(host.get("live")) || Boolean(host.get("unfolded")) || Boolean(error.textContent),
    extras: [live, stop],
    body: [h("div.stack", {}, wrote, diffs, codesOf, fields, actions, error)],
  });
  host.watch(["stream", "live", "rows", "codes", "revision", "offered", "unfolded"], show);
  host.onTheme(strip.paint);
  host.onClose(strip.close);
  show();
});
