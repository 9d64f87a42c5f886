// RunQueue: runs with state, progress, time to go, place in the queue. Python half: acestep_lab/ui/queue_view.py.

const WORDS = {
  queued: "Waiting",
  planning: "Planning",
  rendering: "Rendering",
  decoding: "Decoding",
  done: "Done",
  stopped: "Stopped",
  failed: "Failed",
};
const wordOf = (state) => (Object.hasOwn(WORDS, state) ? WORDS[state] : textOf(state));
export default mount("Runs", [["X", "stop the run in hand"]], (host) => {
  const list = h("ul.runs", { "aria-label": "Runs" }),
    live = h("p.hidden", { "aria-live": "polite" }),
    error = h("p.error", { role: "alert" });
  const items = new Map(),
    halted = h("p.tiny"),
    toggle = () => host.send("pause", { paused: !host.get("paused") });
  const pause = h("button.plain.small.pause", {
    title: "Whether the next run begins when this one is done",
    onclick: toggle,
  });
  let begun = 0;
  host.onClose(
    onBroadcast("begun", () => {
      begun = Date.now();
    }),
  );
  const into = () =>
    host.root.scrollIntoView({
      block: "start",
      behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
    });
  /** On a narrow page the runs are far from the button that began one: bring them into view, and once more when
   * the components below, which make the page long enough to scroll, have opened; unless somebody has
   * scrolled meanwhile. */
  const look = () => {
    if (innerWidth >= 900 || Date.now() - begun >= 3000) return;
    begun = 0;
    into();
    const again = setTimeout(into, 900),
      leave = () => clearTimeout(again);
    for (const kind of ["wheel", "touchstart"]) addEventListener(kind, leave, { once: true, passive: true });
    host.onClose(leave);
  };
  let told = "";
  function item(row) {
    const state = h("span.chip.state"),
      title = h("button.plain.title", { title: "Look at this run", onclick: () => host.send("watch", { id: row.id }) }),
      time = h("span.tiny.num"),
      problem = h("p.error"),
      messages = h("p.tiny");
    const bar = h("div.bar", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, h("div")),
      stop = h("button.stop.small", { onclick: () => host.send("stop", { id: row.id }) }, "Stop"),
      away = h(
        "button.plain.small",
        { "aria-label": "Dismiss", onclick: () => host.send("dismiss", { id: row.id }) },
        "✕",
      );
    const shift = (by) => () =>
      host.send("move", { id: row.id, place: Math.max(0, numberOf(items.get(row.id)?.place) + by) });
    const earlier = h(
      "button.plain.small.earlier",
      { "aria-label": "Earlier", title: "Before your other runs", onclick: shift(-1) },
      "↑",
    );
    const later = h(
      "button.plain.small.later",
      { "aria-label": "Later", title: "After your next run", onclick: shift(1) },
      "↓",
    );
    const hold = h("button.plain.small.hold", {
      onclick: () => host.send("hold", { id: row.id, held: !items.get(row.id)?.held }),
    });
    const buttons = [earlier, later, hold, stop, away];
    const node = h(
      "li",
      { "data-run": row.id },
      h("div.row", {}, state, title, h("span.spring"), time, ...buttons),
      bar,
      problem,
      messages,
    );
    return {
      node,
      state,
      title,
      time,
      problem,
      messages,
      bar,
      stop,
      away,
      earlier,
      later,
      hold,
      place: 0,
      held: false,
    };
  }
  function show() {
    const rows = tablesOf(host.get("rows")).map((row) => ({
      ...row,
      fraction: Math.max(0, Math.min(1, numberOf(row.fraction))),
    }));
    for (const [id, view] of items)
      if (!rows.some((row) => row.id === id)) {
        view.node.remove();
        items.delete(id);
      }
    const fresh = rows.some((row) => row.mine && !items.has(row.id));
    rows.forEach((row, place) => {
      if (!items.has(row.id)) items.set(row.id, item(row));
      const view = items.get(row.id),
        over = ["done", "stopped", "failed"].includes(row.state),
        percent = Math.round(100 * row.fraction);
      if (list.children[place] !== view.node) list.insertBefore(view.node, list.children[place] ?? null);
      view.node.dataset.state = row.state;
      const waits = row.mine && row.state === "queued" && !row.stopping,
        own = rows.filter((one) => one.mine && one.state === "queued").length;
      view.place = numberOf(row.place);
      view.held = Boolean(row.held);
      view.hold.hidden = !waits;
      view.earlier.hidden = !waits || own < 2 || view.place === 0;
      view.later.hidden = !waits || own < 2 || view.place >= own - 1;
      setText(view.hold, row.held ? "Let go" : "Hold");
      setText(
        view.state,
        row.held
          ? "Held back"
          : row.state === "queued" && row.position > 0
            ? `Waiting, ${row.position} before it`
            : row.stopping && !over
              ? "Stopping"
              : wordOf(row.state),
      );
      setText(view.title, row.title);
      setText(
        view.time,
        over
          ? row.took != null
            ? `${numberOf(row.took).toFixed(1)} s`
            : ""
          : row.eta != null
            ? `${percent} %, ${formatWait(row.eta)} to go`
            : `${percent} %`,
      );
      view.bar.firstChild.style.width = `${percent}%`;
      view.bar.setAttribute("aria-valuenow", String(percent));
      view.bar.setAttribute("aria-label", `${textOf(row.title)}: ${percent} %`);
      view.bar.hidden = over;
      view.stop.hidden = over || !row.mine;
      view.stop.disabled = Boolean(row.stopping);
      view.away.hidden = !over;
      setText(view.problem, row.problem || "");
      setText(view.messages, textsOf(row.messages).join("  "));
    });
    host.hide(!rows.length);
    const paused = Boolean(host.get("paused"));
    pause.hidden = !host.get("hosts");
    setText(pause, paused ? "Go on" : "Pause");
    setText(halted, paused ? "The queue is paused: nothing new begins." : "");
    const live = rows.filter((row) => row.mine && !["done", "stopped", "failed"].includes(row.state));
    pageState.busy = live.length
      ? `${wordOf(live[0].state)}, ${Math.round(100 * live[0].fraction)} %` +
        (live.length > 1 ? `; ${live.length - 1} more waiting` : "")
      : "";
    broadcast("busy", {});
    if (fresh) look();
    const first = rows[0],
      saying = first ? `${wordOf(first.state)}: ${textOf(first.title)}` : "";
    if (saying !== told) {
      told = saying;
      setText(live, saying);
    }
  }
  host.on("error", (body) => setText(error, body.text));
  host.root.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "x" && !isTyping(event))
      list.querySelector("li:not([data-state=done]) button.stop:not([hidden])")?.click();
  });
  host.root.append(h("div.head", {}, h("h2", {}, "Runs"), h("span.spring"), pause), halted, list, live, error);
  for (const name of ["rows", "paused", "hosts"]) host.watch(name, show);
  show();
});
