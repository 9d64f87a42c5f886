// ComparisonView: what differs between two takes, words first, and the difference of their spectrograms.
// Python half: acestep_lab/ui/comparison_view.py.

export default mount("ComparisonView", [], (host) => {
  const table = h("table", {}),
    picture = h("img", { alt: t("comparison_view.legend") }),
    ticks = h("div.ticks", { "aria-hidden": "true" }),
    figure = h(
      "figure",
      { dir: "ltr" },
      h("div.frame", {}, ticks, picture),
      h("figcaption.tiny", {}, t("comparison_view.legend")),
    ),
    empty = h("p.empty", {}, t("comparison_view.empty"));
  const cell = (text) => h("td", { dir: "auto" }, text);

  function show() {
    const rows = host.list("rows").filter(Array.isArray),
      titles = textsOf(host.get("titles")),
      source = host.text("picture");
    empty.hidden = rows.length > 0;
    table.hidden = !rows.length;
    table.replaceChildren(
      h("caption.tiny", { dir: "auto" }, titles.join(" → ")),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("td"),
          h("th", { scope: "col" }, t("comparison_view.words")),
          ...titles.map((title) => h("th", { scope: "col", dir: "auto" }, title)),
        ),
      ),
      h(
        "tbody",
        {},
        ...rows.map(([what, words, one, other]) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, textOf(what)),
            cell(textOf(words)),
            cell(textOf(one)),
            cell(textOf(other)),
          ),
        ),
      ),
    );
    figure.hidden = !source.startsWith("data:image/png;base64,");
    if (!figure.hidden) picture.src = source;
    ticks.replaceChildren(
      ...host
        .list("axis")
        .filter(Array.isArray)
        .map(([place, name]) => h("span", { style: `bottom:${(numberOf(place) * 100).toFixed(1)}%` }, textOf(name))),
    );
    host.root.dataset.rows = String(rows.length);
  }
  host.root.append(h("h2", {}, t("comparison_view.title")), empty, table, figure);
  host.watch(["titles", "rows", "picture", "axis"], show);
  show();
});
