// Gallery: cards, table, sweep grid, and the loudness-matched comparison of up to four takes.
// Python half: acestep_lab/ui/gallery.py.

const LETTERS = "1234",
  LONGEST_DECODED = 180;
/** What a card has in its line of facts needs no chip. */
const IN_FACTS = ["seed", "bpm", "keyscale", "seconds"],
  NAMES = { timesignature: "meter" };
const nameOf = (key) => (Object.hasOwn(NAMES, key) ? NAMES[key] : key.replaceAll("_", " "));
const valueOf = (v) => (Array.isArray(v) ? textsOf(v).join("–") : typeof v === "boolean" ? v : textOf(v));
const decibels = (gain) => `${gain.toFixed(1).replace("-", "−")} dB`;

/**
 * Up to four sounds on one clock. Short ones are decoded and started together; long ones are <audio> elements kept in
 * step.
 */
function comparison(host, bytesOf) {
  /** @type {(at: number, playing: boolean) => void} */
  let tick = () => {};
  let context = null,
    lanes = [],
    on = 0,
    playing = false,
    startedAt = 0,
    from = 0,
    length = 0,
    raf = 0;
  const playback = exclusivePlayback(() => pause());
  const now = () =>
    playing
      ? lanes[0]?.audio
        ? lanes[on].audio.currentTime
        : Math.min(length, from + context.currentTime - startedAt)
      : from;
  function loop() {
    cancelAnimationFrame(raf);
    const at = now();
    if (playing && at >= length - 0.01) {
      pause();
      from = 0;
    }
    tick(now(), playing);
    if (playing) raf = requestAnimationFrame(loop);
  }
  async function load(ids, gains, seconds, volume) {
    close();
    context = new AudioContext();
    length = Math.max(...ids.map((id) => seconds[id]));
    const long = length > LONGEST_DECODED;
    lanes = await Promise.all(
      ids.map(async (id) => {
        const { buffer, url } = await bytesOf(id),
          level = 10 ** (gains[id] / 20),
          gain = context.createGain();
        gain.connect(context.destination);
        gain.gain.value = 0;
        if (!long)
          return {
            id,
            level,
            gain,
            data: await context.decodeAudioData(buffer?.slice(0) ?? (await (await fetch(url)).arrayBuffer())),
          };
        const audio = new Audio(url ?? URL.createObjectURL(new Blob([buffer], { type: "audio/wav" })));
        context.createMediaElementSource(audio).connect(gain);
        return { id, level, gain, audio };
      }),
    );
    from = 0;
    master = volume;
    choose(0);
  }
  let master = 0.5;
  function choose(place) {
    on = Math.max(0, Math.min(place, lanes.length - 1));
    lanes.forEach((lane, i) => {
      const g = lane.gain.gain;
      g.cancelScheduledValues(context.currentTime);
      g.setValueAtTime(g.value, context.currentTime);
      g.linearRampToValueAtTime(i === on ? lane.level * master : 0, context.currentTime + 0.005);
      if (lane.audio && playing && i === on) lane.audio.currentTime = now();
    });
  }
  function play() {
    if (!lanes.length) return;
    playback.claim();
    context.resume();
    const at = context.currentTime + 0.02;
    lanes.forEach((lane) => {
      if (lane.audio) {
        lane.audio.currentTime = from;
        lane.audio.play();
      } else {
        lane.source = context.createBufferSource();
        lane.source.buffer = lane.data;
        lane.source.connect(lane.gain);
        lane.source.start(at, from);
      }
    });
    startedAt = at;
    playing = true;
    choose(on);
    loop();
  }
  function pause() {
    if (!playing) return;
    from = now();
    playing = false;
    lanes.forEach((lane) => {
      lane.audio?.pause();
      try {
        lane.source?.stop();
      } catch {
        /* it had ended by itself */
      }
      lane.source = null;
    });
    loop();
  }
  function seek(to) {
    const was = playing;
    pause();
    from = Math.max(0, Math.min(to, length));
    if (was) play();
    else loop();
  }
  function close() {
    pause();
    lanes.forEach((lane) => {
      if (lane.audio?.src.startsWith("blob:")) URL.revokeObjectURL(lane.audio.src);
    });
    lanes = [];
    context?.close();
    context = null;
  }
  return {
    load,
    choose,
    play,
    pause,
    toggle: () => (playing ? pause() : play()),
    seek,
    now,
    close: () => {
      close();
      playback.close();
    },
    onTick: (cb) => {
      tick = cb;
    },
    get on() {
      return on;
    },
    get playing() {
      return playing;
    },
    get length() {
      return length;
    },
    level: (v) => {
      master = v;
      if (context) choose(on);
    },
    get gains() {
      return lanes.map((l, i) => [l.id, l.gain.gain.value, i === on]);
    },
  };
}

