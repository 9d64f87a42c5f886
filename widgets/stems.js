// Stems: the lanes of a take, played in step with mute, solo and level. Python half: acestep_lab/ui/stems_view.py.

/** Seconds from which on lanes stream from <audio> elements instead of lying decoded in memory. */
const LONG = 180,
  /** Seconds of all lanes together that may lie decoded in memory. */
  MOST_DECODED = 1200;

/**
 * Lanes that play together. Short ones are decoded and begin at one tick of the audio clock, so that they cannot drift;
 * long ones are <audio> elements, put back in step whenever one is 30 ms off.
 * @param {{fetchBytes: (lane: any) => Promise<ArrayBuffer>, urlOf: (lane: any) => Promise<string>,
 *   volumeOf: (lane: any) => number, onTick: (time: number, playing: boolean) => void}} how
 */
function lanePlayer(how) {
  let context = null,
    master = null,
    lanes = [],
    streams = false,
    playing = false,
    starting = 0,
    offset = 0,
    began = 0,
    raf = 0;
  const buffers = new Map(),
    voices = new Map();
  const clock = () => {
    if (!playing) return offset;
    const first = streams && [...voices.values()][0];
    return first ? first.audio.currentTime : Math.max(offset, offset + context.currentTime - began);
  };
  const total = () => Math.max(0, ...lanes.map((lane) => numberOf(lane.track.seconds)));
  const silence = () => {
    for (const voice of voices.values()) {
      voice.node?.stop();
      voice.audio?.pause();
      voice.gain.disconnect();
      if (voice.audio) voice.audio.removeAttribute("src");
    }
    voices.clear();
  };
  const tick = () => {
    cancelAnimationFrame(raf);
    if (playing && clock() >= total() - 0.01) return api.stop(0);
    if (playing && streams) align();
    how.onTick(clock(), playing);
    if (playing) raf = requestAnimationFrame(tick);
  };
  const align = () => {
    const [first, ...others] = [...voices.values()];
    for (const voice of others)
      if (Math.abs(voice.audio.currentTime - first.audio.currentTime) > 0.03 && voice.audio.readyState > 2)
        voice.audio.currentTime = first.audio.currentTime;
  };
  const gainOf = (lane) => {
    const gain = context.createGain();
    gain.gain.value = how.volumeOf(lane);
    gain.connect(master);
    return gain;
  };
  const begin = async (lane, at, when) => {
    const gain = gainOf(lane);
    if (streams) {
      const audio = new Audio(await how.urlOf(lane));
      audio.preload = "auto";
      context.createMediaElementSource(audio).connect(gain);
      audio.currentTime = at;
      voices.set(lane.name, { gain, audio });
      return audio;
    }
    const node = context.createBufferSource();
    node.buffer = buffers.get(lane.track.id);
    node.connect(gain);
    node.start(when, Math.min(at, node.buffer.duration));
    voices.set(lane.name, { gain, node });
  };
  const decode = async (lane) => {
    if (buffers.has(lane.track.id)) return;
    buffers.set(lane.track.id, await context.decodeAudioData(await how.fetchBytes(lane)));
  };
  const api = {
    get time() {
      return clock();
    },
    get playing() {
      return playing;
    },
    /** All lanes from a time on; a later call wins over one that still loads. */
    async play(wanted, from) {
      const turn = ++starting;
      context ??= new AudioContext();
      master ??= context.createGain();
      master.connect(context.destination);
      master.gain.value = pageState.volume ?? 10 ** (-6 / 20);
      await context.resume();
      const seconds = Math.max(0, ...wanted.map((lane) => numberOf(lane.track.seconds)));
      const stream = seconds > LONG || seconds * wanted.length > MOST_DECODED;
      if (!stream) await Promise.all(wanted.map(decode));
      if (turn !== starting) return;
      silence();
      lanes = wanted;
      streams = stream;
      offset = from >= total() - 0.05 ? 0 : from;
      const when = context.currentTime + 0.06;
      const elements = await Promise.all(wanted.map((lane) => begin(lane, offset, when)));
      if (streams) await Promise.all(elements.map((audio) => audio.play()));
      if (turn !== starting) return silence();
      began = when;
      playing = true;
      tick();
    },
    stop(at) {
      starting += 1;
      offset = at ?? clock();
      playing = false;
      silence();
      tick();
    },
    seek(to) {
      if (playing) return api.play(lanes, to);
      offset = to;
      tick();
      return Promise.resolve();
    },
    levels() {
      for (const lane of lanes)
        voices.get(lane.name)?.gain.gain.setTargetAtTime(how.volumeOf(lane), context.currentTime, 0.01);
    },
    forget(kept) {
      for (const id of buffers.keys()) if (!kept.has(id)) buffers.delete(id);
    },
    close() {
      starting += 1;
      playing = false;
      cancelAnimationFrame(raf);
      silence();
      context?.close();
    },
  };
  return api;
}

