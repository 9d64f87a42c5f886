// LyricsEditor: a text with section tags, a rail of sections with their lengths.
// Python half: acestep_lab/ui/lyrics_editor.py.

export default mount(
  "Lyrics",
  [
    ["Alt 1…9", "lyrics.key_tags"],
    ["Alt I", "lyrics.key_instrumental"],
  ],
  (host) => {
    let timer = 0,
      revision = -1;
    const text = h("textarea", {
      rows: 8,
      dir: "auto",
      spellcheck: false,
      maxLength: 100000,
      "aria-label": t("lyrics.label"),
      placeholder: t("lyrics.placeholder"),
      oninput: () => {
        clearTimeout(timer);
        timer = setTimeout(push, 250);
        if (host.text("kept_for")) broadcast("words-typed", { kept_for: host.text("kept_for"), text: text.value });
      },
    });
    const push = () => {
      clearTimeout(timer);
      timer = 0;
      host.send("text", { text: text.value });
    };
    text.addEventListener("blur", () => {
      if (timer) push();
    });
    const tags = h("div.row.tags", { role: "group", "aria-label": t("lyrics.insert_tag") }),
      rail = h("ol.rail", { "aria-label": t("lyrics.sections") }),
      remarks = h("div.stack.remarks", { role: "status" });
    const total = h("p.tiny.num"),
      room = h("div.room", { "aria-hidden": "true" }),
      error = h("p.error", { role: "alert" });
    const language = h("select", {
      "aria-label": t("lyrics.language"),
      onchange: () => host.send("language", { code: language.value }),
    });
    const mute = h("input", { type: "checkbox", onchange: () => host.send("instrumental", { on: mute.checked }) });
    const locker = h("button.plain.icon.lock", {
      "aria-label": t("lyrics.lock"),
      "aria-pressed": "false",
      title: t("lyrics.lock"),
      onclick: () => host.send("lock", { on: !host.get("locked") }),
    });
    const go = (line) => {
      const at = text.value.split("\n").slice(0, line).join("\n").length + (line ? 1 : 0);
      text.focus();
      text.setSelectionRange(at, at + (text.value.split("\n")[line] ?? "").length);
      text.scrollTop = Math.max(0, line - 2) * 22;
    };
    function insert(tag) {
      if (text.disabled || !tag) return;
      const at = text.selectionStart,
        before = text.value.slice(0, at),
        gap = before === "" || before.endsWith("\n\n") ? "" : before.endsWith("\n") ? "\n" : "\n\n";
      text.focus();
      text.setRangeText(`${gap}[${tag}]\n`, at, text.selectionEnd, "end");
      push();
    }
    function show() {
      const now = host.get("revision"),
        off = Boolean(host.get("instrumental")),
        root = /** @type {any} */ (host.root.getRootNode());
      if (now !== revision || root.activeElement !== text) {
        if (!timer && text.value !== host.text("text")) text.value = host.text("text");
      }
      revision = now;
      host.hide(!host.get("sings"));
      text.disabled = off;
      showLock(locker, Boolean(host.get("locked")));
      mute.checked = off;
      language.value = host.text("language");
      language.disabled = off;
      host.root.dataset.instrumental = String(off);
      const found = off
          ? []
          : tablesOf(host.get("sections")).map((s) => ({ ...s, line: numberOf(s.line), seconds: numberOf(s.seconds) })),
        needed = host.number("needed"),
        duration = host.number("duration");
      rail.replaceChildren(
        ...found.map((s) =>
          h(
            "li",
            { class: s.known ? "" : "strange" },
            h(
              "button.plain",
              {
                title: s.known ? t("lyrics.go_to_line", { n: s.line + 1 }) : t("lyrics.strange_tag"),
                onclick: () => go(s.line),
              },
              h("span.name", {}, `${s.known ? "" : "? "}${say(s.tag)}${s.modifier ? ` · ${textOf(s.modifier)}` : ""}`),
              h("span.tiny.num", {}, t("lyrics.seconds", { n: formatNumber(s.seconds) })),
            ),
            h("div.len", { style: `width:${Math.min(100, (100 * s.seconds) / Math.max(needed, duration || 0, 1))}%` }),
          ),
        ),
      );
      setText(
        total,
        off
          ? t("lyrics.no_voice")
          : found.length
            ? t(duration ? "lyrics.about_in" : "lyrics.about", {
                n: formatNumber(needed),
                total: formatNumber(duration),
              })
            : t("lyrics.no_words"),
      );
      room.hidden = !duration || off || !found.length;
      room.style.setProperty("--full", `${Math.min(100, (100 * needed) / (duration || 1))}%`);
      room.classList.toggle("over", needed > (duration || 0) * 1.15);
      remarks.replaceChildren(
        ...(off ? [] : tablesOf(host.get("remarks"))).map((r) =>
          h(
            "button.plain.remark",
            { onclick: () => go(numberOf(r.line)) },
            t("lyrics.line", { n: numberOf(r.line) + 1, text: say(r.text) }),
          ),
        ),
      );
    }
    function build() {
      const names = textsOf(host.get("tag_names"));
      tags.replaceChildren(...names.map((tag) => h("button.tag", { onclick: () => insert(tag) }, tag)));
      language.replaceChildren(
        h("option", { value: "" }, t("lyrics.language_auto")),
        ...host
          .list("languages")
          .filter(Array.isArray)
          .map(([code, name]) => h("option", { value: code }, say(name))),
      );
    }
    host.root.addEventListener("keydown", (event) => {
      if (!event.altKey) return;
      const digit = Number(event.code.replace(/^\D+/, ""));
      if (digit >= 1) {
        insert(textsOf(host.get("tag_names"))[digit - 1]);
        event.preventDefault();
      }
      if (event.code === "KeyI") {
        host.send("instrumental", { on: !mute.checked });
        event.preventDefault();
      }
    });
    host.on("error", (body) => setText(error, say(body.text)));
    host.root.append(
      h(
        "div.head",
        {},
        h("h2", {}, t("titles.Lyrics")),
        locker,
        h("span.spring"),
        h("label.check", {}, mute, t("lyrics.instrumental")),
        h("div.language", {}, language),
      ),
      h("div.sheet", {}, text, h("div.side", {}, rail, total, room)),
      h("details.more", {}, h("summary", {}, t("lyrics.section_tags")), tags),
      remarks,
      error,
    );
    build();
    show();
    host.watch(
      ["text", "sections", "remarks", "instrumental", "language", "duration", "revision", "sings", "locked"],
      show,
    );
    host.watch(["tag_names", "languages"], () => {
      build();
      show();
    });
  },
);
