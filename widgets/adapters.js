// Adapters: LoRA and its kin on the music model, each with a strength and a switch.
// Python half: acestep_lab/ui/adapters.py.

export default mount("Adapters", [], (host) => {
  const error = h("p.error", { role: "alert" }),
    waits = h("p.quiet.waits", { role: "status" }),
    list = h("ul.slots", { "aria-label": t("adapters.list") }),
    count = h("span.count");
  const place = h("input.place", {
    type: "text",
    placeholder: t("adapters.place"),
    "aria-label": t("adapters.place"),
    onkeydown: (event) => {
      if (event.key === "Enter" && !event.isComposing) add();
    },
  });
  const ask = (kind, body = {}) => {
    setText(error, "");
    host.send(kind, body);
  };
  /** What was asked for, and how many there were then: the box is emptied once that is on. */
  let asked = { place: "", rows: 0 };
  const add = () => {
    asked = { place: place.value, rows: tablesOf(host.get("rows")).length };
    ask("add", { place: place.value });
  };
  const adding = h("div.row.adding", {}, place, h("button.add", { onclick: add }, t("adapters.add")));
  const pair = h("button.pair", { onclick: () => ask("pair"), title: t("adapters.pair_hint") }, t("adapters.pair"));
  const fold = h(
    "details",
    {},
    h("summary", {}, t("adapters.summary"), " ", count),
    h("p.tiny", {}, t("adapters.everybody")),
    list,
    adding,
    h("div.row", {}, pair),
  );
  const edge = (place) => numberOf(host.list("range")[place], place ? 3 : -3);
  const drawn = new Map();

  /** A row keeps its elements, so that a slider that is being moved is not taken from under the hand. */
  function rowFor(name) {
    const on = h("input", {
      type: "checkbox",
      "aria-label": t("adapters.switch", { name }),
      onchange: () => ask("switch", { name, on: on.checked }),
    });
    const weigh = (value) => {
      const typed = Number(String(value).replace(",", "."));
      if (String(value).trim() === "" || !Number.isFinite(typed)) setText(error, t("adapters.no_number"));
      else ask("weigh", { name, strength: typed });
    };
    const slider = h("input.slider", {
      type: "range",
      "aria-label": t("adapters.strength", { name }),
      oninput: () => (number.value = slider.value),
      onchange: () => weigh(slider.value),
    });
    const number = h("input.number", {
      type: "text",
      inputMode: "decimal",
      "aria-label": t("adapters.strength_number", { name }),
      onchange: () => weigh(number.value),
    });
    const gone = h(
      "button.plain.icon",
      { "aria-label": t("adapters.remove", { name }), onclick: () => ask("remove", { name }) },
      "✕",
    );
    const item = h(
      "li.row",
      { "data-adapter": name },
      h("label.name", {}, on, h("bdi", {}, name)),
      slider,
      number,
      gone,
    );
    return { item, on, slider, number, gone };
  }
  function show() {
    const rows = tablesOf(host.get("rows")),
      hosts = Boolean(host.get("host"));
    host.hide(!host.get("offered") || (!hosts && !rows.length));
    const names = rows.map((row) => textOf(row.name));
    for (const name of [...drawn.keys()]) if (!names.includes(name)) drawn.delete(name);
    const items = rows.map((row) => {
      const name = textOf(row.name);
      if (!drawn.has(name)) drawn.set(name, rowFor(name));
      const part = drawn.get(name),
        root = /** @type {any} */ (host.root.getRootNode());
      part.on.checked = Boolean(row.on);
      Object.assign(part.slider, { min: String(edge(0)), max: String(edge(1)), step: "0.05" });
      if (root.activeElement !== part.number) part.number.value = String(numberOf(row.strength));
      part.slider.value = String(numberOf(row.strength));
      part.slider.disabled = part.number.disabled = !hosts;
      part.gone.hidden = !hosts;
      part.item.classList.toggle("off", !row.on);
      return part.item;
    });
    if (items.length !== list.children.length || items.some((item, at) => list.children[at] !== item))
      list.replaceChildren(...items);
    const acting = rows.filter((row) => row.on && numberOf(row.strength) !== 0);
    setText(count, rows.length ? t("adapters.count", { n: acting.length, of: rows.length }) : t("adapters.none"));
    setText(waits, host.get("waits") ? t("adapters.waits") : "");
    if (asked.place && !host.get("waits") && rows.length > asked.rows) {
      if (place.value === asked.place) place.value = "";
      asked = { place: "", rows: 0 };
    }
    adding.hidden = !hosts;
    pair.hidden = !rows.length;
    host.root.dataset.adapters = String(rows.length);
  }
  host.on("error", (body) => {
    fold.open = true;
    asked = { place: "", rows: 0 };
    setText(error, say(body.text));
    show();
  });
  host.watch(["rows", "host", "offered", "waits", "range"], show);
  host.root.append(fold, waits, error);
  show();
});
