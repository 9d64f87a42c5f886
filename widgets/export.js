// Export: a take, or several, as a file for others. Python half: acestep_lab/ui/export.py.

const EXPORT_KEY = "acestep-lab:export";
const LEVELS = { peak: -1, loudness: -14 };

export default mount("Export", [], (host) => {
  const keptChoices = () => {
    try {
      return tableOf(JSON.parse(localStorage.getItem(EXPORT_KEY) ?? "{}"));
    } catch {
      return {}; // nothing kept, or a page that may store nothing
    }
  };
  const keep = (chosen) => {
    try {
      localStorage.setItem(EXPORT_KEY, JSON.stringify(chosen));
    } catch {
      /* a page that may store nothing */
    }
  };
  const kept = keptChoices();
  const heading = h("h2"),
    about = h("p.quiet"),
    note = h("p.quiet", { role: "status" }),
    says = h("p.tiny.says"),
    size = h("span.num.quiet.size", { "aria-live": "polite" }),
    error = h("p.error", { role: "alert" }),
    busy = h("progress", { hidden: true, "aria-label": t("export.writing") });
  const picker = (name) => h("select", { "aria-label": t(`export.${name}`), "data-name": name, onchange: changed });
  const number = (name, attributes) =>
    h("input", {
      type: "number",
      "aria-label": t(`export.${name}`),
      oninput: changed,
      "data-name": name,
      ...attributes,
    });
  const form = picker("form"),
    bits = picker("bits"),
    bitrate = picker("bitrate"),
    rate = picker("rate"),
    level = picker("level"),
    sound = picker("sound");
  const target = number("target_peak", { step: "0.5", max: "0", min: "-60" }),
    fadeIn = number("fade_in", { step: "0.1", min: "0" }),
    fadeOut = number("fade_out", { step: "0.1", min: "0" });
  const latent = h("input", { type: "checkbox", onchange: changed });
  fadeIn.value = String(numberOf(kept.fade_in));
  fadeOut.value = String(numberOf(kept.fade_out));
  latent.checked = kept.latent !== false;
  const write = h("button.go", { onclick: () => start() }, t("export.write"));
  const labelled = (name, ...controls) => h("label.field", { "data-field": name }, t(`export.${name}`), ...controls);
  const fields = {
    form: labelled("form", form),
    sound: labelled("sound", sound),
    bits: labelled("bits", bits),
    bitrate: labelled("bitrate", bitrate),
    rate: labelled("rate", rate),
    level: labelled("level", h("span.pair", {}, level, target)),
    fade_in: labelled("fade_in", fadeIn),
    fade_out: labelled("fade_out", fadeOut),
    latent: h("label.check", { "data-field": "latent" }, latent, t("export.latent")),
  };
  const body = h("div.body", {}, about, h("div.grid", {}, ...Object.values(fields)), says, busy, note, error);
  const foot = (...more) => h("div.row.foot", {}, size, h("span.spring"), ...more, write);
  const dialog = h("dialog", { "aria-label": t("export.title"), onclose: () => host.hide(true) });

  const option = (value, text, chosen) => h("option", { value: String(value), selected: value === chosen }, text);
  const formOf = () => host.list("forms").find((one) => one.kind === form.value) ?? {};
  /** Of a zip: the kind of sound in it. */
  const inner = () =>
    formOf().kind === "zip" ? (host.list("sounds").find((one) => one.kind === sound.value) ?? {}) : formOf();
  const nearest = (list, wanted) =>
    list.reduce((best, one) => (Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best), list[0] ?? 0);

  function fill() {
    const forms = host.list("forms"),
      wanted = forms.some((one) => one.kind === kept.form) ? kept.form : (forms[0]?.kind ?? "");
    form.replaceChildren(...forms.map((one) => option(one.kind, t(`export.${one.kind}`), wanted)));
    sound.replaceChildren(
      option("", t("export.every_sample"), kept.sound ?? ""),
      ...host.list("sounds").map((one) => option(one.kind, t(`export.${one.kind}`), kept.sound)),
    );
    level.replaceChildren(
      ...["", "peak", "loudness"].map((one) => option(one, t(`export.${one || "as_it_is"}`), kept.level ?? "")),
    );
    target.value = String(numberOf(kept.target, LEVELS[level.value] ?? -1));
    fit();
  }
  /** What can be chosen follows from the form; what was chosen before stays where it is offered. */
  function fit() {
    const one = inner(),
      bitsNow = listOf(one.bits),
      bitratesNow = listOf(one.bitrates),
      ratesNow = listOf(one.rates);
    const bit = bitsNow.includes(kept.bits) ? kept.bits : one.usual,
      bitr = nearest(bitratesNow, numberOf(kept.bitrate) || numberOf(one.usual));
    bits.replaceChildren(
      ...bitsNow.map((n) => option(n, n === 32 ? t("export.bits_32") : t("export.bits_n", { n }), bit)),
    );
    bitrate.replaceChildren(...bitratesNow.map((n) => option(n, t("export.kbit", { n }), bitr)));
    rate.replaceChildren(
      option(0, t("export.as_it_is"), numberOf(kept.rate)),
      ...ratesNow.map((n) => option(n, t("export.hertz", { n }), numberOf(kept.rate))),
    );
    show();
  }
  function chosen() {
    const one = inner();
    return {
      form: form.value,
      bits: listOf(one.bits).length ? Number(bits.value) : 0,
      bitrate: listOf(one.bitrates).length ? Number(bitrate.value) : 0,
      rate: listOf(one.rates).length ? Number(rate.value) : 0,
      level: level.value,
      target: Number(target.value) || 0,
      fade_in: Number(fadeIn.value) || 0,
      fade_out: Number(fadeOut.value) || 0,
      sound: form.value === "zip" ? sound.value : "",
      latent: latent.checked,
    };
  }
  function changed(event) {
    const before = kept.level;
    Object.assign(kept, chosen());
    if (event.target === level && level.value && before !== level.value) {
      target.value = String(LEVELS[level.value]);
      kept.target = LEVELS[level.value];
    }
    keep(kept);
    setText(error, "");
    if (event.target === form || event.target === sound) fit();
    else show();
  }
  function megabytes(bytes) {
    return bytes < 1e6
      ? t("export.kilobytes", { n: Math.max(1, Math.round(bytes / 1e3)) })
      : t("export.megabytes", { n: formatNumber(bytes / 1e6, bytes < 1e7 ? 1 : 0) });
  }
  function bytesAbout() {
    const subject = host.table("subject"),
      seconds = numberOf(subject.seconds),
      now = chosen(),
      one = inner();
    if (now.bitrate) return seconds * now.bitrate * 125 * (form.value === "html" ? 4 / 3 : 1);
    const depth = now.bits || 24;
    return (
      (seconds *
        (now.rate || numberOf(subject.rate)) *
        numberOf(subject.channels, 2) *
        depth *
        numberOf(one.share, 0.62)) /
      8
    );
  }
  function show() {
    const subject = host.table("subject"),
      ids = listOf(subject.ids),
      now = chosen(),
      one = inner(),
      zip = form.value === "zip",
      takes = ids.length > 0 && !String(ids[0]).startsWith("audio-");
    setText(heading, ids.length > 1 ? t("export.title_several", { n: ids.length }) : t("export.title"));
    const seconds = formatNumber(numberOf(subject.seconds), 1);
    setText(about, ids.length ? t("export.of", { title: tellTitle(subject.title), seconds }) : t("export.nothing"));
    fields.bits.hidden = !listOf(one.bits).length;
    fields.bitrate.hidden = !listOf(one.bitrates).length;
    fields.rate.hidden = !listOf(one.rates).length;
    fields.sound.hidden = fields.latent.hidden = !zip;
    target.hidden = !level.value;
    target.setAttribute("aria-label", t(level.value === "loudness" ? "export.target_loudness" : "export.target_peak"));
    const altered = now.level || now.fade_in || now.fade_out || (now.rate && now.rate !== numberOf(subject.rate));
    const sayings = takes ? (altered ? "export.changed" : "export.whole") : "export.plain";
    setText(says, ids.length && form.value !== "html" ? t(sayings) : "");
    setText(size, ids.length ? t("export.size", { size: megabytes(bytesAbout()) }) : "");
    busy.hidden = !host.number("writing");
    write.disabled = !ids.length;
    host.root.dataset.export = ids.join(" ");
  }
  function start() {
    setText(error, "");
    setText(note, t("export.writing"));
    host.send("write", chosen());
  }
  let asked = false;
  function open() {
    setText(note, "");
    setText(error, "");
    if (host.get("inline") || dialog.open) return;
    host.hide(false);
    dialog.showModal();
    form.focus();
  }
  host.on("open", open);
  host.on("file", (message, [bytes]) => {
    saveFile(host.root, bytes, textOf(message.name) || "sound");
    const saved = t("export.saved", { name: textOf(message.name) });
    setText(note, [saved, ...textsOf(message.remarks).map(say)].join(" · "));
  });
  host.on("error", (message) => {
    setText(note, "");
    if (!host.get("inline") && !dialog.open && asked) open(); // only where a press on this page asked for it
    asked = false;
    setText(error, say(message.text));
  });
  host.onClose(
    onBroadcast("export", (detail) => {
      const ids = textsOf(detail?.ids ?? [detail?.id]);
      asked = ids.length > 0;
      if (asked) host.send("open", { ids });
    }),
  );
  if (host.get("inline")) host.root.append(h("div.head", {}, heading), body, foot());
  else {
    const away = h("button.plain", { onclick: () => dialog.close() }, t("common.close"));
    dialog.append(h("div.head", {}, heading), body, foot(away));
    host.root.append(dialog);
    host.hide(true);
  }
  host.root.dataset.inline = String(Boolean(host.get("inline")));
  host.watch(["subject", "forms", "sounds"], fill);
  host.watch("writing", show);
  fill();
});
