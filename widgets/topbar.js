// Topbar: name, facts, theme, keyboard map, and a word when the kernel has gone.
// Python half: acestep_lab/ui/topbar.py.

export default mount(
  "Page",
  [
    ["?", "this map"],
    ["Esc", "leave a field or a component"],
  ],
  (host) => {
    const html = document.documentElement,
      about = h("span.tiny.about"),
      banner = h("p.error.banner", { role: "alert" }),
      again = h("button.small", { onclick: () => host.send("retry") }, "Save again");
    const theme = h(
      "button.plain.icon",
      {
        title: "Light or dark",
        "aria-label": "Light or dark",
        onclick: () => set(themeName() === "dark" ? "light" : "dark"),
      },
      "◐",
    );
    const keys = h(
      "button.plain.icon",
      { title: "Keyboard map", "aria-label": "Keyboard map", onclick: () => showKeys(host.root) },
      "?",
    );
    function set(name, keep = true) {
      html.dataset.aclTheme = name;
      html.style.colorScheme = name;
      if (keep)
        try {
          localStorage.setItem("acestep-lab-theme", name);
        } catch {
          /* a private window keeps nothing */
        }
    }
    let style = null;
    if (host.get("page")) {
      let kept = null;
      try {
        kept = localStorage.getItem("acestep-lab-theme");
      } catch {
        /* likewise */
      }
      set(kept ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"), false);
      style = h(
        "style",
        {},
        "html,body{margin:0!important;padding:0;min-height:100%;background:#f6f5f1} " +
          "html[data-acl-theme=dark],html[data-acl-theme=dark] body{background:#101317!important}",
      );
      document.head.append(style);
      if (!document.querySelector("meta[name=viewport]"))
        document.head.append(h("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }));
      if (!html.lang) html.lang = "en";
    }
    const onKey = (event) => {
      if (event.key === "?" && !isTyping(event) && host.get("page") && !document.querySelector("dialog[open]"))
        showKeys(host.root);
    };
    document.addEventListener("keydown", onKey);
    let missed = 0;
    const heartbeat = setInterval(() => {
      if (++missed > 2) lost(true);
      host.send("heartbeat");
    }, 10000);
    host.on("heartbeat", () => {
      missed = 0;
      lost(false);
    });
    let gone = false;
    function lost(now) {
      gone = now;
      show();
    }
    function show() {
      setText(about, textsOf(host.get("about")).join("  ·  "));
      const text = gone
        ? "This page has lost its kernel. What was kept is on disk; start the kernel and reload the page."
        : host.text("banner");
      setText(banner, text);
      again.hidden = gone || !host.get("unsaved");
    }
    host.root.append(
      h(
        "div.row.name",
        {},
        h("span.mark", { "aria-hidden": "true" }),
        h("h1", {}, host.text("title")),
        about,
        h("span.spring"),
        theme,
        keys,
      ),
      h("div.row", {}, banner, again),
    );
    host.watch(["about", "banner", "unsaved"], show);
    host.onClose(() => {
      clearInterval(heartbeat);
      document.removeEventListener("keydown", onKey);
      style?.remove();
    });
    show();
  },
);
