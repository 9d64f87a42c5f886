// SweepForm: what a sweep goes over, what it would cost, and earlier ones. Python half: acestep_lab/ui/sweep_form.py.

const HOW = ["grid", "random", "latin_hypercube"];

export default mount("SweepForm", [], (host) => {
  const error = h("p.error", { role: "alert" }),
    note = h("p.quiet", { role: "status" }),
    summary = h("span.tiny.summary"),
    fold = h("button.plain", { onclick: () => send("open", { on: !host.get("opened") }) }),
    lines = h("div.lines"),
    plan = h("div.plan", { role: "status" });
  const send = (kind, body = {}) => {
    setText(error, "");
    host.send(kind, body);
  };

  // -- axes, a line for each
  const add = h("button", { onclick: () => draft([...typed(), { field: unused(), values: "" }]) }, t("sweep_form.add"));
  const how = h(
    "select",
    { onchange: () => draft(typed()) },
    ...HOW.map((one) => h("option", { value: one }, t(`sweep_form.how_${one}`))),
  );
  const count = h("input.count.num", { type: "number", min: "1", max: "10000", onchange: () => draft(typed()) });
  const called = h("input.called", { maxLength: 60, autocomplete: "off", onchange: () => draft(typed()) });
  how.setAttribute("aria-label", t("sweep_form.how"));
  count.setAttribute("aria-label", t("sweep_form.count"));
  called.setAttribute("aria-label", t("sweep_form.called"));
  called.placeholder = t("sweep_form.called");
  const typed = () =>
    [...lines.children].map((line) => ({
      field: line.querySelector("select").value,
      values: line.querySelector("input").value,
    }));
  const unused = () => {
    const taken = typed().map((row) => row.field);
    return textsOf(host.get("names")).find((name) => !taken.includes(name)) ?? "seed";
  };
  const draft = (rows) =>
    send("draft", {
      rows,
      how: how.value,
      count: Math.max(1, Math.min(10_000, Math.round(Number(count.value)) || 12)),
      name: called.value,
    });

  function line(row, at) {
    const names = textsOf(host.get("names")),
      known = names.includes(row.field) ? names : [row.field, ...names],
      field = h("select", { onchange: () => draft(typed()) }, ...known.map((one) => h("option", { value: one }, one))),
      values = h("input.values", {
        value: row.values,
        spellcheck: false,
        autocomplete: "off",
        onchange: () => draft(typed()),
      }),
      remove = h("button.plain", { onclick: () => draft(typed().filter((_, place) => place !== at)) }, "✕");
    field.value = row.field;
    field.setAttribute("aria-label", t("sweep_form.field", { n: at + 1 }));
    values.placeholder = "1,3,5   0..3";
    const call = () => {
      values.setAttribute("aria-label", t("sweep_form.values", { name: field.value }));
      remove.setAttribute("aria-label", t("sweep_form.remove", { name: field.value }));
    };
    field.addEventListener("change", call);
    call();
    return h("div.row.axis", {}, field, values, remove);
  }
  let drawn = "";
  /** The lines as Python has them; while somebody types in one, what stands there is newer. */
  function showRows() {
    const rows = tablesOf(host.get("rows")).map((row) => ({ field: textOf(row.field), values: textOf(row.values) })),
      names = JSON.stringify(host.get("names")),
      types = lines.contains(/** @type {any} */ (lines.getRootNode()).activeElement);
    if (!types || rows.length !== lines.childElementCount) {
      if (names !== drawn || JSON.stringify(rows) !== JSON.stringify(typed())) lines.replaceChildren(...rows.map(line));
      drawn = names;
    }
    add.disabled = rows.length >= 8;
    how.value = host.text("how");
    count.value = String(host.number("count"));
    count.hidden = how.value === "grid";
    if (called !== /** @type {any} */ (called.getRootNode()).activeElement) called.value = host.text("called");
  }

  // -- earlier ones
  const kept = h("select"),
    resume = h("button", { onclick: () => kept.value && send("resume", { name: kept.value }) }, t("sweep_form.resume")),
    earlier = h("div.row", {}, kept, resume);
  kept.setAttribute("aria-label", t("sweep_form.kept"));
  function showKept() {
    const names = textsOf(host.get("kept")),
      chosen = kept.value;
    kept.replaceChildren(...names.map((one) => h("option", { value: one }, one)));
    if (names.includes(chosen)) kept.value = chosen;
    earlier.hidden = !names.length;
  }

  const foretell = h("button", { onclick: () => send("foretell") }, t("sweep_form.foretell")),
    start = h("button.go", {}, t("sweep_form.start"));
  start.addEventListener("click", () => {
    if (!justPressed(800, start)) send("sweep");
  });

  function show() {
    const opened = Boolean(host.get("opened")),
      busy = host.text("busy"),
      words = textsOf(host.table("plan").words);
    host.hide(!host.get("offered"));
    foldRoot(host, !opened);
    body.hidden = !opened;
    setText(fold, t(opened ? "sweep_form.fold" : "sweep_form.unfold"));
    fold.setAttribute("aria-expanded", String(opened));
    fold.setAttribute("aria-label", `${titleOf("SweepForm")}: ${fold.textContent}`);
    setText(summary, t("sweep_form.about"));
    for (const one of [foretell, start, resume]) one.disabled = Boolean(busy);
    setText(note, busy ? t(`sweep_form.busy_${busy}`) : "");
    plan.hidden = !words.length;
    plan.setAttribute("aria-busy", String(busy === "foretell"));
    plan.replaceChildren(...words.map((one) => h("p", {}, say(one))));
    setText(start, t(numberOf(host.table("plan").refused) ? "sweep_form.start_without" : "sweep_form.start"));
  }
  host.on("error", (body) => setText(error, say(body.text)));
  /** On a narrow page the tab is asked for, and so is what is in it. */
  host.onClose(
    onBroadcast("tab", (ask) => {
      if (ask?.name === "sweep" && !host.get("opened") && host.get("offered")) host.send("open", { on: true });
    }),
  );
  const body = h(
    "div.body",
    {},
    lines,
    h("div.row", {}, add, h("span.spring"), how, count),
    h("div.row", {}, called, h("span.spring"), foretell, start),
    note,
    plan,
    earlier,
  );
  host.root.append(h("div.head", {}, h("h2", {}, titleOf("SweepForm")), summary, h("span.spring"), fold), body, error);
  host.watch(["offered", "opened", "busy", "plan"], show);
  host.watch(["rows", "names", "how", "count", "called"], showRows);
  host.watch("kept", showKept);
  show();
  showRows();
  showKept();
});
