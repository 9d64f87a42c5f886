// ComparisonView: what differs between two takes, words first, and the difference of their spectrograms.
// Python half: acestep_lab/ui/comparison_view.py.

export default mount("ComparisonView", [], (host) => {
  const found = differenceTable(),
    empty = h("p.empty", {}, t("comparison_view.empty"));
  function show() {
    const rows = found.show({
      titles: host.get("titles"),
      rows: host.list("rows"),
      picture: host.text("picture"),
      axis: host.list("axis"),
    });
    empty.hidden = rows > 0;
    host.root.dataset.rows = String(rows);
  }
  host.root.append(h("h2", {}, t("comparison_view.title")), empty, ...found.nodes);
  host.watch(["titles", "rows", "picture", "axis"], show);
  show();
});
