// SweepView: the cells of a sweep by their axes, each a picture as it forms, then a player. Python half:
// acestep_lab/ui/sweep_view.py.

/** What a cell is doing, in words. */
const STATES = {
  waiting: "sweep.state_waiting",
  queued: "sweep.state_queued",
  planning: "sweep.state_planning",
  encoding: "sweep.state_encoding",
  rendering: "sweep.state_rendering",
  decoding: "sweep.state_decoding",
  done: "sweep.state_done",
  there: "sweep.state_there",
  failed: "sweep.state_failed",
  refused: "sweep.state_refused",
  stopped: "sweep.state_stopped",
};

export default mount(
  "Sweep",
  [
    ["Enter", "sweep.key_play"],
    ["← ↑ ↓ →", "sweep.key_move"],
  ],
  (host) => {
    const title = h("h3"),
      doing = h("span.chip.state"),
      time = h("span.tiny.num"),
      note = h("p.tiny"),
      error = h("p.error", { role: "alert" }),
      live = h("p.hidden", { "aria-live": "polite" }),
      stop = h("button.stop", { onclick: () => host.send("stop") }),
      bar = h("div.bar", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, h("div")),
      table = h("table.cells"),
      measure = h("select", { onchange: () => measure.value && host.send("measure", { by: measure.value }) }),
      measuring = h("span.tiny", { role: "status" });
    const by = h("select"),
      blind = h("button", { onclick: () => host.send("blind", { axis: by.value }) }),
      who = h("input.who", { maxLength: 60, autocomplete: "off" }),
      ballot = h("div.row.ballot"),
      votes = h("ul.tiny.votes"),
      files = ["csv", "html"].map((form) => h("button.plain", { onclick: () => host.send("file", { form }) }));
    const pictures = new Map(),
      parts = new Map();
    let inHand = null,
      drawn = "",
      told = "";
    const player = audioPlayer(host, () => inHand, follow);
    const columnsOf = () => Math.max(1, listOf(host.get("columns")).length);

    function follow() {
      for (const [place, part] of parts) {
        const cell = cellAt(place),
          on = inHand?.id === textOf(cell.take) && !player.audio.paused;
        setText(part.button, on ? "❚❚" : "▶");
        part.button.setAttribute("aria-label", t(on ? "sweep.pause" : "sweep.play", { title: textOf(cell.title) }));
        part.button.setAttribute("aria-pressed", String(on));
        part.reached.style.inlineSize = inHand?.id === textOf(cell.take) ? `${100 * share()}%` : "0";
      }
    }
    const share = () => Math.min(1, player.time / Math.max(0.1, numberOf(player.audio.duration, 1)));
    const cellAt = (place) => tablesOf(host.get("cells")).find((one) => one.place === place) ?? {};

    function toggle(cell) {
      const id = textOf(cell.take);
      if (id) toggleSound({ id, seconds: numberOf(cell.seconds) });
    }

    function move(event, place) {
      const wide = columnsOf(),
        by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide }[event.key];
      if (!by) return;
      const sideways = Math.abs(by) === 1 && host.root.dir === "rtl" ? -by : by;
      const next = parts.get(place + sideways);
      if (!next) return;
      event.preventDefault();
      next.button.focus();
    }

    /** One cell of the table, made once; what changes in it is filled in by `fill`. */
    function build(place) {
      const button = h("button.plain.hear", {
        onclick: () => toggle(cellAt(place)),
        onkeydown: (event) => move(event, place),
      });
      const part = {
        button,
        picture: h("img.forming", { alt: "", hidden: true }),
        state: h("span.tiny"),
        reached: h("div.reached"),
        value: h("strong.num"),
        node: h("td"),
      };
      part.node.append(
        part.picture,
        h("div.row", {}, button, part.state, part.value),
        h("div.track", {}, part.reached),
      );
      parts.set(place, part);
      return part.node;
    }

    function fill(cell) {
      const part = parts.get(cell.place);
      if (!part) return;
      const state = textOf(cell.state),
        made = Boolean(textOf(cell.take)),
        steps = numberOf(cell.steps);
      const word = STATES[state] ? t(STATES[state]) : say(state);
      setText(
        part.state,
        state === "rendering" && steps ? t("sweep.step", { at: numberOf(cell.step), of: steps }) : word,
      );
      part.node.dataset.state = state;
      part.node.classList.toggle("best", cell.best === true);
      part.node.title = textOf(cell.problem) ? say(textOf(cell.problem)) : textOf(cell.by);
      part.button.hidden = !made;
      setText(part.value, cell.value == null ? "" : formatNumber(numberOf(cell.value), 2));
      if (cell.best === true) setText(part.value, `★ ${part.value.textContent}`);
      const url = made ? null : pictures.get(cell.place);
      part.picture.hidden = !url;
      if (url) part.picture.src = url;
    }

    function draw() {
      const columns = textsOrEmpty(host.get("columns")),
        rows = textsOrEmpty(host.get("rows")),
        cells = tablesOf(host.get("cells"));
      const shape = JSON.stringify([columns, rows]);
      if (shape !== drawn) {
        drawn = shape;
        parts.clear();
        const heads = columns.map((one) => h("th", { scope: "col" }, one || t("sweep.take")));
        const corner = h(
          "th",
          { scope: "col" },
          [textOf(host.get("down")), textOf(host.get("across"))].filter(Boolean).join(" / "),
        );
        table.replaceChildren(
          h("caption.hidden", {}, t("titles.Sweep")),
          h("thead", {}, h("tr", {}, corner, ...heads)),
          h("tbody", {}, ...rows.map((row, at) => line(row, at, columns.length))),
        );
      }
      cells.forEach(fill);
      follow();
    }

    // -- two takes without their names
    let letters = [];
    function showBallot() {
      const open = host.table("ballot"),
        sounds = tablesOf(open.sounds),
        said = textOf(open.said);
      letters = sounds.map((one) => {
        const letter = textOf(one.letter),
          sound = { id: textOf(one.id), seconds: 0 },
          play = h("button.hear", { onclick: () => toggleSound(sound) }, letter),
          choose = h(
            "button.choose",
            { "data-vote": letter, onclick: () => host.send("vote", { letter, by: who.value }) },
            t("sweep.better", { letter }),
          );
        play.setAttribute("aria-label", t("sweep.hear", { letter }));
        choose.hidden = Boolean(said);
        return { sound, play, choose };
      });
      ballot.replaceChildren(
        ...letters.flatMap((one) => [one.play, one.choose]),
        h("span.tiny", { role: "status" }, said ? t("sweep.were", { said, winner: textOf(open.winner) }) : ""),
      );
      ballot.hidden = !sounds.length;
      setText(blind, t(said ? "sweep.next" : "sweep.blind"));
      if (said) blind.focus();
    }
    function toggleSound(sound) {
      if (inHand?.id === sound.id) return player.toggle();
      player.reset();
      inHand = sound;
      player.play();
    }
    function showVotes() {
      const names = textsOrEmpty(host.get("axes")),
        chosen = by.value,
        made = tablesOf(host.get("cells")).filter((one) => textOf(one.take)).length;
      if (by.options.length !== names.length || names.some((name, at) => by.options[at].value !== name)) {
        by.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
        if (names.includes(chosen)) by.value = chosen;
      }
      blind.disabled = by.disabled = made < 2;
      for (const one of files) one.disabled = !made || Boolean(host.get("writing"));
      votes.replaceChildren(...textsOrEmpty(host.get("preferred")).map((one) => h("li", {}, say(one))));
      votes.hidden = !votes.childElementCount;
    }

    const textsOrEmpty = (value) => listOf(value).map(textOf);
    const line = (row, at, wide) =>
      h("tr", {}, h("th", { scope: "row" }, row), ...Array.from({ length: wide }, (_, x) => build(at * wide + x)));

    function show() {
      host.hide(Boolean(host.get("hidden")));
      const over = host.get("over") !== false,
        percent = Math.round(100 * Math.max(0, Math.min(1, host.number("fraction")))),
        eta = host.number("eta");
      setText(title, host.text("title") || t("titles.Sweep"));
      const ended = { done: "sweep.over_done", stopped: "sweep.over_stopped", failed: "sweep.over_failed" }[
        host.text("doing")
      ];
      setText(doing, ended ? t(ended) : say(host.text("doing")));
      setText(time, over ? "" : eta >= 0 ? `${percent} %, ${formatWait(eta)}` : `${percent} %`);
      bar.firstChild.style.inlineSize = `${percent}%`;
      bar.setAttribute("aria-valuenow", String(percent));
      bar.setAttribute("aria-label", t("sweep.bar", { title: host.text("title") }));
      bar.hidden = stop.hidden = over;
      setText(stop, t("sweep.stop"));
      stop.disabled = host.text("doing") === "stopping";
      setText(note, say(host.text("note")));
      if (over && told !== host.text("doing")) setText(live, `${host.text("title")}: ${doing.textContent}`);
      told = host.text("doing");
      draw();
      showVotes();
    }

    function offer() {
      const names = listOf(host.get("measures")).map(textOf);
      measure.setAttribute("aria-label", t("sweep.measure"));
      measure.replaceChildren(
        h("option", { value: "" }, t("sweep.measure")),
        ...names.map((name) => h("option", { value: name }, name.replaceAll("_", " "))),
      );
      measure.value = host.text("measure");
      measure.disabled = host.get("measuring") === true;
      setText(measuring, host.get("measuring") === true ? t("sweep.measuring") : "");
    }

    host.on("picture", (body, [bytes]) => {
      const place = numberOf(body.place, -1);
      if (pictures.has(place)) URL.revokeObjectURL(pictures.get(place));
      pictures.set(place, URL.createObjectURL(new Blob([bytes], { type: "image/png" })));
      fill(cellAt(place));
    });
    host.on("error", (body) => setText(error, say(body.text)));
    host.onClose(() => {
      player.close();
      for (const url of pictures.values()) URL.revokeObjectURL(url);
    });
    host.root.append(
      h("div.row", {}, doing, title, h("span.spring"), time, stop),
      bar,
      h("div.scroll", {}, table),
      h("div.row", {}, measure, measuring, h("span.spring"), ...files),
      h("div.row", {}, by, blind, who),
      ballot,
      votes,
      note,
      error,
      live,
    );
    host.on("file", (body, [bytes]) => saveFile(host.root, bytes, textOf(body.name)));
    by.setAttribute("aria-label", t("sweep.by_axis"));
    who.setAttribute("aria-label", t("sweep.who"));
    who.placeholder = t("sweep.who");
    files.forEach((one, at) => setText(one, t(["sweep.file_csv", "sweep.file_html"][at])));
    host.watch(["title", "doing", "fraction", "eta", "over", "note", "rows", "columns", "cells", "hidden"], show);
    host.watch(["axes", "votes", "preferred", "writing"], showVotes);
    host.watch("ballot", showBallot);
    host.watch(["measures", "measure", "measuring"], offer);
    show();
    offer();
    showBallot();
  },
);
