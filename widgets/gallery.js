// Gallery: takes as rows, table or sweep grid; named, starred, tagged, binned; up to four of them heard side by side.
// Python half: acestep_lab/ui/gallery.py.

/** What a card has in its line of facts needs no chip. */
const IN_FACTS = ["seed", "bpm", "keyscale", "seconds"];
const MOST_CHIPS = 4;
/** Columns before the scores, and behind them. */
const FIRST = ["", "title", "tempo", "key", "meter", "loudness"];
const LAST = ["length", "seed", "task", "when"];
const valueOf = (v) => (Array.isArray(v) ? textsOf(v).join("–") : typeof v === "boolean" ? String(v) : textOf(v));
const minus = (text) => textOf(text).replace("-", "−");
const decibels = (gain) => `${minus(formatNumber(gain, 1))} dB`;
/** From so many LUFS up it is called so; the first that fits. */
/** @type {[number, string][]} */
const LOUDNESS = [
  [-9, "very_loud"],
  [-14.5, "loud"],
  [-20, "moderate"],
  [-Infinity, "quiet"],
];
const PEAKS_AGAIN = 8000;
/** A score less than this from chance is near it. */
const NEAR_CHANCE = 0.1;

/** Heard and asked for, as a musician says it: "118, as asked", "F# minor (unsure)". */
function heardWords(pair) {
  const heard = typeof pair.heard === "number" ? String(Math.round(pair.heard)) : textOf(pair.heard),
    asked = textOf(pair.asked),
    values = { heard, asked, said: say(textOf(pair.said)) };
  if (!heard) return asked ? t("gallery.asked_only", values) : "";
  const said = pair.same
    ? t("gallery.as_asked", values)
    : asked
      ? t(values.said ? "gallery.heard_off" : "gallery.heard_and_asked", values)
      : t("gallery.heard_only", values);
  return pair.sure === false ? t("gallery.unsure", { said }) : said;
}
function loudnessWords(value) {
  if (typeof value !== "number") return "";
  const [, word] = LOUDNESS.find(([from]) => value >= from) ?? LOUDNESS[3];
  return t("gallery.loudness_words", { lufs: minus(formatNumber(value)), how: t(`gallery.loudness_${word}`) });
}
/** What a score is called; one of somebody's own by its name. */
const scoreName = (name) =>
  t(`gallery.score_${name}`) === `gallery.score_${name}` ? say(name) : t(`gallery.score_${name}`);
const whenWords = (created) => {
  const at = new Date(textOf(created));
  return Number.isNaN(at.getTime())
    ? ""
    : new Intl.DateTimeFormat(language(), { dateStyle: "short", timeStyle: "short" }).format(at);
};
const taskWords = (task) => (t(`gallery.task_${task}`) === `gallery.task_${task}` ? task : t(`gallery.task_${task}`));

/** A card or a lane, with what is read of it below in its kind. */
const readCard = (c) => ({
  ...c,
  id: textOf(c.id),
  title: textOf(c.title) || textOf(c.id),
  seconds: numberOf(c.seconds),
  facts: textsOf(c.facts),
  tags: textsOf(c.tags),
  parents: textsOf(c.parents),
  scores: tableOf(c.scores),
  differs: tableOf(c.differs),
  measured: tableOf(c.measured),
  said: tableOf(c.said),
});

/** A menu under a button: arrows move, Enter chooses, Escape leaves. Items are [word, what, work, title]. */
function openMenu(host, button, items) {
  host.root.querySelector(".menu")?.remove();
  const leave = (focus) => {
    menu.remove();
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    if (focus) button.focus();
  };
  const outside = (event) => {
    if (!event.composedPath().includes(menu)) leave(false);
  };
  const menu = h(
    "div.menu",
    { role: "menu", "aria-label": button.getAttribute("aria-label") },
    items.map(([word, name, work, title]) =>
      h(
        "button.plain",
        {
          role: "menuitem",
          "data-do": name,
          title: title ?? null,
          onclick: () => {
            leave(true);
            work();
          },
        },
        word,
      ),
    ),
  );
  menu.addEventListener("keydown", (event) => {
    const all = [...menu.children],
      at = all.indexOf(/** @type {any} */ (event.target)),
      to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to != null) /** @type {any} */ (all[(to + all.length) % all.length]).focus();
    else if (event.key === "Escape" || event.key === "Tab") leave(event.key === "Escape");
    else return;
    if (event.key !== "Tab") event.preventDefault();
    event.stopPropagation();
  });
  button.setAttribute("aria-expanded", "true");
  host.root.append(menu);
  const box = button.getBoundingClientRect(),
    base = host.root.getBoundingClientRect(),
    left = box.right - base.left - menu.offsetWidth;
  menu.style.left = `${Math.max(8, Math.min(left, base.width - menu.offsetWidth - 8))}px`;
  const below = box.bottom - base.top + 4,
    room = Math.max(base.height, globalThis.innerHeight - base.top - 8);
  const above = Math.max(8, box.top - base.top - menu.offsetHeight - 4);
  menu.style.top = `${below + menu.offsetHeight > room ? above : below}px`;
  document.addEventListener("pointerdown", outside, true);
  /** @type {any} */ (menu.firstElementChild)?.focus();
}

