// PromptEditor: caption, task, metadata with Auto and locks, all else behind "More", presets, sweeps, the kept draft.
// Python half: acestep_lab/ui/prompt_editor.py.

export default mount(
  "Compose",
  [
    ["Ctrl Enter", "prompt.key_make"],
    ["Ctrl Z", "prompt.key_undo"],
    ["Alt D", "prompt.key_dice"],
  ],
  (host) => {
    /**
     * @typedef {{set: (v: any) => void, node: HTMLElement, error: HTMLElement, inputs: any[],
     *   locker?: HTMLElement | null, showAuto?: (usual: any) => void}} Box  a field of the form
     * @type {Record<string, Box>}
     */
    const boxes = {};
    let revision = -1,
      serial = pageState.serial++;
    const timers = {};

    // -- what Python says ---------------------------------------------------------------------------------------------

    /** Fields of a form, each with what is read of it below in its kind. */
    const specs = (value) =>
      tablesOf(value).map((spec) => ({
        ...spec,
        name: textOf(spec.name),
        label: say(spec.label),
        hint: say(spec.hint),
        group: textOf(spec.group),
        options: textsOf(spec.options),
      }));
    const draft = () => host.table("draft"),
      limits = () => host.table("limits");
    let formsRead = null,
      formsOf = null;
    const forms = () => {
      const all = host.table("forms");
      if (formsOf === all && formsRead) return formsRead;
      formsOf = all;
      formsRead = {
        metadata: specs(all.metadata),
        song: specs(all.song),
        more: specs(all.more),
        groups: textsOf(all.groups),
        counts: listOf(all.counts).map((n) => numberOf(n, 1)),
        plans: Boolean(all.plans),
        tasks: tablesOf(all.tasks).map((row) => ({ ...row, fields: specs(row.fields) })),
      };
      return formsRead;
    };
    const taskRow = () => forms().tasks.find((row) => row.name === draft().task);
    const ofTask = () => taskRow()?.fields ?? [];
    const isFolded = (spec) => spec.group !== "";

    // -- what is typed ------------------------------------------------------------------------------------------------

    const pending = new Map();
    /** Errors that answer the last click, by field; they go with their cause. */
    let said = {};
    const edit = (field, value) => {
      clearTimeout(timers[field]);
      delete timers[field];
      pending.delete(field);
      settle(field);
      remember(field, value);
      host.send("edit", { field, value });
    };
    const editSoon = (field, value) => {
      clearTimeout(timers[field]);
      timers[field] = setTimeout(() => edit(field, value()), 250);
      pending.set(field, value);
    };
    const flushEdits = () => {
      for (const [field, value] of [...pending]) if (timers[field]) edit(field, value());
      pending.clear();
    };
    /** A change of a field: what was said of it, and of the last click as a whole, is over. */
    function settle(field) {
      if (field === "task") said = {};
      else delete said[field];
      delete said.caption;
      setText(error, "");
      setText(sweepError, "");
      showErrors();
    }
    function clearSaid() {
      said = {};
      setText(error, "");
      setText(sweepError, "");
      showErrors();
    }

    // -- the draft a browser keeps ------------------------------------------------------------------------------------

    const keptFor = () => host.text("kept_for");
    const place = () => `acestep-lab:draft:${location.pathname}:${keptFor()}`;
    function readKept() {
      try {
        return tableOf(JSON.parse(localStorage.getItem(place()) ?? "null"));
      } catch {
        return {}; // nothing was kept, or this page may keep nothing
      }
    }
    function store(patch = {}) {
      if (!keptFor()) return;
      const own = host.table("kept"),
        whole = { ...(Object.keys(own).length ? own : Object.keys(patch).length ? readKept() : {}), ...patch };
      if (!Object.keys(whole).length) return;
      try {
        localStorage.setItem(place(), JSON.stringify(whole));
      } catch {
        /* no room, or not allowed: the draft lives on in Python */
      }
    }
    /** What is typed is kept here at once, also while no kernel answers. */
    function remember(field, value) {
      if (!keptFor()) return;
      if (field === "caption" || field === "task") store({ [field]: value ?? "" });
      else store({ values: { ...tableOf(readKept().values), [field]: value } });
    }
    function restore() {
      if (!keptFor() || Object.keys(host.table("kept")).length) return;
      const { caption, task, values, locked, count, used, lyrics } = readKept();
      if (caption || values || lyrics)
        host.send("restore", { kept: { caption, task, values, locked, count, used, lyrics } });
    }

    // -- boxes --------------------------------------------------------------------------------------------------------

    const errorLine = (id) => h("p.error", { id, role: "alert" });
    function lockOf(name, label) {
      const locker = h("button.plain.icon.lock", {
        "aria-label": t("prompt.lock", { field: label }),
        "aria-pressed": "false",
        title: t("prompt.lock_hint"),
        onclick: () => host.send("lock", { field: name, on: locker.getAttribute("aria-pressed") !== "true" }),
      });
      return locker;
    }
    const caption = h("textarea", {
      rows: 3,
      id: `caption-${serial}`,
      maxLength: 20000,
      dir: "auto",
      placeholder: t("prompt.caption_placeholder"),
      oninput: () => editSoon("caption", () => caption.value),
    });
    const captionError = errorLine(`caption-error-${serial}`),
      captionLock = lockOf("caption", t("prompt.caption"));
    caption.setAttribute("aria-describedby", captionError.id);
    boxes.caption = {
      node: caption,
      error: captionError,
      inputs: [caption],
      locker: captionLock,
      set: (value) => {
        caption.value = textOf(value);
      },
    };

    const shownOption = (option) => say(option.replaceAll("_", " "));
    const shownUsual = (usual) =>
      usual === true ? t("prompt.on") : usual === false ? t("prompt.off") : shownOption(textOf(usual));
    const autoWord = (usual) =>
      usual == null || usual === "" ? t("prompt.auto") : t("prompt.auto_is", { value: shownUsual(usual) });
    const fill = (name, of = "") => {
      flushEdits();
      settle(name);
      host.send("fetch", { field: name, of });
    };

    /** Inputs by the kind of a field: what stands in the box, what to focus, how it is set and shows what Auto is. */
    const KINDS = {
      choice(spec, id, auto) {
        const first = h("option", { value: "" }, t("prompt.auto"));
        const input = h(
          "select",
          { id, onchange: () => edit(spec.name, input.value || null) },
          auto ? first : null,
          spec.options.map((option) => h("option", { value: option }, shownOption(option))),
        );
        const set = (value) => {
          const text = value == null ? "" : String(value);
          if (text && ![...input.options].some((option) => option.value === text))
            input.append(h("option", { value: text }, text));
          input.value = value == null ? (auto ? "" : (spec.default ?? "")) : text;
        };
        return { input, inputs: [input], set, showAuto: (usual) => setText(first, autoWord(usual)) };
      },
      flag(spec, id) {
        const first = h("option", { value: "" }, t("prompt.auto"));
        const input = h(
          "select",
          { id, onchange: () => edit(spec.name, input.value === "" ? null : input.value === "on") },
          first,
          h("option", { value: "on" }, t("prompt.on")),
          h("option", { value: "off" }, t("prompt.off")),
        );
        const set = (value) => {
          input.value = value === true ? "on" : value === false ? "off" : "";
        };
        return { input, inputs: [input], set, showAuto: (usual) => setText(first, autoWord(usual)) };
      },
      share(spec, id) {
        const number = h("output.num.tiny");
        const tell = (value) => {
          const text = formatNumber(value, 2);
          setText(number, spec.rest ? t(`prompt.rest_${spec.rest}`, { text, rest: formatNumber(1 - value, 2) }) : text);
        };
        const range = h("input", {
          id,
          type: "range",
          min: "0",
          max: "1",
          step: "0.01",
          oninput: () => {
            tell(Number(range.value));
            editSoon(spec.name, () => Number(range.value));
          },
        });
        const set = (value) => {
          range.value = String(value ?? spec.default ?? 0);
          tell(Number(range.value));
        };
        return { input: h(spec.rest ? "div.stack.share" : "div.row.share", {}, range, number), inputs: [range], set };
      },
      stems(spec) {
        const checks = spec.options.map((option) => [
          option,
          h("input", {
            type: "checkbox",
            onchange: () =>
              edit(
                spec.name,
                checks.filter(([, c]) => c.checked).map(([o]) => o),
              ),
          }),
        ]);
        const labels = checks.map(([option, check]) => h("label.check", {}, check, shownOption(option)));
        const set = (value) =>
          checks.forEach(([option, check]) => {
            check.checked = listOf(value ?? spec.default).includes(option);
          });
        return { input: h("div.checks", {}, labels), inputs: checks.map(([, check]) => check), set };
      },
      span(spec, id) {
        const send = () =>
          editSoon(spec.name, () => (ends.some((end) => end.value.trim()) ? ends.map((e) => e.value) : null));
        const end = (word, more = {}) =>
          h("input", {
            type: "text",
            inputmode: "decimal",
            autocomplete: "off",
            "aria-label": `${spec.label}: ${word}`,
            oninput: send,
            ...more,
          });
        const ends = [end(t("prompt.from"), { id }), end(t("prompt.to"))];
        const marked = spec.name.endsWith(".region")
          ? h("button.plain", { onclick: () => fill(spec.name) }, t("prompt.use_region"))
          : null;
        const set = (value) => ends.forEach((one, at) => (one.value = textOf(listOf(value)[at])));
        const showAuto = () => ends.forEach((one) => (one.placeholder = t("prompt.auto")));
        return {
          input: h("div.row.span", {}, ends[0], h("span", {}, "–"), ends[1], marked),
          inputs: ends,
          set,
          showAuto,
        };
      },
      sound(spec, id) {
        const name = h("span.sound", { dir: "auto" }),
          none = h("button.plain", { onclick: () => edit(spec.name, null) }, t("prompt.none"));
        const take = h("button", { id, onclick: () => fill(spec.name) }, t("prompt.use_take"));
        const set = (value) => {
          setText(name, value == null ? t("prompt.no_sound") : textOf(host.table("names")[value]) || textOf(value));
          none.hidden = value == null;
        };
        return { input: h("div.row.fetch", {}, name, take, none), inputs: [take], set };
      },
      codes(spec, id) {
        const input = longText(spec, id);
        const button = (of, word) => h("button.plain", { onclick: () => fill(spec.name, of) }, word);
        const row = h(
          "div.row.fetch",
          {},
          button("plan", t("prompt.codes_of_plan")),
          button("take", t("prompt.codes_of_take")),
        );
        return { input: h("div", {}, input, row), inputs: [input], set: (value) => (input.value = textOf(value)) };
      },
      long(spec, id) {
        const input = longText(spec, id);
        return {
          input,
          inputs: [input],
          set: (value) => (input.value = textOf(value)),
          showAuto: (usual) => (input.placeholder = autoWord(usual)),
        };
      },
      line(spec, id, auto) {
        const input = h("input", {
          id,
          type: "text",
          dir: spec.kind === "text" ? "auto" : null,
          inputmode: ["text", "numbers"].includes(spec.kind) ? "text" : "decimal",
          autocomplete: "off",
          oninput: () => editSoon(spec.name, () => (input.value.trim() === "" ? null : input.value)),
        });
        const set = (value) => {
          const text = Array.isArray(value) ? value.join(", ") : value;
          input.value = text == null ? (auto ? "" : (spec.default ?? "")) : String(text);
        };
        const showAuto = auto ? (usual) => (input.placeholder = autoWord(usual)) : undefined;
        return { input, inputs: [input], set, showAuto };
      },
    };
    const longText = (spec, id) => {
      const input = h("textarea", {
        id,
        rows: 2,
        dir: "auto",
        spellcheck: false,
        maxLength: spec.kind === "codes" ? 100000 : 20000,
        oninput: () => editSoon(spec.name, () => (input.value.trim() === "" ? null : input.value)),
      });
      return input;
    };
    const tryWord = (spec) =>
      t(`prompt.try_${spec.attempt === "both" || spec.attempt === "with" ? spec.attempt : "three"}`);

    /** One field of a form, with its Auto or its value, perhaps a lock, a hint and what is tried of it. */
    function box(spec, { auto = spec.default == null, lock = true, whole = false } = {}) {
      const id = `f-${spec.name.replace(".", "-")}-${serial}`,
        error = errorLine(`${id}-error`),
        hint = whole ? h("span.hint", { id: `${id}-hint` }, spec.hint) : null;
      const made = (KINDS[spec.kind] ?? KINDS.line)(spec, id, auto);
      made.inputs[0]?.setAttribute("aria-describedby", [hint?.id, error.id].filter(Boolean).join(" "));
      const locker = lock ? lockOf(spec.name, spec.label) : null;
      const unit = spec.unit === "seconds" ? " (s)" : spec.unit === "dBFS" ? " (dBFS)" : null;
      const label = h("label.field", { for: id, title: spec.hint }, h("span.name", {}, spec.label, unit));
      const attempt = whole
        ? h(
            "button.plain.try",
            {
              "aria-label": `${tryWord(spec)}: ${spec.label}`,
              title: t("prompt.try_hint"),
              onclick: (event) => again(event.currentTarget, () => host.send("try", { field: spec.name })),
            },
            tryWord(spec),
          )
        : null;
      const node = h(
        "div.box",
        { "data-field": spec.name, class: `box kind-${spec.kind}` },
        h("div.label", {}, label, locker),
        made.input,
        whole ? h("p.about", {}, hint, " ", attempt) : null,
        error,
      );
      boxes[spec.name] = { ...made, node, error, locker, showAuto: auto ? made.showAuto : undefined };
      return node;
    }
    /** A button that begins a run: not twice by a double click. */
    function again(button, work) {
      if (justPressed(900, button)) return;
      flushEdits();
      clearSaid();
      work();
    }

    // -- the parts of the form ----------------------------------------------------------------------------------------

    const icon = (word, work, text = "") =>
      h("button.plain.icon", { title: word, "aria-label": word, onclick: work }, text);
    const dice = icon(t("prompt.roll"), () => host.send("new_seed")),
      seedTools = h(
        "div.row.seedtools",
        {},
        icon(t("prompt.next_seed"), () => host.send("next_seed"), "+1"),
        dice,
      );
    showIcon(dice, "dice");
    const task = h("select.task", {
        id: `task-${serial}`,
        "aria-label": t("prompt.task"),
        onchange: () => edit("task", task.value),
      }),
      taskHint = h("p.tiny"),
      taskFields = h("div.grid.task"),
      reason = errorLine(`task-error-${serial}`);
    task.setAttribute("aria-describedby", reason.id);
    boxes.task = {
      node: task,
      error: reason,
      inputs: [task],
      set: (value) => {
        task.value = textOf(value);
      },
    };
    const basic = h("div.grid.basic"),
      source = h("p.tiny");
    const isSupplied = (name) => host.list("supplied").includes(name);
    const presets = h("select", {
      "aria-label": t("prompt.preset"),
      onchange: () => {
        if (presets.value) {
          flushEdits();
          clearSaid();
          host.send("preset", { name: presets.value });
        }
        presets.value = "";
      },
    });
    const step = (kind) => () => {
      flushEdits();
      host.send(kind);
    };
    const back = icon(t("prompt.undo"), step("undo"), "↶"),
      forth = icon(t("prompt.redo"), step("redo"), "↷");
    const go = h("button.go", { onclick: () => act("make") }, t("prompt.make"));
    const plan = h("button", { title: t("prompt.plan_hint"), onclick: () => act("plan") }, t("prompt.plan"));
    const polish = h("button", { title: t("prompt.polish_hint"), onclick: () => act("polish") }, t("prompt.polish"));
    const counts = h("div.seg.counts", { role: "group", "aria-label": t("prompt.count") });
    const leftOut = h("div.stack.notes"),
      busy = h("span.quiet", { role: "status" }),
      seeds = h("span.tiny.num"),
      error = h("p.error", { role: "alert" }),
      sweepError = h("p.error", { role: "alert" });
    const restored = h(
      "div.row.restored",
      { role: "status", hidden: true },
      h("span", {}, t("prompt.restored")),
      h("button.plain", { onclick: () => host.send("forget") }, t("prompt.start_afresh")),
      icon(t("prompt.keep_restored"), () => host.send("keep"), "✕"),
    );
    const act = (kind) => {
      if (justPressed(700, go, plan, polish)) return;
      flushEdits();
      clearSaid();
      host.send(kind, kind === "make" ? { revision: host.get("clicks") } : {});
      broadcast("begun", {});
    };
    function nameAPreset() {
      flushEdits();
      const name = h("input", {
        type: "text",
        "aria-label": t("prompt.preset_name"),
        placeholder: t("prompt.preset_name"),
        maxLength: 60,
      });
      const save = () => {
        host.send("save_preset", { name: name.value });
        dialog.close();
      };
      name.addEventListener("keydown", (event) => {
        if (event.key === "Enter") {
          save();
          event.preventDefault();
        }
      });
      const dialog = h(
        "dialog",
        { "aria-label": t("prompt.keep_preset"), onclose: () => dialog.remove() },
        h("div.head", {}, h("h2", {}, t("prompt.keep_preset"))),
        name,
        h(
          "div.row",
          { style: "margin-top:14px" },
          h("span.spring"),
          h("button.plain", { onclick: () => dialog.close() }, t("prompt.cancel")),
          h("button", { onclick: save }, t("prompt.keep")),
        ),
      );
      host.root.append(dialog);
      dialog.showModal();
    }

    // "More" is built when it is first opened: its forty fields cost a page nothing until somebody wants them.
    const moreFields = h("div.folded"),
      moreMark = h("span.tiny"),
      more = h("details.more", {}, h("summary", {}, t("prompt.more"), " ", moreMark), moreFields);
    let moreOf = "",
      groupShown = "";
    more.addEventListener("toggle", () => {
      if (more.open) buildMore();
    });
    const folded = () => [...forms().more, ...ofTask().filter(isFolded)];
    const groupWord = (group) => t(`prompt.group_${group.toLowerCase()}`);
    function buildMore() {
      const now = `${taskRow()?.name}`;
      if (moreOf === now) return;
      moreOf = now;
      const fields = folded(),
        groups = forms().groups.filter((group) => fields.some((spec) => spec.group === group));
      for (const spec of fields) delete boxes[spec.name];
      const tabs = h(
        "div.seg.groups",
        { role: "group", "aria-label": t("prompt.more") },
        groups.map((group) =>
          h("button", { "data-group": group, onclick: () => showGroup(group) }, groupWord(group), h("span.count")),
        ),
      );
      moreFields.replaceChildren(
        tabs,
        ...groups.map((group) =>
          h(
            "section.group",
            { "aria-label": groupWord(group), "data-group": group },
            h(
              "div.grid.wide",
              {},
              fields.filter((spec) => spec.group === group).map((spec) => box(spec, { whole: true })),
            ),
          ),
        ),
      );
      showGroup(groups.includes(groupShown) ? groupShown : groups[0]);
      show();
    }
    function showGroup(group) {
      groupShown = group;
      for (const section of moreFields.querySelectorAll("section.group"))
        section.hidden = section.dataset.group !== group;
      for (const tab of moreFields.querySelectorAll(".groups button"))
        tab.setAttribute("aria-pressed", String(tab.dataset.group === group));
    }
    /** How many fields of each group are set, or wrong. */
    function markGroups(errors) {
      const values = tableOf(draft().values);
      for (const tab of moreFields.querySelectorAll(".groups button")) {
        const own = folded().filter((spec) => spec.group === tab.dataset.group),
          wrong = own.filter((spec) => errors[spec.name]).length,
          set = own.filter((spec) => values[spec.name] != null).length;
        setText(tab.lastChild, wrong ? ` ▲${wrong}` : set ? ` ${set}` : "");
        tab.lastChild.classList.toggle("wrong", wrong > 0);
      }
    }
    const foldedNames = () => folded().map((spec) => spec.name);
    function openMore(name) {
      more.open = true;
      buildMore();
      showGroup(folded().find((spec) => spec.name === name)?.group);
    }

    // -- sweeps -------------------------------------------------------------------------------------------------------

    const axis = (word) => h("select", { "aria-label": word }),
      xs = axis(t("prompt.sweep_across")),
      ys = axis(t("prompt.sweep_down")),
      allow = () => {
        yv.disabled = !ys.value;
      },
      values = (word) => h("input", { type: "text", placeholder: "1, 3, 5", "aria-label": word }),
      xv = values(t("prompt.values_across")),
      yv = values(t("prompt.values_down"));
    ys.addEventListener("change", allow);
    const swept = () => ({ x: xs.value, xs: xv.value, y: ys.value, ys: yv.value });
    let askedSweep = false;
    const sweepBy = (kind, button) =>
      again(button, () => {
        askedSweep = true;
        host.send(kind, swept());
      });
    const sweep = h(
      "div.sweepform",
      {},
      xs,
      xv,
      ys,
      yv,
      h(
        "button",
        { title: t("prompt.grid_hint"), onclick: (event) => sweepBy("sweep", event.currentTarget) },
        t("prompt.make_grid"),
      ),
      h(
        "button.plain",
        { title: t("prompt.grid_code_hint"), onclick: (event) => sweepBy("sweep_code", event.currentTarget) },
        t("prompt.copy_code"),
      ),
    );
    host.on("sweep_code", (body) => copyText(host.root, body.text, host.announce));
    function offerSweeps() {
      const kinds = ["number", "whole", "share", "choice"],
        { metadata, song, more: rest } = forms();
      const offered = [...rest, ...metadata, ...song, ...ofTask()].filter((spec) => kinds.includes(spec.kind)),
        option = (spec) => h("option", { value: spec.name }, spec.label);
      const kept = [xs.value, ys.value];
      xs.replaceChildren(...offered.map(option));
      ys.replaceChildren(h("option", { value: "" }, t("prompt.and_perhaps")), ...offered.map(option));
      [xs, ys].forEach((select, at) => {
        if (offered.some((spec) => spec.name === kept[at])) select.value = kept[at];
      });
      allow();
    }

    // -- building and showing -----------------------------------------------------------------------------------------

    let shownTask = null;
    function build() {
      const { metadata, song, tasks: rows, plans, counts: many } = forms();
      for (const name of Object.keys(boxes)) if (name !== "caption" && name !== "task") delete boxes[name];
      shownTask = null;
      moreOf = "";
      plan.hidden = polish.hidden = !plans;
      basic.replaceChildren(
        ...song.map((spec) => box(spec, { auto: spec.name === "seconds" })),
        ...metadata.map((spec) => box(spec)),
      );
      boxes.seed?.node.querySelector(".label")?.append(seedTools);
      task.replaceChildren(
        ...rows.map((row) =>
          h(
            "option",
            { value: textOf(row.name) },
            row.reason ? t("prompt.not_here", { task: say(row.title) }) : say(row.title),
          ),
        ),
      );
      counts.replaceChildren(
        ...many.map((n) =>
          h(
            "button",
            { "aria-pressed": "false", "data-count": String(n), onclick: () => host.send("count", { n }) },
            `×${n}`,
          ),
        ),
      );
      presets.replaceChildren(
        h("option", { value: "" }, t("prompt.presets")),
        ...textsOf(host.get("presets")).map((name) =>
          h("option", { value: name }, isSupplied(name) ? say(name) : name),
        ),
      );
    }
    function showTask() {
      const row = taskRow();
      if (!row || shownTask === row.name) return;
      shownTask = row.name;
      for (const key of Object.keys(boxes))
        if (forms().tasks.some((one) => key.startsWith(`${one.name}.`))) delete boxes[key];
      taskFields.replaceChildren(
        ...row.fields.filter((spec) => !isFolded(spec)).map((spec) => box(spec, { whole: true })),
      );
      setText(taskHint, say(row.hint));
      if (boxes.seconds) boxes.seconds.node.hidden = Boolean(row.source);
      offerSweeps();
      if (more.open) buildMore();
    }
    const focused = () => /** @type {any} */ (host.root.getRootNode()).activeElement;
    function show() {
      showTask();
      const { caption: words, task: chosen, revision: now = 0 } = draft(),
        values = tableOf(draft().values),
        locked = listOf(draft().locked);
      const force = now !== revision;
      revision = now;
      for (const [name, field] of Object.entries(boxes)) {
        if (force || !field.inputs.includes(focused())) {
          if (!timers[name] || force) field.set(name === "caption" ? words : name === "task" ? chosen : values[name]);
        }
        if (field.locker) {
          const on = locked.includes(name);
          showLock(field.locker, on);
          field.locker.title = on ? t("prompt.locked_hint") : t("prompt.lock_hint");
        }
        field.showAuto?.(limits()[name] ?? usualOf(name));
      }
      setText(source, startsFrom(taskRow()));
      const count = host.number("count") || 1;
      for (const button of counts.children)
        button.setAttribute("aria-pressed", String(Number(button.dataset.count) === count));
      setText(seeds, host.text("seeds") ? t("prompt.seeds", { seeds: host.text("seeds") }) : "");
      showErrors();
      const [can, over] = host.list("undo");
      back.disabled = !can;
      forth.disabled = !over;
      showBusy();
      restored.hidden = !host.get("restored");
      leftOut.replaceChildren(
        ...textsOf(host.get("left_out")).map((text) => h("p.error", {}, say(text))),
        ...textsOf(host.get("notes")).map((text) => h("p.tiny", {}, say(text))),
      );
    }
    const usualOf = (name) => [...forms().more, ...ofTask()].find((spec) => spec.name === name)?.usual;
    const startsFrom = (row) =>
      !row?.source
        ? ""
        : host.text("source")
          ? t("prompt.starts_from", { sound: tellTitle(host.text("source")) })
          : t("prompt.pick");
    const showBusy = () => setText(busy, host.text("busy") ? say(host.text("busy")) : pageState.busy || "");
    function showErrors() {
      const errors = { ...host.table("errors"), ...said };
      for (const [name, field] of Object.entries(boxes)) {
        const text = say(errors[name] ?? "");
        setText(field.error, text);
        field.inputs.forEach((input) => input.setAttribute("aria-invalid", String(Boolean(text))));
      }
      const values = tableOf(draft().values),
        names = foldedNames(),
        wrong = names.filter((name) => errors[name]).length,
        set = names.filter((name) => values[name] != null).length;
      setText(moreMark, wrong ? t("prompt.more_wrong", { n: wrong }) : set ? t("prompt.more_set", { n: set }) : "");
      moreMark.classList.toggle("wrong", wrong > 0);
      markGroups(errors);
    }
    host.on("clear", clearSaid);
    host.on("error", (body) => {
      const name = textOf(body.field),
        sweeping = askedSweep;
      askedSweep = false;
      if (foldedNames().includes(name)) openMore(name);
      if (name && Object.hasOwn(boxes, name)) {
        const box = boxes[name];
        said = { ...said, [name]: textOf(body.text) };
        showErrors();
        box.inputs[0]?.focus();
      } else setText(sweeping && sweepFold.open ? sweepError : error, say(body.text));
    });
    host.root.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        act("make");
        event.preventDefault();
      } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
        flushEdits();
        host.send(event.shiftKey ? "redo" : "undo");
        event.preventDefault();
      } else if (event.altKey && event.code === "KeyD") {
        host.send("new_seed");
        event.preventDefault();
      } else if (
        event.key === "Enter" &&
        event.target.matches?.("input[type=text]") &&
        !event.target.closest("dialog, .sweepform")
      ) {
        act("make");
        event.preventDefault();
      }
    });
    const sweepFold = h("details", {}, h("summary", {}, t("prompt.sweep")), sweep, sweepError);
    const copy = h(
      "button.plain",
      {
        title: t("prompt.code_hint"),
        onclick: () => {
          flushEdits();
          setTimeout(() => copyText(host.root, host.text("code"), host.announce), 60);
        },
      },
      t("prompt.copy_code"),
    );
    host.root.append(
      h(
        "div.head",
        {},
        h("h2", {}, t("titles.Compose")),
        h("span.spring"),
        back,
        forth,
        h("div.presets", {}, presets),
        icon(t("prompt.keep_preset"), nameAPreset, "+"),
      ),
      restored,
      leftOut,
      h(
        "div.stack",
        {},
        h("div.tasks", {}, task, h("div.about", {}, taskHint, source), reason),
        taskFields,
        h(
          "div",
          {},
          h(
            "div.label",
            {},
            h("label.field", { for: caption.id }, h("span.name", {}, t("prompt.caption"))),
            captionLock,
          ),
          caption,
          captionError,
        ),
        basic,
        more,
        sweepFold,
        error,
        h("div.row.actions", {}, go, counts, h("span.said", {}, seeds, busy), plan, polish, copy),
      ),
    );
    build();
    show();
    restore();
    host.onClose(onBroadcast("busy", showBusy));
    host.onClose(
      onBroadcast("words-typed", (detail) => {
        if (detail?.kept_for !== keptFor()) return;
        store({ lyrics: { ...tableOf(readKept().lyrics), text: textOf(detail.text) } });
        delete said.caption;
        showErrors();
      }),
    );
    host.watch("kept", () => store());
    host.watch(
      [
        "draft",
        "errors",
        "undo",
        "busy",
        "source",
        "limits",
        "left_out",
        "notes",
        "count",
        "seeds",
        "restored",
        "names",
      ],
      show,
    );
    host.watch(["forms", "presets", "supplied"], () => {
      build();
      show();
    });
  },
);
