// PromptEditor: caption, metadata with Auto and locks, length, seed, task, presets, undo.
// Python half: acestep_lab/ui/prompt_editor.py.

export default mount(
  "Compose",
  [
    ["Ctrl Enter", "make it"],
    ["Ctrl Z", "undo (Shift: redo)"],
    ["Alt D", "another seed by the dice"],
  ],
  (host) => {
    /**
     * @typedef {{set: (v: any) => void, node: HTMLElement, error: HTMLElement, inputs: any[],
     *   locker?: HTMLElement | null, auto?: boolean, input?: any}} Box  a field of the form
     * @type {Record<string, Box>}
     */
    const boxes = {};
    let revision = -1,
      serial = pageState.serial++;
    const timers = {};
    /** Fields of a form, each with what is read of it below in its kind. */
    const specs = (value) =>
      tablesOf(value).map((spec) => ({
        ...spec,
        name: textOf(spec.name),
        label: textOf(spec.label),
        hint: textOf(spec.hint),
        options: textsOf(spec.options),
      }));
    const draft = () => host.table("draft"),
      limits = () => host.table("limits");
    const forms = () => {
      const all = host.table("forms");
      return {
        metadata: specs(all.metadata),
        song: specs(all.song),
        sampling: specs(all.sampling),
        plans: Boolean(all.plans),
        tasks: tablesOf(all.tasks).map((row) => ({ ...row, fields: specs(row.fields) })),
      };
    };
    const edit = (field, value) => {
      clearTimeout(timers[field]);
      delete timers[field];
      pending.delete(field);
      host.send("edit", { field, value });
    };
    const editSoon = (field, value) => {
      clearTimeout(timers[field]);
      timers[field] = setTimeout(() => edit(field, value()), 250);
      pending.set(field, value);
    };
    const pending = new Map();
    const flushEdits = () => {
      for (const [field, value] of pending) if (timers[field]) edit(field, value());
      pending.clear();
    };

    const caption = h("textarea", {
      rows: 3,
      id: `caption-${serial}`,
      maxLength: 20000,
      dir: "auto",
      placeholder: "Style, instruments, mood: slow dub techno, tape hiss…",
      oninput: () => editSoon("caption", () => caption.value),
    });
    const errorLine = (id) => h("p.error", { id, role: "alert" });
    const captionError = errorLine(`caption-error-${serial}`);
    caption.setAttribute("aria-describedby", captionError.id);
    boxes.caption = {
      node: caption,
      error: captionError,
      inputs: [caption],
      set: (value) => {
        caption.value = textOf(value);
      },
    };

    /** One field of a form, with its Auto or its value, and perhaps a lock. */
    function box(spec, { auto = false, lock = false } = {}) {
      const id = `f-${spec.name.replace(".", "-")}-${serial}`,
        error = errorLine(`${id}-error`);
      let input, set;
      if (spec.kind === "choice") {
        input = h(
          "select",
          { id, onchange: () => edit(spec.name, input.value || null) },
          auto ? h("option", { value: "" }, "Auto") : null,
          spec.options.map((option) => h("option", { value: option }, option.replaceAll("_", " "))),
        );
        set = (value) => {
          const text = value == null ? "" : String(value);
          if (text && ![...input.options].some((option) => option.value === text))
            input.append(h("option", { value: text }, text));
          input.value = value == null ? (auto ? "" : (spec.default ?? "")) : text;
        };
      } else if (spec.kind === "share") {
        const number = h("output.num.tiny");
        const range = h("input", {
          id,
          type: "range",
          min: "0",
          max: "1",
          step: "0.01",
          oninput: () => {
            setText(number, Number(range.value).toFixed(2));
            editSoon(spec.name, () => Number(range.value));
          },
        });
        input = h("div.row.share", {}, range, number);
        set = (value) => {
          range.value = String(value ?? spec.default ?? 0);
          setText(number, Number(range.value).toFixed(2));
        };
      } else if (spec.kind === "stems") {
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
        input = h(
          "div.checks",
          {},
          checks.map(([option, check]) => h("label.check", {}, check, option.replaceAll("_", " "))),
        );
        set = (value) =>
          checks.forEach(([option, check]) => {
            check.checked = listOf(value ?? spec.default).includes(option);
          });
      } else {
        input = h("input", {
          id,
          type: "text",
          inputmode: spec.kind === "text" ? "text" : "decimal",
          autocomplete: "off",
          oninput: () => editSoon(spec.name, () => (input.value.trim() === "" ? null : input.value)),
        });
        set = (value) => {
          input.value = value == null ? (auto ? "" : (spec.default ?? "")) : String(value);
        };
        if (auto) input.placeholder = "Auto";
      }
      const focusable = input.matches?.("input,select") ? input : input.querySelector("input");
      focusable?.setAttribute("aria-describedby", error.id);
      const locker = lock
        ? h("button.plain.icon.lock", {
            "aria-label": `Lock ${spec.label}`,
            "aria-pressed": "false",
            title: "Locked fields are left alone by presets, the planner and loaded takes",
            onclick: () => host.send("lock", { field: spec.name, on: locker?.getAttribute("aria-pressed") !== "true" }),
          })
        : null;
      const label = h(
        "label.field",
        { for: id, title: spec.hint },
        h("span.name", {}, spec.label, spec.unit === "seconds" ? " (s)" : null),
      );
      const node = h("div.box", {}, h("div.label", {}, label, locker), input, error);
      boxes[spec.name] = {
        node,
        error,
        set,
        inputs: [...(input.matches?.("input,select,textarea") ? [input] : input.querySelectorAll("input"))],
        locker,
        auto,
        input,
      };
      return node;
    }

    const seedTools = h(
      "div.row.seedtools",
      {},
      h(
        "button.plain.icon",
        { title: "The next seed", "aria-label": "Next seed", onclick: () => host.send("next_seed") },
        "+1",
      ),
      h("button.plain.icon", {
        title: "Another seed by the dice",
        "aria-label": "Roll the dice",
        onclick: () => host.send("new_seed"),
      }),
    );
    showIcon(seedTools.lastChild, "dice");
    const tasks = h("div.seg.tasks", { role: "group", "aria-label": "Task" }),
      taskHint = h("p.quiet"),
      taskFields = h("div.grid"),
      reason = h("p.error");
    const meta = h("div.grid"),
      song = h("div.grid.song"),
      sampling = h("div.grid"),
      source = h("p.tiny");
    const presets = h("select", {
      "aria-label": "Preset",
      onchange: () => {
        if (presets.value) host.send("preset", { name: presets.value });
        presets.value = "";
      },
    });
    const back = h(
        "button.plain.icon",
        {
          "aria-label": "Undo",
          title: "Undo",
          onclick: () => {
            flushEdits();
            host.send("undo");
          },
        },
        "↶",
      ),
      forth = h("button.plain.icon", { "aria-label": "Redo", title: "Redo", onclick: () => host.send("redo") }, "↷");
    const go = h("button.go", { onclick: () => act("make") }, "Make it");
    const plan = h(
      "button",
      {
        title: "Let the planner write tempo, key, words and codes first; change them; then make it",
        onclick: () => act("plan"),
      },
      "Plan first",
    );
    const polish = h(
      "button",
      {
        title: "Let the planner find better words; you see the difference and take what you like",
        onclick: () => act("polish"),
      },
      "Polish words",
    );
    const leftOut = h("div.stack"),
      busy = h("span.quiet", { role: "status" }),
      error = h("p.error", { role: "alert" });
    const act = (kind) => {
      if (go.disabled) return;
      flushEdits();
      for (const { error } of Object.values(boxes)) setText(error, "");
      setText(error, "");
      [go, plan, polish].forEach((b) => {
        b.disabled = true;
      });
      setTimeout(
        () =>
          [go, plan, polish].forEach((b) => {
            b.disabled = false;
          }),
        700,
      );
      host.send(kind, kind === "make" ? { revision: host.get("clicks") } : {});
      broadcast("begun", {});
    };
    const keep = h(
      "button.plain",
      {
        title: "Keep these settings as a preset",
        onclick: () => {
          const name = h("input", {
            type: "text",
            "aria-label": "Name of the preset",
            placeholder: "Name",
            maxLength: 60,
          });
          const dialog = h(
            "dialog",
            { onclose: () => dialog.remove() },
            h("div.head", {}, h("h2", {}, "Keep as a preset")),
            name,
            h(
              "div.row",
              { style: "margin-top:14px" },
              h("span.spring"),
              h("button.plain", { onclick: () => dialog.close() }, "Cancel"),
              h(
                "button",
                {
                  onclick: () => {
                    host.send("save_preset", { name: name.value });
                    dialog.close();
                  },
                },
                "Keep",
              ),
            ),
          );
          host.root.append(dialog);
          dialog.showModal();
        },
      },
      "Keep as preset",
    );

    const axis = (word) => h("select", { "aria-label": `Sweep ${word}` }),
      xs = axis("across"),
      ys = axis("down"),
      allow = () => {
        yv.disabled = !ys.value;
      },
      values = (word) => h("input", { type: "text", placeholder: "1, 3, 5", "aria-label": `Values ${word}` }),
      xv = values("across"),
      yv = values("down");
    ys.addEventListener("change", allow);
    const sweep = h(
      "div.sweepform",
      {},
      xs,
      xv,
      ys,
      yv,
      h(
        "button",
        {
          title: "A take for each, side by side in the gallery",
          onclick: (event) => {
            flushEdits();
            setText(error, "");
            event.target.disabled = true;
            setTimeout(() => {
              event.target.disabled = false;
            }, 900);
            host.send("sweep", { x: xs.value, xs: xv.value, y: ys.value, ys: yv.value });
          },
        },
        "Make the grid",
      ),
      h(
        "button.plain",
        {
          title: "The Python line for this grid",
          onclick: () => {
            flushEdits();
            setText(error, "");
            host.send("sweep_code", { x: xs.value, xs: xv.value, y: ys.value, ys: yv.value });
          },
        },
        "Copy as code",
      ),
    );
    host.on("sweep_code", (body) => copyText(host.root, body.text, host.announce));
    function build() {
      const { metadata, song: length, sampling: how, tasks: rows, plans } = forms();
      for (const name of Object.keys(boxes)) if (name !== "caption") delete boxes[name];
      plan.hidden = polish.hidden = !plans;
      setText(reason, "");
      meta.replaceChildren(...metadata.map((spec) => box(spec, { auto: true, lock: true })));
      song.replaceChildren(...length.map((spec) => box(spec, { auto: spec.name === "seconds", lock: true })));
      boxes.seed?.node.querySelector(".label")?.append(seedTools);
      sampling.replaceChildren(...how.map((spec) => box(spec, { auto: true, lock: true })));
      tasks.replaceChildren(
        ...rows.map((row) =>
          h(
            "button",
            {
              "aria-pressed": "false",
              "data-task": row.name,
              title: row.reason || row.hint,
              "aria-disabled": row.reason ? "true" : null,
              class: row.reason ? "cannot" : "",
              onclick: () => (row.reason ? setText(reason, row.reason) : (setText(reason, ""), edit("task", row.name))),
            },
            row.title,
          ),
        ),
      );
      const sweepable = [...how, ...metadata, ...length];
      xs.replaceChildren(...sweepable.map((f) => h("option", { value: f.name }, f.label)));
      ys.replaceChildren(
        h("option", { value: "" }, "and perhaps…"),
        ...sweepable.map((f) => h("option", { value: f.name }, f.label)),
      );
      allow();
      presets.replaceChildren(
        h("option", { value: "" }, "Presets"),
        ...textsOf(host.get("presets")).map((name) => h("option", { value: name }, name)),
      );
    }
    let shownTask = null;
    function showTask(name) {
      const row = forms().tasks.find((r) => r.name === name);
      if (!row || shownTask === name) return;
      shownTask = name;
      for (const key of Object.keys(boxes)) if (key.includes(".")) delete boxes[key];
      taskFields.replaceChildren(...row.fields.map((spec) => box(spec)));
      setText(taskHint, row.hint);
      if (boxes.seconds) boxes.seconds.node.hidden = Boolean(row.source);
      for (const button of tasks.children) button.setAttribute("aria-pressed", String(button.dataset.task === name));
    }
    const focused = () => /** @type {any} */ (host.root.getRootNode()).activeElement;
    function show() {
      const { caption: words, task, revision: now = 0 } = draft(),
        values = tableOf(draft().values),
        locked = listOf(draft().locked);
      showTask(task);
      const force = now !== revision;
      revision = now;
      for (const [name, field] of Object.entries(boxes)) {
        if (force || !field.inputs.includes(focused())) {
          if (!timers[name] || force) field.set(name === "caption" ? words : values[name]);
        }
        if (field.locker) {
          const on = locked.includes(name);
          showLock(field.locker, on);
          field.locker.title = on ? "Locked: presets, planner and loaded takes leave it alone" : "Lock this field";
        }
        if (field.auto && field.inputs[0]?.placeholder !== undefined)
          field.inputs[0].placeholder = limits()[name] != null ? `Auto (${limits()[name]})` : "Auto";
      }
      const row = forms().tasks.find((r) => r.name === task);
      setText(
        source,
        row?.source
          ? host.text("source")
            ? `Starts from: ${host.text("source")}`
            : "Pick a take below to start from."
          : "",
      );
      showErrors();
      const [can, again] = host.list("undo");
      back.disabled = !can;
      forth.disabled = !again;
      setText(busy, host.text("busy") || pageState.busy || "");
      leftOut.replaceChildren(...textsOf(host.get("left_out")).map((text) => h("p.error", {}, text)));
    }
    function showErrors(extra = {}) {
      const errors = { ...host.table("errors"), ...extra };
      for (const [name, field] of Object.entries(boxes)) {
        const text =
          errors[name] ??
          (name === "caption" && !("caption" in extra) && field.error.textContent && !field.inputs[0].value.trim()
            ? field.error.textContent
            : "");
        setText(field.error, text);
        field.inputs.forEach((input) => input.setAttribute("aria-invalid", String(Boolean(text))));
      }
    }
    host.on("error", (body) => {
      if (body.field && Object.hasOwn(boxes, body.field)) {
        showErrors({ [body.field]: body.text });
        boxes[body.field].inputs[0]?.focus();
      } else setText(error, body.text);
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
        !event.target.closest("dialog")
      ) {
        act("make");
        event.preventDefault();
      }
    });
    host.root.append(
      h("div.head", {}, h("h2", {}, "Compose"), h("span.spring"), back, forth, h("div.presets", {}, presets)),
      leftOut,
      h(
        "div.stack",
        {},
        tasks,
        reason,
        h("div", {}, taskHint, source),
        taskFields,
        h("div", {}, h("label.hidden", { for: caption.id }, "Caption: what should sound"), caption, captionError),
        song,
        meta,
        h("details", {}, h("summary", {}, "Sampling"), sampling),
        h("details", {}, h("summary", {}, "Sweep a parameter"), sweep),
        error,
        h(
          "div.row.actions",
          {},
          go,
          plan,
          polish,
          busy,
          h("span.spring"),
          keep,
          h(
            "button.plain",
            {
              title: "The Python line for this",
              onclick: () => {
                flushEdits();
                setTimeout(() => copyText(host.root, host.text("code"), host.announce), 60);
              },
            },
            "Copy as code",
          ),
        ),
      ),
    );
    build();
    show();
    host.onClose(onBroadcast("busy", () => setText(busy, host.text("busy") || pageState.busy || "")));
    host.watch(["draft", "errors", "undo", "busy", "source", "limits", "left_out"], show);
    host.watch(["forms", "presets"], () => {
      shownTask = null;
      build();
      show();
    });
  },
);