/** An input in place of a word: Enter or leaving it takes what is there, Escape does not. */
function editInPlace(node, value, attributes, done) {
  let over = false;
  const box = h("input.edit", { type: "text", ...attributes });
  box.value = value;
  const end = (kept) => {
    if (over) return;
    over = true;
    const focused = /** @type {any} */ (box.getRootNode()).activeElement === box;
    box.remove();
    node.hidden = false;
    done(kept ? box.value : null, focused);
  };
  box.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    end(event.key === "Enter");
  });
  box.addEventListener("blur", () => end(true));
  node.hidden = true;
  node.after(box);
  box.focus();
  box.select();
}

export default mount(
  "Gallery",
  [
    ["S", "gallery.key_star"],
    ["X Delete", "gallery.key_bin"],
    ["U", "gallery.key_undo"],
    ["Enter", "gallery.key_select"],
    ["R F2", "gallery.key_rename"],
    ["T", "gallery.key_tag"],
    ["C", "gallery.key_compare"],
    ["J K ↓ ↑", "gallery.key_next"],
    ["Space", "gallery.key_play"],
    ["1…4", "gallery.key_lanes"],
  ],
  (host) => {
    const peaks = new Map(),
      asked = new Map(),
      waiting = new Map(),
      coming = new Map(),
      views = new Map(),
      cells = new Map(),
      known = new Map();
    let chosen = [],
      shape = "cards",
      blind = false,
      order = [],
      voted = false,
      loaded = "",
      cards = [],
      listening = false;

    // -- sounds and waveforms
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
    const compare = comparison(bytesOf);
    /** Ask for a waveform that is not here; once more where no answer came. */
    function wantPeaks(id) {
      if (peaks.has(id) || Date.now() - (asked.get(id) ?? 0) < PEAKS_AGAIN) return;
      asked.set(id, Date.now());
      host.send("peaks", { id });
    }
    const again = setInterval(() => {
      for (const view of [...views.values(), ...cells.values()]) if (view.canvas.clientWidth) wantPeaks(view.id);
    }, PEAKS_AGAIN);
    const single = new Audio();
    single.volume = pageState.volume ?? 10 ** (-6 / 20);
    const playback = exclusivePlayback(() => single.pause());
    let playingId = "",
      raf = 0;
    const redraw = () => {
      cancelAnimationFrame(raf);
      for (const view of [...views.values(), ...cells.values()])
        if (view.id === playingId || view.wasOn) {
          view.wasOn = view.id === playingId;
          view.paint();
          view.sounds?.(view.wasOn && !single.paused);
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
      single.play().catch(() => host.announce(t("gallery.would_not_play")));
    }
    function wave(id, seconds, height) {
      const s = makeCanvas(
        height,
        (context, width, tall) => {
          const done = playingId === id && seconds ? single.currentTime / seconds : 0,
            colour = (name) => cssColour(host.root, name);
          drawWave(context, width, tall, peaks.get(id), done, colour("wave"), colour("wave-soft"));
          if (done) {
            context.fillStyle = colour("head");
            context.fillRect(done * width, 0, 2, tall);
          }
        },
        { "data-take": id, class: "wave", title: t("gallery.listen_from_here") },
      );
      s.canvas.addEventListener("click", (event) => {
        const box = s.canvas.getBoundingClientRect();
        playTake(id, ((event.clientX - box.left) / box.width) * seconds);
        event.stopPropagation();
      });
      wantPeaks(id);
      return s;
    }

    // -- what can be done with a take
    const mark = (id, marks) => host.send("mark", { id, ...marks });
    const narrow = (what) => host.send("narrow", what);
    function bin(id) {
      const info = known.get(id);
      chosen = chosen.filter((one) => one !== id);
      if (playingId === id) single.pause();
      host.send("bin", { ids: [id] });
      setText(undone, t("gallery.is_in_the_bin", { title: tellTitle(info?.title ?? id) }));
      undo.hidden = false;
      undo.dataset.take = id;
      step(id, 1) || step(id, -1);
    }
    function undoLast() {
      const id = undo.dataset.take || textOf(tablesOf(host.get("binned"))[0]?.id);
      if (!id) return host.announce(t("gallery.nothing_to_undo"));
      host.send("restore", { ids: [id] });
      undo.hidden = true;
      undo.dataset.take = "";
    }
    function toggleCompared(id) {
      chosen = chosen.includes(id) ? chosen.filter((c) => c !== id) : [...chosen, id].slice(-4);
      afresh();
      show();
    }
    function tag(id, node) {
      const info = known.get(id);
      editInPlace(
        node,
        "",
        { "aria-label": t("gallery.new_tag"), placeholder: t("gallery.new_tag"), list: "tags", maxLength: 40 },
        (value, focused) => {
          const names = textOf(value)
            .split(",")
            .map((one) => one.trim());
          if (names.some(Boolean)) mark(id, { tags: [...info.tags, ...names].slice(0, 24) });
          if (focused) views.get(id)?.node.focus();
        },
      );
    }
    function menuOf(id, view) {
      const info = known.get(id),
        rejected = Boolean(info.reject),
        make = Boolean(host.get("can_make"));
      return [
        [t("gallery.select"), "select", () => host.send("select", { id }), t("gallery.select_title")],
        [t("gallery.reuse"), "reuse", () => host.send("reuse", { id }), t("gallery.reuse_title")],
        make && [t("gallery.more_like"), "more-like", () => host.send("more_like", { id }), t("gallery.more_title")],
        [
          t(chosen.includes(id) ? "gallery.compare_no_more" : "gallery.compare"),
          "compare",
          () => toggleCompared(id),
          t("gallery.compare_title"),
        ],
        [t("gallery.rename"), "rename", () => view.rename()],
        [t("gallery.tag"), "tag", () => view.tag()],
        [t("gallery.note"), "note", () => view.note()],
        [t("gallery.export"), "export", () => broadcast("export", { id })],
        [t("gallery.copy_as_code"), "code", () => copyText(host.root, textOf(known.get(id)?.code), host.announce)],
        rejected && [t("gallery.not_rejected"), "not-rejected", () => mark(id, { reject: false })],
        [t("gallery.bin"), "bin", () => bin(id), t("gallery.bin_title")],
      ].filter(Boolean);
    }
    /** To the next (1) or the one before (-1). */
    function step(id, by) {
      const list = cards.map((c) => c.id),
        next = views.get(list[list.indexOf(id) + by]);
      next?.node.focus();
      return Boolean(next);
    }

    // -- a row for each take
    function card(info) {
      const { id } = info,
        s = wave(id, info.seconds, 40),
        title = h("h3", { title: t("gallery.rename_title") }),
        facts = h("p.tiny.facts"),
        chips = h("div.chips"),
        note = h("p.tiny.note"),
        letter = h("button.small.letter", { title: t("gallery.compare_title"), onclick: () => toggleCompared(id) });
      const play = h("button.plain.icon.hear", { onclick: () => playTake(id) }, "▶"),
        star = h("button.plain.icon.star", {
          title: t("gallery.star"),
          "aria-label": t("gallery.star"),
          onclick: () => mark(id, { star: star.getAttribute("aria-pressed") !== "true" }),
        }),
        more = h(
          "button.plain.icon.more",
          {
            "aria-haspopup": "menu",
            "aria-expanded": "false",
            onclick: () => openMenu(host, more, menuOf(id, view)),
          },
          "⋯",
        );
      const node = h(
        "article.card",
        { tabIndex: 0, "data-card": id },
        play,
        h("div.words", {}, title, facts, chips, note),
        h("div.sound", {}, s.canvas),
        h("div.tools", {}, letter, star, more),
      );
      const view = {
        id,
        node,
        canvas: s.canvas,
        paint: s.paint,
        close: s.close,
        sounds: (on) => {
          setText(play, on ? "❚❚" : "▶");
          play.setAttribute(
            "aria-label",
            t(on ? "gallery.pause_it" : "gallery.play_it", { title: tellTitle(known.get(id).title) }),
          );
        },
        rename: () => {
          const was = known.get(id).title;
          editInPlace(title, was, { "aria-label": t("gallery.rename"), maxLength: 200 }, (value, focused) => {
            if (value != null && value.trim() !== was) mark(id, { title: value.trim() });
            if (focused) node.focus();
          });
        },
        tag: () => tag(id, facts),
        note: () =>
          editInPlace(
            note,
            textOf(known.get(id).note),
            { "aria-label": t("gallery.note"), placeholder: t("gallery.note"), maxLength: 2000 },
            (value, focused) => {
              if (value != null && value !== textOf(known.get(id).note)) mark(id, { note: value });
              if (focused) node.focus();
            },
          ),
        update(next) {
          setText(title, tellTitle(next.title));
          title.title = [textOf(next.words), t("gallery.rename_title")].filter(Boolean).join("\n");
          setText(facts, [formatTime(next.seconds), ...next.facts.map(say)].join("  ·  "));
          setText(note, textOf(next.note));
          star.setAttribute("aria-pressed", String(Boolean(next.star)));
          setText(star, next.star ? "★" : "☆");
          more.setAttribute("aria-label", t("gallery.more_of", { title: tellTitle(next.title) }));
          node.setAttribute("aria-label", tellTitle(next.title));
          view.sounds(playingId === id && !single.paused);
          node.classList.toggle("selected", host.get("selected") === id);
          chips.replaceChildren(...chipsOf(next));
          const place = chosen.indexOf(id),
            hidden = blind && !voted;
          setText(
            letter,
            place < 0
              ? t("gallery.compare")
              : hidden
                ? t("gallery.compared")
                : t("gallery.compared_as", { n: arranged().indexOf(id) + 1 }),
          );
          letter.setAttribute("aria-pressed", String(place >= 0));
          wantPeaks(id);
          s.paint();
        },
      };
      title.addEventListener("dblclick", () => view.rename());
      node.addEventListener("keydown", (event) => {
        if (isTyping(event) || event.target !== node || event.ctrlKey || event.metaKey || event.altKey) return;
        const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
        const work = {
          s: () => star.click(),
          x: () => bin(id),
          Delete: () => bin(id),
          r: () => view.rename(),
          F2: () => view.rename(),
          t: () => view.tag(),
          c: () => letter.click(),
          j: () => step(id, 1),
          k: () => step(id, -1),
          ArrowDown: () => step(id, 1),
          ArrowUp: () => step(id, -1),
          Enter: () => host.send("select", { id }),
          " ": () => playTake(id),
        }[key];
        if (!work) return;
        work();
        event.preventDefault();
        event.stopPropagation();
      });
      return view;
    }
    function chipsOf(info) {
      const from = info.parents[0],
        differs = Object.entries(info.differs)
          .filter(([k, v]) => v != null && !IN_FACTS.includes(k))
          .slice(0, MOST_CHIPS);
      return [
        info.unsaved && h("span.chip.lost", {}, t("gallery.only_in_memory")),
        info.reject && h("span.chip.lost", {}, t("gallery.rejected")),
        ...info.tags.map((name) =>
          h(
            "span.chip.tag",
            {},
            h("button", { title: t("gallery.only_this_tag"), onclick: () => narrow({ tag: name }) }, `#${name}`),
            h(
              "button",
              {
                "aria-label": t("gallery.remove_tag", { tag: name }),
                onclick: () => mark(info.id, { tags: info.tags.filter((one) => one !== name) }),
              },
              "×",
            ),
          ),
        ),
        from &&
          h(
            "button.chip.parent",
            { title: t("gallery.made_from"), onclick: () => reveal(from) },
            "↰ ",
            tellTitle(known.get(from)?.title || textOf(info.parent_title)) || t("gallery.its_source"),
          ),
        ...differs.map(([k, v]) => h("span.chip", {}, `${say(k.replaceAll("_", " "))} ${valueOf(v)}`)),
      ].filter(Boolean);
    }
    function reveal(id) {
      const view = views.get(id);
      if (!view) return host.send("select", { id });
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      view.node.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
      view.node.focus();
    }

    // -- the head
    const rows = h("div.cards", { role: "group", "aria-label": t("titles.Gallery") }),
      table = h("div.scroll"),
      sweep = h("div.scroll"),
      error = h("p.error", { role: "alert" }),
      status = h("p.quiet", { role: "status" }),
      empty = h("p.empty"),
      undone = h("span"),
      tags = h("datalist", { id: "tags" });
    const undo = h(
      "p.quiet.undo",
      { hidden: true, role: "status" },
      undone,
      " ",
      h("button.small", { "data-do": "undo", onclick: undoLast }, t("gallery.undo")),
    );
    const search = h("input", {
      type: "search",
      placeholder: t("gallery.search_hint"),
      "aria-label": t("gallery.search"),
      oninput: () => {
        clearTimeout(search.later);
        search.later = setTimeout(() => host.send("search", { text: search.value }), 150);
      },
    });
    const shapes = h("div.seg", { role: "group", "aria-label": t("gallery.view") }),
      stars = h(
        "button",
        { "data-do": "stars", onclick: () => narrow({ star: !tableOf(host.get("only")).star }) },
        t("gallery.only_stars"),
      ),
      tagged = h("select.tags", {
        "aria-label": t("gallery.filter_by_tag"),
        onchange: () => narrow({ tag: tagged.value }),
      });
    const older = h("button", { "data-do": "older", onclick: () => host.send("batch", { step: 1 }) }, "‹"),
      newer = h("button", { "data-do": "newer", onclick: () => host.send("batch", { step: -1 }) }, "›"),
      every = h("button", { "data-do": "every", onclick: () => host.send("batch", { step: 0 }) }),
      runs = h("div.seg", { role: "group", "aria-label": t("gallery.runs") }, older, every, newer);
    const keep = h("button", { title: t("gallery.keep_title"), onclick: () => confirmBin() }, t("gallery.keep"));
    const inBin = h("details.bin"),
      measure = h(
        "button",
        {
          title: t("gallery.measure_title"),
          onclick: () => {
            listening = true;
            host.send("analyze", {});
            shape = "table";
            show();
          },
        },
        t("gallery.measure"),
      );
    const further = h("button.further", { onclick: () => host.send("more") });
    const sentinel = new IntersectionObserver((entries) => {
      if (entries.some((one) => one.isIntersecting) && !further.hidden) host.send("more");
    });
    sentinel.observe(further);
    function confirmBin() {
      const kept = host.number("starred"),
        gone = host.number("total") - kept;
      setText(error, "");
      if (!kept || !gone) return host.send("bin");
      const dialog = h(
        "dialog",
        { "aria-label": t("gallery.keep"), onclose: () => dialog.remove() },
        h("div.head", {}, h("h2", {}, t("gallery.keep"))),
        h("p", {}, t("gallery.keep_question", { kept, gone })),
        h(
          "div.row",
          { style: "margin-top:16px" },
          h("span.spring"),
          h("button.plain", { onclick: () => dialog.close() }, t("gallery.cancel")),
          h(
            "button.stop",
            {
              onclick: () => {
                host.send("bin");
                dialog.close();
              },
            },
            t("gallery.bin_n", { n: gone }),
          ),
        ),
      );
      host.root.append(dialog);
      dialog.showModal();
    }
    function showBin() {
      const trashed = host.number("trashed"),
        gone = tablesOf(host.get("binned")).map(readCard);
      inBin.hidden = !trashed;
      inBin.replaceChildren(
        h("summary", {}, t("gallery.bin_holds", { n: trashed })),
        h("p.tiny", {}, t("gallery.bin_for_a_day")),
        ...gone.map(({ id, title }) =>
          h(
            "div.row",
            { "data-binned": id },
            h("span.spring", {}, title),
            h(
              "button.small",
              {
                "aria-label": t("gallery.bring_back_this", { title }),
                onclick: () => host.send("restore", { ids: [id] }),
              },
              t("gallery.bring_back"),
            ),
          ),
        ),
        h("button.small", { onclick: () => host.send("restore") }, t("gallery.bring_back_all", { n: trashed })),
      );
      if (undo.dataset.take && !gone.some(({ id }) => id === undo.dataset.take) && undo.dataset.seen)
        undo.hidden = true;
      undo.dataset.seen = gone.some(({ id }) => id === undo.dataset.take) ? "yes" : "";
    }

    // -- table
    function header(name, label, meaning) {
      const by = tableOf(host.get("order")),
        on = by.by === name;
      return h(
        "th",
        { "aria-sort": on ? (by.down ? "descending" : "ascending") : "none", title: meaning || null },
        h(
          "button.plain",
          { "data-sort": name, onclick: () => host.send("sort", { by: name, down: on ? !by.down : false }) },
          label,
          h("span.way", { "aria-hidden": "true" }, on ? (by.down ? " ▼" : " ▲") : ""),
        ),
        meaning ? h("p.tiny.meaning", {}, meaning) : null,
      );
    }
    /** How a score lies to what chance gets, in words. */
    function besideChance(value, chance) {
      if (typeof chance !== "number") return formatNumber(value, 2);
      const by = value - chance;
      return t(
        by > NEAR_CHANCE ? "gallery.above_chance" : by < -NEAR_CHANCE ? "gallery.below_chance" : "gallery.near_chance",
      );
    }
    /** A score in words, over a bar from the least to the best of its kin, with a mark where chance lies. */
    function scoreCell(card, name, [low, high]) {
      const value = card.scores[name],
        chance = card.scores[`${name} chance`];
      if (typeof value !== "number")
        return h("td.num", {}, minus(value ?? "") || (card.measured.loudness == null ? "" : "—"));
      const share = (at) => `${Math.round(100 * Math.max(0, Math.min(1, (at - low) / (high - low || 1))))}%`,
        exact = t(typeof chance === "number" ? "gallery.score_beside" : "gallery.score_alone", {
          value: formatNumber(value, 2),
          chance: formatNumber(numberOf(chance), 2),
        });
      return h(
        "td.said.score",
        { title: exact },
        say(textOf(card.said[name])) || besideChance(value, chance),
        h("span.hidden", {}, ` ${exact}`),
        h(
          "span.bar",
          { "aria-hidden": "true" },
          h("span", { style: `width:${share(value)}` }),
          typeof chance === "number" ? h("i.chance", { style: `inset-inline-start:${share(chance)}` }) : null,
        ),
      );
    }
    /** The least and the best of a score among takes of the same words and chance; 0 to 1 where there is one only. */
    function rangeOf(kin, name) {
      const alike = cards.filter((c) => textOf(c.kin) === kin),
        values = alike.map((c) => c.scores[name]).filter((v) => typeof v === "number"),
        chances = alike.map((c) => c.scores[`${name} chance`]).filter((v) => typeof v === "number"),
        low = Math.min(...values, ...chances),
        high = Math.max(...values, ...chances);
      return new Set(values).size > 1 ? [low, high] : [Math.min(0, low), Math.max(1, high)];
    }
    function showTable() {
      const columns = tablesOf(host.get("columns")).map((c) => ({ name: textOf(c.name), meaning: textOf(c.meaning) }));
      const ranges = new Map(),
        range = (kin, name) => {
          const key = `${kin} ${name}`;
          if (!ranges.has(key)) ranges.set(key, rangeOf(kin, name));
          return ranges.get(key);
        };
      const heads = (names) => names.map((name) => (name ? header(name, t(`gallery.column_${name}`), "") : h("td")));
      const lines = cards.map((c) => {
        const { tempo, key, meter, loudness } = c.measured;
        return h(
          "tr",
          { "data-row": c.id, class: host.get("selected") === c.id ? "selected" : null },
          h(
            "td",
            {},
            h(
              "button.plain.icon",
              { "aria-label": t("gallery.play_it", { title: tellTitle(c.title) }), onclick: () => playTake(c.id) },
              "▶",
            ),
          ),
          h(
            "td",
            {},
            h(
              "button.plain.title",
              { title: textOf(c.words) || null, onclick: () => host.send("select", { id: c.id }) },
              `${c.star ? "★ " : ""}${tellTitle(c.title)}`,
            ),
          ),
          h("td.said", {}, heardWords(tableOf(tempo))),
          h("td.said", {}, heardWords(tableOf(key))),
          h("td.said", {}, heardWords(tableOf(meter))),
          h("td.said", {}, loudnessWords(loudness)),
          columns.map(({ name }) => scoreCell(c, name, range(textOf(c.kin), name))),
          h("td.num", {}, formatTime(c.seconds)),
          h("td.num", {}, textOf(c.seed)),
          h("td.said", {}, taskWords(textOf(c.task))),
          h("td.num", {}, whenWords(c.created)),
        );
      });
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
              heads(FIRST),
              columns.map((c) => header(c.name, scoreName(c.name), say(c.meaning))),
              heads(LAST),
            ),
          ),
          h("tbody", {}, lines),
        ),
      );
    }

    // -- sweep
    function showSweep() {
      const axis = (one) => (one ? { name: textOf(one.name), values: listOf(one.values).map(textOf) } : null),
        grid = host.table("grid"),
        x = axis(grid.x),
        y = axis(grid.y),
        made = new Map(tablesOf(grid.made).map((c) => [textOf(c.id), readCard(c)])),
        missing = numberOf(grid.missing);
      if (!x) return;
      for (const cell of cells.values()) cell.close();
      cells.clear();
      const cellOf = (id) => {
        const info = made.get(id) ?? known.get(id);
        if (!info) return h("td.tiny", {}, id ? t("gallery.in_the_bin") : t("gallery.not_made"));
        known.set(id, { ...known.get(id), ...info });
        const s = wave(id, info.seconds, 36);
        cells.set(id, { id, canvas: s.canvas, paint: s.paint, close: s.close });
        return h(
          "td",
          { title: tellTitle(info.title) },
          s.canvas,
          h(
            "div.row",
            {},
            h(
              "button.small.plain.star",
              {
                "aria-label": t("gallery.star"),
                "aria-pressed": String(Boolean(info.star)),
                onclick: () => mark(id, { star: !info.star }),
              },
              info.star ? "★" : "☆",
            ),
            h(
              "button.small.plain",
              { "aria-pressed": String(chosen.includes(id)), onclick: () => toggleCompared(id) },
              chosen.includes(id) ? String(arranged().indexOf(id) + 1) : t("gallery.compare"),
            ),
          ),
        );
      };
      const finish = h(
        "div.row.finish",
        { hidden: !missing },
        h("span.quiet", {}, t(grid.making ? "gallery.cells_coming" : "gallery.cells_missing", { n: missing })),
        h(
          "button",
          { disabled: Boolean(grid.making) || !host.get("can_make"), onclick: () => host.send("complete_sweep") },
          t("gallery.make_missing", { n: missing }),
        ),
      );
      sweep.replaceChildren(
        finish,
        h(
          "table.sweep",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th", {}, y ? `${y.name} ↓ ${x.name} →` : x.name),
              x.values.map((v) => h("th.num", {}, v)),
            ),
          ),
          h(
            "tbody",
            {},
            listOf(grid.cells)
              .map(listOf)
              .map((row, r) =>
                h(
                  "tr",
                  {},
                  h("th.num", {}, y ? y.values[r] : ""),
                  row.map((id) => cellOf(textOf(id))),
                ),
              ),
          ),
        ),
      );
    }

    // -- comparison by ear
    const panel = h("div.compare", { tabIndex: 0, role: "group", "aria-label": t("gallery.comparison_label") }),
      lanes = h("div.lanes"),
      votes = h("div.row.votes"),
      laneViews = [],
      where = h("input", {
        type: "range",
        min: "0",
        max: "1000",
        value: "0",
        "aria-label": t("gallery.position"),
        oninput: () => compare.seek((Number(where.value) / 1000) * compare.length),
      }),
      time = h("span.tiny.num"),
      told = h("p.quiet", { role: "status" });
    const playAll = h("button.icon.play", { "aria-label": t("gallery.play_comparison"), onclick: () => start() }, "▶"),
      blindly = h("input", {
        type: "checkbox",
        onchange: () => {
          blind = blindly.checked;
          afresh();
          show();
        },
      }),
      looping = h(
        "button.small",
        {
          "aria-pressed": "false",
          title: t("gallery.loop_title"),
          onclick: () => {
            compare.loop(!compare.looped, compare.looped ? null : compare.span);
            paintLanes();
          },
        },
        t("gallery.loop"),
      );
    const differences = differenceTable(),
      differ = h(
        "button.small",
        {
          title: t("gallery.differ_title"),
          "aria-expanded": "false",
          onclick: () => {
            if (differing) return hideDifference();
            setText(told, t("gallery.differ_busy"));
            differing = arranged().join();
            host.send("differ", { ids: arranged() });
            showCompare();
          },
        },
        t("gallery.differ"),
      );
    let differing = "";
    const hideDifference = () => {
      differing = "";
      differences.show({ titles: [], rows: [], picture: "", axis: [] });
      showCompare();
    };
    /** Another order, another vote: what is loaded no longer stands for what is shown. */
    const afresh = () => {
      compare.pause();
      voted = false;
      order = [];
      loaded = "";
      setText(told, "");
    };
    const lengthOf = () => Math.max(0.001, ...chosen.map((id) => numberOf(known.get(id)?.seconds)));
    function paintLanes() {
      const span = compare.span;
      looping.setAttribute("aria-pressed", String(compare.looped));
      setText(
        looping,
        span ? t("gallery.loop_span", { from: formatTenths(span[0]), to: formatTenths(span[1]) }) : t("gallery.loop"),
      );
      for (const view of laneViews) view.paint();
    }
    compare.onTick((at, playing) => {
      where.value = String(compare.length ? Math.round((1000 * at) / compare.length) : 0);
      setText(time, `${formatTenths(at)} / ${formatTime(compare.length || lengthOf())}`);
      setText(playAll, playing ? "❚❚" : "▶");
      playAll.setAttribute("aria-label", t(playing ? "gallery.pause_comparison" : "gallery.play_comparison"));
      Object.assign(host.root.dataset, {
        playing: String(playing),
        on: String(compare.on),
        at: at.toFixed(3),
        apart: compare.apart.toFixed(3),
        streamed: String(compare.streamed),
      });
      paintLanes();
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
      if (loaded === key) return;
      setText(told, t("gallery.matching"));
      const matched = await new Promise((resolve) => {
        waiting.set("compare", resolve);
        host.send("compare", { ids });
      });
      await compare.load(ids, matched.gains, matched.seconds, pageState.volume ?? 10 ** (-6 / 20));
      loaded = key;
      host.root.dataset.gains = JSON.stringify(ids.map((id) => matched.gains[id]));
      const list = ids.map((id, i) => `${i + 1} ${decibels(matched.gains[id])}`).join(", ");
      setText(told, blind ? "" : t("gallery.matched", { list }));
    }
    const switchTo = (place) => {
      if (place >= chosen.length) return;
      if (loaded === arranged().join()) compare.choose(place);
      else start(place);
      showCompare();
    };
    /** What tells a compared take from the others: its title, or where those are the same, its facts. */
    const called = (id, ids) => {
      const own = known.get(id),
        same = ids.some((other) => other !== id && known.get(other)?.title === own?.title);
      const name = tellTitle(own?.title ?? id);
      return same ? [name, ...textsOf(own?.facts).map(say)].join("  ·  ") : name;
    };
    /** A lane's waveform on the common axis; a click goes there, a drag loops what it spans. */
    function laneWave(id) {
      const seconds = numberOf(known.get(id)?.seconds);
      let from = null;
      const s = makeCanvas(
        34,
        (context, width, tall) => {
          const total = lengthOf(),
            x = (at) => (at / total) * width,
            colour = (name) => cssColour(host.root, name),
            at = compare.length ? compare.now() : 0;
          if (compare.span) {
            context.fillStyle = colour("region");
            context.globalAlpha = 0.25;
            context.fillRect(x(compare.span[0]), 0, x(compare.span[1] - compare.span[0]), tall);
            context.globalAlpha = 1;
          }
          const share = seconds ? Math.min(1, at / seconds) : 0;
          drawWave(context, x(seconds), tall, peaks.get(id), share, colour("wave"), colour("wave-soft"));
          context.fillStyle = colour("head");
          context.fillRect(Math.min(width - 2, x(at)), 0, 2, tall);
        },
        { class: "wave", "data-lane-wave": id, title: t("gallery.lane_title") },
      );
      const timeAt = (event) => {
        const box = s.canvas.getBoundingClientRect();
        return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * lengthOf();
      };
      s.canvas.addEventListener("pointerdown", (event) => {
        from = { at: timeAt(event), x: event.clientX };
        s.canvas.setPointerCapture(event.pointerId);
      });
      s.canvas.addEventListener("pointerup", async (event) => {
        if (!from) return;
        const to = timeAt(event),
          began = from;
        from = null;
        await begin();
        if (Math.abs(event.clientX - began.x) < 5) compare.seek(to);
        else if (Math.abs(to - began.at) > 0.1) compare.loop(true, [Math.min(to, began.at), Math.max(to, began.at)]);
        paintLanes();
      });
      wantPeaks(id);
      return s;
    }
    function showCompare() {
      panel.hidden = chosen.length < 2;
      if (panel.hidden) return;
      const ids = arranged(),
        hidden = blind && !voted,
        key = ids.join();
      differ.hidden = ids.length !== 2 || hidden || !host.get("can_differ");
      if (differing && (differing !== key || differ.hidden)) hideDifference();
      differ.setAttribute("aria-expanded", String(differing !== ""));
      if (lanes.dataset.key !== key) {
        lanes.dataset.key = key;
        laneViews.splice(0).forEach((view) => view.close());
        lanes.replaceChildren(
          ...ids.map((id, i) => {
            const view = laneWave(id);
            laneViews.push(view);
            return h(
              "div.track",
              {},
              h("button.lane", { "data-lane": i, onclick: () => switchTo(i) }, h("strong", {}, `${i + 1}`), h("span")),
              view.canvas,
            );
          }),
        );
      }
      [...lanes.querySelectorAll("button.lane")].forEach((button, i) => {
        button.setAttribute("aria-pressed", String(compare.on === i));
        setText(button.lastElementChild, hidden ? "" : ` ${called(ids[i], ids)}`);
      });
      votes.replaceChildren(
        h("span.quiet", {}, voted ? "" : t("gallery.which_is_better")),
        ...(voted
          ? []
          : ids.map((id, i) =>
              h(
                "button.small",
                {
                  "data-vote": i,
                  "aria-label": t("gallery.vote_for", { n: i + 1 }),
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
      if (voted) setText(told, say(host.text("verdict")));
      paintLanes();
    }
    panel.append(
      h(
        "div.row",
        {},
        playAll,
        looping,
        time,
        h("span.spring"),
        h("label.check", {}, blindly, t("gallery.blind")),
        differ,
        h(
          "button.plain",
          {
            onclick: () => {
              chosen = [];
              afresh();
              compare.empty();
              show();
            },
          },
          t("gallery.done"),
        ),
      ),
      lanes,
      where,
      votes,
      told,
      ...differences.nodes,
    );
    panel.addEventListener("keydown", (event) => {
      if (event.key === " " && event.target.tagName !== "BUTTON") {
        start();
        event.preventDefault();
      } else if (event.key === "Escape" && compare.span) {
        compare.loop(compare.looped, null);
        paintLanes();
        event.stopPropagation();
      }
    });
    host.root.addEventListener("keydown", (event) => {
      if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
      if (chosen.length > 1 && /^[1-4]$/.test(event.key)) switchTo(Number(event.key) - 1);
      else if (event.key.toLowerCase() === "u") undoLast();
      else return;
      event.preventDefault();
    });
    /** Python asks for a comparison. */
    function compareThese() {
      const wanted = tablesOf(host.get("compared"));
      if (wanted.length < 2) return;
      for (const one of wanted) known.set(textOf(one.id), { ...known.get(textOf(one.id)), ...readCard(one) });
      chosen = wanted.map((one) => textOf(one.id));
      blind = blindly.checked = Boolean(wanted[0].blind);
      afresh();
      show();
      panel.scrollIntoView({ block: "nearest" });
    }

    // -- all of it
    function showHead() {
      const only = tableOf(host.get("only")),
        batch = tableOf(host.get("batch")),
        names = textsOf(host.get("known_tags")),
        has = Boolean(host.table("grid").x);
      if (shape === "sweep" && !has) shape = "cards";
      shapes.replaceChildren(
        ...["cards", "table", ...(has ? ["sweep"] : [])].map((name) =>
          h(
            "button",
            {
              "data-shape": name,
              "aria-pressed": String(shape === name),
              onclick: () => {
                shape = name;
                show();
              },
            },
            t(`gallery.shape_${name}`),
          ),
        ),
      );
      stars.setAttribute("aria-pressed", String(Boolean(only.star)));
      tagged.hidden = !names.length;
      tags.replaceChildren(...names.map((name) => h("option", { value: name })));
      tagged.replaceChildren(
        h("option", { value: "" }, t("gallery.every_tag")),
        ...names.map((name) => h("option", { value: name }, `#${name}`)),
      );
      tagged.value = textOf(only.tag);
      const at = numberOf(batch.at),
        of = numberOf(batch.of);
      runs.hidden = of < 2;
      setText(every, at ? t("gallery.run_n_of", { n: at, of }) : t("gallery.all_runs"));
      every.setAttribute("aria-pressed", String(!at));
      every.title = t("gallery.all_runs_title");
      older.setAttribute("aria-label", t("gallery.older_run"));
      newer.setAttribute("aria-label", t("gallery.newer_run"));
      older.disabled = at >= of;
      newer.disabled = at <= 1;
      keep.disabled = !host.number("total");
      measure.disabled = !host.number("unmeasured") || !host.get("can_make");
      if (!host.number("unmeasured")) listening = false;
      setText(status, listening ? t("gallery.listening", { n: host.number("unmeasured") }) : "");
      const left = host.number("total") - cards.length;
      further.hidden = left <= 0 || shape === "sweep";
      setText(further, t("gallery.show_more", { n: left }));
    }
    function showRows() {
      const here = new Set(cards.map((c) => c.id));
      for (const [id, view] of views)
        if (!here.has(id)) {
          view.node.remove();
          view.close();
          views.delete(id);
        }
      cards.forEach((info, place) => {
        if (!views.has(info.id)) views.set(info.id, card(info));
        const view = views.get(info.id);
        if (rows.children[place] !== view.node) rows.insertBefore(view.node, rows.children[place] ?? null);
        view.update(info);
      });
    }
    function show() {
      cards = tablesOf(host.get("cards")).map(readCard);
      for (const one of cards) known.set(one.id, one);
      keepTitles(cards);
      showHead();
      showBin();
      showRows();
      rows.hidden = shape !== "cards";
      table.hidden = shape !== "table";
      sweep.hidden = shape !== "sweep";
      if (shape === "table") showTable();
      if (shape === "sweep") showSweep();
      const only = tableOf(host.get("only")),
        narrowed = host.text("query") || only.star || only.tag || only.batch;
      empty.hidden = cards.length > 0 || shape === "sweep";
      setText(empty, t(narrowed ? "gallery.no_match" : "gallery.none_yet"));
      host.root.dataset.cards = String(host.number("total") || cards.length);
      host.root.dataset.rows = String(cards.length);
      showCompare();
    }
    host.on("peaks", (body, [bytes]) => {
      if (!bytes) return;
      peaks.set(body.id, new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
      for (const view of [...views.values(), ...cells.values()]) if (view.id === body.id) view.paint();
      for (const view of laneViews) view.paint();
      host.root.dataset.peaks = String(peaks.size);
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
    host.on("differ", (body) => {
      if (textsOf(body.ids).join() !== differing) return; // others are compared by now
      setText(told, "");
      host.root.dataset.differences = String(differences.show(body));
    });
    host.on("error", (body) => {
      if (differing) hideDifference();
      setText(error, say(body.text));
      setText(told, "");
      listening = false;
      setText(status, "");
      undo.hidden = true;
      waiting.clear();
      coming.clear();
      loading = false;
    });
    // What was wrong is said until the next click here.
    host.root.addEventListener("click", () => setText(error, ""), true);
    host.root.append(
      h(
        "div.head",
        {},
        h("h2", {}, t("titles.Gallery")),
        shapes,
        stars,
        tagged,
        runs,
        h("span.spring"),
        h("div.search", {}, search),
        measure,
        keep,
      ),
      undo,
      inBin,
      panel,
      empty,
      h("div.list", {}, rows, table, sweep, further),
      tags,
      status,
      error,
    );
    search.value = host.text("query");
    let due = 0;
    /** Several fields change together: shown once. */
    const soon = () => {
      cancelAnimationFrame(due);
      due = requestAnimationFrame(show);
    };
    host.watch(
      ["cards", "grid", "selected", "trashed", "binned", "columns", "order", "only", "batch", "known_tags", "total"],
      soon,
    );
    host.watch(["starred", "unmeasured", "can_make", "query"], soon);
    host.watch("verdict", showCompare);
    host.watch("compared", compareThese);
    host.onTheme(() => [...views.values(), ...cells.values(), ...laneViews].forEach((view) => view.paint()));
    host.onClose(() => {
      clearInterval(again);
      cancelAnimationFrame(due);
      sentinel.disconnect();
      single.pause();
      single.removeAttribute("src");
      playback.close();
      compare.close();
      [...views.values(), ...cells.values(), ...laneViews].forEach((view) => view.close());
      cancelAnimationFrame(raf);
    });
    show();
    compareThese();
  },
);
