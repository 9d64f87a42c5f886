// Tabs: which part of a narrow page is shown. A wide page shows all parts, and no tabs.
// Python half: acestep_lab/ui/tabs.py. The page's columns (acestep_lab/ui/page.py) ask `--acl-tab-…` whether they show.

const TABS = ["compose", "listen", "repaint", "takes", "sweep", "train"];
const WIDE = 900;

export default mount("Tabs", [["← →", "tabs.key_move"]], (host) => {
  const html = document.documentElement,
    list = h("div.list", { role: "tablist", "aria-label": t("tabs.label") });
  let on = "compose",
    fresh = false;
  /** The last two are only there where something can be swept, and trained. */
  const offered = () => TABS.filter((name) => !["sweep", "train"].includes(name) || host.get(name));
  const buttons = TABS.map((name) =>
    h(
      "button.tab",
      { role: "tab", "data-tab": name, onclick: () => choose(name) },
      h("span.name", {}, t(`tabs.${name}`)),
      h("span.dot", { "aria-hidden": "true" }),
    ),
  );
  function choose(name, focus = false) {
    if (!offered().includes(name)) return;
    on = name;
    if (on === "listen") fresh = false;
    keep();
    show();
    if (focus) buttons[TABS.indexOf(name)].focus();
  }
  /** The tab is part of where one is: coming back to the page finds it, and no step of "back" is spent on it. */
  function keep() {
    try {
      history.replaceState({ ...tableOf(history.state), aclTab: on }, "");
    } catch {
      /* a page that may not: it begins with Compose */
    }
  }
  function show() {
    if (!offered().includes(on)) on = "compose";
    list.style.setProperty("--tabs", String(offered().length));
    for (const [place, name] of TABS.entries()) {
      const button = buttons[place],
        dot = name === "listen" && fresh;
      button.hidden = !offered().includes(name);
      html.style.setProperty(`--acl-tab-${name}`, name === on ? "flex" : "none");
      button.setAttribute("aria-selected", String(name === on));
      button.tabIndex = name === on ? 0 : -1;
      button.classList.toggle("fresh", dot);
      button.setAttribute("aria-label", dot ? t("tabs.listen_new") : t(`tabs.${name}`));
    }
    html.style.setProperty("--acl-bar-more", on === "listen" ? "flex" : "none");
    html.style.setProperty("--acl-bar-wave", on === "listen" && innerHeight > 700 ? "64px" : "32px");
    host.root.dataset.tab = on;
    host.root.dataset.fresh = String(fresh);
    broadcast("tab", { name: on });
  }
  list.addEventListener("keydown", (event) => {
    const forward = getComputedStyle(list).direction === "rtl" ? "ArrowLeft" : "ArrowRight",
      back = forward === "ArrowLeft" ? "ArrowRight" : "ArrowLeft",
      there = offered(),
      at = there.indexOf(on),
      many = there.length,
      to = { [forward]: (at + 1) % many, [back]: (at + many - 1) % many, Home: 0, End: many - 1 }[event.key];
    if (to === undefined) return;
    choose(there[to], true);
    event.preventDefault();
  });
  host.on("arrived", (body) => {
    fresh = on !== "listen";
    if (innerWidth < WIDE && !somebodyTypes() && on !== "repaint") choose("listen");
    else show();
    if (innerWidth < WIDE) host.announce(t("tabs.arrived", { title: tellTitle(body.title) }));
  });
  host.onClose(onBroadcast("show-tab", (ask) => choose(textOf(ask?.name))));
  list.append(...buttons);
  host.root.append(list);
  const kept = textOf(tableOf(history.state).aclTab);
  if (TABS.includes(kept)) on = kept;
  host.watch(["sweep", "train"], show);
  show();
});

/** Whether the reader is in a text field, in any component of the page. */
function somebodyTypes() {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  return Boolean(
    node?.matches("textarea, select, [contenteditable=true], input:not([type=range], [type=checkbox], [type=button])"),
  );
}
