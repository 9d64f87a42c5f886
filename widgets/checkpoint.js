// CheckpointSwitch: the checkpoint in use, others with their licence, and what one costs before it is used.
// Python half: acestep_lab/ui/checkpoint_switch.py.

export default mount("Checkpoint", [], (host) => {
  const name = h("span.name"),
    licence = h("p.quiet.licence"),
    list = h("ul.choices", { "aria-label": "Checkpoints" }),
    about = h("div.stack.about", { role: "status" }),
    cost = h("p.cost"),
    chosenNote = h("p.quiet.licence"),
    error = h("p.error", { role: "alert" });
  const use = h(
    "button.go.use",
    {
      onclick: () => {
        setText(error, "");
        host.send("use");
      },
    },
    "Use it",
  );
  const fold = h(
    "details",
    {
      ontoggle: () => {
        if (fold.open) host.send("list");
      },
    },
    h("summary", {}, "Checkpoint: ", name),
    list,
    about,
  );
  about.append(chosenNote, cost, h("div.row", {}, use));
  function item(choice, shown, chosen) {
    const mark = choice.name === shown ? "in use" : choice.is_open ? "open" : choice.missing ? "not here" : "";
    return h(
      "li",
      { class: choice.missing ? "missing" : "" },
      h(
        "button.plain.choice",
        {
          "data-checkpoint": choice.name,
          "aria-pressed": String(choice.name === chosen),
          "aria-disabled": choice.missing ? "true" : null,
          disabled: choice.name === shown,
          title: textOf(choice.missing) || textOf(choice.note),
          onclick: () => {
            setText(error, "");
            host.send("choose", { name: choice.name });
          },
        },
        h("span.title", {}, choice.name),
        h("span.tiny", {}, textOf(choice.family)),
        mark ? h("span.chip", {}, mark) : null,
      ),
    );
  }
  function show() {
    const current = host.text("current"),
      chosen = host.text("chosen"),
      choices = tablesOf(host.get("choices")).map((choice) => ({ ...choice, name: textOf(choice.name) }));
    setText(name, current);
    setText(licence, host.text("note"));
    licence.hidden = !licence.textContent;
    list.replaceChildren(...choices.map((choice) => item(choice, current, chosen)));
    const waits = Boolean(host.get("busy"));
    setText(chosenNote, textOf(choices.find((choice) => choice.name === chosen)?.note));
    setText(cost, chosen ? host.text("cost") || (waits ? "Reading what it costs…" : "") : "");
    setText(use, chosen ? `Use ${chosen}` : "Use it");
    use.disabled = waits || !host.text("cost");
    about.hidden = !chosen;
    host.root.dataset.current = current;
  }
  host.on("error", (body) => setText(error, body.text));
  host.root.append(fold, licence, error);
  host.watch(["note", "choices", "chosen", "cost", "busy"], show);
  host.watch("current", () => {
    fold.open = false;
    host.announce(`${host.text("current")} makes the music from now on.`);
    show();
  });
  show();
});
