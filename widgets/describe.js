// DescribeStrip: one line becomes a song, a sound is described, the dice throw an example; folded to a line when not
// used. Python half: acestep_lab/ui/describe.py.

export default mount("Describe", [["Enter", "describe.key_enter"]], (host) => {
  const error = h("p.error", { role: "alert" }),
    status = h("p.quiet.status", { role: "status" });
  const ask = (kind, body = {}) => {
    setText(error, "");
    host.send(kind, body);
  };
  const line = h("input.line", {
    type: "text",
    maxLength: 2000,
    placeholder: t("describe.placeholder"),
    "aria-label": t("describe.line"),
    onkeydown: (event) => {
      if (event.key === "Enter" && !event.isComposing) sketch();
    },
  });
  const instrumental = h("input", { type: "checkbox" });
  const language = h("select", { "aria-label": t("describe.language") });
  const seed = h("input.seed", { type: "text", inputMode: "numeric", "aria-label": t("describe.seed") });
  const dice = h("button.icon", {
    "aria-label": t("describe.new_seed"),
    title: t("describe.new_seed"),
    onclick: () => ask("new_seed"),
  });
  showIcon(dice, "dice");
  const go = h("button.ask", { onclick: () => (host.text("busy") ? ask("stop") : sketch()) });
  const hear = h("button.plain.hear", { onclick: () => ask("understand"), title: t("describe.hear_hint") });
  const codes = h(
    "button.plain.codes",
    { onclick: () => ask("codes"), title: t("describe.codes_hint") },
    t("describe.codes"),
  );
  const example = h(
    "button.plain.example",
    { onclick: () => ask("dice"), title: t("describe.example_hint") },
    h("span.mark", { "aria-hidden": "true" }, "⚄ "),
    t("describe.example"),
  );
  const undo = h("button.plain.undo", { onclick: () => ask("undo") }, t("describe.undo"));
  const words = h("span.words"),
    use = h("button.use", { onclick: () => ask("use") }, t("describe.use"));
  const offer = h("div.row.offer", { role: "status" }, words, use);
  const cannot = h("p.quiet.cannot");
  const form = h(
    "div.row.form",
    {},
    line,
    h(
      "div.row.options",
      {},
      h("label.check", {}, instrumental, t("describe.instrumental")),
      language,
      h("span.row.seeds", {}, seed, dice),
      go,
    ),
  );
  const fold = h(
    "details",
    { ontoggle: () => fold.open && line.focus() },
    h("summary", {}, t("describe.summary")),
    form,
  );
  const kept = h("div.row.kept", { hidden: true });

  function sketch() {
    if (!line.value.trim()) {
      setText(error, t("describe.empty"));
      line.focus();
      return;
    }
    const typed = seed.value.trim();
    if (typed && !/^\d+$/.test(typed)) {
      setText(error, t("describe.bad_seed"));
      seed.focus();
      return;
    }
    ask("sketch", {
      sentence: line.value,
      instrumental: instrumental.checked,
      language: language.value,
      seed: typed ? Number(typed) : null,
    });
  }
  function showCodes(body) {
    const text = textOf(body.text),
      name = textOf(body.name);
    const save = () => {
      const called = name.replace(/[^\p{L}\p{N} _-]+/gu, "").trim() || "sound";
      saveFile(host.root, text, `${called} codes.json`, "application/json");
    };
    kept.replaceChildren(
      h("span.tiny", {}, t("describe.codes_of", { n: numberOf(body.count), name })),
      h(
        "button.copy",
        { onclick: () => copyText(host.root, text, (said) => setText(status, said)) },
        t("describe.copy"),
      ),
      h("button.save", { onclick: save }, t("describe.save")),
      h("button.plain", { onclick: () => (kept.hidden = true), "aria-label": t("common.close") }, "✕"),
    );
    kept.hidden = false;
    host.root.dataset.codes = text;
  }
  function showLanguages() {
    const before = language.value;
    language.replaceChildren(
      h("option", { value: "" }, t("describe.any_language")),
      ...host
        .list("languages")
        .map(listOf)
        .map(([code, name]) => h("option", { value: textOf(code) }, say(textOf(name)))),
    );
    language.value = before;
  }
  function show() {
    const busy = host.text("busy"),
      why = host.text("cannot"),
      source = host.text("source"),
      offered = host.text("offered");
    fold.hidden = Boolean(why);
    setText(cannot, say(why));
    cannot.hidden = !why;
    setText(go, busy && busy !== "codes" ? t("describe.stop") : t("describe.ask"));
    go.classList.toggle("stop", Boolean(busy) && busy !== "codes");
    setText(hear, busy === "understand" ? t("describe.listening") : t("describe.hear"));
    hear.hidden = Boolean(why) || !source;
    hear.disabled = Boolean(busy);
    codes.hidden = !host.get("has_codes") || !source;
    codes.disabled = Boolean(busy);
    setText(codes, busy === "codes" ? t("describe.reading_codes") : t("describe.codes"));
    undo.hidden = !host.text("filled");
    setText(words, offered ? `${t(host.get("heard") ? "describe.heard" : "describe.written")} ${offered}` : "");
    offer.hidden = !offered;
    host.root.dataset.busy = busy;
    host.root.dataset.offered = offered;
  }
  host.on("error", (body) => setText(error, say(body.text)));
  host.on("codes", showCodes);
  host.watch("seed", () => (seed.value = String(host.number("seed"))));
  host.watch("languages", showLanguages);
  host.watch(["busy", "cannot", "source", "has_codes", "offered", "heard"], show);
  host.watch("filled", () => {
    const filled = host.text("filled");
    setText(status, filled ? t(filled === "example" ? "describe.filled_example" : "describe.filled_plan") : "");
    show();
  });
  // A selected sound says only that it is there; what is offered or was read of another is over.
  host.watch("source", () => (kept.hidden = true));
  seed.value = String(host.number("seed"));
  host.root.append(
    h("div.row.bar", {}, fold, cannot, h("span.row.more", {}, hear, codes, example, undo)),
    offer,
    kept,
    status,
    error,
  );
  showLanguages();
  show();
});
