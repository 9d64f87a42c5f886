// PlanView: the planner's words as they come, then fields, differences and codes.
// Python half: acestep_lab/ui/plan_view.py.

export default mount("Plan", [["Ctrl Enter", "make it with this plan"]], (host) => {
  const stream = h("pre.stream.mono", { "aria-live": "off", tabIndex: 0, "aria-label": "What the planner writes" }),
    fields = h("div.grid.planfields"),
    diffs = h("div.stack.diffs"),
    error = h("p.error", { role: "alert" }),
    live = h("span.chip", { role: "status" });
  let codes = new Uint32Array(0);
  const strip = makeCanvas(
    26,
    (context, width, height) => {
      const each = width / Math.max(1, codes.length);
      codes.forEach((code, i) => {
        context.fillStyle = codeColour(code);
        context.fillRect(i * each, 0, Math.max(1, each - (each > 3 ? 1 : 0)), height);
      });
    },
    { "aria-label": "Audio codes", role: "img" },
  );
  const stop = h("button.stop", { onclick: () => host.send("stop") }, "Stop");
  const count = h("p.tiny"),
    lane = h("div.codes", {}, strip.canvas, count);
  const make = h(
    "button.go",
    {
      onclick: () => {
        if (!make.disabled) {
          make.disabled = true;
          setTimeout(() => {
            make.disabled = !rows().length;
          }, 700);
          setText(error, "");
          host.send("make");
        }
      },
    },
    "Make it with this plan",
  );
  const rows = () =>
    tablesOf(host.get("rows")).map((row) => ({
      ...row,
      name: textOf(row.name),
      label: textOf(row.label),
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
        row.options.map((o) => h("option", { value: o }, o)),
      );
      set = (v) => {
        const text = v == null ? "" : String(v);
        if (text && ![...input.options].some((o) => o.value === text)) input.append(h("option", { value: text }, text));
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
        "aria-label": `Lock ${row.label}`,
        onclick: () => host.send("lock", { field: row.name, on: lock.getAttribute("aria-pressed") !== "true" }),
      }),
      error = h("p.error");
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
          { role: "group", "aria-label": `${row.label}: whose words` },
          h(
            "button",
            {
              "aria-pressed": String(!row.accepted),
              onclick: () => host.send("accept", { field: row.name, on: false }),
            },
            "Keep mine",
          ),
          h(
            "button",
            { "aria-pressed": String(row.accepted), onclick: () => host.send("accept", { field: row.name, on: true }) },
            "Take the planner's",
          ),
        ),
      ),
      text,
    );
  }
  const SHORT = {
    bpm: (v) => `${v} bpm`,
    seconds: (v) => `${v} s`,
    timesignature: (v) => (v === "6" ? "6/8" : `${v}/4`),
  };
  let seen = -1;
  /** @type {boolean | null} */
  let wasWriting = null;
  function show() {
    const writing = Boolean(host.get("live")),
      list = rows(),
      focus = /** @type {any} */ (host.root.getRootNode()).activeElement,
      force = host.get("revision") !== seen;
    seen = host.get("revision");
    host.hide(!host.get("offered") || (!writing && !list.length && !host.get("stream")));
    setText(stream, host.text("stream").trim());
    stream.scrollTop = stream.scrollHeight;
    setText(live, writing ? "Writing…" : list.length ? "Ready to read and change" : "");
    live.hidden = !live.textContent;
    stop.hidden = !writing;
    for (const row of list) {
      if (!boxes.has(row.name)) {
        boxes.set(row.name, box(row));
        fields.append(boxes.get(row.name).node);
      }
      const b = boxes.get(row.name);
      if (force || b.input !== focus) b.set(row.value);
      showLock(b.lock, row.locked);
      setText(b.error, row.problem || "");
    }
    setText(
      summary,
      list
        .filter((row) => !row.long && row.value != null && row.value !== "")
        .map((row) => (Object.hasOwn(SHORT, row.name) ? SHORT[row.name](row.value) : textOf(row.value)))
        .join("  ·  ") || "Read and change",
    );
    if (force) more.open = Boolean(host.get("unfolded"));
    more.hidden = !list.length;
    wrote.hidden = !host.get("stream");
    if (writing !== wasWriting) {
      wrote.open = writing;
      wasWriting = writing;
    }
    diffs.replaceChildren(...list.filter((row) => row.differs).map(diff));
    host.root.dataset.diffs = String(diffs.children.length);
    const n = host.number("codes");
    lane.hidden = !n;
    setText(count, n ? `${n} audio codes` : "");
    strip.paint();
    make.disabled = !list.length || writing;
  }
  host.on("codes", (_, [bytes]) => {
    codes = bytes ? new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)) : codes;
    strip.paint();
  });
  host.on("error", (body) => {
    if (boxes.has(body.field)) setText(boxes.get(body.field).error, body.text);
    else setText(error, body.text);
  });
  host.root.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) make.click();
  });
  const actions = h(
    "div.row",
    {},
    make,
    h("span.spring"),
    h("button.plain", { onclick: () => copyText(host.root, host.text("code"), host.announce) }, "Copy as code"),
  );
  const wrote = h("details.wrote", {}, h("summary", {}, "As the planner wrote it"), stream),
    summary = h("summary.brief"),
    more = h("details.more", {}, summary, h("div.stack.inner", {}, fields, actions));
  host.root.append(
    h("div.head", {}, h("h2", {}, "Plan"), live, h("span.spring"), stop),
    h("div.stack", {}, wrote, diffs, lane, more, error),
  );
  host.watch(["stream", "live", "rows", "codes", "revision", "offered"], show);
  host.onTheme(strip.paint);
  host.onClose(strip.close);
  show();
});
