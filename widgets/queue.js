// RunQueue: runs with state, progress, time to go, place in the queue. Python half: acestep_lab/ui/queue_view.py.

const STATES = [
  "queued",
  "planning",
  "encoding",
  "rendering",
  "decoding",
  "training",
  "previewing",
  "done",
  "stopped",
  "failed",
  "sweeping",
  "working",
];
const OVER = ["done", "stopped", "failed"];
const wordOf = (state) => (STATES.includes(state) ? t(`queue.state_${state}`) : textOf(state));
export default mount("Runs", [["X", "queue.key_stop"]], (host) => {
  const list = h("ul.runs", { "aria-label": t("titles.Runs") }),
    live = h("p.hidden", { "aria-live": "polite" }),
    error = h("p.error", { role: "alert" });
  const items = new Map(),
    halted = h("p.tiny");
  const pause = h("button.plain.small.pause", {
    title: t("queue.pause_hint"),
    onclick: () => host.send("pause", { paused: !host.get("paused") }),
  });
  // What is done: one line, opened by hand, sent away at once.
  let opened = false,
    ids = [];
  const finished = h("span.what"),
    more = h("span.tiny"),
    gone = h("ul.runs.past", { "aria-label": t("queue.finished") }),
    toggle = h("button.plain.small", {
      onclick: () => {
        opened = !opened;
        show();
      },
    }),
    dismiss = h(
      "button.plain.small",
      {
        "aria-label": t("queue.dismiss_all"),
        title: t("queue.dismiss_all"),
        onclick: () => ids.forEach((id) => host.send("dismiss", { id })),
      },
      "✕",
    ),
    summary = h("div.row.summary", {}, finished, more, h("span.spring"), toggle, dismiss),
    head = h("div.head", {}, h("h2", {}, t("titles.Runs")), h("span.spring"), pause);
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
      title = h("button.plain.title", { title: t("queue.look"), onclick: () => host.send("watch", { id: row.id }) }),
      time = h("span.tiny.num"),
      wait = h("span.tiny.wait"),
      problem = h("p.error"),
      messages = h("p.tiny");
    const bar = h("div.bar", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, h("div")),
      stop = h("button.stop.small", { onclick: () => host.send("stop", { id: row.id }) }, t("queue.stop")),
      away = h(
        "button.plain.small",
        { "aria-label": t("queue.dismiss"), onclick: () => host.send("dismiss", { id: row.id }) },
        "✕",
      );
    const shift = (by) => () =>
      host.send("move", { id: row.id, place: Math.max(0, numberOf(items.get(row.id)?.place) + by) });
    const earlier = h(
      "button.plain.small.earlier",
      { "aria-label": t("queue.earlier"), title: t("queue.earlier_hint"), onclick: shift(-1) },
      "↑",
    );
    const later = h(
      "button.plain.small.later",
      { "aria-label": t("queue.later"), title: t("queue.later_hint"), onclick: shift(1) },
      "↓",
    );
    const hold = h("button.plain.small.hold", {
      onclick: () => host.send("hold", { id: row.id, held: !items.get(row.id)?.held }),
    });
    const buttons = [earlier, later, hold, stop, away];
    const node = h(
      "li",
      { "data-run": row.id },
      h("div.row.run", {}, state, title, bar, time, wait, ...buttons),
      problem,
      messages,
    );
    return {
      node,
      state,
      title,
      time,
      wait,
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
    const isPast = (row) => row.state === "done" || (row.state === "stopped" && !row.problem);
    const past = rows.filter(isPast),
      current = rows.filter((row) => !isPast(row));
    const fresh = rows.some((row) => row.mine && !items.has(row.id));
    [...current, ...past].forEach((row, index) => {
      if (!items.has(row.id)) items.set(row.id, item(row));
      const view = items.get(row.id),
        over = OVER.includes(row.state),
        percent = Math.round(100 * row.fraction);
      const [home, place] = index < current.length ? [list, index] : [gone, index - current.length];
      if (home.children[place] !== view.node) home.insertBefore(view.node, home.children[place] ?? null);
      view.node.dataset.state = row.state;
      const waits = row.mine && row.state === "queued" && !row.stopping,
        own = rows.filter((one) => one.mine && one.state === "queued").length;
      view.place = numberOf(row.place);
      view.held = Boolean(row.held);
      view.hold.hidden = !waits && !(row.mine && row.gives_way && !row.stopping && !over);
      view.earlier.hidden = !waits || own < 2 || view.place === 0;
      view.later.hidden = !waits || own < 2 || view.place >= own - 1;
      setText(view.hold, row.held ? t("queue.let_go") : t("queue.hold"));
      setText(
        view.state,
        row.held
          ? t("queue.held")
          : row.state === "queued" && row.position > 0
            ? t("queue.waiting_behind", { n: row.position })
            : row.stopping && !over
              ? t("queue.stopping")
              : wordOf(row.state),
      );
      setText(view.title, tellTitle(row.title));
      setText(view.time, over ? (row.took != null ? formatSeconds(numberOf(row.took)) : "") : `${percent} %`);
      setText(view.wait, !over && row.eta != null ? t("queue.to_go", { wait: formatWait(row.eta) }) : "");
      view.bar.firstChild.style.width = `${percent}%`;
      view.bar.setAttribute("aria-valuenow", String(percent));
      view.bar.setAttribute("aria-label", `${tellTitle(row.title)}: ${percent} %`);
      view.bar.hidden = over;
      view.stop.hidden = over || !row.mine;
      view.stop.disabled = Boolean(row.stopping);
      view.away.hidden = !over;
      setText(view.problem, say(row.problem || ""));
      setText(view.messages, textsOf(row.messages).map(say).join("  "));
    });
    host.hide(!rows.length);
    const single = current.length < 2;
    host.root.classList.toggle("single", single && !host.get("paused"));
    host.root.dataset.current = String(current.length);
    summary.hidden = !past.length;
    ids = past.map((row) => row.id);
    if (!past.length) opened = false;
    gone.hidden = !opened;
    toggle.setAttribute("aria-expanded", String(opened));
    setText(toggle, opened ? t("queue.hide") : t("queue.show"));
    if (past.length) {
      const [first] = past,
        took = first.took != null ? formatSeconds(numberOf(first.took)) : "";
      setText(finished, `${wordOf(first.state)}: ${tellTitle(first.title)}${took ? `, ${took}` : ""}`);
      setText(more, past.length > 1 ? t("queue.and_more", { n: past.length - 1 }) : "");
    }
    const paused = Boolean(host.get("paused"));
    pause.hidden = !host.get("hosts");
    head.hidden = single && !paused;
    setText(pause, paused ? t("queue.go_on") : t("queue.pause"));
    setText(halted, paused ? t("queue.paused") : "");
    const going = rows.filter((row) => row.mine && !OVER.includes(row.state));
    pageState.busy = going.length
      ? `${wordOf(going[0].state)}, ${Math.round(100 * going[0].fraction)} %` +
        (going.length > 1 ? `; ${t("queue.more_waiting", { n: going.length - 1 })}` : "")
      : "";
    broadcast("busy", {});
    if (fresh) look();
    const first = rows[0],
      saying = first ? `${wordOf(first.state)}: ${tellTitle(first.title)}` : "";
    if (saying !== told) {
      told = saying;
      setText(live, saying);
    }
  }
  host.on("error", (body) => setText(error, say(body.text)));
  host.root.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "x" && !isTyping(event))
      list.querySelector("li:not([data-state=done]) button.stop:not([hidden])")?.click();
  });
  host.root.append(head, halted, list, summary, gone, live, error);
  for (const name of ["rows", "paused", "hosts"]) host.watch(name, show);
  show();
});
