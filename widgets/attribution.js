// Attribution: what each word of a take did, as a heat strip under the caption and along the song.
// Python half: acestep_lab/ui/attribution.py.

/** A picture's own units; the page scales it. */
const LONG = 480,
  ROW = 14;

/** A row of heat along the song: `values` per slice, the strongest of all rows being `most`. */
function heatRow(values, most, label, onpick) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg"),
    wide = LONG / Math.max(1, values.length);
  picture.setAttribute("viewBox", `0 0 ${LONG} ${ROW}`);
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", label);
  values.forEach((value, place) => {
    const cell = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    cell.setAttribute("x", String(place * wide));
    cell.setAttribute("width", String(wide + 0.3));
    cell.setAttribute("height", String(ROW));
    cell.setAttribute("class", "heat");
    cell.style.opacity = String(Math.max(0.04, Math.min(1, most > 0 ? value / most : 0)).toFixed(3));
    picture.append(cell);
  });
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    if (box.width) onpick(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)));
  });
  return picture;
}

export default mount(
  "Attribution",
  [
    ["↑ ↓", "attribution.key_move"],
    ["Enter", "attribution.key_choose"],
  ],
  (host) => {
    let chosen = "",
      looks = false,
      drawn = "",
      told = "";
    const percent = (share) => (share < 0 ? "…" : `${Math.round(100 * share)} %`),
      numbers = (value) => listOf(value).map((one) => numberOf(one)),
      effects = () => tablesOf(host.get("effects")),
      control = () => host.table("control"),
      attention = () => host.table("attention"),
      idOf = (one) => JSON.stringify([textOf(one.kind), textOf(one.name), textOf(one.change), listOf(one.span)]),
      kind = (one) => t(`attribution.kind_${textOf(one.kind)}`),
      how = (one) => (textOf(one.change) === "left out" ? t("attribution.left_out") : textOf(one.change));

    const said = h("span.tiny.said", { role: "status" }),
      find = h("button.find", { onclick: () => host.send("find") }),
      stop = h("button.stop", { onclick: () => host.send("halt") }),
      fold = h("button.plain", { onclick: () => host.send("open", { on: !host.get("opened") }) }),
      bar = h("div.bar", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, h("div")),
      views = h("div.row.views", { role: "group" }),
      why = h("p.tiny.why"),
      caption = h("p.caption", { dir: "auto" }),
      rows = h("div.rows"),
      axis = h("div.axis.tiny.num", { "aria-hidden": "true" }),
      detail = h("div.detail", { "aria-live": "polite" }),
      tableBody = h("tbody"),
      tableHead = h("tr"),
      table = h("table", {}, h("caption.hidden"), h("thead", {}, tableHead), tableBody),
      tableFold = h("details", {}, h("summary"), h("div.scroll", {}, table)),
      note = h("p.tiny.note"),
      error = h("p.error", { role: "alert" }),
      live = h("p.hidden", { "aria-live": "polite" }),
      body = h("div.body", {}, bar, views, why, caption, rows, axis, detail, tableFold, note);

    // -- words and rows
    const label = (one) =>
      [
        `${kind(one)} ${textOf(one.name)} (${how(one)})`,
        textOf(one.problem)
          ? say(textOf(one.problem))
          : t("attribution.moves", { share: percent(numberOf(one.share, -1)) }),
        ...textsOf(one.heard),
      ].join("; ");

    function choose(id) {
      chosen = id;
      draw(true);
    }

    function walk(event) {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!by) return;
      const all = /** @type {HTMLElement[]} */ ([...rows.querySelectorAll("button")]),
        next = all[all.indexOf(event.currentTarget) + by];
      if (!next) return;
      event.preventDefault();
      next.focus();
    }

    /** The caption with its phrases as switches, each with its heat and number under it. */
    function drawCaption() {
      const text = host.text("caption"),
        marked = (
          looks ? lookedAt() : effects().filter((one) => one.kind === "phrase" && listOf(one.span).length === 2)
        )
          .map((one) => ({ one, from: numberOf(one.span[0]), to: numberOf(one.span[1]) }))
          .sort((a, b) => a.from - b.from);
      const parts = [];
      let at = 0;
      for (const { one, from, to } of marked) {
        if (from < at || to > text.length) continue;
        parts.push(text.slice(at, from), word(one, text.slice(from, to)));
        at = to;
      }
      caption.replaceChildren(...parts, text.slice(at));
      caption.hidden = !text;
    }

    function word(one, text) {
      const id = idOf(one),
        share = numberOf(one.share, -1),
        heat = h("span.under", { "aria-hidden": "true" }, h("span.fill"));
      /** @type {HTMLElement} */ (heat.firstChild).style.opacity = String(Math.max(0.06, Math.min(1, share)));
      return h(
        "button.word",
        {
          "aria-pressed": String(id === chosen),
          "aria-label": label(one),
          title: label(one),
          onclick: () => choose(id),
        },
        h("bdi", {}, text),
        heat,
        h("span.tiny.num.share", { "aria-hidden": "true" }, percent(share)),
      );
    }

    /** Words with the share of attention on them, as effects that changed nothing; shares of all on the caption. */
    function lookedAt() {
      const words = listOf(attention().words).map(textOf),
        spans = listOf(attention().spans),
        shares = listOf(attention().shares).map(numbers),
        mean = (row) => row.reduce((sum, one) => sum + one, 0) / Math.max(1, row.length),
        whole = shares.reduce((sum, row) => sum + mean(row), 0) || 1;
      return words.map((name, place) => ({
        kind: "word",
        name,
        change: t("attribution.looked"),
        span: listOf(spans[place]),
        share: mean(shares[place] ?? []) / whole,
        over_time: shares[place] ?? [],
        over_band: [],
        heard: [],
        problem: "",
      }));
    }

    const shown = () => (looks ? lookedAt() : [...effects(), ...(textOf(control().kind) ? [control()] : [])]);

    function drawRows() {
      const all = shown(),
        most = Math.max(
          0,
          ...all.filter((one) => one.kind !== "seed").map((one) => Math.max(0, ...numbers(one.over_time))),
        ),
        seconds = host.number("seconds");
      rows.replaceChildren(
        ...all.map((one) => {
          const id = idOf(one),
            button = h(
              "button.name",
              {
                "aria-pressed": String(id === chosen),
                "aria-label": label(one),
                onclick: () => choose(id),
                onkeydown: walk,
              },
              h("bdi", {}, textOf(one.kind) === "seed" ? t("attribution.seed") : textOf(one.name)),
              h("span.tiny.num", {}, percent(numberOf(one.share, -1))),
            ),
            heat = heatRow(numbers(one.over_time), most, t("attribution.along", { name: textOf(one.name) }), (share) =>
              host.send("at", { seconds: share * seconds }),
            );
          return h(`div.line.${textOf(one.kind)}`, {}, button, heat);
        }),
      );
      setText(axis, "");
      axis.append(
        h("span", {}, formatSeconds(0, 0)),
        h("span", {}, t("attribution.time")),
        h("span", {}, formatSeconds(seconds)),
      );
      axis.hidden = !all.length;
    }

    /** What is known of the chosen word: what is heard without it, and which bands move. */
    function drawDetail() {
      const one = shown().find((other) => idOf(other) === chosen);
      detail.hidden = !one || looks;
      if (!one || looks) return;
      const edges = numbers(host.get("edges")),
        bands = numbers(one.over_band),
        most = Math.max(0.1, ...bands);
      detail.replaceChildren(
        h("p", {}, label(one)),
        h(
          "div.bands",
          {
            role: "img",
            "aria-label": bands.map((value, n) => `${edges[n]} Hz: ${formatNumber(value, 1)} dB`).join("; "),
          },
          ...bands.map((value, n) => {
            const column = h("div.column", {}, h("div.level"));
            /** @type {HTMLElement} */ (column.firstChild).style.blockSize = `${(100 * value) / most}%`;
            const from = edges[n] >= 1000 ? `${Math.round(edges[n] / 1000)} k` : String(Math.round(edges[n]));
            return h(
              "div.band",
              {},
              h("span.tiny.num", {}, formatNumber(value, 1)),
              column,
              h("span.tiny.num", {}, from),
            );
          }),
        ),
        h("p.tiny", {}, t("attribution.bands")),
      );
    }

    function drawTable() {
      const heads = ["word", "change", looks ? "attention" : "share", "heard"].map((one) => t(`attribution.${one}`));
      setText(/** @type {HTMLElement} */ (table.querySelector("caption")), titleOf("Attribution"));
      tableHead.replaceChildren(...heads.map((one) => h("th", { scope: "col" }, one)));
      tableBody.replaceChildren(
        ...shown().map((one) =>
          h(
            "tr",
            {},
            h(
              "th",
              { scope: "row" },
              h("bdi", {}, textOf(one.kind) === "seed" ? t("attribution.seed") : textOf(one.name)),
            ),
            h("td", {}, how(one)),
            h("td.num", {}, percent(numberOf(one.share, -1))),
            h("td", {}, textOf(one.problem) ? say(textOf(one.problem)) : textsOf(one.heard).join(", ")),
          ),
        ),
      );
      setText(/** @type {HTMLElement} */ (tableFold.firstChild), t("attribution.table"));
    }

    function drawViews() {
      const can = listOf(attention().words).length > 0;
      looks = can && (looks || (!effects().length && host.get("over") !== false));
      const one = (name, on) =>
        h(
          "button.plain",
          {
            "aria-pressed": String(looks === on),
            onclick: () => {
              looks = on;
              draw(true);
              /** @type {HTMLElement | null} */ (views.querySelector("[aria-pressed=true]"))?.focus();
            },
          },
          t(name),
        );
      views.replaceChildren(
        ...(can && effects().length ? [one("attribution.by_change", false), one("attribution.by_look", true)] : []),
      );
      views.setAttribute("aria-label", t("attribution.views"));
      setText(
        why,
        looks
          ? t("attribution.no_cause")
          : effects().length
            ? t(host.text("of") === "spectrogram" ? "attribution.spectrogram" : "attribution.x0")
            : "",
      );
    }

    function draw(force = false) {
      const state = JSON.stringify(
        ["caption", "effects", "control", "attention", "seconds", "over"].map((one) => host.get(one)),
      );
      if (!force && state === drawn) return;
      drawn = state;
      const focused = /** @type {any} */ (host.root.getRootNode()).activeElement?.getAttribute?.("aria-label");
      drawViews();
      drawCaption();
      drawRows();
      drawDetail();
      drawTable();
      tableFold.hidden = !shown().length;
      if (focused)
        /** @type {any} */ (
          [...host.root.querySelectorAll("button")].find((one) => one.ariaLabel === focused)
        )?.focus();
    }

    // -- how far it is
    function show() {
      const opened = host.get("opened") === true,
        over = host.get("over") !== false,
        share = Math.round(100 * Math.max(0, Math.min(1, host.number("fraction")))),
        eta = host.number("eta"),
        cannot = host.text("cannot");
      foldRoot(host, !opened);
      body.hidden = !opened;
      setText(fold, t(opened ? "attribution.fold" : "attribution.unfold"));
      fold.setAttribute("aria-expanded", String(opened));
      fold.hidden = !host.text("take");
      bar.hidden = stop.hidden = over;
      /** @type {HTMLElement} */ (bar.firstChild).style.inlineSize = `${share}%`;
      bar.setAttribute("aria-valuenow", String(share));
      bar.setAttribute("aria-label", t("attribution.bar"));
      find.hidden = !over || !opened || !host.get("finds") || (effects().length > 0 && !host.text("cost"));
      find.disabled = cannot !== "";
      setText(find, t("attribution.find"));
      setText(stop, t("attribution.stop"));
      stop.disabled = host.text("doing") === "stopping";
      const far = eta >= 0 ? `${share} %, ${formatWait(eta)}` : `${share} %`;
      setText(said, !opened ? "" : over ? say(cannot || host.text("cost")) : `${say(host.text("doing"))} · ${far}`);
      setText(note, [host.text("note"), ...textsOf(host.get("remarks"))].map((one) => say(one)).join(" "));
      if (over && told === "going" && effects().length) setText(live, t("attribution.found", { n: effects().length }));
      told = over ? "over" : "going";
      draw();
    }

    host.on("error", (message) => setText(error, say(message.text)));
    host.root.append(
      h("div.head", {}, h("h2", {}, titleOf("Attribution")), said, h("span.spring"), find, stop, fold),
      body,
      error,
      live,
    );
    host.watch(
      ["take", "caption", "seconds", "effects", "control", "attention", "remarks", "doing", "fraction", "eta", "over"],
      show,
    );
    host.watch(["note", "cost", "cannot", "opened", "finds"], show);
    show();
  },
);
