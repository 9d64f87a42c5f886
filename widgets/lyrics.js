// LyricsEditor: a text with section tags, a rail of sections with their lengths.
// Python half: acestep_lab/ui/lyrics_editor.py.

export default mount(
  "Lyrics",
  [
    ["Alt 1…9", "insert the first nine section tags"],
    ["Alt I", "instrumental, and back"],
  ],
  (host) => {
    let timer = 0,
      revision = -1;
    const text = h("textarea", {
      rows: 8,
      dir: "auto",
      spellcheck: false,
      maxLength: 100000,
      "aria-label": "Lyrics",
      placeholder: "[Verse]\nWords to sing, one line each\n\n[Chorus]\n…",
      oninput: () => {
        clearTimeout(timer);
        timer = setTimeout(push, 250);
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
    const tags = h("div.row.tags", { role: "group", "aria-label": "Insert a section tag" }),
      rail = h("ol.rail", { "aria-label": "Sections" }),
      remarks = h("div.stack.remarks", { role: "status" });
    const total = h("p.tiny.num"),
      room = h("div.room", { "aria-hidden": "true" }),
      error = h("p.error", { role: "alert" });
    const language = h("select", {
      "aria-label": "Language of the lyrics",
      onchange: () => host.send("language", { code: language.value }),
    });
    const mute = h("input", { type: "checkbox", onchange: () => host.send("instrumental", { on: mute.checked }) });
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
                title: s.known ? `Go to line ${s.line + 1}` : "Not a tag the models were taught",
                onclick: () => go(s.line),
              },
              h(
                "span.name",
                {},
                `${s.known ? "" : "? "}${textOf(s.tag)}${s.modifier ? ` · ${textOf(s.modifier)}` : ""}`,
              ),
              h("span.tiny.num", {}, `${s.seconds.toFixed(0)} s`),
            ),
            h("div.len", { style: `width:${Math.min(100, (100 * s.seconds) / Math.max(needed, duration || 0, 1))}%` }),
          ),
        ),
      );
      setText(
        total,
        off
          ? "No voice will be asked for."
          : found.length
            ? `About ${needed.toFixed(0)} s of singing${duration ? ` in ${duration.toFixed(0)} s` : ""}`
            : "No words: the model decides whether somebody sings.",
      );
      room.hidden = !duration || off || !found.length;
      room.style.setProperty("--full", `${Math.min(100, (100 * needed) / (duration || 1))}%`);
      room.classList.toggle("over", needed > (duration || 0) * 1.15);
      remarks.replaceChildren(
        ...(off ? [] : tablesOf(host.get("remarks"))).map((r) =>
          h(
            "button.plain.remark",
            { onclick: () => go(numberOf(r.line)) },
            `Line ${numberOf(r.line) + 1}: ${textOf(r.text)}`,
          ),
        ),
      );
    }
    function build() {
      const names = textsOf(host.get("tag_names"));
      tags.replaceChildren(...names.map((tag) => h("button.tag", { onclick: () => insert(tag) }, tag)));
      language.replaceChildren(
        h("option", { value: "" }, "Language: auto"),
        ...host
          .list("languages")
          .filter(Array.isArray)
          .map(([code, name]) => h("option", { value: code }, name)),
      );
    }
    host.root.addEventListener("keydown", (event) => {
      if (!event.altKey) return;
      const digit = Number(event.code.replace("Digit", ""));
      if (digit >= 1) {
        insert(textsOf(host.get("tag_names"))[digit - 1]);
        event.preventDefault();
      }
      if (event.code === "KeyI") {
        host.send("instrumental", { on: !mute.checked });
        event.preventDefault();
      }
    });
    host.on("error", (body) => setText(error, body.text));
    host.root.append(
      h(
        "div.head",
        {},
        h("h2", {}, "Lyrics"),
        h("span.spring"),
        h("label.check", {}, mute, "Instrumental"),
        h("div.language", {}, language),
      ),
      h("div.sheet", {}, text, h("div.side", {}, rail, total, room)),
      h("details.more", {}, h("summary", {}, "Section tags"), tags),
      remarks,
      error,
    );
    build();
    show();
    host.watch(["text", "sections", "remarks", "instrumental", "language", "duration", "revision", "sings"], show);
    host.watch(["tag_names", "languages"], () => {
      build();
      show();
    });
  },
);
