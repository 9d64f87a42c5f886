// DatasetTable: songs to learn from as rows, of which only those in sight exist.
// Python half: acestep_lab/ui/dataset_table.py.

/** Fields of a song in the order of their columns; "repeat" is a column like them. */
const FIELDS = ["caption", "genre", "lyrics", "language", "bpm", "keyscale", "timesignature", "instrumental", "tag"];
const COLUMNS = ["choose", "play", "name", ...FIELDS, "repeat", "remarks"];
const EDITED = [...FIELDS, "repeat"];
/** Fields of several lines; in lyrics Enter is a line of theirs. */
const LONG = ["caption", "lyrics"];
/** Ways to narrow the table beside its words. */
const ONLY = ["", "remarks", "open", "guessed", "locked", "chosen"];
const MARKS = { written: "✎", heard: "♪", guessed: "?" };
/** Rows above and below those in sight that exist too. */
const BEYOND = 6;
/** Milliseconds after the last key before the filter is sent. */
const TYPING = 250;

export default mount(
  "Data set",
  [
    ["← → ↑ ↓", "dataset_table.key_move"],
    ["Enter", "dataset_table.key_edit"],
    ["Space", "dataset_table.key_choose"],
    ["P", "dataset_table.key_play"],
    ["L", "dataset_table.key_lock"],
    ["Delete", "dataset_table.key_drop"],
    ["Ctrl + Z", "dataset_table.key_undo"],
  ],
  (host) => {
    const rows = new Map(), // place → {node, cells, place, row}
      known = new Map(); // place → the row as Python told it
    let here = { place: 0, column: 2 },
      asked = "",
      playing = "",
      wanted = "",
      track = /** @type {any} */ (null),
      editing = /** @type {any} */ (null),
      since = null,
      going = false; // whether the focus goes to `here` once its row is known
    const about = () => host.table("about");
    const count = () => numberOf(about().shown);
    const send = (kind, body = {}) => {
      setText(error, "");
      host.send(kind, body);
    };
    const fieldName = (field) => t(`dataset_table.field_${field}`);

    // -- sound
    const player = audioPlayer(
      host,
      () => track,
      () => {
        const sounds = !player.audio.paused;
        for (const view of rows.values()) showPlay(view, sounds && view.row?.name === playing);
        host.root.dataset.playing = String(sounds);
      },
    );
    host.on("sound", (body) => {
      if (body.name !== wanted) return;
      wanted = "";
      playing = body.name;
      player.reset();
      track = tableOf(body.track);
      player.play();
    });
    function listen(name) {
      if (playing === name && !player.audio.paused) return player.pause();
      if (playing === name && track) return player.play();
      wanted = name;
      player.pause();
      send("play", { name });
    }
    function showPlay(view, on) {
      const name = textOf(view.row?.name);
      view.play.setAttribute("aria-label", t(on ? "dataset_table.pause" : "dataset_table.play", { name }));
      view.play.setAttribute("aria-pressed", String(on));
      setText(view.play.firstChild, on ? "❚❚" : "▶");
    }

    // -- the head: what there is, what can be undone, what is looked for
    const summary = h("span.tiny.num.summary"),
      undo = h("button.plain", { onclick: () => send("undo") }, t("dataset_table.undo")),
      redo = h("button.plain", { onclick: () => send("redo") }, t("dataset_table.redo")),
      check = h("button", { title: t("dataset_table.check_hint"), onclick: () => send("check") }),
      halt = h("button.stop", { onclick: () => send("halt") }, t("dataset_table.halt")),
      error = h("p.error", { role: "alert" }),
      empty = h("p.empty", {}, t("dataset_table.empty"));
    setText(check, t("dataset_table.check"));
    const words = h("input.words", { type: "search", "aria-label": t("dataset_table.filter") }),
      only = h("select.only", { "aria-label": t("dataset_table.only") });
    words.placeholder = t("dataset_table.filter");
    only.append(...ONLY.map((one) => h("option", { value: one }, t(`dataset_table.only_${one || "all"}`))));
    let typing = 0;
    const narrow = () => {
      clearTimeout(typing);
      scroller.scrollTop = 0;
      here.place = 0;
      send("narrow", { text: words.value, only: only.value });
    };
    words.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(narrow, TYPING);
    });
    words.addEventListener("change", narrow);
    only.addEventListener("change", narrow);
    host.onClose(() => clearTimeout(typing));

    // -- many at once
    const all = h("input", { type: "checkbox", "aria-label": t("dataset_table.choose_all") }),
      chosen = h("strong.num"),
      which = h("select", { "aria-label": t("dataset_table.bulk_field") }),
      value = h("input.value", { "aria-label": t("dataset_table.bulk_value"), list: "" }),
      set = h("button", { onclick: () => write() }, t("dataset_table.bulk_set"));
    which.append(...EDITED.map((field) => h("option", { value: field }, fieldName(field))));
    const offer = () => {
      value.setAttribute("list", `choices-${which.value}`);
      value.placeholder = t("dataset_table.bulk_nothing");
    };
    which.addEventListener("change", offer);
    value.addEventListener("keydown", (event) => {
      if (event.key === "Enter") write();
    });
    const write = () => send("edit_chosen", { field: which.value, value: value.value });
    all.addEventListener("change", () => send("choose_all", { on: all.checked }));
    const lockChosen = (on) => send("lock_chosen", { on, field: which.value === "repeat" ? "" : which.value });
    const bulk = h(
      "div.row.bulk",
      { role: "group", "aria-label": t("dataset_table.bulk") },
      chosen,
      which,
      value,
      set,
      h("button", { onclick: () => lockChosen(true) }, t("dataset_table.bulk_lock")),
      h("button", { onclick: () => lockChosen(false) }, t("dataset_table.bulk_unlock")),
      h("button.stop", { onclick: () => drop(null) }, t("dataset_table.bulk_drop")),
      h("button.plain", { onclick: () => send("choose_all", { on: false }) }, t("dataset_table.choose_none")),
    );
    const lists = h("div", { hidden: true });

    // -- files: saved under a name, or handed to the browser
    const saveName = h("input.name", {
        "aria-label": t("dataset_table.save_name"),
        maxLength: 80,
        autocomplete: "off",
      }),
      form = h("select", { "aria-label": t("dataset_table.save_form") }),
      saveButton = h("button", {}, t("dataset_table.save")),
      replaceButton = h("button", { onclick: () => save(true) }, t("dataset_table.save_replace")),
      downloadButton = h("button", { onclick: () => send("download", { form: form.value }) }),
      saved = h("span.tiny", { role: "status" });
    setText(downloadButton, t("dataset_table.download"));
    saveName.placeholder = t("dataset_table.save_name");
    form.append(...["folder", "json"].map((one) => h("option", { value: one }, t(`dataset_table.form_${one}`))));
    function save(replace = false) {
      replaceButton.hidden = true;
      setText(saved, "");
      saving = true;
      send("save", { name: saveName.value, form: form.value, replace });
    }
    saveButton.addEventListener("click", () => {
      if (!justPressed(800, saveButton)) save();
    });
    saveName.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing && !event.repeat) save();
    });
    saveName.addEventListener("input", () => (replaceButton.hidden = true));
    replaceButton.hidden = true;
    let saving = false;
    host.on("saved", (body) => {
      saving = false;
      setText(saved, t("dataset_table.saved", { n: numberOf(body.n), place: textOf(body.place) }));
    });
    host.on(
      "file",
      (body, [bytes]) => bytes && saveFile(host.root, bytes, textOf(body.name), "application/octet-stream"),
    );
    const filing = h("div.row.filing", { role: "group", "aria-label": t("dataset_table.files") });
    filing.append(saveName, form, saveButton, replaceButton, downloadButton, saved);

    // -- the grid: as tall as all its rows, of which those in sight exist
    const heads = h("div.line.heads", { role: "row", "aria-rowindex": "1" });
    heads.append(
      ...COLUMNS.map((column, place) =>
        h(
          `div.cell.${column}`,
          { role: "columnheader", "aria-colindex": String(place + 1) },
          column === "choose" ? all : t(`dataset_table.field_${column}`),
        ),
      ),
    );
    const field = h("div.rows", { role: "rowgroup" }),
      scroller = h(
        "div.scroller",
        { role: "grid", "aria-label": titleOf("Data set"), "aria-colcount": String(COLUMNS.length) },
        h("div.wide", {}, h("div", { role: "rowgroup", class: "top" }, heads), field),
      ),
      remarks = h("div.said", { role: "status" }),
      legend = h("p.tiny.legend"),
      left = h("details.left"),
      leftHead = h("summary"),
      leftList = h("ul.tiny");
    left.append(leftHead, leftList);
    setText(legend, t("dataset_table.legend"));
    const tall = () => parseFloat(getComputedStyle(field).getPropertyValue("--row")) || 56;
    const headTall = () => heads.offsetHeight;

    function span() {
      const high = tall(),
        first = Math.max(0, Math.floor((scroller.scrollTop - headTall()) / high) - BEYOND),
        last = Math.min(count(), Math.ceil((scroller.scrollTop + scroller.clientHeight) / high) + BEYOND);
      return [first, Math.max(first, last)];
    }
    /** Make what is in sight, ask for what is not known, let go of the rest; the row somebody is in stays. */
    function draw() {
      const [first, last] = span(),
        high = tall(),
        revision = numberOf(about().revision);
      field.style.blockSize = `${count() * high}px`;
      for (const [place, view] of rows)
        if ((place < first || place >= last) && place !== here.place) {
          view.node.remove();
          rows.delete(place);
        } else if (place >= count()) {
          view.node.remove();
          rows.delete(place);
        }
      let missing = false;
      const kept = here.place < count() ? [here.place] : [];
      for (const place of new Set([...kept, ...Array.from({ length: last - first }, (_, n) => first + n)])) {
        const told = known.get(place);
        missing ||= place >= first && place < last && told?.revision !== revision;
        if (!told) continue;
        if (!rows.has(place)) {
          const view = line(place);
          rows.set(place, view);
          const after = [...rows.keys()].filter((one) => one > place).sort((a, b) => a - b)[0];
          field.insertBefore(view.node, after === undefined ? null : rows.get(after).node);
        }
        fill(rows.get(place), told.row, high);
      }
      const ask = `${revision}:${first}:${last}`;
      if (missing && asked !== ask) {
        asked = ask;
        host.send("rows", { start: first, count: last - first });
      }
    }
    host.on("rows", (body) => {
      const revision = numberOf(body.revision);
      if (revision < numberOf(about().revision) && known.size) return;
      tablesOf(body.rows).forEach((row, n) => known.set(numberOf(body.start) + n, { revision, row }));
      asked = "";
      draw();
      if (going) {
        going = false;
        focus(here.place, here.column);
      }
      showRemarks();
    });

    function line(place) {
      const view = /** @type {any} */ ({ cells: new Map(), place, row: null });
      view.box = h("input", { type: "checkbox", tabIndex: -1, "data-focus": "" });
      view.box.addEventListener("click", (event) => choose(view, event.shiftKey));
      view.play = h(
        "button.icon",
        { tabIndex: -1, "data-focus": "", onclick: () => listen(view.row.name) },
        h("span", { "aria-hidden": "true" }, "▶"),
      );
      const cells = COLUMNS.map((column, n) => {
        const node = h(`div.cell.${column}`, { role: "gridcell", tabIndex: -1, "aria-colindex": String(n + 1) });
        view.cells.set(column, { node, ...insides(view, column, node) });
        node.addEventListener("focusin", () => arrive(view.place, n));
        return node;
      });
      view.node = h("div.line", { role: "row", "aria-rowindex": String(place + 2) }, ...cells);
      return view;
    }
    function insides(view, column, node) {
      if (column === "choose" || column === "play") {
        node.append(column === "choose" ? view.box : view.play);
        return {};
      }
      if (column === "name") {
        const name = h("strong"),
          seconds = h("span.tiny.num");
        node.append(name, seconds);
        return { name, seconds };
      }
      const text = h("span.text"),
        mark = h("span.mark", { "aria-hidden": "true" });
      if (column === "remarks") {
        node.append(text);
        return { text };
      }
      const label = h("span.label.tiny", { "aria-hidden": "true" }, fieldName(column));
      node.append(label, text);
      node.addEventListener("click", (event) => {
        if (!event.composedPath().some((one) => /** @type {any} */ (one).tagName === "BUTTON")) edit(view, column);
      });
      if (column === "repeat") return { text };
      const lock = h("button.lock.plain", { tabIndex: -1, onclick: () => toggleLock(view, column) });
      node.append(mark, lock);
      return { text, mark, lock };
    }
    const shownValue = (column, value) =>
      typeof value === "boolean" ? t(value ? "dataset_table.yes" : "dataset_table.no") : textOf(value);
    function fill(view, row, high) {
      view.row = row;
      view.node.style.insetBlockStart = `${view.place * high}px`;
      view.node.setAttribute("aria-selected", String(Boolean(row.chosen)));
      view.node.dataset.song = row.name;
      view.box.checked = Boolean(row.chosen);
      view.box.setAttribute("aria-label", t("dataset_table.choose", { name: row.name }));
      showPlay(view, row.name === playing && !player.audio.paused);
      const head = view.cells.get("name");
      setText(head.name, row.name);
      head.node.title = row.name;
      setText(head.seconds, formatTime(numberOf(row.seconds)));
      for (const column of FIELDS) fillCell(view, column, tableOf(tableOf(row.cells)[column]));
      const repeat = view.cells.get("repeat");
      setText(repeat.text, `${numberOf(row.repeat, 1)}×`);
      repeat.node.setAttribute("aria-label", `${fieldName("repeat")}: ${numberOf(row.repeat, 1)}`);
      const said = tablesOf(row.remarks).map((one) => say(one.text)),
        last = view.cells.get("remarks");
      setText(last.text, said.length ? `▲ ${said.join(" ")}` : "");
      last.node.title = said.join("\n");
      last.node.setAttribute("aria-label", said.length ? said.join(" ") : t("dataset_table.no_remarks"));
      view.node.classList.toggle("odd", said.length > 0);
    }
    function fillCell(view, column, cell) {
      const { node, text, mark, lock } = view.cells.get(column),
        value = shownValue(column, cell.value),
        source = textOf(cell.source),
        sure = typeof cell.sure === "number" ? ` ${Math.round(100 * cell.sure)} %` : "";
      setText(text, cell.long ? `${value}…` : value);
      text.classList.toggle("none", !value);
      setText(mark, MARKS[source] ?? "");
      mark.title = source ? `${t(`dataset_table.${source}`)}${sure}` : "";
      mark.dataset.source = source;
      showLock(lock, Boolean(cell.locked));
      lock.setAttribute("aria-label", t("dataset_table.lock", { field: fieldName(column), name: view.row.name }));
      lock.title = t(cell.locked ? "dataset_table.locked" : "dataset_table.unlocked");
      node.classList.toggle("shut", Boolean(cell.locked));
      const told = [
        value || t("dataset_table.nothing"),
        source && `${t(`dataset_table.${source}`)}${sure}`,
        cell.locked && t("dataset_table.locked"),
      ];
      node.setAttribute("aria-label", `${fieldName(column)}: ${told.filter(Boolean).join(", ")}`);
    }

    // -- where one is
    const focusable = (cell) => cell.querySelector("[data-focus]") ?? cell;
    function arrive(place, column) {
      const before = rows.get(here.place)?.cells.get(COLUMNS[here.column]);
      if (before) focusable(before.node).tabIndex = -1;
      here = { place, column };
      const now = rows.get(place)?.cells.get(COLUMNS[column]);
      if (now) focusable(now.node).tabIndex = 0;
      showRemarks();
    }
    function focus(place, column) {
      place = Math.max(0, Math.min(count() - 1, place));
      column = Math.max(0, Math.min(COLUMNS.length - 1, column));
      const high = tall(),
        top = place * high,
        room = scroller.clientHeight - headTall();
      if (top < scroller.scrollTop) scroller.scrollTop = top;
      else if (top + high > scroller.scrollTop + room) scroller.scrollTop = top + high - room;
      arrive(place, column);
      draw();
      const cell = rows.get(place)?.cells.get(COLUMNS[column]);
      going = !cell;
      if (!cell) return;
      arrive(place, column);
      focusable(cell.node).focus({ preventScroll: true });
      cell.node.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    function showRemarks() {
      const row = known.get(here.place)?.row,
        said = row && here.place < count() ? tablesOf(row.remarks) : [];
      remarks.hidden = !said.length;
      const text = said.map((one) => say(one.text)).join("\n");
      if (remarks.dataset.text === `${row?.name}\n${text}`) return;
      remarks.dataset.text = `${row?.name}\n${text}`;
      remarks.replaceChildren(
        ...(said.length ? [h("strong", {}, row.name), ...said.map((one) => h("p", {}, `▲ ${say(one.text)}`))] : []),
      );
    }

    // -- what is done with a row
    function choose(view, range = false) {
      const on = !view.row.chosen;
      send("choose", { name: view.row.name, on, ...(range && since ? { since } : {}) });
      since = view.row.name;
    }
    function toggleLock(view, column) {
      const on = !tableOf(view.row.cells[column]).locked;
      send("lock", { name: view.row.name, field: column, on });
    }
    function drop(name) {
      going = Boolean(scroller.contains(/** @type {any} */ (host.root.getRootNode()).activeElement));
      const n = name ? 1 : numberOf(about().chosen);
      send("drop", name ? { name } : {});
      host.announce(t("dataset_table.dropped", { n }));
    }

    // -- in place
    function edit(view, column) {
      if (editing?.name === view.row.name && editing.column === column) return;
      close();
      if (!EDITED.includes(column)) return;
      const cell = tableOf(tableOf(view.row.cells)[column]);
      focus(view.place, COLUMNS.indexOf(column));
      if (cell.locked) return host.announce(t("dataset_table.is_locked", { field: fieldName(column) }));
      const before =
          column === "repeat"
            ? String(numberOf(view.row.repeat, 1))
            : typeof cell.value === "boolean"
              ? cell.value
                ? "yes"
                : "no"
              : textOf(cell.value),
        label = t("dataset_table.edit", { field: fieldName(column), name: view.row.name }),
        input = entry(column, before, label),
        why = h("p.error", { role: "alert" }),
        node = h("div.editor", {}, input, why),
        box = view.cells.get(column).node;
      node.classList.toggle("long", LONG.includes(column));
      editing = { name: view.row.name, column, input, before, node, why, place: view.place, next: 0, waits: false };
      if (cell.long) {
        input.disabled = true;
        host.send("text", { name: editing.name, field: column });
      }
      box.append(node);
      box.classList.add("open");
      view.node.classList.add("open");
      input.addEventListener("blur", () => setTimeout(() => editing?.input === input && commit(), 0));
      node.addEventListener("keydown", (event) => editorKeys(event, column));
      input.focus();
      input.select?.();
      node.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    function entry(column, before, label) {
      const offered = textsOf(host.table("choices")[column]);
      if (column === "instrumental" || column === "timesignature") {
        const list = h("select", { "aria-label": label });
        const named = (one) =>
          one === "" ? t("dataset_table.nothing") : column === "instrumental" ? t(`dataset_table.${one}`) : one;
        list.append(...["", ...offered].map((one) => h("option", { value: one }, named(one))));
        list.value = before;
        return list;
      }
      const input = LONG.includes(column)
        ? h("textarea", { "aria-label": label, rows: column === "lyrics" ? 8 : 4 })
        : h("input", { "aria-label": label, list: `choices-${column}` });
      if (column === "bpm" || column === "repeat") input.setAttribute("inputmode", "numeric");
      input.value = before;
      return input;
    }
    host.on("text", (body) => {
      if (editing?.name !== body.name || editing.column !== body.field) return;
      editing.input.disabled = false;
      editing.input.value = editing.before = textOf(body.value);
      editing.input.focus();
    });
    function editorKeys(event, column) {
      event.stopPropagation();
      const plain = !event.shiftKey && !event.altKey,
        done = event.key === "Enter" && plain && (column !== "lyrics" || event.ctrlKey || event.metaKey);
      if (event.isComposing) return;
      if (event.key === "Escape") leave();
      else if (done) {
        editing.back = true;
        commit();
      } else if (event.key === "Tab") {
        editing.back = true;
        editing.next = event.shiftKey ? -1 : 1;
        commit();
      } else return;
      event.preventDefault();
    }
    function leave() {
      const { place, column } = editing;
      close();
      focus(place, COLUMNS.indexOf(column));
    }
    function close() {
      const was = editing;
      editing = null;
      if (!was) return;
      was.node.parentElement?.classList.remove("open");
      was.node.closest(".line")?.classList.remove("open");
      was.node.remove();
    }
    /** Send what was written, and wait for what Python makes of it. */
    function commit() {
      const now = editing;
      if (!now || now.waits) return;
      if (now.input.disabled || now.input.value === now.before) return finish(now);
      now.waits = true;
      setText(now.why, "");
      send("edit", { name: now.name, field: now.column, value: now.input.value });
    }
    function finish(now) {
      close();
      if (now.back) focus(now.place, COLUMNS.indexOf(now.column) + now.next);
    }
    host.on("edited", (body) => {
      if (editing?.waits && editing.name === body.name && editing.column === body.field) finish(editing);
      if (!body.name) {
        value.value = "";
        host.announce(t("dataset_table.written_many", { field: fieldName(body.field), n: numberOf(about().chosen) }));
      }
    });
    host.on("error", (body) => {
      if (editing?.waits && body.field === editing.column) {
        editing.waits = editing.back = false;
        editing.input.setAttribute("aria-invalid", "true");
        setText(editing.why, say(body.text));
        editing.input.focus();
      } else setText(error, say(body.text));
      replaceButton.hidden = !(saving && body.code === "LIBRARY" && saveName.value.trim());
      saving = false;
    });
    host.on("said", (body) => host.announce(t(`dataset_table.${textOf(body.key)}`, { n: numberOf(body.n) })));

    // -- keys
    scroller.addEventListener("keydown", (event) => {
      if (event.isComposing || event.altKey || editing) return;
      const view = rows.get(here.place),
        column = COLUMNS[here.column],
        control = event.ctrlKey || event.metaKey,
        back = getComputedStyle(scroller).direction === "rtl" ? "ArrowRight" : "ArrowLeft",
        page = Math.max(1, Math.floor(scroller.clientHeight / tall()) - 1);
      const moves = {
        ArrowUp: [-1, 0],
        ArrowDown: [1, 0],
        ArrowLeft: [0, back === "ArrowLeft" ? -1 : 1],
        ArrowRight: [0, back === "ArrowLeft" ? 1 : -1],
        PageUp: [-page, 0],
        PageDown: [page, 0],
        Home: [control ? -Infinity : 0, -Infinity],
        End: [control ? Infinity : 0, Infinity],
      };
      const move = moves[event.key],
        letter = control ? "" : event.key.toLowerCase();
      if (!view?.row) return;
      if (move) focus(here.place + move[0], here.column + move[1]);
      else if (control && event.key.toLowerCase() === "a") send("choose_all", { on: true });
      else if (event.key === "Enter" && column === "play") listen(view.row.name);
      else if (event.key === "Enter" || event.key === "F2") edit(view, column);
      else if (event.key === " ") choose(view, event.shiftKey);
      else if (letter === "p") listen(view.row.name);
      else if (letter === "l" && FIELDS.includes(column)) toggleLock(view, column);
      else if (event.key === "Delete") drop(view.row.chosen ? null : view.row.name);
      else return;
      event.preventDefault();
    });
    host.root.addEventListener("keydown", (event) => {
      if (isTyping(event) || !(event.ctrlKey || event.metaKey)) return;
      const key = event.key.toLowerCase();
      if (key !== "z" && key !== "y") return;
      send(key === "y" || event.shiftKey ? "redo" : "undo");
      event.preventDefault();
    });

    function show() {
      host.hide(Boolean(host.get("hidden")));
      const what = about(),
        total = numberOf(what.total),
        many = numberOf(what.chosen),
        narrowed = Boolean(what.filter || what.only);
      const parts = [t("dataset_table.songs", { n: total }), formatTime(numberOf(what.seconds))];
      if (narrowed) parts.push(t("dataset_table.shown", { n: numberOf(what.shown) }));
      if (numberOf(what.remarked)) parts.push(t("dataset_table.remarked", { n: numberOf(what.remarked) }));
      setText(summary, total ? parts.join(" · ") : "");
      undo.disabled = !what.undo;
      redo.disabled = !what.redo;
      const busy = host.text("busy") === "check";
      check.hidden = busy;
      check.disabled = !total || Boolean(host.text("busy"));
      halt.hidden = !busy;
      setText(halt, busy ? t("dataset_table.checking", { percent: Math.round(100 * host.number("progress")) }) : "");
      bulk.hidden = !many;
      setText(chosen, t("dataset_table.chosen", { n: many }));
      all.checked = many > 0 && many >= numberOf(what.shown);
      all.indeterminate = many > 0 && !all.checked;
      empty.hidden = count() > 0;
      setText(empty, t(total ? "dataset_table.none_found" : "dataset_table.empty"));
      scroller.hidden = legend.hidden = !count();
      search.hidden = filing.hidden = !total;
      saveName.hidden = saveButton.hidden = !host.get("saves");
      for (const one of [saveButton, replaceButton]) one.disabled = Boolean(host.text("busy"));
      if (document.activeElement !== words && !isActive(words)) words.value = textOf(what.filter);
      only.value = ONLY.includes(textOf(what.only)) ? textOf(what.only) : "";
      scroller.setAttribute("aria-rowcount", String(count() + 1));
      left.hidden = !numberOf(what.left_out);
      setText(leftHead, t("dataset_table.left_out", { n: numberOf(what.left_out) }));
      leftList.replaceChildren(...textsOf(what.problems).map((one) => h("li", {}, say(one))));
      draw();
    }
    const isActive = (node) => /** @type {any} */ (host.root.getRootNode()).activeElement === node;
    const search = h("div.row.search", {}, words, only);
    for (const [name, offered] of Object.entries(host.table("choices")))
      if (name === "language" || name === "keyscale")
        lists.append(
          h("datalist", { id: `choices-${name}` }, ...textsOf(offered).map((one) => h("option", { value: one }))),
        );
    offer();
    host.root.append(
      h("div.head", {}, h("h2", {}, titleOf("Data set")), summary, h("span.spring"), undo, redo, check, halt),
      search,
      bulk,
      scroller,
      empty,
      remarks,
      legend,
      filing,
      host.get("hint") ? h("p.tiny", {}, t("dataset_table.keep_hint")) : "",
      left,
      lists,
      error,
    );
    let frame = 0;
    scroller.addEventListener("scroll", () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(draw);
    });
    const watcher = new ResizeObserver(draw);
    watcher.observe(scroller);
    host.onClose(() => watcher.disconnect());
    host.watch(["about", "busy", "progress", "hidden"], show);
    show();
    arrive(0, 2);
  },
);
