// SoundDrop: files in pieces to Python, one after another, from a button, from anywhere they are dropped, or pasted;
// and a list of what was brought: to hear, use, trim, rename, forget. Python half: acestep_lab/ui/sound_drop.py.

export default mount("Bring in a sound", [], (host) => {
  /** @type {File[]} */
  const queue = [];
  /** @type {{file: File, turn: string} | null} */
  let current = null;
  let said = "",
    brought = 0,
    many = 0;
  const error = h("p.error", { role: "alert" }),
    status = h("p.quiet.status", { role: "status" }),
    refused = h("ul.refused", { "aria-label": t("drop.refused"), role: "alert" }),
    bar = h("progress", { max: "1", value: "0", "aria-label": t("drop.arrived") }),
    list = h("ul.sounds", { "aria-label": t("drop.sounds") });
  const input = h("input", {
    type: "file",
    multiple: true,
    accept: textsOf(host.get("kinds"))
      .map((kind) => `.${kind}`)
      .join(","),
    "aria-label": t("drop.file"),
    onchange: () => {
      take([...(input.files ?? [])]);
      input.value = "";
    },
  });
  const zone = h("label.zone", { title: t("drop.hint") }, h("span", {}, t("drop.zone")), input);
  const megabytes = (bytes) => formatNumber(bytes / 2 ** 20);

  // -- files, one after another
  /** @param {File[]} files */
  function take(files) {
    if (!files.length) return;
    setText(error, "");
    setText(status, "");
    if (!current && !queue.length) {
      refused.replaceChildren();
      brought = many = 0;
    }
    queue.push(...files);
    many += files.length;
    next();
  }
  function next() {
    if (current) return;
    const file = queue.shift();
    bar.hidden = !file;
    if (!file) {
      if (many > 1) setText(status, t("drop.all_brought", { n: brought, of: many }));
      return;
    }
    const limit = host.number("limit");
    if (file.size > limit) {
      refuse(t("drop.too_large", { name: file.name, size: megabytes(file.size), most: megabytes(limit) }));
      return next();
    }
    current = { file, turn: `${Date.now().toString(36)}-${++pageState.serial}` };
    bar.value = 0;
    said = "";
    host.send("begin", { name: file.name, size: file.size, turn: current.turn });
  }
  const refuse = (text) => refused.append(h("li", {}, text));
  const isMine = (body) => current !== null && body.turn === current.turn;
  function over() {
    current = null;
    next();
  }
  host.on("next", async (body) => {
    if (!current || !isMine(body)) return;
    const { file, turn } = current,
      chunk = host.number("chunk") || 65536;
    try {
      const piece = await file.slice(body.at, body.at + chunk).arrayBuffer();
      if (!isMine({ turn })) return;
      bar.value = body.at / file.size;
      host.send("piece", { at: body.at, turn }, [piece]);
    } catch {
      // moved, deleted, or a folder: nothing of it can be read
      refuse(t("drop.unreadable", { name: file.name }));
      if (isMine({ turn })) over();
    }
  });
  host.on("done", (body) => {
    if (!isMine(body)) return;
    brought += 1;
    over();
  });
  host.on("error", (body) => {
    said = say(body.text);
    if (!current) setText(error, said);
  });
  host.on("refused", (body) => {
    if (!isMine(body)) return;
    refuse(said);
    over();
  });

  // -- dropped anywhere, or pasted
  const hasFiles = (data) => {
    const types = [...(data?.types ?? [])];
    return types.includes("Files") && !types.includes("text/html"); // a picture dragged out of a page has both
  };
  /** In a notebook only what is dropped on our own outputs is ours; of several the one under it, else the last. */
  const isOurs = (event) => {
    const path = event.composedPath();
    if (path.includes(host.root)) return true;
    const places = [...pageState.drops.keys()];
    if (places.some((root) => path.includes(root))) return false;
    const over = path.some((node) => node instanceof Element && node.classList.contains("acl"));
    return (Boolean(host.get("anywhere")) || over) && places.at(-1) === host.root;
  };
  pageState.drops ??= new Map();
  pageState.drops.set(host.root, true);
  const overlay = h(
    "div",
    { style: OVERLAY, "aria-hidden": "true", class: "acl-drop-overlay" },
    h("div", { style: SIGN }, t("drop.overlay")),
  );
  const cover = (on) => {
    if (!on) return overlay.remove();
    if (!overlay.isConnected) document.body.append(overlay);
  };
  const onDrag = (event) => {
    if (!hasFiles(event.dataTransfer)) return;
    const ours = isOurs(event);
    cover(ours);
    if (!ours) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  };
  const onLeave = (event) => {
    if (!event.relatedTarget) cover(false); // out of the window
  };
  const onDrop = (event) => {
    cover(false);
    if (!hasFiles(event.dataTransfer) || !isOurs(event)) return;
    event.preventDefault();
    event.stopPropagation();
    take([...event.dataTransfer.files]);
  };
  const onPaste = (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    const words = isTyping(event) && [...event.clipboardData.types].includes("text/plain");
    if (!files.length || words || !hasFiles(event.clipboardData) || !isOurs(event)) return;
    event.preventDefault();
    take(files);
  };
  /** @type {[string, (event: any) => void][]} */
  const heard = [
    ["dragenter", onDrag],
    ["dragover", onDrag],
    ["dragleave", onLeave],
    ["drop", onDrop],
    ["paste", onPaste],
  ];
  for (const [event, work] of heard) globalThis.addEventListener(event, work, true);

  // -- what is here
  const audio = new Audio();
  let playing = "",
    until = Infinity,
    blobUrl = "",
    from = 0;
  const playback = exclusivePlayback(() => audio.pause());
  const showPlaying = () => {
    for (const button of host.root.querySelectorAll("button[data-hear]")) {
      const on = !audio.paused && button.dataset.hear === playing;
      button.setAttribute("aria-pressed", String(on));
      setText(button, on ? "❚❚" : "▶");
    }
  };
  for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, showPlaying);
  audio.addEventListener("timeupdate", () => audio.currentTime >= until && audio.pause());
  function hear(id, start = 0, end = Infinity) {
    if (!audio.paused && playing === id) return audio.pause();
    [from, until] = [start, end];
    if (playing === id && audio.src) return sound();
    audio.pause();
    playing = id;
    host.send("hear", { id });
  }
  function sound() {
    playback.claim();
    audio.volume = pageState.volume ?? 0.5;
    audio.currentTime = from;
    audio.play().catch(() => setText(error, t("drop.cannot_play")));
  }
  host.on("hear", (body, [bytes]) => {
    if (body.id !== playing) return;
    if (blobUrl) URL.revokeObjectURL(blobUrl);
    blobUrl = bytes ? URL.createObjectURL(new Blob([/** @type {any} */ (bytes)], { type: "audio/wav" })) : "";
    audio.src = blobUrl || new URL(textOf(body.url), document.baseURI).href;
    audio.addEventListener("loadedmetadata", sound, { once: true });
  });
  const ask = (kind, body) => {
    setText(error, "");
    host.send(kind, body);
  };
  const act = (icon, key, name, work) =>
    h("button.plain.icon", { "aria-label": t(key, { name }), title: t(key, { name }), onclick: work }, icon);

  function row({ id, name, seconds }) {
    const title = h("bdi.name", { title: name }, name);
    const forget = act("✕", "drop.forget", name, () => {
      if (forget.dataset.sure) return ask("forget", { id });
      forget.dataset.sure = "true";
      setText(forget, t("drop.sure"));
      setTimeout(() => {
        delete forget.dataset.sure;
        setText(forget, "✕");
      }, 4000);
    });
    return h(
      "li",
      { "data-sound": id },
      h("button.icon", { "data-hear": id, "aria-label": t("drop.hear", { name }), onclick: () => hear(id) }, "▶"),
      title,
      h("span.tiny.num", {}, formatTime(seconds)),
      h(
        "button.use",
        { onclick: () => ask("use", { id }), "aria-label": t("drop.use_named", { name }) },
        t("drop.use"),
      ),
      act("✂", "drop.trim", name, () => openTrim(id, name, seconds)),
      act("✎", "drop.rename", name, () => rename(title, id, name)),
      forget,
    );
  }
  function rename(title, id, name) {
    let given = false;
    const box = h("input.rename", {
      type: "text",
      value: name,
      maxLength: 200,
      "aria-label": t("drop.new_name"),
      onkeydown: (event) => {
        if (event.isComposing) return;
        if (event.key === "Enter") give(true);
        if (event.key === "Escape") give(false);
      },
      onblur: () => give(true),
    });
    const give = (keep) => {
      if (given) return;
      given = true;
      box.replaceWith(title);
      if (keep && box.value.trim() !== name) ask("rename", { id, name: box.value });
    };
    title.replaceWith(box);
    box.focus();
    box.select();
  }

  // -- trim
  const trim = trimEditor(host, {
    hear,
    keep: (id, start, end, normalize) => ask("trim", { id, start, end, normalize }),
  });
  const rowOf = (id) => /** @type {any[]} */ ([...list.children]).find((row) => row.dataset.sound === id);
  function openTrim(id, name, seconds) {
    rowOf(id)?.after(trim.item);
    trim.open(id, name, seconds);
  }
  function show() {
    const sounds = tablesOf(host.get("sounds")).map((one) => ({
      id: textOf(one.id),
      name: textOf(one.name),
      seconds: numberOf(one.seconds),
    }));
    const open = trim.item.isConnected ? trim.id() : "";
    list.replaceChildren(...sounds.map(row));
    if (open) rowOf(open)?.after(trim.item);
    list.hidden = !sounds.length;
    showPlaying();
    host.root.dataset.sounds = String(sounds.length);
  }
  bar.hidden = true;
  host.root.append(zone, bar, list, status, refused, error);
  host.watch("status", () => setText(status, say(host.text("status"))));
  host.watch("sounds", show);
  show();
  return () => {
    for (const [event, work] of heard) globalThis.removeEventListener(event, work, true);
    pageState.drops.delete(host.root);
    cover(false);
    audio.pause();
    playback.close();
    trim.close();
    if (blobUrl) URL.revokeObjectURL(blobUrl);
  };
});

