// Topbar: name, facts, language, theme, keyboard map, and a word when the kernel has gone or the network is away.
// Python half: acestep_lab/ui/topbar.py.

const BEAT = 10_000;
/** Milliseconds that a page which was asleep waits for an answer before it is loaded anew. */
const PATIENCE = 6_000;

export default mount(
  "Page",
  [
    ["topbar.key_map", "topbar.key_map_what"],
    ["topbar.key_leave", "topbar.key_leave_what"],
  ],
  (host) => {
    const html = document.documentElement,
      about = h("span.tiny.about"),
      banner = h("p.error.banner", { role: "alert" }),
      again = h("button.small", { onclick: () => host.send("retry") }, t("topbar.save_again"));
    const theme = h(
      "button.plain.icon",
      {
        title: t("topbar.theme"),
        "aria-label": t("topbar.theme"),
        onclick: () => set(themeName() === "dark" ? "light" : "dark"),
      },
      "◐",
    );
    const keys = h(
      "button.plain.icon",
      { title: t("common.keyboard_map"), "aria-label": t("common.keyboard_map"), onclick: () => showKeys(host.root) },
      "?",
    );
    const languages = h(
      "select.language",
      {
        "aria-label": t("topbar.language"),
        title: t("topbar.language"),
        onchange: () => chooseLanguage(languages.value),
      },
      Object.entries(LOCALES).map(([tag, one]) => h("option", { value: tag, lang: tag }, one.language)),
    );
    languages.value = language();
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
    const stops = [];
    pageState.whole = Boolean(host.get("page"));
    if (pageState.whole) stops.push(dress(html, set));
    const onKey = (event) => {
      if (event.key === "?" && !isTyping(event) && host.get("page") && !document.querySelector("dialog[open]"))
        showKeys(host.root);
    };
    document.addEventListener("keydown", onKey);

    // -- is anybody there
    let missed = 0,
      gone = false,
      reloading = 0;
    const beat = () => {
      if (document.hidden) return; // a browser that sleeps misses beats, which says nothing of the kernel
      if (++missed > 2) lost(true);
      host.send("heartbeat");
    };
    const heartbeat = setInterval(beat, BEAT);
    host.on("heartbeat", () => {
      missed = 0;
      clearTimeout(reloading);
      reloading = 0;
      lost(false);
    });
    function lost(now) {
      gone = now;
      show();
    }
    /** Back from sleep, or back on the network: ask at once; where nobody answers, a whole page is loaded anew. */
    const wake = () => {
      if (document.hidden) return;
      missed = 0;
      show();
      if (pageState.whole && !reloading) reloading = setTimeout(reloadIfServed, PATIENCE);
      host.send("heartbeat");
    };
    const asleep = () => show();
    document.addEventListener("visibilitychange", wake);
    addEventListener("online", wake);
    addEventListener("offline", asleep);
    addEventListener("pageshow", wake);
    async function reloadIfServed() {
      reloading = 0;
      lost(true);
      try {
        const answer = await fetch(location.href, { method: "GET", cache: "no-store" });
        if (answer.ok) location.reload();
      } catch {
        /* the server is away: the banner says so, and the next time the page wakes it asks again */
      }
    }

    function show() {
      setText(about, textsOf(host.get("about")).map(say).join("  ·  "));
      about.title = about.textContent;
      const text =
        !navigator.onLine && host.get("page") && !isLocal()
          ? t("topbar.offline")
          : gone
            ? t("topbar.lost")
            : say(host.text("banner"));
      setText(banner, text);
      again.hidden = gone || !host.get("unsaved");
      below.hidden = !text && again.hidden;
      host.root.dataset.lost = String(gone);
    }
    const below = h("div.row.below", {}, banner, again);
    host.root.classList.toggle("whole", Boolean(host.get("page")));
    host.root.append(
      h(
        "div.row.name",
        {},
        h("span.mark", { "aria-hidden": "true" }),
        h("h1", {}, host.text("title")),
        about,
        h("span.spring"),
        languages,
        theme,
        keys,
      ),
      below,
    );
    host.watch(["about", "banner", "unsaved"], show);
    host.onClose(() => {
      clearInterval(heartbeat);
      clearTimeout(reloading);
      document.removeEventListener("keydown", onKey);
      document.removeEventListener("visibilitychange", wake);
      removeEventListener("online", wake);
      removeEventListener("offline", asleep);
      removeEventListener("pageshow", wake);
      stops.forEach((stop) => stop());
    });
    show();
  },
);

const isLocal = () => ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);

/** Colours and measures of a whole page; returns what takes them off again. */
function dress(html, set) {
  let kept = null;
  try {
    kept = localStorage.getItem("acestep-lab-theme");
  } catch {
    /* a private window keeps nothing */
  }
  set(kept ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"), false);
  const style = h(
    "style",
    {},
    "html,body{margin:0!important;padding:0!important;min-height:100%;background:#f6f5f1} " +
      "html[data-acl-theme=dark],html[data-acl-theme=dark] body{background:#101317!important}",
  );
  document.head.append(style);
  document.getElementById("acl-first")?.remove();
  if (!document.querySelector("meta[name=viewport]"))
    document.head.append(h("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }));
  html.lang = language();
  html.dir = LOCALES[language()].direction;
  return () => style.remove();
}
