// TrainingForm: what to learn from, how, and what that would take. Python half: acestep_lab/ui/training_form.py.

const TAKES = ["hand", "listed", "starred"];

export default mount("Train", [], (host) => {
  const error = h("p.error", { role: "alert" }),
    note = h("p.quiet", { role: "status" }),
    summary = h("span.tiny.num.summary"),
    fold = h("button.plain", { onclick: () => send("open", { on: !host.get("opened") }) });
  const send = (kind, body = {}) => {
    setText(error, "");
    host.send(kind, body);
  };

  // -- what is learnt from
  const path = h("input.path", { "aria-label": t("training_form.folder"), spellcheck: false, autocomplete: "off" });
  path.placeholder = t("training_form.folder");
  const addFolder = () => send("folder", { path: path.value }),
    scan = h("button", { onclick: addFolder }, t("training_form.add"));
  path.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) addFolder();
  });
  const takes = TAKES.map((which) => h("button", { onclick: () => send("takes", { which }) })),
    clear = h("button.plain", { onclick: () => send("clear") }, t("training_form.clear"));

  // -- what nobody wrote is listened for
  const label = h("button", { title: t("training_form.label_hint") }, t("training_form.label")),
    halt = h("button.stop", { onclick: () => send("halt") }, t("training_form.label_stop")),
    heard = h("p.tiny.heard", { role: "status" });
  label.addEventListener("click", () => {
    if (!justPressed(800, label)) send("label");
  });
  function showLabelling() {
    const what = host.table("labelling"),
      live = Boolean(what.id) && !what.over,
      [done, of] = [numberOf(what.done), numberOf(what.of)],
      parts = [];
    if (live) parts.push(t("training_form.labelling", { done: formatNumber(done), of: formatNumber(of) }));
    else if (what.id) parts.push(t("training_form.labelled", { done: formatNumber(done), of: formatNumber(of) }));
    if (numberOf(what.failed)) parts.push(t("training_form.label_failed", { n: numberOf(what.failed) }));
    if (textOf(what.said)) parts.push(say(what.said));
    setText(heard, parts.join(" "));
    halt.hidden = !live;
    halt.disabled = Boolean(what.stopping);
    label.disabled = live || Boolean(host.text("busy"));
    label.hidden = !numberOf(host.table("songs").n);
  }

  // -- how: a field for each setting, the less usual ones folded
  const fields = new Map(),
    few = h("div.settings"),
    others = h("div.settings"),
    more = h("details", {}, h("summary", {}, t("training_form.more")), others);
  function setting(row) {
    const name = textOf(row.name),
      label = t(`training_form.setting_${name}`),
      why = h("span.error", { role: "alert" }),
      choices = textsOf(row.choices);
    const input = choices.length
      ? h("select", {}, ...choices.map((one) => h("option", { value: one }, choiceName(name, one))))
      : h("input", { inputmode: "decimal", autocomplete: "off" });
    input.setAttribute("aria-label", label);
    input.title = t(`training_form.hint_${name}`);
    input.addEventListener("change", () => {
      setText(why, "");
      input.removeAttribute("aria-invalid");
      send("setting", { field: name, value: input.value });
    });
    const node = h("label.field", { "data-setting": name }, label, input, why);
    (row.more ? others : few).append(node);
    return { input, why };
  }
  const choiceName = (name, one) => {
    const key = `training_form.choice_${one.replace(/\W+/g, "_")}`,
      found = t(key);
    return found === key ? one : found;
  };
  function showSettings() {
    for (const row of tablesOf(host.get("settings"))) {
      if (!fields.has(row.name)) fields.set(row.name, setting(row));
      const { input, why } = fields.get(row.name);
      if (/** @type {any} */ (host.root.getRootNode()).activeElement !== input || !why.textContent)
        input.value = textOf(row.value);
      if (input.tagName === "INPUT") input.placeholder = textOf(row.usual) || t("training_form.usual");
    }
  }

  // -- what it would take
  const foretell = h("button", { onclick: () => send("foretell") }, t("training_form.foretell")),
    train = h("button.go", {
      onclick: () => {
        if (!justPressed(800, train)) send("train");
      },
    }),
    plan = h("div.plan");
  setText(train, t("training_form.train"));
  function showPlan() {
    const what = host.table("plan"),
      words = textsOf(what.words),
      shares = tablesOf(what.memory);
    plan.hidden = !words.length;
    if (!words.length) return;
    plan.dataset.fits = String(Boolean(what.fits));
    const size = (bytes) => t("training_form.gigabytes", { n: formatNumber(numberOf(bytes) / 1e9, 2) });
    const rows = ["reading", "learning"].flatMap((when) => {
      const own = shares.filter((one) => one.when === when),
        sum = own.reduce((all, one) => all + numberOf(one.bytes), 0);
      if (!own.length) return [];
      const line = (name, bytes, kind = "td") =>
        h("tr", { class: kind }, h("th", { scope: "row" }, name), h("td.num", {}, size(bytes)));
      return [line(t(`training_form.${when}`), sum, "sum"), ...own.map((one) => line(say(one.name), one.bytes))];
    });
    plan.replaceChildren(
      h("h3", {}, t("training_form.plan")),
      ...words.map((one) => h("p", {}, say(one))),
      h("table", {}, h("caption.tiny", {}, t("training_form.memory")), h("tbody", {}, ...rows)),
      ...textsOf(what.advice).map((one) => h("p.advice", {}, `▲ ${say(one)}`)),
    );
  }

  function show() {
    const songs = host.table("songs"),
      opened = Boolean(host.get("opened")),
      busy = host.text("busy"),
      n = numberOf(songs.n);
    host.hide(!host.get("offered"));
    foldRoot(host, !opened);
    body.hidden = !opened;
    setText(fold, t(opened ? "training_form.fold" : "training_form.unfold"));
    fold.setAttribute("aria-expanded", String(opened));
    fold.setAttribute("aria-label", `${titleOf("Train")}: ${fold.textContent}`);
    setText(
      summary,
      n ? t("training_form.songs", { n, time: formatTime(numberOf(songs.seconds)) }) : t("training_form.about"),
    );
    TAKES.forEach((which, place) => {
      const count = numberOf(songs[which]);
      setText(takes[place], t(`training_form.takes_${which}`, { n: count }));
      takes[place].hidden = !count;
    });
    clear.hidden = !n;
    for (const one of [scan, ...takes, clear, foretell, train]) one.disabled = Boolean(busy);
    foretell.disabled ||= !n;
    train.disabled ||= !n;
    setText(note, busy ? t(`training_form.busy_${busy}`) : "");
    plan.setAttribute("aria-busy", String(busy === "foretell"));
    showLabelling();
  }
  host.on("error", (body) => {
    const field = fields.get(body.field);
    if (!field) return setText(error, say(body.text));
    field.input.setAttribute("aria-invalid", "true");
    setText(field.why, say(body.text));
    if (others.contains(field.input)) more.open = true;
  });
  host.on("added", (body) => {
    if (textOf(body.path)) path.value = "";
    host.announce(t("training_form.added", { n: numberOf(body.n) }));
  });
  /** On a narrow page the tab is asked for, and so is what is in it. */
  host.onClose(
    onBroadcast("tab", (ask) => {
      if (ask?.name === "train" && !host.get("opened") && host.get("offered")) host.send("open", { on: true });
    }),
  );
  const body = h(
    "div.body",
    {},
    h("h3", {}, t("training_form.from")),
    h("div.row", {}, path, scan),
    h("div.row", {}, ...takes, h("span.spring"), label, halt, clear),
    heard,
    h("h3", {}, t("training_form.how")),
    few,
    more,
    h("div.row.actions", {}, note, h("span.spring"), foretell, train),
    plan,
  );
  host.root.append(h("div.head", {}, h("h2", {}, titleOf("Train")), summary, h("span.spring"), fold), body, error);
  host.watch(["offered", "opened", "songs", "busy"], show);
  host.watch("settings", showSettings);
  host.watch("plan", showPlan);
  host.watch("labelling", showLabelling);
  show();
  showSettings();
  showPlan();
});