const OVERLAY =
  "position:fixed;inset:0;z-index:2147483000;display:flex;align-items:center;justify-content:center;" +
  "background:rgba(0,114,178,.28);pointer-events:none";
const SIGN =
  "font:600 20px/1.4 ui-sans-serif,system-ui,sans-serif;color:#fff;background:#0b3a57;padding:22px 34px;" +
  "border-radius:16px;border:2px dashed #9fd4f5";

/** A small waveform with two handles and two boxes: which part of a sound is kept. */
function trimEditor(host, { hear, keep }) {
  let id = "",
    seconds = 0,
    peaks = null,
    range = [0, 0];
  const note = h("p.tiny.note", { role: "status" }),
    title = h("span.tiny.title"),
    normalize = h("input", { type: "checkbox" });
  const wave = makeCanvas(
    56,
    (context, width, height) => {
      drawWave(context, width, height, peaks, 1, cssColour(host.root, "wave"), cssColour(host.root, "wave-soft"));
      context.fillStyle = cssColour(host.root, "well");
      context.globalAlpha = 0.78;
      const [left, right] = range.map((at) => (at / (seconds || 1)) * width);
      context.fillRect(0, 0, left, height);
      context.fillRect(right, 0, width - right, height);
      context.globalAlpha = 1;
      context.fillStyle = cssColour(host.root, "region");
      for (const at of [left, right]) context.fillRect(Math.min(Math.max(0, at - 2), width - 4), 0, 4, height);
    },
    { "aria-hidden": "true", class: "trim" },
  );
  host.onTheme(wave.paint);
  const boxFor = (edge) =>
    h("input.edge", {
      type: "number",
      step: "0.1",
      min: "0",
      "aria-label": t(edge ? "drop.end" : "drop.start"),
      onchange: (event) => move(edge, Number(event.currentTarget.value)),
    });
  const boxes = [boxFor(0), boxFor(1)];
  function move(edge, at) {
    const least = 0.1;
    at = Number.isFinite(at) ? Math.round(at * 100) / 100 : range[edge];
    range[edge] = edge
      ? Math.min(seconds, Math.max(at, range[0] + least))
      : Math.max(0, Math.min(at, range[1] - least));
    draw();
  }
  function draw() {
    boxes.forEach((box, edge) => (box.value = range[edge].toFixed(2)));
    wave.paint();
  }
  let held = -1;
  const timeAt = (event) => {
    const box = wave.canvas.getBoundingClientRect();
    return ((event.clientX - box.left) / (box.width || 1)) * seconds;
  };
  wave.canvas.addEventListener("pointerdown", (event) => {
    const at = timeAt(event);
    held = Math.abs(at - range[0]) <= Math.abs(at - range[1]) ? 0 : 1;
    wave.canvas.setPointerCapture(event.pointerId);
    move(held, at);
  });
  wave.canvas.addEventListener("pointermove", (event) => held >= 0 && move(held, timeAt(event)));
  for (const event of ["pointerup", "pointercancel"]) wave.canvas.addEventListener(event, () => (held = -1));
  const item = h(
    "li.trimming",
    {},
    h("div.row", {}, title, h("span.spring"), h("button.plain", { onclick: () => item.remove() }, t("common.close"))),
    wave.canvas,
    h(
      "div.row",
      {},
      h("label.edges", {}, t("drop.from"), boxes[0]),
      h("label.edges", {}, t("drop.to"), boxes[1]),
      h("button.icon", { "aria-label": t("drop.hear_part"), onclick: () => hear(id, range[0], range[1]) }, "▶"),
      h("label.edges", { title: t("drop.normalize_hint") }, normalize, t("drop.normalize")),
      h("span.spring"),
      h("button.keep", { onclick: () => keep(id, range[0], range[1], normalize.checked) }, t("drop.keep_part")),
    ),
    note,
  );
  host.on("peaks", (body, [bytes]) => {
    if (body.id !== id || !bytes) return;
    peaks = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    setText(note, say(body.note));
    wave.paint(); // not the boxes: somebody may be typing in one
  });
  host.on("trimmed", () => item.remove());
  return {
    item,
    id: () => id,
    open: (newId, name, length) => {
      [id, seconds, peaks, range] = [newId, length, null, [0, length]];
      setText(title, t("drop.trimming", { name }));
      setText(note, "");
      normalize.checked = false;
      host.send("peaks", { id, pixels: Math.max(200, Math.round(wave.canvas.clientWidth)) });
      draw();
      boxes[0].focus();
    },
    close: wave.close,
  };
}
