// Player: see a sound's real waveform, click to seek, hear it, loop it, hear its parent instead; whole, or as the bar
// at the foot of a page. Python half: acestep_lab/ui/player.py.

export default mount(
  "Player",
  [
    ["keys.space", "player.key_space_what"],
    ["player.key_arrows", "player.key_arrows_what"],
    ["player.key_ends", "player.key_ends_what"],
    ["player.key_volume", "player.key_volume_what"],
    ["L", "player.key_loop_what"],
    ["B", "player.key_pair_what"],
    ["Enter", "lyric_lane.key_hear"],
    ["M", "lyric_lane.key_mark"],
  ],
  (host) => {
    let peaks = null,
      asking = 0,
      at = 0,
      looping = false;
    /** @type {{id: string, start: number, end: number} | null} */
    let region = null;
    let waits = false; // for the parent's sound, to switch to it as soon as it is here
    const bar = Boolean(host.get("bar")),
      track = () => host.table("track");
    const player = audioPlayer(host, track, (seconds, playing) => {
      at = seconds;
      button.setAttribute("aria-pressed", String(playing));
      button.setAttribute("aria-label", playing ? t("player.pause") : t("player.play"));
      button.firstChild.textContent = playing ? "❚❚" : "▶";
      host.root.dataset.playing = String(playing);
      show();
    });
    const button = h(
      "button.icon.play",
      { "aria-label": t("player.play"), "aria-pressed": "false", onclick: () => start() },
      h("span", { "aria-hidden": "true" }, "▶"),
    );
    const title = h("h3", { dir: "auto" }),
      facts = h("p.tiny.facts"),
      time = h("span.num.tiny.time", { dir: "ltr" }),
      error = h("p.error", { role: "alert" }),
      note = h("p.quiet.note", { role: "status" });
    const volume = h("input.volume", {
      type: "range",
      min: "0",
      max: "1",
      step: "0.01",
      value: String(player.audio.volume),
      "aria-label": t("player.volume"),
      oninput: () => {
        player.volume(Number(volume.value));
        decibels();
      },
    });
    const loud = h("span.tiny.num.loud");
    const decibels = () => {
      const value = Number(volume.value),
        words = value > 0 ? `${formatNumber(20 * Math.log10(value)).replace("-", "−")} dB` : t("player.silent");
      setText(loud, words);
      volume.setAttribute("aria-valuetext", words);
      volume.title = `${t("player.volume")}: ${words}`;
    };
    const wave = makeCanvas(
      bar ? 40 : 72,
      (context, width, height) => {
        const total = numberOf(track().seconds) || 1,
          done = at / total;
        if (looping && region) {
          context.fillStyle = cssColour(host.root, "region");
          context.globalAlpha = 0.22;
          context.fillRect((region.start / total) * width, 0, ((region.end - region.start) / total) * width, height);
          context.globalAlpha = 1;
        }
        drawWave(context, width, height, peaks, done, cssColour(host.root, "wave"), cssColour(host.root, "wave-soft"));
        context.fillStyle = cssColour(host.root, "head");
        context.fillRect(Math.min(width - 2, done * width), 0, 2, height);
      },
      { tabIndex: 0, role: "slider", "aria-label": t("player.position"), "aria-valuemin": "0", class: "wave" },
    );
    const seekAt = (event) => {
      const box = wave.canvas.getBoundingClientRect();
      player.seek(((event.clientX - box.left) / box.width) * (track().seconds || 0));
    };
    wave.canvas.addEventListener("pointerdown", (event) => {
      wave.canvas.setPointerCapture(event.pointerId);
      seekAt(event);
    });
    wave.canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) seekAt(event);
    });

    const lyric = lyricLane(host, {
      track,
      part: (time) => time / (numberOf(track().seconds) || 1),
      at: (share) => share * numberOf(track().seconds),
      hear: (time) => broadcast("play", { id: track().id, start: time }),
      mark: (start, end) => {
        looping = true;
        region = { id: textOf(track().id), start, end };
        applyLoop();
      },
    });

    /** What was just done; in the bar it lies over the page, so it leaves by itself. */
    const tell = (text) => {
      clearTimeout(leaving);
      setText(note, text);
      if (bar && text) leaving = setTimeout(() => setText(note, ""), 8000);
    };
    let leaving = 0;
    host.onClose(() => clearTimeout(leaving));

    // -- star, loop, A/B
    const star = h("button.plain.icon.star", {
      onclick: () => host.send("star", { on: star.getAttribute("aria-pressed") !== "true" }),
    });
    const loop = h("button.plain.icon.loop", { "aria-label": t("player.loop"), onclick: () => setLoop(!looping) }, "↻");
    function setLoop(on) {
      looping = on;
      applyLoop();
      if (!on) broadcast("region", { id: track().id, start: null, end: null, loop: false, from: "player" });
      host.announce(t(!on ? "player.loop_off" : region ? "player.loop_region" : "player.loop_whole"));
    }
    function applyLoop() {
      player.loop(looping, region?.start ?? 0, region?.end ?? Infinity);
      loop.setAttribute("aria-pressed", String(looping));
      loop.title = t(region ? "player.loop_this_region" : "player.loop");
      host.root.dataset.loop = looping ? (region ? `${region.start} ${region.end}` : "whole") : "";
      show();
    }
    host.onClose(
      onBroadcast("region", (news) => {
        if (news?.id !== track().id || news.from === "player") return;
        const { start, end } = news;
        if (typeof news.loop === "boolean") looping = news.loop; // the waveform's own button for it
        region = Number.isFinite(start) && end > start ? { id: news.id, start, end } : null;
        applyLoop();
      }),
    );
    const letters = ["A", "B"].map((one) => h("span.letter", { "aria-hidden": "true" }, one));
    const pair = h("button.ab", { onclick: () => switchPair() }, letters);
    const hasParent = () => Boolean(host.table("parent").id);
    function switchPair() {
      setText(error, "");
      if (!hasParent()) return tell(say(host.table("parent").why) || t("player.no_parent_yet"));
      if (!player.paired) {
        waits = !waits;
        if (waits) askPair();
        return showPair();
      }
      host.root.dataset.apart = String(player.apart);
      player.switchTo(!player.second);
      showPair();
      host.announce(t(player.second ? "player.heard_parent" : "player.heard_this"));
    }
    let asked = "";
    const askPair = () => {
      if (asked === track().id || !hasParent()) return;
      asked = track().id;
      host.send("pair", { id: asked });
    };
    host.on("pair", (body, [bytes]) => {
      if (body.id !== track().id) return;
      player.pair(textOf(body.url), bytes, body.gains);
      host.root.dataset.pair = textOf(body.parent);
      host.root.dataset.gains = JSON.stringify(body.gains);
      if (waits) switchPair();
      waits = false;
      showPair();
    });
    function showPair() {
      const about = host.table("parent"),
        second = player.second;
      pair.hidden = !about.id && about.why === undefined;
      pair.setAttribute("aria-disabled", String(!hasParent()));
      pair.setAttribute("aria-pressed", String(second));
      letters.forEach((one, place) => one.classList.toggle("on", (place === 1) === second));
      const name = hasParent()
        ? t(second ? "player.pair_back" : "player.pair", { title: tellTitle(about.title) })
        : say(about.why);
      pair.title = name || t("player.no_parent_yet");
      pair.setAttribute("aria-label", `${t("player.pair_name")}: ${pair.title}`);
      host.root.dataset.heard = second ? "parent" : "this";
      const own = textsOf(track().facts).map(say).join("  ·  ");
      setText(
        facts,
        waits ? t("player.fetching") : second ? t("player.hears_parent", { title: tellTitle(about.title) }) : own,
      );
      facts.classList.toggle("other", second);
    }
    function showStar() {
      const on = Boolean(host.get("starred"));
      star.hidden = !host.get("starrable");
      star.setAttribute("aria-pressed", String(on));
      star.setAttribute("aria-label", t("player.star"));
      star.title = t(on ? "player.unstar" : "player.star");
      setText(star, on ? "★" : "☆");
    }
    /** Play or pause; where there is a parent, its sound is fetched meanwhile, so that the switch is at once. */
    function start() {
      if (!track().id) return;
      player.toggle();
      if (track().url) askPair();
    }

    function show() {
      const seconds = numberOf(track().seconds);
      setText(time, `${formatTenths(at)} / ${formatTime(seconds)}`);
      wave.canvas.setAttribute("aria-valuenow", at.toFixed(1));
      wave.canvas.setAttribute(
        "aria-valuetext",
        t("player.at_of", { at: formatNumber(at, 1), all: formatNumber(seconds, 1) }),
      );
      lyric.follow(at);
      wave.paint();
    }
    const showTitle = () => {
      setText(title, tellTitle(track().title) || t("player.nothing"));
      title.title = tellTitle(track().title);
    };
    host.onClose(onBroadcast("titles", showTitle));
    /** Ask for the waveform until it is here: a kernel that was busy or restarted may never have heard it. */
    function askPeaks(times = 0) {
      clearTimeout(asking);
      const { id } = track();
      if (!id || peaks || times > 30) return;
      host.send("peaks", { id, pixels: Math.max(300, Math.round(wave.canvas.clientWidth || 800)) });
      asking = setTimeout(() => askPeaks(times + 1), 4000);
    }
    host.onClose(() => clearTimeout(asking));
    function load() {
      const { id, seconds } = track();
      player.reset();
      peaks = null;
      at = 0;
      region = null;
      asked = "";
      waits = false;
      showTitle();
      wave.canvas.setAttribute("aria-valuemax", String(seconds ?? 0));
      button.disabled = !id;
      wave.canvas.hidden = time.hidden = tools.hidden = !id;
      host.root.dataset.track = textOf(id);
      tell("");
      setText(error, "");
      save.replaceChildren(
        h("option", { value: "" }, t("player.save_as")),
        ...host
          .list("forms")
          .filter(Array.isArray)
          .map(([form, name]) => h("option", { value: form }, say(name))),
      );
      askPeaks();
      lyric.load();
      showStar();
      showPair();
      applyLoop();
      player.loop(looping);
    }
    const keys = {
      " ": () => start(),
      ArrowLeft: (e) => player.seek(at - (e.shiftKey ? 1 : 0.1)),
      ArrowRight: (e) => player.seek(at + (e.shiftKey ? 1 : 0.1)),
      Home: () => player.seek(0),
      End: () => player.seek(numberOf(track().seconds)),
      ArrowUp: () => nudge(0.05),
      ArrowDown: () => nudge(-0.05),
      l: () => setLoop(!looping),
      b: () => !pair.hidden && switchPair(),
    };
    const nudge = (by) => {
      volume.value = String(Number(volume.value) + by);
      player.volume(Number(volume.value));
      decibels();
    };
    const act = (event, only = Object.keys(keys)) => {
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (!only.includes(key) || event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
      keys[key](event);
      event.preventDefault();
    };
    host.root.addEventListener("keydown", (event) => {
      if (event.target === volume || takesSpace(event)) return;
      act(event);
    });
    if (bar) {
      const onPage = (event) => {
        if (!pageState.whole || event.defaultPrevented || takesSpace(event)) return;
        if (!document.querySelector("dialog[open]")) act(event, [" ", "l", "b"]);
      };
      document.addEventListener("keydown", onPage);
      pageState.space = start;
      host.onClose(() => {
        document.removeEventListener("keydown", onPage);
        if (pageState.space === start) pageState.space = null;
      });
    }

    // -- save
    const save = h("select", {
      "aria-label": t("player.save"),
      title: t("player.save_hint"),
      onchange: () => {
        if (save.value) {
          setText(error, "");
          tell(t("player.writing"));
          host.send("save", { form: save.value });
        }
        save.value = "";
      },
    });
    host.on("file", (body, [bytes]) => {
      saveFile(host.root, bytes, textOf(body.name) || "sound");
      tell(t("player.saved", { name: body.name }));
    });
    const exporting = h(
      "button.plain.export",
      { title: t("player.export_hint"), onclick: () => broadcast("export", { id: track().id }) },
      t("player.export"),
    );
    exporting.hidden = !host.get("exports");
    host.watch("exports", () => {
      exporting.hidden = !host.get("exports");
    });
    const code = h(
      "button.plain.code",
      { title: t("player.code_hint"), onclick: () => copyText(host.root, host.text("code"), host.announce) },
      t("player.code"),
    );
    host.on("peaks", (body, [bytes]) => {
      if (body.id === track().id) {
        peaks = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        host.root.dataset.peaks = String(peaks.length >> 1);
        show();
      }
    });
    host.on("seek", (body) => {
      player.seek(numberOf(body.seconds));
      player.play();
    });
    host.on("error", (body) => {
      tell("");
      waits = false;
      asked = "";
      showPair();
      setText(error, say(body.text));
    });
    player.audio.addEventListener("error", () => {
      if (player.audio.getAttribute("src")) setText(error, t("player.unreachable"));
    });
    host.root.classList.toggle("bar", bar);
    const words = h("div.words", {}, title, facts);
    const tools = bar
      ? h("div.tools", {}, pair, loop, volume, h("div.save", {}, save), exporting, code)
      : h(
          "div.row.tools",
          {},
          pair,
          loop,
          h("span.tiny.wide-only", {}, t("player.volume")),
          volume,
          loud,
          h("span.spring"),
          h("div.save", {}, save),
          exporting,
          code,
        );
    const messages = h("div.messages", {}, note, error);
    if (bar) host.root.append(h("div.rail", {}, button, words, star, wave.canvas, time, tools), lyric.sung, messages);
    else
      host.root.append(
        h("div.top", {}, button, words, h("span.spring"), star, time),
        wave.canvas,
        lyric.lane,
        lyric.sung,
        lyric.next,
        tools,
        lyric.missing,
        lyric.all,
        messages,
      );
    host.onTheme(show);
    host.watch("track", load);
    host.watch("starred", showStar);
    host.watch("starrable", showStar);
    host.watch("parent", () => {
      showPair();
      if (player.audio.src && !player.audio.paused && track().url) askPair();
    });
    host.onClose(wave.close);
    decibels();
    load();
  },
);