export default mount(
  "Gallery",
  [
    ["1…4", "switch between the compared takes"],
    ["Space", "play or pause the comparison"],
    ["S", "star the card in focus"],
    ["X", "reject it"],
    ["C", "compare it"],
    ["Enter", "select it"],
  ],
  (host) => {
    const peaks = new Map(),
      waiting = new Map(),
      views = new Map();
    let chosen = [],
      shape = "cards",
      onlyStars = false,
      blind = false,
      order = [],
      voted = false,
      loaded = "";
    /** The cards, each with what is read of it below in its kind. */
    const cards = () =>
      tablesOf(host.get("cards")).map((c) => ({
        ...c,
        id: textOf(c.id),
        title: textOf(c.title),
        seconds: numberOf(c.seconds),
        facts: textsOf(c.facts),
        parents: textsOf(c.parents),
        scores: tableOf(c.scores),
        differs: tableOf(c.differs),
      }));
    const coming = new Map();
    /** The sound of a take; asked twice while it travels, it travels once. */
    const bytesOf = (id) => {
      if (!coming.has(id))
        coming.set(
          id,
          new Promise((resolve) => {
            waiting.set(id, resolve);
            host.send("bytes", { id });
          }).finally(() => coming.delete(id)),
        );
      return coming.get(id);
    };
    const compare = comparison(host, bytesOf);
    const watcher = new IntersectionObserver(
      (entries) =>
        entries.forEach(({ isIntersecting, target }) => {
          const { take } = /** @type {HTMLElement} */ (target).dataset;
          if (isIntersecting && take && !peaks.has(take)) {
            peaks.set(take, null);
            host.send("peaks", { id: take });
          }
        }),
      { rootMargin: "200px" },
    );

    const single = new Audio();
    single.volume = pageState.volume ?? 10 ** (-6 / 20);
    const playback = exclusivePlayback(() => single.pause());
    let playingId = "",
      raf = 0;
    const redraw = () => {
      cancelAnimationFrame(raf);
      for (const view of views.values())
        if (view.id === playingId || view.wasOn) {
          view.wasOn = view.id === playingId;
          view.paint();
        }
      if (!single.paused) raf = requestAnimationFrame(redraw);
    };
    for (const event of ["play", "pause", "ended", "seeked"]) single.addEventListener(event, redraw);
    /** @param {string} id @param {number | null} at */
    async function playTake(id, at = null) {
      compare.pause();
      if (playingId === id && !single.paused && at == null) return single.pause();
      if (playingId !== id) {
        const { buffer, url } = await bytesOf(id);
        if (single.src.startsWith("blob:")) URL.revokeObjectURL(single.src);
        single.src = url
          ? new URL(url, document.baseURI).href
          : URL.createObjectURL(new Blob([buffer], { type: "audio/wav" }));
        playingId = id;
      }
      if (at != null) single.currentTime = at;
      playback.claim();
      single.volume = pageState.volume ?? single.volume;
      single.play().catch(() => host.announce("The browser would not play: press play once more."));
    }
    function wave(id, seconds, height) {
      const s = makeCanvas(
        height,
        (context, width, tall) => {
          const done = playingId === id && seconds ? single.currentTime / seconds : 0;
          drawWave(
            context,
            width,
            tall,
            peaks.get(id),
            done,
            cssColour(host.root, "wave"),
            cssColour(host.root, "wave-soft"),
          );
          if (done) {
            context.fillStyle = cssColour(host.root, "head");
            context.fillRect(done * width, 0, 2, tall);
          }
        },
        { "data-take": id, class: "wave", title: "Click to listen from here" },
      );
      s.canvas.addEventListener("click", (event) => {
        const box = s.canvas.getBoundingClientRect();
        playTake(id, ((event.clientX - box.left) / box.width) * seconds);
        event.stopPropagation();
      });
      watcher.observe(s.canvas);
      return s;
    }
    const formatNumber = (value) => textOf(value).replace("-", "−");
    const mark = (id, marks) => host.send("mark", { id, ...marks });
    function toggleCompared(id) {
      chosen = chosen.includes(id) ? chosen.filter((c) => c !== id) : [...chosen, id].slice(-4);
      again();
      show();
    }
    function card(info) {
      const s = wave(info.id, info.seconds, 54),
        title = h("h3"),
        facts = h("p.tiny"),
        chips = h("div.row.chips"),
        scores = h("p.tiny.num"),
        letter = h("button.small.letter", {
          title: "Compare by ear with up to three others",
          onclick: () => toggleCompared(info.id),
        });
      const star = h("button.plain.icon.star", {
          "aria-label": "Star",
          title: "Star",
          onclick: () => mark(info.id, { star: star.getAttribute("aria-pressed") !== "true" }),
        }),
        reject = h(
          "button.plain.icon",
          {
            "aria-label": "Reject",
            title: "Reject",
            onclick: () => mark(info.id, { reject: reject.getAttribute("aria-pressed") !== "true" }),
          },
          "✕",
        );
      const note = h("input", {
        type: "text",
        "aria-label": "Note",
        placeholder: "Note",
        maxLength: 2000,
        onchange: () => mark(info.id, { note: note.value }),
      });
      const node = h(
        "article.card",
        { tabIndex: 0, "data-card": info.id },
        h(
          "div.row.top",
          {},
          h(
            "button.plain.icon",
            { "aria-label": "Play or pause", title: "Play or pause", onclick: () => playTake(info.id) },
            "▶",
          ),
          h("div.words", {}, title),
          star,
          reject,
        ),
        facts,
        s.canvas,
        chips,
        scores,
        note,
        h(
          "div.row.actions",
          {},
          h(
            "button.small",
            {
              title: "Play, mark, repaint it; tasks start from it",
              onclick: () => host.send("select", { id: info.id }),
            },
            "Select",
          ),
          h(
            "button.small",
            { title: "Load its recipe into the editor", onclick: () => host.send("reuse", { id: info.id }) },
            "Reuse words",
          ),
          letter,
          h(
            "button.small",
            {
              title: "The Python line for this take",
              onclick: () => copyText(host.root, textOf(views.get(info.id)?.info.code), host.announce),
            },
            "Copy as code",
          ),
        ),
      );
      node.addEventListener("keydown", (event) => {
        if (isTyping(event) || event.target !== node) return;
        const actions = {
          s: () => star.click(),
          x: () => reject.click(),
          c: () => letter.click(),
          Enter: () => host.send("select", { id: info.id }),
          " ": () => playTake(info.id),
        }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
        if (actions) {
          actions();
          event.preventDefault();
          event.stopPropagation();
        }
      });
      return {
        id: info.id,
        node,
        paint: s.paint,
        close: s.close,
        info,
        update(next) {
          this.info = next;
          setText(title, next.title);
          setText(facts, [formatTime(next.seconds), ...next.facts].join("  ·  "));
          star.setAttribute("aria-pressed", String(Boolean(next.star)));
          setText(star, next.star ? "★" : "☆");
          reject.setAttribute("aria-pressed", String(Boolean(next.reject)));
          node.classList.toggle("rejected", Boolean(next.reject));
          node.classList.toggle("selected", host.get("selected") === next.id);
          const differs = Object.entries(next.differs)
            .filter(([k, v]) => v != null && !IN_FACTS.includes(k))
            .map(([k, v]) => h("span.chip", {}, `${nameOf(k)} ${valueOf(v)}`));
          chips.replaceChildren(
            ...(next.unsaved ? [h("span.chip.lost", {}, "only in memory")] : []),
            ...next.parents
              .slice(0, 2)
              .map((p) =>
                h(
                  "button.chip.parent",
                  { title: "Made from this take", onclick: () => reveal(p) },
                  `from ${p.replace("take-", "").slice(0, 6)}`,
                ),
              ),
            ...differs,
          );
          setText(
            scores,
            Object.entries(next.scores)
              .map(([k, v]) => `${k} ${formatNumber(v)}`)
              .join("  ·  "),
          );
          if (/** @type {any} */ (host.root.getRootNode()).activeElement !== note) note.value = textOf(next.note);
          const place = chosen.indexOf(next.id);
          setText(
            letter,
            place < 0 ? "Compare" : blind && !voted ? "Compared" : `Compared: ${LETTERS[arranged().indexOf(next.id)]}`,
          );
          letter.setAttribute("aria-pressed", String(place >= 0));
          s.paint();
        },
      };
    }
    function reveal(id) {
      const view = views.get(id);
      if (view) {
        view.node.scrollIntoView({
          block: "nearest",
          behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
        });
        view.node.focus();
      } else host.send("select", { id });
    }

    const grid = h("div.cards"),
      table = h("div.scroll"),
      sweep = h("div.scroll"),
      error = h("p.error", { role: "alert" }),
      status = h("p.quiet", { role: "status" }),
      empty = h("p.empty");
    const search = h("input", {
      type: "search",
      placeholder: "Search words, key, tempo, note",
      "aria-label": "Search takes",
      oninput: () => {
        clearTimeout(search.later);
        search.later = setTimeout(() => host.send("search", { text: search.value }), 300);
      },
    });
    const shapes = h("div.seg", { role: "group", "aria-label": "View" }),
      stars = h(
        "button",
        {
          "aria-pressed": "false",
          onclick: () => {
            onlyStars = !onlyStars;
            stars.setAttribute("aria-pressed", String(onlyStars));
            show();
          },
        },
        "★ only",
      );
    const bin = h(
        "button",
        { title: "Everything without a star goes to the bin, for a day", onclick: () => confirmBin() },
        "Keep starred, bin the rest",
      ),
      back = h("button.plain", { onclick: () => host.send("restore") });
    const measure = h(
      "button",
      {
        title: "Hear tempo, key and loudness of every take shown, and add them as columns",
        onclick: () => {
          setText(status, "Listening to the takes…");
          host.send("analyze", {
            ids: cards()
              .filter((c) => !("tempo" in c.scores))
              .map((c) => c.id),
          });
          shape = "table";
          show();
        },
      },
      "Measure",
    );
    function confirmBin() {
      const kept = cards().filter((c) => c.star).length,
        gone = cards().length - kept;
      setText(error, "");
      if (!kept || !gone) return host.send("bin");
      const dialog = h(
        "dialog",
        { onclose: () => dialog.remove() },
        h("div.head", {}, h("h2", {}, "Keep starred, bin the rest")),
        h("p", {}, `${kept} stay, ${gone} go to the bin. They can be brought back for 24 hours.`),
        h(
          "div.row",
          { style: "margin-top:16px" },
          h("span.spring"),
          h("button.plain", { onclick: () => dialog.close() }, "Cancel"),
          h(
            "button.stop",
            {
              onclick: () => {
                host.send("bin");
                dialog.close();
              },
            },
            `Bin ${gone}`,
          ),
        ),
      );
      host.root.append(dialog);
      dialog.showModal();
    }
    function showTable(list) {
      const columns = tablesOf(host.get("columns")).map((c) => ({ name: textOf(c.name), meaning: textOf(c.meaning) }));
      table.replaceChildren(
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ["", "Take", "Length", "Seed"].map((t) => h("th", {}, t)),
              columns.map((c) =>
                h("th", { title: c.meaning }, c.name, c.meaning ? h("p.tiny.meaning", {}, c.meaning) : null),
              ),
            ),
          ),
          h(
            "tbody",
            {},
            list.map((c) =>
              h(
                "tr",
                {},
                h(
                  "td",
                  {},
                  h("button.plain.icon", { "aria-label": `Play ${c.title}`, onclick: () => playTake(c.id) }, "▶"),
                ),
                h(
                  "td",
                  {},
                  h(
                    "button.plain.title",
                    { onclick: () => host.send("select", { id: c.id }) },
                    `${c.star ? "★ " : ""}${c.title}`,
                  ),
                ),
                h("td.num", {}, formatTime(c.seconds)),
                h("td.num", {}, c.facts.find((f) => f.startsWith("seed"))?.slice(5) ?? ""),
                columns.map((k) => h("td.num", {}, formatNumber(c.scores[k.name] ?? ""))),
              ),
            ),
          ),
        ),
      );
    }
    function showSweep() {
      const axis = (one) => (one ? { name: textOf(one.name), values: listOf(one.values).map(textOf) } : null),
        grid = host.table("grid"),
        x = axis(grid.x),
        y = axis(grid.y),
        cells = listOf(grid.cells).map(listOf);
      if (!x) return;
      sweep.replaceChildren(
        h(
          "table.sweep",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th", {}, y ? `${y.name} ↓  ${x.name} →` : x.name),
              x.values.map((v) => h("th.num", {}, v)),
            ),
          ),
          h(
            "tbody",
            {},
            cells.map((row, r) =>
              h(
                "tr",
                {},
                h("th.num", {}, y ? y.values[r] : ""),
                row.map((id) => {
                  const info = cards().find((c) => c.id === id);
                  if (!info) return h("td.tiny", {}, id ? "binned" : "not made yet");
                  const key = `cell ${id}`;
                  views.get(key)?.close();
                  const s = wave(id, info.seconds, 40);
                  views.set(key, { id, paint: s.paint, close: s.close, cell: true });
                  return h(
                    "td",
                    {},
                    s.canvas,
                    h(
                      "div.row",
                      {},
                      h(
                        "button.small.plain",
                        { "aria-label": "Star", onclick: () => mark(id, { star: !info.star }) },
                        info.star ? "★" : "☆",
                      ),
                      h(
                        "button.small.plain",
                        { onclick: () => toggleCompared(id) },
                        chosen.includes(id) ? LETTERS[chosen.indexOf(id)] : "Compare",
                      ),
                    ),
                  );
                }),
              ),
            ),
          ),
        ),
      );
    }

    // -- comparison by ear
    const panel = h("div.compare", {
        tabIndex: 0,
        role: "group",
        "aria-label": "Comparison by ear: keys 1 to 4 switch, space plays",
      }),
      lanes = h("div.row"),
      where = h("input", {
        type: "range",
        min: "0",
        max: "1000",
        value: "0",
        "aria-label": "Position",
        oninput: () => compare.seek((Number(where.value) / 1000) * compare.length),
      }),
      time = h("span.tiny.num"),
      told = h("p.quiet", { role: "status" });
    const playAll = h("button.icon.play", { "aria-label": "Play the comparison", onclick: () => start() }, "▶"),
      blindly = h("input", {
        type: "checkbox",
        onchange: () => {
          blind = blindly.checked;
          again();
          show();
        },
      });
    /** Another order, another vote: what is loaded no longer stands for what is shown. */
    const again = () => {
      compare.pause();
      voted = false;
      order = [];
      loaded = "";
      setText(told, "");
    };
    compare.onTick((at, playing) => {
      where.value = String(compare.length ? Math.round((1000 * at) / compare.length) : 0);
      setText(time, `${formatTenths(at)} / ${formatTime(compare.length)}`);
      setText(playAll, playing ? "❚❚" : "▶");
      host.root.dataset.playing = String(playing);
      host.root.dataset.on = String(compare.on);
      host.root.dataset.at = at.toFixed(2);
    });
    const arranged = () => {
      if (order.length !== chosen.length) {
        order = [...chosen];
        if (blind)
          for (let i = order.length - 1; i > 0; i--) {
            const j = Math.floor(Math.random() * (i + 1));
            [order[i], order[j]] = [order[j], order[i]];
          }
      }
      return order;
    };
    let loading = false;
    async function start(place = -1) {
      if (chosen.length < 2 || loading) return;
      loading = true;
      try {
        await begin();
        if (place >= 0) compare.choose(place);
      } finally {
        loading = false;
      }
      compare.toggle();
      showCompare();
    }
    async function begin() {
      const ids = arranged(),
        key = ids.join();
      single.pause();
      if (loaded !== key) {
        setText(told, "Fetching the sounds and matching their loudness…");
        const matched = await new Promise((resolve) => {
          waiting.set("compare", resolve);
          host.send("compare", { ids });
        });
        await compare.load(ids, matched.gains, matched.seconds, pageState.volume ?? 10 ** (-6 / 20));
        loaded = key;
        host.root.dataset.gains = JSON.stringify(ids.map((id) => matched.gains[id]));
        setText(
          told,
          blind
            ? ""
            : `Turned down to match: ${ids.map((id, i) => `${LETTERS[i]} ${decibels(matched.gains[id])}`).join(", ")}`,
        );
      }
    }
    const switchTo = (place) => {
      if (place < chosen.length) {
        if (loaded === arranged().join()) compare.choose(place);
        else start(place);
        showCompare();
      }
    };
    /** What tells a compared take from the others: its words, or where those are the same, its facts. */
    const called = (id, ids) => {
      const find = (one) => cards().find((c) => c.id === one),
        own = find(id);
      return ids.some((other) => other !== id && find(other)?.title === own?.title)
        ? textsOf(own?.facts).join("  ·  ")
        : (own?.title ?? id);
    };
    function showCompare() {
      panel.hidden = chosen.length < 2;
      if (panel.hidden) return;
      const ids = arranged(),
        hidden = blind && !voted;
      lanes.replaceChildren(
        ...ids.map((id, i) =>
          h(
            "button.lane",
            { "aria-pressed": String(compare.on === i), "data-lane": i, onclick: () => switchTo(i) },
            h("strong", {}, `${i + 1}`),
            hidden ? "" : ` ${called(id, ids)}`,
          ),
        ),
      );
      votes.replaceChildren(
        h("span.quiet", {}, voted ? "" : "Which is better?"),
        ...(voted
          ? []
          : ids.map((id, i) =>
              h(
                "button.small",
                {
                  "data-vote": i,
                  onclick: () => {
                    voted = true;
                    host.send("vote", { winner: id, among: ids, blind });
                    show();
                  },
                },
                `${i + 1}`,
              ),
            )),
      );
      if (voted) setText(told, host.text("verdict"));
    }
    const votes = h("div.row");
    panel.append(
      h(
        "div.row",
        {},
        playAll,
        h("div.lanes", {}, lanes),
        h("span.spring"),
        h("label.check", {}, blindly, "Blind"),
        h(
          "button.plain",
          {
            onclick: () => {
              chosen = [];
              again();
              compare.close();
              show();
            },
          },
          "Done",
        ),
      ),
      h("div.row.pos", {}, where, time),
      h("div.row", {}, votes),
      told,
    );
    panel.addEventListener("keydown", (event) => {
      if (event.key === " " && event.target.tagName !== "BUTTON") {
        start();
        event.preventDefault();
      }
    });
    host.root.addEventListener("keydown", (event) => {
      if (!isTyping(event) && chosen.length > 1 && /^[1-4]$/.test(event.key)) {
        switchTo(Number(event.key) - 1);
        event.preventDefault();
      }
    });

    function show() {
      const all = cards(),
        list = all.filter((c) => !onlyStars || c.star),
        has = Boolean(host.table("grid").x);
      chosen = chosen.filter((id) => all.some((c) => c.id === id));
      if (shape === "sweep" && !has) shape = "cards";
      shapes.replaceChildren(
        ...[["cards", "Cards"], ["table", "Table"], ...(has ? [["sweep", "Sweep"]] : [])].map(([name, word]) =>
          h(
            "button",
            {
              "aria-pressed": String(shape === name),
              onclick: () => {
                shape = name;
                show();
              },
            },
            word,
          ),
        ),
      );
      for (const [id, view] of views)
        if (!view.cell && !list.some((c) => c.id === id)) {
          view.node.remove();
          view.close();
          views.delete(id);
        }
      list.forEach((info, place) => {
        if (!views.has(info.id)) views.set(info.id, card(info));
        const view = views.get(info.id);
        if (grid.children[place] !== view.node) grid.insertBefore(view.node, grid.children[place] ?? null);
        view.update(info);
      });
      grid.hidden = shape !== "cards";
      table.hidden = shape !== "table";
      sweep.hidden = shape !== "sweep";
      if (shape === "table") showTable(list);
      if (shape === "sweep") showSweep();
      empty.hidden = list.length > 0;
      setText(empty, host.text("query") || onlyStars ? "No take matches." : "Takes gather here as you make them.");
      const trashed = host.number("trashed");
      back.hidden = !trashed;
      setText(back, `Bring back ${trashed} binned`);
      bin.disabled = measure.disabled = !all.length;
      if (all.every((c) => "tempo" in c.scores)) setText(status, "");
      host.root.dataset.cards = String(list.length);
      showCompare();
    }
    host.on("peaks", (body, [bytes]) => {
      if (!bytes) return;
      peaks.set(body.id, new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
      for (const view of views.values()) if (view.id === body.id) view.paint();
      host.root.dataset.peaks = String([...peaks.values()].filter(Boolean).length);
    });
    host.on("bytes", (body, [bytes]) => {
      const resolve = waiting.get(body.id);
      waiting.delete(body.id);
      resolve?.({
        url: body.url,
        buffer: bytes ? bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) : null,
      });
    });
    host.on("compare", (body) => {
      const resolve = waiting.get("compare");
      waiting.delete("compare");
      resolve?.(body);
    });
    host.on("error", (body) => {
      setText(error, body.text);
      setText(told, "");
      setText(status, "");
      waiting.clear();
      coming.clear();
      loading = false;
    });
    host.root.append(
      h(
        "div.head",
        {},
        h("h2", {}, "Takes"),
        shapes,
        stars,
        h("span.spring"),
        h("div.search", {}, search),
        measure,
        bin,
        back,
      ),
      panel,
      empty,
      grid,
      table,
      sweep,
      status,
      error,
    );
    host.watch(["cards", "grid", "selected", "trashed", "columns"], show);
    host.watch("verdict", showCompare);
    host.onTheme(() => views.forEach((view) => view.paint()));
    host.onClose(() => {
      watcher.disconnect();
      single.pause();
      single.removeAttribute("src");
      playback.close();
      compare.close();
      views.forEach((view) => view.close());
      cancelAnimationFrame(raf);
    });
    show();
  },
);
