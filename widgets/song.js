// Song builder: sections of takes as blocks in a row that become one song. Python half: acestep_lab/ui/song_builder.py.

/** Joints that can be chosen: over a beat, a cut, or seconds. */
const JOINTS = ["beat", "none", 0.1, 0.25, 0.5, 1, 2];
/** Seconds before and after a joint that are played. */
const AROUND = 2;
/** Pixels a pointer moves before it drags. */
const DRAG_PIXELS = 6;

export default mount(
  "Song builder",
  [
    ["← →", "song.key_choose"],
    ["Alt + ← →", "song.key_move"],
    ["Space", "song.key_play"],
    ["D", "song.key_duplicate"],
    ["S", "song.key_split"],
    ["Delete", "song.key_remove"],
    ["Ctrl + Z", "song.key_undo"],
  ],
  (host) => {
    let selected = null,
      at = 0,
      wanted = null, // what to play once the song can be heard: [start, end] or [start]
      focusing = false;
    const nodes = new Map(); // block id → its button
    const blocks = () => host.list("blocks").filter((block) => typeof block.id === "number");
    const block = () => blocks().find((one) => one.id === selected);
    const total = () => blocks().reduce((sum, one) => sum + numberOf(one.seconds), 0);
    const track = () => host.table("track");
    const send = (kind, body = {}) => {
      setText(error, "");
      setText(note, "");
      host.send(kind, body);
    };
    const player = audioPlayer(host, track, (seconds, playing) => {
      at = seconds;
      play.setAttribute("aria-label", t(playing ? "song.pause" : "song.play"));
      play.firstChild.textContent = playing ? "❚❚" : "▶";
      host.root.dataset.playing = String(playing);
      showHead();
    });
    /** Play from a time of the song, perhaps to another; made first where it has changed since. */
    const listen = (start, end = null) => {
      if (!blocks().length) return;
      if (track().id) return end == null ? (player.seek(start), player.play()) : player.playSpan(start, end);
      wanted = [start, end];
      setText(note, t("song.preparing"));
      host.send("hear");
    };
    let ready = ""; // the song that can be heard; it may be told of before its track is here
    const playWanted = () => {
      if (!wanted || !ready || ready !== track().id) return;
      const [start, end] = wanted;
      wanted = null;
      setText(note, "");
      listen(start, end);
    };
    host.on("heard", (body) => {
      ready = body.id;
      playWanted();
    });
    const toggle = () => (player.audio.paused ? listen(at >= total() - 0.05 ? 0 : at) : player.pause());

    // -- the head, one line when folded
    const play = h(
        "button.icon.play.small",
        { "aria-label": t("song.play"), onclick: toggle },
        h("span", { "aria-hidden": "true" }, "▶"),
      ),
      clock = h("span.num.tiny.clock"),
      summary = h("span.tiny.summary"),
      undo = h("button.plain", { onclick: () => send("undo") }, t("song.undo")),
      redo = h("button.plain", { onclick: () => send("redo") }, t("song.redo")),
      fold = h("button.plain", { onclick: () => host.send("open", { on: !host.get("opened") }) }),
      error = h("p.error", { role: "alert" }),
      note = h("p.quiet", { role: "status" }),
      said = h("p.quiet", { role: "status" });

    // -- where sections come from
    const ways = h("div.row.ways"),
      clear = h("button.plain", { onclick: () => send("clear") }, t("song.clear")),
      make = h("button.go", { onclick: () => send("make") }, t("song.make"));

    // -- the strip
    const strip = h("div.strip", { role: "group", "aria-label": t("song.strip") }),
      head = h("div.playhead", { "aria-hidden": "true" }),
      mark = h("div.mark", { "aria-hidden": "true", hidden: true }),
      board = h("div.board", {}, strip, head, mark);
    const jointText = (how) => (typeof how === "number" ? t("song.joint_seconds", { n: how }) : t(`song.joint_${how}`));
    const jointSign = (how) => (typeof how === "number" ? t("common.seconds", { n: how }) : how === "none" ? "✂" : "♩");
    const kindText = (kind) => t(`song.kind_${kind}`);

    function choose(id, focus = true) {
      selected = id;
      for (const [one, node] of nodes) {
        node.setAttribute("aria-pressed", String(one === id));
        node.tabIndex = one === id ? 0 : -1;
      }
      if (focus) nodes.get(id)?.focus();
      showInspector();
    }
    function blockNode(one, place) {
      const name = textOf(one.label) || kindText(one.kind);
      const node = h(
        "div.block",
        {
          role: "button",
          tabIndex: -1,
          "aria-pressed": "false",
          "aria-label": t("song.block_of", { name, n: place + 1, seconds: formatNumber(one.seconds, 1) }),
          style: `flex-grow:${Math.max(0.1, numberOf(one.seconds))}`,
        },
        h("span.edge.first", { "aria-hidden": "true" }),
        h("strong", {}, name),
        h("span.tiny.num", {}, one.busy ? t(`song.busy_${one.busy}`) : formatSeconds(one.seconds)),
        h("span.edge.last", { "aria-hidden": "true" }),
      );
      node.dataset.kind = textOf(one.kind);
      node.dataset.block = String(one.id);
      if (one.busy) node.dataset.busy = textOf(one.busy);
      node.addEventListener("pointerdown", (event) => press(event, one.id));
      node.addEventListener("click", () => choose(one.id));
      node.addEventListener("dblclick", () => listen(numberOf(one.at)));
      node.addEventListener("focus", () => {
        if (selected !== one.id) choose(one.id, false);
      });
      return node;
    }
    function jointNode(one, place) {
      return h(
        "button.joint",
        {
          "aria-label": t("song.joint_of", { n: place, how: jointText(one.joint) }),
          title: jointText(one.joint),
          onclick: () => {
            choose(one.id, false);
            joint.focus();
          },
        },
        jointSign(one.joint),
      );
    }
    function showStrip() {
      const rows = blocks(),
        had = strip.contains(/** @type {any} */ (host.root.getRootNode()).activeElement) || focusing;
      focusing = false;
      if (!rows.some((one) => one.id === selected)) selected = rows[0]?.id ?? null;
      nodes.clear();
      strip.replaceChildren(
        ...rows.flatMap((one, place) => {
          const node = blockNode(one, place);
          nodes.set(one.id, node);
          return place ? [jointNode(one, place), node] : [node];
        }),
      );
      host.root.dataset.blocks = String(rows.length);
      choose(selected, had);
      show();
    }

    // -- dragging: a block to another place, or one of its ends
    const scale = () =>
      total() /
      Math.max(
        1,
        [...nodes.values()].reduce((sum, node) => sum + node.offsetWidth, 0),
      );
    function press(event, id) {
      if (event.button || event.pointerType === "touch") return; // a finger scrolls the strip; buttons move sections
      const node = nodes.get(id),
        edge = event.target.classList.contains("edge") && selected === id,
        last = event.target.classList.contains("last"),
        from = event.clientX,
        one = blocks().find((row) => row.id === id);
      let dragging = false;
      const target = () => [...nodes.entries()].filter(([other]) => other !== id);
      const move = (moved) => {
        const by = moved.clientX - from;
        dragging ||= Math.abs(by) > DRAG_PIXELS;
        if (!dragging) return;
        if (edge) node.style.outlineOffset = "2px";
        node.classList.add("dragged");
        node.style.transform = edge ? "" : `translateX(${by}px)`;
        const box = board.getBoundingClientRect();
        mark.hidden = false;
        mark.style.left = `${(edge ? moved.clientX : edgeOf(target(), moved.clientX)) - box.left}px`;
      };
      const release = (moved) => {
        node.removeEventListener("pointermove", move);
        node.removeEventListener("pointerup", release);
        node.removeEventListener("pointercancel", release);
        node.classList.remove("dragged");
        node.style.transform = "";
        mark.hidden = true;
        if (!dragging || moved.type === "pointercancel") return;
        const by = (moved.clientX - from) * scale() * (getComputedStyle(strip).direction === "rtl" ? -1 : 1);
        if (edge)
          return send("trim", {
            block: id,
            start: last ? one.start : Math.max(0, one.start + by),
            end: last ? one.end + by : one.end,
          });
        focusing = true;
        send("move", { block: id, to: placeOf(target(), moved.clientX) });
      };
      node.setPointerCapture(event.pointerId);
      node.addEventListener("pointermove", move);
      node.addEventListener("pointerup", release);
      node.addEventListener("pointercancel", release);
    }
    const middleOf = (node) => {
      const box = node.getBoundingClientRect();
      return box.left + box.width / 2;
    };
    const placeOf = (others, x) => {
      const before = getComputedStyle(strip).direction === "rtl" ? (m) => m > x : (m) => m < x;
      return others.filter(([, node]) => before(middleOf(node))).length;
    };
    const edgeOf = (others, x) => {
      const place = placeOf(others, x),
        next = others[place]?.[1].getBoundingClientRect(),
        before = others[place - 1]?.[1].getBoundingClientRect();
      return next ? next.left - 4 : before ? before.right + 4 : x;
    };

    // -- the section that is chosen
    const label = h("input", {
        maxLength: 60,
        "aria-label": t("song.label"),
        onchange: () => selected != null && send("label", { block: selected, text: label.value }),
      }),
      origin = h("span.tiny"),
      joint = h("select", {
        "aria-label": t("song.joint"),
        onchange: () =>
          send("joint", {
            block: selected,
            how: ["beat", "none"].includes(joint.value) ? joint.value : Number(joint.value),
          }),
      }),
      jointField = h("label.joint-field", {}, h("span.tiny", {}, t("song.joint")), joint),
      hearJoint = h("button", { onclick: () => listen(Math.max(0, block().at - AROUND), block().at + AROUND) }),
      act = (key, work) => h("button", { onclick: () => block() && work(block()) }, t(key)),
      hearBlock = act("song.play_block", (one) => listen(one.at, one.at + one.seconds)),
      twice = act("song.duplicate", (one) => send("duplicate", { block: one.id })),
      split = act("song.split", (one) => splitAt(one)),
      out = act("song.remove", (one) => send("remove", { block: one.id })),
      reroll = act("song.reroll", (one) => send("reroll", { block: one.id })),
      grow = act("song.grow", (one) => send("grow", { block: one.id })),
      earlier = act("song.earlier", (one) => shift(one, -1)),
      later = act("song.later", (one) => shift(one, 1)),
      nudge = (edge, beats, sign) =>
        h(
          "button.icon",
          {
            "aria-label": t(`song.${edge}_${beats < 0 ? "earlier" : "later"}`),
            onclick: () => block() && send("nudge", { block: selected, edge, beats }),
          },
          sign,
        ),
      starts = h("span.num.tiny"),
      ends = h("span.num.tiny");
    setText(hearJoint, t("song.play_joint"));
    const shift = (one, by) => {
      focusing = true;
      send("move", { block: one.id, to: blocks().findIndex((row) => row.id === one.id) + by });
    };
    const splitAt = (one) => send("split", { block: one.id, at: at - one.at });
    const inspector = h(
      "div.inspector",
      { role: "group", "aria-label": t("song.section") },
      h("div.row", {}, label, origin, h("span.spring"), jointField, hearJoint),
      h(
        "div.row",
        {},
        hearBlock,
        earlier,
        later,
        twice,
        split,
        out,
        h("span.trim", {}, nudge("start", -1, "◂"), starts, nudge("start", 1, "▸")),
        h("span.trim", {}, nudge("end", -1, "◂"), ends, nudge("end", 1, "▸")),
        h("span.spring"),
        reroll,
        grow,
      ),
    );
    function showInspector() {
      const one = block();
      inspector.hidden = !one;
      if (!one) return;
      const place = blocks().indexOf(one);
      if (label.value !== one.label) label.value = textOf(one.label);
      setText(origin, say(one.origin));
      jointField.hidden = hearJoint.hidden = place === 0;
      const known = JOINTS.includes(one.joint) ? JOINTS : [...JOINTS, one.joint];
      joint.replaceChildren(...known.map((how) => h("option", { value: String(how) }, jointText(how))));
      joint.value = String(one.joint);
      setText(starts, t("song.starts", { time: formatTenths(one.start) }));
      setText(ends, t("song.ends", { time: formatTenths(one.end) }));
      earlier.disabled = place === 0;
      later.disabled = place === blocks().length - 1;
      const can = host.table("can");
      for (const [button, why] of [
        [reroll, can.reroll],
        [grow, can.grow],
      ]) {
        button.disabled = Boolean(why) || Boolean(one.busy);
        button.title = why ? say(why) : "";
      }
      showHead();
    }
    function showHead() {
      const one = block(),
        rows = blocks();
      split.disabled = !one || at <= one.at + 0.25 || at >= one.at + one.seconds - 0.25;
      setText(clock, `${formatTenths(at)} / ${formatTime(numberOf(track().seconds) || total())}`);
      const here = [...rows].reverse().find((row) => row.at <= at + 1e-6) ?? rows[0],
        node = here && nodes.get(here.id);
      head.hidden = !node;
      if (!node) return;
      const share = Math.max(0, Math.min(1, (at - here.at) / Math.max(0.01, here.seconds)));
      const across = getComputedStyle(strip).direction === "rtl" ? 1 - share : share;
      head.style.left = `${node.offsetLeft + across * node.offsetWidth}px`;
    }
    function show() {
      const rows = blocks(),
        hand = host.table("hand"),
        can = host.table("can"),
        opened = Boolean(host.get("opened")) && Boolean(rows.length || hand.id);
      foldRoot(host, !opened);
      fold.hidden = !rows.length && !hand.id;
      setText(fold, t(opened ? "song.fold" : "song.unfold"));
      fold.setAttribute("aria-expanded", String(opened));
      setText(
        summary,
        rows.length ? t("song.summary", { n: rows.length, time: formatTime(total()) }) : t("song.empty"),
      );
      body.hidden = note.hidden = !opened;
      play.hidden = clock.hidden = !opened || !rows.length;
      undo.hidden = redo.hidden = !opened || !(can.undo || can.redo);
      undo.disabled = !can.undo;
      redo.disabled = !can.redo;
      board.hidden = !rows.length;
      make.hidden = clear.hidden = !rows.length;
      const fill = textsOf(hand.ways).map((how) =>
        h("button", { onclick: () => send("fill", { how }) }, t(`song.from_${how}`)),
      );
      const append = h("button", { onclick: () => send("append") }, t("song.append"));
      append.title = tellTitle(hand.title);
      ways.replaceChildren(
        ...(rows.length
          ? [hand.id && append, clear, h("span.spring"), make]
          : [h("span.tiny", {}, t("song.take_sections")), ...fill]
        ).filter(Boolean),
      );
      setText(said, say(host.text("said")));
      showInspector();
    }
    const body = h("div.body", {}, board, inspector, ways, said);
    host.root.append(
      h("div.head", {}, h("h2", {}, titleOf("Song builder")), play, clock, summary, h("span.spring"), undo, redo, fold),
      body,
      note,
      error,
    );
    strip.addEventListener("keydown", (event) => {
      const rows = blocks(),
        place = rows.findIndex((one) => one.id === selected),
        one = rows[place],
        back = getComputedStyle(strip).direction === "rtl" ? "ArrowRight" : "ArrowLeft",
        arrow = ["ArrowLeft", "ArrowRight"].includes(event.key) && (event.key === back ? -1 : 1);
      if (!one || event.target.tagName === "BUTTON") return;
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
      if (arrow && event.altKey) shift(one, arrow);
      else if (arrow && plain) choose(rows[Math.min(rows.length - 1, Math.max(0, place + arrow))].id);
      else if (event.key === " ") player.audio.paused ? listen(one.at) : player.pause();
      else if (plain && (event.key === "Delete" || event.key === "Backspace")) {
        focusing = true;
        send("remove", { block: one.id });
      } else if (plain && event.key.toLowerCase() === "d") send("duplicate", { block: one.id });
      else if (plain && event.key.toLowerCase() === "s") splitAt(one);
      else return;
      event.preventDefault();
    });
    host.root.addEventListener("keydown", (event) => {
      if (isTyping(event) || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
      focusing = true;
      send(event.shiftKey ? "redo" : "undo");
      event.preventDefault();
    });
    host.on("error", (body) => {
      wanted = null;
      setText(note, "");
      setText(error, say(body.text));
    });
    host.watch("blocks", showStrip);
    host.watch("track", () => {
      player.reset();
      showHead();
      playWanted();
    });
    host.watch(["hand", "can", "said", "opened"], show);
    const watcher = new ResizeObserver(showHead);
    watcher.observe(board);
    host.onClose(() => watcher.disconnect());
    showStrip();
  },
);
