// What differs between two takes: a table, words first, and the difference of their spectrograms.
// Knows no component. Put in front of comparison_view.js and gallery.js by ui/assets.py.

/** `show(told)` gives how many rows there are. */
function differenceTable() {
  const table = h("table", {}),
    picture = /** @type {HTMLImageElement} */ (h("img", { alt: t("difference_table.legend") })),
    ticks = h("div.ticks", { "aria-hidden": "true" }),
    figure = h(
      "figure",
      { dir: "ltr" },
      h("div.frame", {}, ticks, picture),
      h("figcaption.tiny", {}, t("difference_table.legend")),
    );
  const figures = (text) => h("td", { dir: "auto" }, text),
    heading = (text) => h("th", { scope: "col", dir: "auto" }, text);
  /** Rows are [what, in words, the one's figures, the other's, whether those are words of ours]. */
  function row(cells) {
    const [what, words, one, other, ours] = cells;
    const told = [one, other].map((text) => (ours ? say(text) : textOf(text)));
    return h("tr", {}, h("th", { scope: "row" }, say(what)), figures(say(words)), ...told.map(figures));
  }
  /** @param {Record<string, any>} told */
  function show(told) {
    const { titles, rows, picture: source, axis } = told;
    const names = textsOf(titles).map((one) => tellTitle(one)),
      found = listOf(rows).filter(Array.isArray);
    table.hidden = !found.length;
    table.replaceChildren(
      h("caption.tiny", { dir: "auto" }, names.join(" → ")),
      h("thead", {}, h("tr", {}, h("td"), heading(t("difference_table.words")), ...names.map(heading))),
      h("tbody", {}, ...found.map(row)),
    );
    figure.hidden = !textOf(source).startsWith("data:image/png;base64,");
    if (!figure.hidden) picture.src = textOf(source);
    const places = listOf(axis).filter(Array.isArray);
    ticks.replaceChildren(
      ...places.map(([at, name]) => h("span", { style: `bottom:${(numberOf(at) * 100).toFixed(1)}%` }, textOf(name))),
    );
    return found.length;
  }
  show({ titles: [], rows: [], picture: "", axis: [] });
  return { nodes: [h("div.differences", {}, table, figure)], show };
}
