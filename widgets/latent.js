// LatentPreview: the estimate at every step as a picture, a scrubber over past steps.
// Python half: acestep_lab/ui/latent_preview.py.

export default mount(
  "Watch",
  [
    ["← →", "one step back or on"],
    ["H", "hear a window of this step"],
    ["K", "keep this step as a take"],
    ["X", "stop the run"],
  ],
  (host) => {
    /** @type {Map<number, string>} */
    const pictures = new Map();
    let step = -1,
      follow = true,
      shown = null,
      from = 0,
      t = {};
    const WINDOW = 3;
    // Two threads of Python send steps, and an older one may come last; a picture that is here has been reached.
    const newest = () => Math.max(numberOf(host.get("latest"), -1), ...pictures.keys());
    const image = h("img", { alt: "", draggable: false });
    const frame = h(
      "div.picture",
      { tabIndex: 0, role: "slider", "aria-label": "Where to listen in this step", "aria-valuemin": "0" },
      image,
      h("div.span"),
      h("p.none.quiet", {}, "The picture of the music appears here, step by step, once something is being made."),
    );
    const span = frame.children[1],
      none = frame.children[2];
    const scrub = h("input", {
      type: "range",
      min: "0",
      max: "0",
      step: "1",
      "aria-label": "Step",
      oninput: () => {
        follow = Number(scrub.value) >= newest();
        go(Number(scrub.value));
      },
    });
    const label = h("span.num.quiet.step");
    const playStep = h(
      "button",
      {
        title: "Decode a few seconds of this step and play them",
        onclick: () => {
          if (step >= 0) {
            host.announce("Decoding a window of this step.");
            host.send("play_step", { step, start: from, end: from + WINDOW });
          }
        },
      },
      "Hear this step",
    );
    const keep = h(
      "button",
      {
        title: "Decode this step whole and keep it as a take",
        onclick: () => {
          if (step >= 0) host.send("keep", { step });
        },
      },
      "Keep this step",
    );
    const stop = h("button.stop", { onclick: () => host.send("stop") }, "Stop");
    const note = h("p.quiet", { role: "status" }),
      error = h("p.error", { role: "alert" });
    const track = () => host.table("track");
    const player = audioPlayer(host, track, () => {});
    const showSpan = () => {
      const total = host.number("seconds") || 1;
      span.style.left = `${(100 * from) / total}%`;
      span.style.width = `${Math.min(100 - (100 * from) / total, (100 * WINDOW) / total)}%`;
      frame.setAttribute("aria-valuemax", String(total));
      frame.setAttribute("aria-valuenow", from.toFixed(1));
      frame.setAttribute(
        "aria-valuetext",
        `${from.toFixed(1)} to ${Math.min(total, from + WINDOW).toFixed(1)} seconds`,
      );
      setText(playStep, `Hear ${formatTenths(from)}–${formatTenths(Math.min(total, from + WINDOW))} of this step`);
    };
    frame.addEventListener("pointerdown", (event) => {
      const box = frame.getBoundingClientRect(),
        total = host.number("seconds");
      from = Math.max(0, Math.min(total - WINDOW, ((event.clientX - box.left) / box.width) * total - WINDOW / 2));
      showSpan();
    });
    function go(to) {
      step = Math.max(-1, Math.min(to, newest()));
      if (step >= 0 && !pictures.has(step)) host.send("picture", { step });
      show();
    }
    function show() {
      const latest = newest(),
        steps = host.number("steps"),
        live = Boolean(host.get("live")),
        hears = Boolean(host.get("hears"));
      host.hide(!hears && latest < 0 && !live); // nothing to look at before the last step
      scrub.max = String(Math.max(0, latest));
      scrub.value = String(Math.max(0, step));
      scrub.disabled = latest < 0;
      scrub.hidden = !hears;
      const at = hears ? step : latest;
      setText(label, latest < 0 ? (live ? "Listening to the words…" : "No step yet") : `Step ${at + 1} of ${steps}`);
      const url = pictures.get(step);
      if (url && shown !== url) {
        image.src = url;
        shown = url;
        image.alt = `Estimate of the music at step ${step + 1}`;
      }
      image.hidden = !shown;
      none.hidden = Boolean(shown);
      frame.hidden = !shown && !hears;
      span.hidden = !shown;
      for (const button of [playStep, keep]) {
        button.disabled = step < 0;
        button.hidden = !hears;
      }
      stop.hidden = !live;
      tools.hidden = latest < 0;
      row.hidden = latest < 0 && !live;
      setText(note, host.text("note"));
      frame.classList.toggle("idle", latest < 0 && !live);
      host.root.dataset.step = String(step);
      host.root.dataset.latest = String(latest);
      host.root.dataset.pictures = String(pictures.size);
      showSpan();
    }
    host.on("picture", (body, [bytes]) => {
      if (body.run !== host.get("run")) return;
      const before = pictures.get(body.step);
      if (before) URL.revokeObjectURL(before);
      pictures.set(body.step, URL.createObjectURL(new Blob([bytes], { type: "image/png" })));
      if (follow) step = newest();
      show();
    });
    const clear = () => {
      pictures.forEach((url) => URL.revokeObjectURL(url));
      pictures.clear();
      shown = null;
      step = -1;
      follow = true;
      from = 0;
      setText(error, "");
      player.reset();
      show();
    };
    host.on("error", (body) => setText(error, body.text));
    host.root.addEventListener("keydown", (event) => {
      if (isTyping(event)) return;
      const key = event.key.toLowerCase(),
        move = { arrowleft: -1, arrowright: 1 }[key];
      if (move && event.target !== scrub) {
        follow = step + move >= newest();
        go(Math.max(0, step + move));
        event.preventDefault();
      } else if (event.ctrlKey || event.metaKey) return;
      else if (key === "h") playStep.click();
      else if (key === "k") keep.click();
      else if (key === "x") stop.click();
    });
    const row = h("div.row.scrub", {}, scrub, label);
    const tools = h(
      "div.row",
      {},
      playStep,
      keep,
      h("span.spring"),
      h("button.plain", { onclick: () => copyText(host.root, host.text("code"), host.announce) }, "Copy as code"),
    );
    host.root.append(h("div.head", {}, h("h2", {}, "Watch"), h("span.spring"), stop), frame, row, tools, note, error);
    host.watch("run", clear);
    host.watch(["latest", "steps", "live", "note", "seconds", "hears"], () => {
      if (follow && pictures.has(newest())) step = newest();
      show();
    });
    host.watch("track", () => {
      player.reset();
      if (track().id) player.play();
    });
    host.onClose(() => pictures.forEach((url) => URL.revokeObjectURL(url)));
    show();
  },
);
