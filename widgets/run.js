// RunView: one run's bar, what it is doing, and Stop. Python half: acestep_lab/ui/run_view.py.

export default mount("Run", [], (host) => {
  const title = h("h3"),
    doing = h("span.chip.state"),
    time = h("span.tiny.num"),
    note = h("p.tiny"),
    error = h("p.error", { role: "alert" }),
    live = h("p.hidden", { "aria-live": "polite" });
  const bar = h("div.bar", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, h("div"));
  const stop = h("button.stop", { onclick: () => host.send("stop") });
  const words = { done: "run.done", stopped: "run.stopped", failed: "run.failed" };
  function show() {
    const over = host.get("over") !== false,
      state = host.text("state"),
      percent = Math.round(100 * Math.max(0, Math.min(1, host.number("fraction")))),
      eta = host.number("eta"),
      stopping = host.text("doing") === "stopping";
    const name = host.text("title") || t("run.untitled"),
      what = words[state] ? t(words[state]) : say(host.text("doing"));
    setText(title, name);
    setText(doing, what);
    setText(
      time,
      over
        ? t("run.took", { n: formatNumber(host.number("took"), 1) })
        : eta >= 0
          ? t("run.to_go", { percent, wait: formatWait(eta) })
          : t("run.percent", { percent }),
    );
    setText(live, words[state] ? `${what}: ${name}` : "");
    bar.firstChild.style.inlineSize = `${percent}%`;
    bar.setAttribute("aria-valuenow", String(percent));
    bar.setAttribute("aria-label", t("run.bar", { title: name, percent }));
    bar.hidden = stop.hidden = over;
    stop.disabled = stopping;
    setText(stop, t(stopping ? "run.stopping" : "run.stop"));
    setText(note, say(host.text("note")));
    host.root.dataset.state = state;
  }
  host.on("error", (body) => setText(error, say(body.text)));
  host.root.append(h("div.row", {}, doing, title, h("span.spring"), time, stop), bar, note, error, live);
  host.watch(["title", "doing", "state", "fraction", "eta", "took", "over", "note"], show);
  show();
});