export default mount(
  "Stems",
  [
    ["Space", "stems.key_play"],
    ["← →", "stems.key_seek"],
    ["M", "stems.key_mute"],
    ["S", "stems.key_solo"],
  ],
  (host) => {
    const rows = new Map(), // name → {row, canvas, peaks, level, mute, solo}
      asked = new Map(); // id of a sound → what waits for its bytes
    let shown = [],
      holding = null;
    const lanesOf = () => host.list("lanes").filter((lane) => typeof lane.name === "string");
    const made = () => lanesOf().filter((lane) => tableOf(lane.track).id);
    const nameOf = (lane) =>
      lane.kind === "residual"
        ? t("stems.residual")
        : t(lane.kind === "layer" ? "stems.layer_of" : "stems.stem_of", { stem: stemName(lane.stem) });
    const stemName = (stem) => {
      const found = t(`stems.name_${stem}`);
      return found === `stems.name_${stem}` ? textOf(stem).replaceAll("_", " ") : found;
    };
    const soloed = () => made().some((lane) => rows.get(lane.name)?.solo);
    const heard = (lane) => {
      const row = rows.get(lane.name);
      return row ? (soloed() ? row.solo : !row.mute) : true;
    };
    const playback = exclusivePlayback(() => player.playing && player.stop());
    const player = lanePlayer({
      fetchBytes: async (lane) =>
        lane.track.url
          ? (await fetch(new URL(lane.track.url, document.baseURI))).arrayBuffer()
          : bytesOf(lane.track.id),
      urlOf: async (lane) =>
        lane.track.url
          ? new URL(lane.track.url, document.baseURI).href
          : URL.createObjectURL(new Blob([await bytesOf(lane.track.id)], { type: "audio/wav" })),
      volumeOf: (lane) => (heard(lane) ? 10 ** ((rows.get(lane.name)?.level ?? 0) / 20) : 0),
      onTick: (time, playing) => {
        play.setAttribute("aria-label", t(playing ? "stems.pause" : "stems.play"));
        play.firstChild.textContent = playing ? "❚❚" : "▶";
        host.root.dataset.playing = String(playing);
        setText(clock, `${formatTenths(time)} / ${formatTime(numberOf(host.table("hand").seconds))}`);
        for (const row of rows.values()) row.wave.paint();
        broadcast("time", { id: `stems:${textOf(host.table("hand").id)}`, time, playing });
      },
    });
    const bytesOf = (id) =>
      new Promise((done) => {
        asked.set(id, [...(asked.get(id) ?? []), done]);
        host.send("bytes", { id });
      });
    host.on("bytes", (body, [view]) => {
      if (!view) return;
      const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
      for (const done of asked.get(body.id) ?? []) done(bytes.slice(0));
      asked.delete(body.id);
    });
    host.on("peaks", (body, [view]) => {
      if (!view) return;
      for (const row of rows.values())
        if (row.id === body.id) {
          row.peaks = new Int8Array(view.buffer, view.byteOffset, view.byteLength);
          row.node.dataset.peaks = String(row.peaks.length >> 1);
          row.wave.paint();
        }
    });
    const toggle = () => {
      if (player.playing) return player.stop();
      if (!made().length) return;
      playback.claim();
      setText(note, t("stems.loading"));
      return player.play(made(), player.time).then(
        () => setText(note, ""),
        () => setText(error, t("stems.not_fetched")),
      );
    };
    const seek = (to) => player.seek(Math.max(0, Math.min(to, numberOf(host.table("hand").seconds))));

    // -- the head, one line when folded
    const play = h(
        "button.icon.play.small",
        { "aria-label": t("stems.play"), onclick: toggle },
        h("span", { "aria-hidden": "true" }, "▶"),
      ),
      clock = h("span.num.tiny"),
      summary = h("span.tiny.summary"),
      fold = h("button.plain", { onclick: () => host.send("open", { on: !host.get("opened") }) }),
      halt = h("button.stop", { onclick: () => host.send("halt") }, t("stems.stop")),
      note = h("p.quiet", { role: "status" }),
      error = h("p.error", { role: "alert" }),
      list = h("div.lanes", { role: "group", "aria-label": t("stems.lanes") });

    // -- which stems
    const choices = h("div.choices", { role: "group", "aria-label": t("stems.which") }),
      extract = h("button", { onclick: () => ask("extract", { stems: chosen() }) }, t("stems.extract")),
      every = h("button.plain", { onclick: () => choose(true) }, t("stems.all")),
      none = h("button.plain", { onclick: () => choose(false) }, t("stems.none"));
    const boxes = () => /** @type {HTMLInputElement[]} */ ([...choices.querySelectorAll("input")]);
    const chosen = () =>
      boxes()
        .filter((box) => box.checked && !box.disabled)
        .map((box) => box.value);
    const choose = (on) => {
      boxes().forEach((box) => (box.checked = on && !box.disabled));
      extract.disabled = !chosen().length;
    };
    const ask = (kind, body) => {
      setText(error, "");
      host.send(kind, body);
    };

    // -- a layer
    const layer = h("select", { "aria-label": t("stems.layer_stem") }),
      words = h("input", { placeholder: t("stems.layer_words"), "aria-label": t("stems.layer_words"), maxLength: 500 }),
      add = h(
        "button",
        { onclick: () => ask("layer", { stem: layer.value, caption: words.value }) },
        t("stems.add_layer"),
      ),
      layers = h("details.layers", {}, h("summary", {}, t("stems.add_a_layer")), h("div.row", {}, layer, words, add));
    const save = h(
      "button.plain",
      {
        onclick: () => {
          setText(note, t("stems.zipping"));
          ask("save", {
            levels: made().map((lane) => ({
              name: lane.name,
              decibels: rows.get(lane.name).level,
              heard: heard(lane),
            })),
          });
        },
      },
      t("stems.save"),
    );
    host.on("file", (body, [bytes]) => {
      saveFile(host.root, bytes, textOf(body.name) || "stems.zip");
      setText(note, t("stems.saved", { name: body.name }));
    });
    host.on("error", (body) => {
      setText(note, "");
      setText(error, say(body.text));
    });

    function laneRow(lane) {
      const row = /** @type {any} */ ({ level: 0, mute: false, solo: false, peaks: null, id: "" });
      const name = nameOf(lane);
      const pressed = (button, on) => button.setAttribute("aria-pressed", String(on));
      const mute = h("button.icon", { "aria-label": t("stems.mute_of", { name }), title: t("stems.mute") }, "M"),
        solo = h("button.icon", { "aria-label": t("stems.solo_of", { name }), title: t("stems.solo") }, "S"),
        level = h("input", {
          type: "range",
          min: "-40",
          max: "6",
          step: "0.5",
          value: "0",
          "aria-label": t("stems.level_of", { name }),
        }),
        shownLevel = h("span.tiny.num");
      const sound = () => {
        pressed(mute, row.mute);
        pressed(solo, row.solo);
        setText(shownLevel, `${row.level > 0 ? "+" : ""}${formatNumber(row.level, 1).replace("-", "−")} dB`);
        level.setAttribute("aria-valuetext", shownLevel.textContent);
        player.levels();
        for (const one of rows.values()) one.show();
      };
      row.flip = (what) => {
        row[what] = !row[what];
        sound();
      };
      mute.addEventListener("click", () => row.flip("mute"));
      solo.addEventListener("click", () => row.flip("solo"));
      level.addEventListener("input", () => {
        row.level = Number(level.value);
        sound();
      });
      row.show = () => {
        const now = lanesOf().find((one) => one.name === lane.name);
        row.node.classList.toggle("silent", !!now && !heard(now));
      };
      row.wave = makeCanvas(
        38,
        (context, width, height) => {
          const whole = numberOf(host.table("hand").seconds) || 1,
            at = player.time / whole,
            colours = lane.kind === "residual" ? ["soft", "faint"] : ["wave", "wave-soft"];
          drawWave(context, width, height, row.peaks, at, ...colours.map((one) => cssColour(host.root, one)));
          context.fillStyle = cssColour(host.root, "head");
          context.fillRect(Math.min(width - 2, at * width), 0, 2, height);
        },
        { "aria-hidden": "true" },
      );
      row.wave.canvas.addEventListener("pointerdown", (event) => {
        const box = row.wave.canvas.getBoundingClientRect();
        seek(((event.clientX - box.left) / box.width) * numberOf(host.table("hand").seconds));
      });
      row.state = h("span.tiny.state", { role: "status" });
      row.node = h(
        "div.lane",
        { role: "group", "aria-label": name },
        h("div.name", {}, h("strong", {}, name), row.state),
        h("div.wave", {}, row.wave.canvas),
        h("div.knobs", {}, mute, solo, level, shownLevel),
      );
      row.node.addEventListener("keydown", (event) => {
        if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
        const what = { m: "mute", s: "solo" }[event.key.toLowerCase()];
        if (what) row.flip(what);
      });
      row.start = sound;
      return row;
    }

    function showLanes() {
      const lanes = lanesOf(),
        names = lanes.map((lane) => lane.name);
      for (const [name, row] of rows)
        if (!names.includes(name)) {
          row.wave.close();
          row.node.remove();
          rows.delete(name);
        }
      for (const lane of lanes) {
        const fresh = !rows.has(lane.name);
        if (fresh) rows.set(lane.name, laneRow(lane));
        const row = rows.get(lane.name),
          id = textOf(tableOf(lane.track).id);
        if (list.children[names.indexOf(lane.name)] !== row.node)
          list.insertBefore(row.node, list.children[names.indexOf(lane.name)] ?? null);
        if (fresh) row.start();
        row.node.dataset.made = String(Boolean(id));
        row.node.classList.toggle("unmade", !id);
        setText(row.state, id ? "" : t("stems.being_made"));
        if (id && row.id !== id) {
          row.id = id;
          host.send("peaks", { id, pixels: Math.max(200, Math.round(row.wave.canvas.clientWidth || 600)) });
        }
      }
      const ids = made().map((lane) => lane.track.id);
      player.forget(new Set(ids));
      if (player.playing && ids.join() !== shown.join()) player.play(made(), player.time);
      shown = ids;
      show();
    }

    function showChoices() {
      const kept = new Set(
          lanesOf()
            .filter((lane) => lane.kind === "stem")
            .map((lane) => lane.stem),
        ),
        before = new Set(chosen()),
        known = textsOf(host.list("known"));
      choices.replaceChildren(
        ...known.map((stem) =>
          h(
            "label.choice",
            {},
            h("input", {
              type: "checkbox",
              value: stem,
              checked: !kept.has(stem) && (before.has(stem) || (!before.size && USUAL.includes(stem))),
              disabled: kept.has(stem),
              onchange: () => (extract.disabled = !chosen().length),
            }),
            h("span", {}, stemName(stem)),
          ),
        ),
      );
      const now = layer.value;
      layer.replaceChildren(...known.map((stem) => h("option", { value: stem }, stemName(stem))));
      if (known.includes(now)) layer.value = now;
      extract.disabled = !chosen().length;
    }
    const USUAL = ["vocals", "drums", "bass", "guitar"];

    function show() {
      const hand = host.table("hand"),
        opened = Boolean(host.get("opened")) && Boolean(hand.id),
        working = lanesOf().some((lane) => !tableOf(lane.track).id),
        cannot = host.text("cannot");
      foldRoot(host, !opened);
      fold.hidden = !hand.id;
      setText(fold, t(opened ? "stems.fold" : "stems.unfold"));
      fold.setAttribute("aria-expanded", String(opened));
      const count = made().filter((lane) => lane.kind !== "residual").length;
      setText(
        summary,
        !hand.id
          ? t("stems.empty")
          : opened
            ? tellTitle(hand.title)
            : cannot
              ? say(cannot)
              : count
                ? t("stems.summary", { n: count })
                : t("stems.empty"),
      );
      for (const node of [body, note]) node.hidden = !opened;
      play.hidden = clock.hidden = save.hidden = !opened || !made().length;
      halt.hidden = !opened || !working;
      setText(why, cannot ? say(cannot) : "");
      pick.hidden = Boolean(cannot);
      extract.disabled = working || !chosen().length;
      layers.hidden = Boolean(host.text("no_layers"));
      setText(said, say(host.text("said")));
      bar.hidden = !working;
      bar.value = host.number("progress");
    }
    const why = h("p.quiet"),
      said = h("p.quiet", { role: "status" }),
      bar = h("progress", { max: 1, value: 0, "aria-label": t("stems.being_made") }),
      pick = h("div.pick", {}, choices, h("div.row", {}, extract, every, none)),
      body = h("div.body", {}, list, bar, why, pick, layers, said);
    host.root.append(
      h("div.head", {}, h("h2", {}, titleOf("Stems")), play, clock, summary, h("span.spring"), halt, save, fold),
      body,
      note,
      error,
    );
    host.root.addEventListener("keydown", (event) => {
      if (isTyping(event) || event.target.tagName === "INPUT") return;
      if (event.key === " " && !["BUTTON", "SUMMARY"].includes(event.target.tagName)) toggle();
      else if (event.key === "ArrowLeft") seek(player.time - 1);
      else if (event.key === "ArrowRight") seek(player.time + 1);
      else return;
      event.preventDefault();
    });
    host.watch("lanes", () => {
      showLanes();
      showChoices();
    });
    host.watch("hand", () => {
      if (host.table("hand").id === holding) return;
      holding = host.table("hand").id;
      player.stop(0);
      setText(error, "");
      setText(note, "");
      show();
    });
    host.watch(["opened", "cannot", "no_layers", "said", "progress"], show);
    host.watch("known", showChoices);
    host.onTheme(() => rows.forEach((row) => row.wave.paint()));
    host.onClose(() => {
      playback.close();
      player.close();
      rows.forEach((row) => row.wave.close());
    });
    showChoices();
    showLanes();
  },
);
