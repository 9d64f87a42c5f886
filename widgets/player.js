// Player: see a sound's real waveform, click to seek, hear it. Python half: acestep_lab/ui/player.py.

export default mount(
  "Player",
  [
    ["Space", "play or pause"],
    ["← →", "back or on by 0.1 s (Shift: 1 s)"],
    ["Home End", "to the start, to the end"],
    ["↑ ↓", "louder, softer"],
  ],
  (host) => {
    let peaks = null,
      at = 0;
    const track = () => host.table("track");
    const player = audioPlayer(host, track, (seconds, playing) => {
      at = seconds;
      button.setAttribute("aria-pressed", String(playing));
      button.setAttribute("aria-label", playing ? "Pause" : "Play");
      button.firstChild.textContent = playing ? "❚❚" : "▶";
      show();
    });
    const button = h(
      "button.icon.play",
      { "aria-label": "Play", "aria-pressed": "false", onclick: () => player.toggle() },
      h("span", {}, "▶"),
    );
    const title = h("h3"),
      facts = h("p.tiny"),
      time = h("span.num.tiny.time"),
      line = h("p.line", { "aria-live": "off" }),
      error = h("p.error", { role: "alert" }),
      note = h("p.quiet", { role: "status" });
    const volume = h("input", {
      type: "range",
      min: "0",
      max: "1",
      step: "0.01",
      value: String(player.audio.volume),
      "aria-label": "Volume",
      style: "width:92px",
      oninput: () => {
        player.volume(Number(volume.value));
        decibels();
      },
    });
    const loud = h("span.tiny.num", { style: "min-width:52px" });
    const decibels = () =>
      setText(
        loud,
        Number(volume.value) > 0
          ? `${(20 * Math.log10(Number(volume.value))).toFixed(0).replace("-", "−")} dB`
          : "silent",
      );
    const wave = makeCanvas(
      72,
      (context, width, height) => {
        const total = numberOf(track().seconds) || 1,
          done = at / total;
        drawWave(context, width, height, peaks, done, cssColour(host.root, "wave"), cssColour(host.root, "wave-soft"));
        context.fillStyle = cssColour(host.root, "head");
        context.fillRect(Math.min(width - 2, done * width), 0, 2, height);
      },
      { tabIndex: 0, role: "slider", "aria-label": "Position", "aria-valuemin": "0", class: "wave" },
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
    function show() {
      const seconds = numberOf(track().seconds),
        lines = listOf(track().lines).filter(Array.isArray);
      setText(time, `${formatTenths(at)} / ${formatTime(seconds)}`);
      wave.canvas.setAttribute("aria-valuenow", at.toFixed(1));
      wave.canvas.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${seconds.toFixed(1)} seconds`);
      setText(line, lines.reverse().find(([from]) => from <= at + 0.05)?.[1] ?? "");
      wave.paint();
    }
    function load() {
      const { id, seconds } = track();
      player.reset();
      peaks = null;
      at = 0;
      setText(title, track().title ?? "Nothing to hear yet");
      setText(facts, textsOf(track().facts).join("  ·  "));
      wave.canvas.setAttribute("aria-valuemax", String(seconds ?? 0));
      button.disabled = !id;
      wave.canvas.hidden = time.hidden = tools.hidden = !id;
      setText(note, "");
      save.replaceChildren(
        h("option", { value: "" }, "Save as…"),
        ...host
          .list("forms")
          .filter(Array.isArray)
          .map(([form, name]) => h("option", { value: form }, name)),
      );
      if (id) host.send("peaks", { id, pixels: Math.max(300, Math.round(wave.canvas.clientWidth || 800)) });
      show();
    }
    const keys = {
      " ": () => player.toggle(),
      ArrowLeft: (e) => player.seek(at - (e.shiftKey ? 1 : 0.1)),
      ArrowRight: (e) => player.seek(at + (e.shiftKey ? 1 : 0.1)),
      Home: () => player.seek(0),
      End: () => player.seek(numberOf(track().seconds)),
      ArrowUp: () => nudge(0.05),
      ArrowDown: () => nudge(-0.05),
    };
    const nudge = (by) => {
      volume.value = String(Number(volume.value) + by);
      player.volume(Number(volume.value));
      decibels();
    };
    host.root.addEventListener("keydown", (event) => {
      if (event.target === volume || (event.target.tagName === "BUTTON" && event.key === " ")) return;
      if (keys[event.key]) {
        keys[event.key](event);
        event.preventDefault();
      }
    });
    const save = h("select", {
      "aria-label": "Save this sound as a file",
      title: "FLAC, Opus and the zip hold recipe and plan as well",
      onchange: () => {
        if (save.value) {
          setText(error, "");
          setText(note, "Writing the file…");
          host.send("save", { form: save.value });
        }
        save.value = "";
      },
    });
    host.on("file", (body, [bytes]) => {
      const href = URL.createObjectURL(new Blob([/** @type {DataView<ArrayBuffer>} */ (bytes)])),
        link = h("a", { href, download: textOf(body.name) || "sound" });
      host.root.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(href), 60_000);
      setText(note, `Saved as ${body.name}`);
    });
    const code = h(
      "button.plain",
      { title: "The Python line for this sound", onclick: () => copyText(host.root, host.text("code"), host.announce) },
      "Copy as code",
    );
    host.on("peaks", (body, [bytes]) => {
      if (body.id === track().id) {
        peaks = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        host.root.dataset.peaks = String(peaks.length >> 1);
        show();
      }
    });
    host.on("error", (body) => {
      setText(note, "");
      setText(error, body.text);
    });
    player.audio.addEventListener("error", () => {
      if (player.audio.getAttribute("src"))
        setText(error, "This sound could not be fetched. Is the kernel still running?");
    });
    const tools = h(
      "div.row.tools",
      {},
      h("span.tiny.wide-only", {}, "Volume"),
      volume,
      loud,
      h("span.spring"),
      h("div.save", {}, save),
      code,
    );
    host.root.append(
      h("div.top", {}, button, h("div.words", {}, title, facts), h("span.spring"), time),
      wave.canvas,
      line,
      tools,
      note,
      error,
    );
    host.onTheme(show);
    host.watch("track", load);
    host.onClose(wave.close);
    decibels();
    load();
  },
);
