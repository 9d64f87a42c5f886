// LatentPreview: the music at every step as a picture (sound, what changed, latent), a scrubber over past steps.
// Python half: acestep_lab/ui/latent_preview.py.

const WINDOW = 3; // seconds that are heard of a step
const VIEWS = ["sound", "change", "latent"];
const TICKS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300];

export default mount(
  "Watch",
  [
    ["← →", "latent.key_step"],
    ["H", "latent.key_hear"],
    ["K", "latent.key_keep"],
    ["X", "latent.key_stop"],
  ],
  (host) => {
    /** The pictures that are here, by view and step. @type {Record<string, Map<number, any>>} */
    const pictures = { sound: new Map(), change: new Map(), latent: new Map() };
    let step = -1,
      follow = true,
      shown = null,
      from = 0,
      said = 0;
    const sounds = () => Boolean(host.get("sounds"));
    let view = sounds() ? (pageState.watchView ?? "sound") : "latent";
    if (sounds() && view !== "sound") host.send("view", { view });
    // Two threads of Python send steps, and an older one may come last; a picture that is here has been reached.
    const reached = () => Math.max(numberOf(host.get("latest"), -1), ...pictures.latent.keys());
    const newest = () => reached() + (host.get("take") && host.get("hears") && sounds() && reached() >= 0 ? 1 : 0);
    const isTake = (at) => Boolean(host.get("take")) && at > reached();
    const image = h("img", { alt: "", draggable: false }),
      span = h("div.span");
    const frame = h(
      "div.picture",
      { tabIndex: 0, role: "slider", "aria-label": t("latent.where_to_listen"), "aria-valuemin": "0" },
      image,
      span,
    );
    const axis = h("div.axis", { "aria-hidden": "true" }),
      times = h("div.times", { "aria-hidden": "true" }),
      bar = h("div.ramp"),
      less = h("span"),
      more = h("span"),
      ramp = h("div.scale.tiny", { "aria-hidden": "true" }, less, bar, more);
    const plot = h("div.plot", { dir: "ltr" }, axis, frame, h("span"), times);
    const caption = h("p.tiny.caption"),
      told = h("p.hidden", { "aria-live": "polite" });
    const tabs = Object.fromEntries(
      VIEWS.map((name) => [name, h("button", { onclick: () => look(name) }, t(`latent.view_${name}`))]),
    );
    const seg = h("div.seg.views", { role: "group", "aria-label": t("latent.views") }, ...Object.values(tabs));
    const scrub = h("input", {
      type: "range",
      min: "0",
      max: "0",
      step: "1",
      "aria-label": t("latent.step"),
      oninput: () => {
        follow = Number(scrub.value) >= newest();
        go(Number(scrub.value));
      },
    });
    const label = h("span.num.quiet.step");
    const hear = h("button", {
      title: t("latent.hear_hint"),
      onclick: () => {
        if (step < 0 || isTake(step)) return;
        host.announce(t("latent.decoding"));
        host.send("play_step", { step, start: from, end: from + WINDOW });
      },
    });
    const keep = h(
      "button",
      {
        title: t("latent.keep_hint"),
        onclick: () => {
          if (step >= 0 && !isTake(step)) host.send("keep", { step });
        },
      },
      t("latent.keep"),
    );
    const stop = h("button.stop", { onclick: () => host.send("stop") }, t("latent.stop"));
    const song = h("span.chip"),
      note = h("p.quiet", { role: "status" }),
      error = h("p.error", { role: "alert" });
    const written = h("div", {}),
      progress = h("div.bar", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, written),
      tokens = h("p.num"),
      calm = h("div.calm", {}, tokens, progress, h("p.tiny", {}, t("latent.no_picture")));
    const track = () => host.table("track");
    const player = audioPlayer(host, track, () => {});

    function showSpan() {
      const total = host.number("seconds") || 1,
        end = Math.min(total, from + WINDOW);
      span.style.left = `${(100 * from) / total}%`;
      span.style.width = `${Math.min(100 - (100 * from) / total, (100 * WINDOW) / total)}%`;
      frame.setAttribute("aria-valuemax", String(Math.max(0, total - WINDOW)));
      frame.setAttribute("aria-valuenow", from.toFixed(1));
      frame.setAttribute(
        "aria-valuetext",
        t("latent.from_to", { from: formatNumber(from, 1), to: formatNumber(end, 1) }),
      );
      setText(hear, t("latent.hear", { s: formatNumber(from, 1) }));
    }
    function listenAt(seconds) {
      from = Math.max(0, Math.min(host.number("seconds") - WINDOW, seconds));
      showSpan();
    }
    frame.addEventListener("pointerdown", (event) => {
      const box = frame.getBoundingClientRect();
      listenAt(((event.clientX - box.left) / box.width) * host.number("seconds") - WINDOW / 2);
    });
    function look(name) {
      view = pageState.watchView = name;
      host.send("view", { view });
      go(step);
    }
    function go(to) {
      step = Math.max(-1, Math.min(to, newest()));
      const there = pictures[view].get(step);
      if (step >= 0 && (!there || (there.source === "guess" && !host.get("live"))))
        host.send("picture", { step, view });
      show();
    }
    /** The picture of this step in this view; while the run goes on the last one there was; else the latent's. */
    function best() {
      const exact = pictures[view].get(step);
      if (exact) return { at: step, kind: view, ...exact };
      const before = follow ? [...pictures[view].keys()].filter((at) => at < step) : [];
      if (before.length) {
        const at = Math.max(...before);
        return { at, kind: view, ...pictures[view].get(at) };
      }
      for (const kind of ["sound", "latent"])
        if (pictures[kind].has(step)) return { at: step, kind, ...pictures[kind].get(step) };
      return null;
    }
    function captionOf(found) {
      const n = found.at + 1,
        steps = host.number("steps"),
        percent = Math.round(100 * numberOf(found.explained, 1));
      if (found.kind === "latent") return t("latent.is_latent", { n });
      if (found.kind === "change") {
        const what =
          found.where === "little"
            ? t("latent.little_changed")
            : t(`latent.changed_${found.where}`, { how: t(`latent.how_${found.how}`) });
        const whole = isTake(found.at)
          ? t("latent.take_says", { what })
          : t("latent.step_says", { n, steps, what: found.at > 0 ? what : t("latent.first") });
        return found.source === "guess" ? `${whole} ${t("latent.guessed", { percent })}` : whole;
      }
      if (found.source === "take") return t("latent.is_take");
      return found.source === "guess" ? t("latent.is_guess", { n, percent }) : t("latent.is_sound", { n });
    }
    function showAxes(found) {
      const total = host.number("seconds"),
        many = frame.clientWidth < 420 ? 4 : 8,
        every = TICKS.find((one) => total / one <= many) ?? 600,
        marks = [];
      for (let at = 0; total && at <= total * 0.97; at += every)
        marks.push(h("span.num", { style: `left:${(100 * at) / total}%` }, t("common.seconds", { n: at })));
      times.replaceChildren(...marks);
      const latent = found.kind === "latent",
        rows = listOf(found.axis).filter(Array.isArray);
      axis.replaceChildren(
        ...(latent
          ? [h("span.rows", {}, t("latent.channels"))]
          : rows.map(([place, text]) => h("span.num", { style: `bottom:${100 * numberOf(place)}%` }, textOf(text)))),
      );
      const stops = textsOf(host.table("colours")[found.kind === "sound" ? "sound" : "change"]);
      bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      const ends = { sound: ["quiet", "loud"], change: ["quieter", "louder"], latent: ["below", "above"] }[found.kind];
      setText(less, t(`latent.${ends[0]}`));
      setText(more, t(`latent.${ends[1]}`));
    }
    function showPicture() {
      const found = best();
      plot.hidden = ramp.hidden = caption.hidden = !found;
      if (!found) return;
      if (shown !== found.url) {
        image.src = shown = found.url;
        showAxes(found);
      }
      const text = captionOf(found);
      image.alt = text;
      setText(caption, text);
      host.root.dataset.shown = `${found.kind}:${found.at}`;
      if (!host.get("live") || Date.now() - said > 2000) {
        said = Date.now();
        setText(told, text);
      }
    }
    function show() {
      const steps = host.number("steps"),
        live = Boolean(host.get("live")),
        hears = Boolean(host.get("hears")),
        last = newest(),
        songs = host.number("songs"),
        seconds = host.number("seconds");
      host.hide(!host.get("run") || (!live && reached() < 0 && !host.text("note")));
      scrub.max = String(Math.max(0, last));
      scrub.value = String(Math.max(0, step));
      scrub.disabled = last < 0;
      const at = hears ? step : reached();
      setText(
        label,
        at < 0
          ? live
            ? t("latent.listening")
            : t("latent.none_yet")
          : isTake(at)
            ? t("latent.take")
            : t("latent.step_of", { n: at + 1, steps }),
      );
      picturesOf.hidden = !hears || reached() < 0;
      calm.hidden = hears || reached() < 0;
      const share = steps ? Math.min(1, (reached() + 1) / steps) : 0;
      written.style.width = `${100 * share}%`;
      progress.setAttribute("aria-valuenow", String(Math.round(100 * share)));
      progress.setAttribute("aria-label", t("titles.Watch"));
      setText(tokens, t("latent.written", { done: formatNumber(share * seconds, 1), of: formatNumber(seconds, 1) }));
      for (const name of VIEWS) tabs[name].setAttribute("aria-pressed", String(name === view));
      seg.hidden = !sounds();
      for (const button of [hear, keep]) button.hidden = step < 0 || isTake(step);
      stop.hidden = !live || host.get("stops") === false;
      song.hidden = songs < 2;
      setText(song, t("latent.song", { n: host.number("song") + 1, songs }));
      waiting.hidden = !live || reached() >= 0;
      setText(note, say(host.text("note")));
      host.root.dataset.step = String(step);
      host.root.dataset.latest = String(reached());
      host.root.dataset.pictures = String(VIEWS.reduce((sum, name) => sum + pictures[name].size, 0));
      host.root.dataset.view = view;
      showPicture();
      showSpan();
      card.show();
    }
    host.on("picture", (body, [bytes]) => {
      if (body.run !== host.get("run") || !(body.view in pictures) || !bytes) return;
      const before = pictures[body.view].get(body.step);
      if (before) URL.revokeObjectURL(before.url);
      const { source, explained, axis: marks, where, how } = body,
        url = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
      pictures[body.view].set(body.step, { url, source, explained, axis: marks, where, how });
      if (follow) step = newest();
      if (shown === before?.url) shown = null;
      show();
    });
    const forget = () => {
      for (const map of Object.values(pictures)) {
        map.forEach((one) => URL.revokeObjectURL(one.url));
        map.clear();
      }
    };
    const clear = () => {
      forget();
      shown = null;
      step = -1;
      follow = true;
      from = 0;
      image.removeAttribute("src");
      setText(told, "");
      setText(error, "");
      player.reset();
      card.reset();
      show();
    };
    host.on("error", (body) => setText(error, say(body.text)));
    host.root.addEventListener("keydown", (event) => {
      if (isTyping(event)) return;
      const key = event.key.toLowerCase(),
        move = { arrowleft: -1, arrowright: 1 }[key];
      if (move && event.target === frame) {
        listenAt(from + move * (event.shiftKey ? 5 : 1));
        event.preventDefault();
      } else if (move && event.target !== scrub) {
        follow = step + move >= newest();
        go(Math.max(0, step + move));
        event.preventDefault();
      } else if (event.ctrlKey || event.metaKey) return;
      else if (key === "h") hear.click();
      else if (key === "k") keep.click();
      else if (key === "x") stop.click();
    });
    const waiting = h("p.quiet", {}, t("latent.listening"));
    const copy = h(
      "button.plain",
      { onclick: () => copyText(host.root, host.text("code"), host.announce) },
      t("latent.copy"),
    );
    const picturesOf = h(
      "div.stack.pictures",
      {},
      h("div.row.above", {}, seg, h("span.spring"), ramp),
      plot,
      caption,
      h("div.row.scrub", {}, scrub, label),
      h("div.row", {}, hear, keep, h("span.spring"), copy),
    );
    const card = foldingCard(host, {
      title: t("titles.Watch"),
      brief: () =>
        t("latent.brief", { n: host.number("steps") && reached() + 1, s: formatNumber(host.number("took"), 1) }),
      wants: () => Boolean(host.get("live")) || Boolean(host.get("unfolded")),
      extras: [song, stop],
      body: [waiting, calm, picturesOf, note, error, told],
    });
    host.watch("run", clear);
    host.watch(
      ["latest", "steps", "live", "note", "seconds", "hears", "take", "took", "song", "songs", "unfolded"],
      () => {
        if (follow && reached() >= 0) step = newest();
        if (follow && isTake(step) && !pictures[view].has(step) && card.isOpen()) host.send("picture", { step, view });
        show();
      },
    );
    host.watch("track", () => {
      player.reset();
      if (track().id) player.play();
    });
    host.onClose(forget);
    show();
  },
);
