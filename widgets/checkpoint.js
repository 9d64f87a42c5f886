// CheckpointSwitch: a chip with the checkpoint in use; opened, a list of others, their planners, and what one costs
// before it is used. Python half: acestep_lab/ui/checkpoint_switch.py.

export default mount("Checkpoint", [["Escape", "checkpoint.key_escape"]], (host) => {
  const name = h("span.name"),
    mark = h("span.tiny.mark"),
    licence = h("p.quiet.licence"),
    noPlanner = h("p.quiet.plans"),
    list = h("ul.choices", { "aria-label": t("checkpoint.list") }),
    missing = h("ul.choices", { "aria-label": t("checkpoint.others") }),
    others = h("details.others", {}, h("summary", {}, t("checkpoint.others")), missing),
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
    t("checkpoint.use"),
  );
  const planner = h("select.planner", {
    onchange: () => {
      setText(error, "");
      host.send("choose_planner", { name: planner.value });
    },
  });
  const planners = h("label.field", {}, t("checkpoint.planner"), planner);
  const looking = h("p.quiet", { role: "status" }, t("checkpoint.looking"));
  const box = h("div.box", {}, licence, noPlanner, looking, list, about, others, error);
  const fold = h(
    "details.chip-fold",
    { ontoggle: () => fold.open && host.send("list") },
    h("summary", { title: t("checkpoint.hint") }, h("span.hidden", {}, `${t("checkpoint.label")} `), name, mark),
    box,
  );
  about.append(chosenNote, planners, cost, h("div.row", {}, use));
  const shut = () => {
    if (!fold.open) return;
    fold.open = false;
  };
  host.root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && fold.open) {
      shut();
      fold.querySelector("summary")?.focus();
    }
  });
  const elsewhere = (event) => {
    if (!event.composedPath().includes(host.root)) shut();
  };
  document.addEventListener("pointerdown", elsewhere);
  function item(choice, shown, chosen) {
    const marks = { used: choice.name === shown, open: choice.is_open, missing: choice.missing };
    const found = Object.keys(marks).find((key) => marks[key]);
    return h(
      "li",
      { class: choice.missing ? "missing" : "" },
      h(
        "button.plain.choice",
        {
          "data-checkpoint": choice.name,
          "aria-pressed": String(choice.name === chosen),
          "aria-disabled": choice.missing ? "true" : null,
          "aria-current": choice.name === shown ? "true" : null,
          title: say(textOf(choice.missing) || textOf(choice.note)),
          onclick: () => {
            setText(error, "");
            host.send("choose", { name: choice.name });
          },
        },
        h("span.title", {}, choice.name),
        h("span.tiny", {}, textOf(choice.family)),
        found ? h("span.chip", {}, t(`checkpoint.is_${found}`)) : null,
      ),
    );
  }
  function showPlanners(chosen) {
    const rows = tablesOf(host.get("planners"));
    planners.hidden = !chosen || !rows.length;
    planner.replaceChildren(
      h("option", { value: "" }, t("checkpoint.own_planner")),
      ...rows.map((row) =>
        h(
          "option",
          { value: textOf(row.name), disabled: Boolean(row.missing), title: say(textOf(row.missing)) },
          row.missing
            ? t("checkpoint.planner_missing", { name: textOf(row.name) })
            : `${textOf(row.name)} · ${say(textOf(row.note))}`,
        ),
      ),
    );
    planner.value = host.text("planner");
  }
  function show() {
    const current = host.text("current"),
      chosen = host.text("chosen"),
      choices = tablesOf(host.get("choices")).map((choice) => ({ ...choice, name: textOf(choice.name) }));
    setText(name, current);
    setText(mark, host.text("note") ? " §" : "");
    setText(licence, say(host.text("note")));
    licence.hidden = !licence.textContent;
    setText(noPlanner, say(host.text("plans")));
    noPlanner.hidden = !noPlanner.textContent;
    const rows = (away) => choices.filter((one) => Boolean(one.missing) === away);
    list.replaceChildren(...rows(false).map((choice) => item(choice, current, chosen)));
    missing.replaceChildren(...rows(true).map((choice) => item(choice, current, chosen)));
    others.hidden = !missing.children.length;
    looking.hidden = Boolean(choices.length || error.textContent);
    const waits = Boolean(host.get("busy")),
      priced = host.text("cost");
    setText(chosenNote, say(textOf(choices.find((choice) => choice.name === chosen)?.note)));
    showPlanners(chosen);
    const working = priced ? t("checkpoint.opening") : t("checkpoint.reading");
    setText(cost, chosen ? (waits ? [say(priced), working].filter(Boolean).join(" ") : say(priced)) : "");
    setText(use, chosen ? t("checkpoint.use_named", { name: chosen }) : t("checkpoint.use"));
    use.disabled = waits || !priced || (chosen === current && !host.text("planner"));
    about.hidden = !chosen;
    host.root.dataset.current = current;
  }
  host.on("error", (body) => {
    fold.open = true;
    setText(error, say(body.text));
    show();
  });
  host.on("used", () => shut());
  host.root.append(fold);
  host.watch(["note", "plans", "choices", "chosen", "planners", "planner", "cost", "busy"], show);
  host.watch("current", () => {
    shut();
    host.announce(t("checkpoint.now", { name: host.text("current") }));
    show();
  });
  show();
  return () => document.removeEventListener("pointerdown", elsewhere);
});
