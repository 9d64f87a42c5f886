// SoundDrop: a file in pieces to Python, refused early when too big or no sound.
// Python half: acestep_lab/ui/sound_drop.py.

export default mount("Bring in a sound", [], (host) => {
  let file = null;
  const error = h("p.error", { role: "alert" }),
    status = h("p.quiet", { role: "status" }),
    bar = h("progress", { max: "1", value: "0", "aria-label": "Arrived" });
  const input = h("input", {
    type: "file",
    accept: textsOf(host.get("kinds"))
      .map((k) => `.${k}`)
      .join(","),
    "aria-label": "A sound file",
    onchange: () => {
      take(input.files?.[0]);
      input.value = "";
    },
  });
  const zone = h(
    "label.zone",
    {},
    h("span", {}, "Drop a sound here, or choose a file"),
    h("span.tiny", {}, "WAV, FLAC, OGG, MP3, AIFF; a take of this lab brings its recipe along"),
    input,
  );
  const megabytes = (bytes) => Math.round(bytes / 2 ** 20).toLocaleString("en");
  function take(chosen) {
    if (!chosen) return;
    setText(error, "");
    setText(status, "");
    const limit = host.number("limit");
    if (chosen.size > limit) {
      setText(
        error,
        `“${chosen.name}” has ${megabytes(chosen.size)} MB; at most ${megabytes(limit)} MB can be brought in. ` +
          "Cut it, or save it as FLAC.",
      );
      return;
    }
    file = chosen;
    bar.hidden = false;
    bar.value = 0;
    host.send("begin", { name: chosen.name, size: chosen.size });
  }
  host.on("next", async (body) => {
    if (!file) return;
    const piece = await file.slice(body.at, body.at + (host.number("chunk") || 65536)).arrayBuffer();
    bar.value = body.at / file.size;
    host.send("piece", { at: body.at }, [piece]);
  });
  const over = () => {
    file = null;
    bar.hidden = true;
  };
  host.on("done", over);
  host.on("error", (body) => {
    over();
    setText(error, body.text);
  });
  for (const event of ["dragover", "dragenter"])
    zone.addEventListener(event, (e) => {
      e.preventDefault();
      zone.classList.add("over");
    });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (e) => {
    e.preventDefault();
    zone.classList.remove("over");
    take(e.dataTransfer?.files?.[0]);
  });
  bar.hidden = true;
  host.root.append(h("div.head", {}, h("h2", {}, "Bring in a sound")), zone, bar, status, error);
  host.watch("status", () => setText(status, host.text("status")));
});
