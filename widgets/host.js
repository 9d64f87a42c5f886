// What every component shares: one way to reach Python from two hosts, small DOM words, theme, one player at a time.
// Knows nothing of music. It is put in front of each component's source by ui/assets.py; there is no bundler.

/**
 * @typedef {{model: any, el: HTMLElement, view?: any}} Context  what anywidget and Panel hand to render
 * @typedef {(name: string) => any} Get
 * @typedef {{get: Get, list: (name: string) => any[], table: (name: string) => any, text: (name: string) => string,
 *   number: (name: string) => number, watch: (names: string | string[], cb: () => void) => void,
 *   send: (kind: string, body?: object, buffers?: ArrayBuffer[]) => void,
 *   on: (kind: string, cb: (body: any, buffers: DataView[]) => void) => void, close: () => void,
 *   root: HTMLElement, announce: (text: string) => void,
 *   hide: (on: boolean) => void, onTheme: (cb: () => void) => void, onClose: (cb: () => void) => void}} Host
 */

const pageState = (globalThis.__acestepLab ??= { modules: {}, keymaps: new Map(), serial: 0 });
pageState.keymaps ??= new Map();

// What a field holds may be missing, or of another kind than it should be (an old page, another version): read by
// these, it is empty then, and nothing breaks.
/** @returns {any[]} */
const listOf = (value) => (Array.isArray(value) ? value.filter((one) => one != null) : []);
/** @returns {any} */
const tableOf = (value) => (value != null && typeof value === "object" && !Array.isArray(value) ? value : {});
/** The tables in a list. @returns {any[]} */
const tablesOf = (value) => listOf(value).filter((one) => typeof one === "object" && !Array.isArray(one));
const textOf = (value) => (typeof value === "string" ? value : typeof value === "number" ? String(value) : "");
const textsOf = (value) => listOf(value).map(textOf).filter(Boolean);
const numberOf = (value, otherwise = 0) => (typeof value === "number" && Number.isFinite(value) ? value : otherwise);

// Words. `t("common.about_seconds", {n: 2})` is what this page says itself; `say(text)` is what Python said, in the
// language of the reader. Both fall back to English, and to what they were given.
const LANGUAGE_KEY = "acestep-lab:language";
/** The reader's choice, else the first of the browser's languages that there is a table for. */
function chosenLanguage() {
  const known = Object.keys(LOCALES);
  let kept = null;
  try {
    kept = localStorage.getItem(LANGUAGE_KEY);
  } catch {
    /* a page that may store nothing */
  }
  for (const tag of [kept, ...(navigator.languages ?? [navigator.language])]) {
    const found = known.find((one) => one === tag) ?? known.find((one) => one === String(tag ?? "").split("-")[0]);
    if (found) return found;
  }
  return "en";
}
pageState.language ??= chosenLanguage();
pageState.sentences ??= {};
const language = () => (LOCALES[pageState.language] ? pageState.language : "en");
/** Another language for the whole page, kept for the next visit. */
function chooseLanguage(tag) {
  pageState.language = tag;
  try {
    localStorage.setItem(LANGUAGE_KEY, tag);
  } catch {
    /* a page that may store nothing */
  }
  broadcast("language", {});
}
/** @param {string} key @param {Record<string, any>} [values] @returns {string} */
function t(key, values = {}) {
  const [section, ...path] = key.split(".");
  const find = (tag) => path.reduce((node, name) => node?.[name], LOCALES[tag]?.words?.[section]);
  let found = find(language()) ?? find("en") ?? key;
  if (typeof found === "object")
    found = found[new Intl.PluralRules(language()).select(numberOf(values.n))] ?? found.other ?? key;
  return String(found).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? textOf(values[name]) : whole));
}
/** What Python said, in the reader's language. Never for words somebody wrote: titles, captions, lyrics. */
function say(text, depth = 2) {
  text = textOf(text);
  const table = pageState.sentences[language()];
  if (!table || !text) return text;
  if (Object.hasOwn(table.whole, text)) return table.whole[text];
  if (text.trim() !== text) return say(text.trim(), depth);
  // A sentence put together of clauses, all of them ours, is told clause by clause.
  const clauses = depth ? text.replace(/\.$/, "").split("; ") : [];
  const told = clauses.map((one) => say(one, 0));
  if (told.length > 1 && told.every((one, place) => one !== clauses[place])) return told.join("; ");
  for (const [pattern, template] of table.patterns) {
    const found = pattern.exec(text);
    if (found) {
      let next = 1;
      return template.replace(/\{(\d*)\}/g, (_, place) => inside(found[place ? Number(place) : next++] ?? ""));
    }
  }
  return text;
  // A value is a word of ours or a list of them, a sentence of ours, or somebody's own, which stays.
  function inside(value) {
    const word = value.trim();
    if (Object.hasOwn(table.whole, word)) return table.whole[word];
    const list = word.split(/, | and /);
    if (list.length > 1 && list.every((one) => Object.hasOwn(table.whole, one)))
      return new Intl.ListFormat(language()).format(list.map((one) => table.whole[one]));
    return depth && /\w \w.*[.…]$/s.test(word) ? say(word, depth - 1) : value;
  }
}
/**
 * A title in the reader's language: "Drums of …" where that was made of another title; what somebody wrote stays.
 * The list of takes says which are made so, for everything on the page.
 */
function tellTitle(title, depth = 6) {
  title = textOf(title);
  const [words, ...forms] = depth ? (pageState.titles?.get(title) ?? [title]) : [title];
  if (!forms.length) return words;
  return forms.reduce((told, form) => say(form).replace("{title}", () => told), tellTitle(words, depth - 1));
}
/** @param {{title: string, made_of: string[]}[]} cards */
function keepTitles(cards) {
  const before = JSON.stringify([...(pageState.titles ?? [])]);
  pageState.titles = new Map(
    cards.filter((one) => one.made_of?.length).map((one) => [one.title, textsOf(one.made_of)]),
  );
  for (const one of cards) if (!one.made_of?.length) pageState.titles.delete(one.title);
  if (JSON.stringify([...pageState.titles]) !== before) broadcast("titles", {});
}
function keepSentences(tag, whole) {
  const escape = (part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const patterns = Object.entries(whole)
    .filter(([source]) => source.includes("{}"))
    .sort(([a], [b]) => b.length - a.length)
    .map(([source, template]) => [new RegExp(`^${source.split("{}").map(escape).join("([^]*?)")}$`), template]);
  pageState.sentences[tag] = { whole, patterns };
}

/**
 * One model, two hosts: Panel's adapter has no `model.send`, and puts buffers into the message.
 * @param {Context} context
 */
function connect({ model, view }) {
  /** @type {[string, Function][]} */
  const subscriptions = [];
  const listen = (event, cb) => {
    model.on(event, cb);
    subscriptions.push([event, cb]);
  };
  const send = (kind, body = {}, buffers = []) => {
    if (model.send) model.send({ ...body, kind }, undefined, buffers);
    else view.model_proxy.send_msg({ ...body, kind, _buffers: buffers });
  };
  const viewOf = (buffer) =>
    buffer instanceof DataView
      ? buffer
      : ArrayBuffer.isView(buffer)
        ? new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength)
        : new DataView(buffer);
  return {
    get: (name) => model.get(name),
    list: (name) => listOf(model.get(name)),
    table: (name) => tableOf(model.get(name)),
    text: (name) => textOf(model.get(name)),
    number: (name) => numberOf(model.get(name)),
    watch: (names, cb) => [names].flat().forEach((name) => listen(`change:${name}`, cb)),
    send,
    on: (kind, cb) =>
      listen("msg:custom", (message, buffers) => {
        if (message?.kind === kind)
          cb(message, [...(buffers?.length ? buffers : listOf(message._buffers))].map(viewOf));
      }),
    close: () => subscriptions.forEach(([event, cb]) => model.off?.(event, cb)),
  };
}

/** `h("button.go", {onclick}, "Go")`: text is always text, never markup. @returns {any} */
function h(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag || "div");
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null)
      key in node && typeof value !== "string" ? (node[key] = value) : node.setAttribute(key, String(value));
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

const ICONS = {
  locked: "M6 11h12v9H6z M8.5 11V8a3.5 3.5 0 0 1 7 0v3 M12 14.5v2",
  open: "M6 11h12v9H6z M8.5 11V7.5a3.5 3.5 0 0 1 6.6-1.6",
  dice:
    "M7 4h10a3 3 0 0 1 3 3v10a3 3 0 0 1-3 3H7a3 3 0 0 1-3-3V7a3 3 0 0 1 3-3z " +
    "M8.4 8.4v.4 M15.6 15.2v.4 M12 11.8v.4 M8.4 15.2v.4 M15.6 8.4v.4",
};
/** A small drawing in the colour of its text; put there once. */
function showIcon(button, name) {
  if (button.dataset.icon === name) return;
  button.dataset.icon = name;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"),
    path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  button.replaceChildren(svg);
}
/** A lock that shows whether it is shut, by its picture, its name and `aria-pressed`. */
function showLock(button, on) {
  button.setAttribute("aria-pressed", String(on));
  showIcon(button, on ? "locked" : "open");
}

/** Set text only where it changed, so that screen readers are not told twice. */
function setText(node, text) {
  text = textOf(text);
  if (node.textContent !== text) node.textContent = text;
}

function themeName() {
  const html = document.documentElement,
    body = document.body;
  if (html.dataset.aclTheme) return html.dataset.aclTheme;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false" ? "dark" : "light";
  if (
    html.classList.contains("dark") ||
    body.classList.contains("dark") ||
    body.classList.contains("dark-theme") ||
    html.dataset.theme === "dark"
  )
    return "dark";
  const [r, g, b, a = 1] = (getComputedStyle(body).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
  return a > 0.5 && r * 0.3 + g * 0.6 + b * 0.1 < 90 ? "dark" : "light";
}

/** Keeps `data-theme` right on a root; calls back after a change so that canvases repaint. */
function followTheme(root, repaint = () => {}) {
  const apply = () => {
    const name = themeName();
    if (root.dataset.theme !== name) {
      root.dataset.theme = name;
      repaint();
    }
  };
  const watcher = new MutationObserver(apply);
  for (const node of [document.documentElement, document.body])
    watcher.observe(node, {
      attributes: true,
      attributeFilter: ["class", "data-jp-theme-light", "data-acl-theme", "data-theme", "style"],
    });
  apply();
  return () => watcher.disconnect();
}

const cssColour = (root, name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim() || "#888";

/** A number as the reader's language writes it, with so many digits after its point. */
const formatNumber = (value, digits = 0) =>
  new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
const formatSeconds = (value, digits = 1) => t("common.seconds", { n: formatNumber(value, digits) });
function formatTime(seconds) {
  if (!Number.isFinite(seconds)) return "–:––";
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
function formatTenths(seconds) {
  return `${formatTime(seconds)}.${String(Math.floor((Math.max(0, seconds) * 10 + 1e-6) % 10))}`;
}
function formatWait(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "";
  if (seconds < 1.5) return t("common.about_a_second");
  if (seconds < 90) return t("common.about_seconds", { n: Math.round(seconds) });
  return t("common.about_minutes", { n: Math.round(seconds / 60) });
}

/** A canvas sized to its box and the screen's density; `draw(context, width, height)` in CSS pixels. */
function makeCanvas(height, draw, attributes = {}) {
  const canvas = h("canvas", { ...attributes, style: `height:${height}px` });
  const paint = () => {
    const width = canvas.clientWidth,
      tall = canvas.clientHeight || height,
      ratio = globalThis.devicePixelRatio || 1;
    if (!width) return;
    const wide = Math.round(width * ratio),
      high = Math.round(tall * ratio);
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, tall);
    draw(context, width, tall);
  };
  const watcher = new ResizeObserver(paint);
  watcher.observe(canvas);
  return { canvas, paint, close: () => watcher.disconnect() };
}

/** int8 min/max pairs → a mirrored waveform; `done` (0..1) is drawn in the strong colour. */
function drawWave(context, width, height, peaks, done, strong, soft) {
  const bins = peaks ? peaks.length >> 1 : 0;
  if (!bins) return;
  const middle = height / 2,
    scale = (height / 2 - 2) / 127,
    step = 3,
    bar = 2;
  for (let x = 0; x < width; x += step) {
    const from = Math.floor((x / width) * bins),
      to = Math.max(from + 1, Math.floor(((x + step) / width) * bins));
    let low = 127,
      high = -127;
    for (let bin = from; bin < Math.min(to, bins); bin++) {
      low = Math.min(low, peaks[2 * bin]);
      high = Math.max(high, peaks[2 * bin + 1]);
    }
    context.fillStyle = x / width < done ? strong : soft;
    const top = middle - Math.max(high * scale, 0.75),
      bottom = middle - Math.min(low * scale, -0.75);
    context.fillRect(x, top, bar, bottom - top);
  }
}

/** Let the browser save bytes or text as a file. */
function saveFile(root, data, name, type = "") {
  const href = URL.createObjectURL(new Blob([data], type ? { type } : {})),
    link = h("a", { href, download: name, hidden: true });
  root.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/** One sound at a time: whoever claims the playback pauses the others on this page. */
function exclusivePlayback(pause) {
  const owner = ++pageState.serial;
  const listener = (event) => {
    if (event.detail !== owner) pause();
  };
  globalThis.addEventListener("acestep-lab:claim", listener);
  return {
    claim: () => globalThis.dispatchEvent(new CustomEvent("acestep-lab:claim", { detail: owner })),
    close: () => globalThis.removeEventListener("acestep-lab:claim", listener),
  };
}

/** Messages between components of one page (playhead, seek): no Python involved, so it keeps 60 a second. */
function onBroadcast(name, cb) {
  const listener = (event) => cb(event.detail);
  globalThis.addEventListener(`acestep-lab:${name}`, listener);
  return () => globalThis.removeEventListener(`acestep-lab:${name}`, listener);
}
const broadcast = (name, detail) => globalThis.dispatchEvent(new CustomEvent(`acestep-lab:${name}`, { detail }));

/** Ctrl or Cmd with S: what the notebook around a component saves itself by. */
const savesDocument = (event) => (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s";

const isTyping = (event) => {
  const node = event.composedPath()[0];
  return (
    node instanceof HTMLElement &&
    (node.isContentEditable ||
      node.tagName === "TEXTAREA" ||
      node.tagName === "SELECT" ||
      (node.tagName === "INPUT" && !["range", "checkbox", "button"].includes(/** @type {any} */ (node).type)))
  );
};

/** Whether Space means something where the reader is: it is typed there, or presses what has the focus. */
const takesSpace = (event) =>
  event.key === " " &&
  (isTyping(event) ||
    Boolean(event.composedPath()[0].closest?.("button, summary, a, select, [role=tab], input:not([type=range])")));

/** Text to the clipboard; where the page may not, it is shown selected. */
async function copyText(root, text, announce) {
  try {
    await navigator.clipboard.writeText(text);
    announce(t("common.copied"));
  } catch {
    const box = h("textarea", { readOnly: true, rows: 6, "aria-label": t("common.code_to_copy") });
    box.value = text;
    const dialog = h(
      "dialog",
      { onclose: () => dialog.remove() },
      h("h2", {}, t("common.copy_this")),
      h("div", { style: "height:10px" }),
      box,
      h(
        "div.row",
        { style: "margin-top:12px" },
        h("span.spring"),
        h("button", { onclick: () => dialog.close() }, t("common.close")),
      ),
    );
    root.append(dialog);
    dialog.showModal();
    box.select();
  }
}

/** The keyboard map of everything on the page, on `?`. */
function showKeys(root) {
  if (root.querySelector("dialog.keymap")) return; // a second press while it is open
  const groups = [...pageState.keymaps.entries()].map(([name, rows]) => [
    h("h3", {}, titleOf(name)),
    h(
      "dl.keys",
      {},
      rows.flatMap(([key, what, word = t]) => [h("dt", {}, h("kbd", {}, word(key))), h("dd", {}, word(what))]),
    ),
  ]);
  const dialog = h(
    "dialog",
    { "aria-label": t("common.keyboard_map"), class: "keymap", onclose: () => dialog.remove() },
    h(
      "div.head",
      {},
      h("h2", {}, t("common.keyboard")),
      h("span.spring"),
      h("button.plain", { onclick: () => dialog.close() }, t("common.close")),
    ),
    ...groups.flat(),
  );
  root.append(dialog);
  dialog.showModal();
}

/** What a component is called, by its own name. */
const titleOf = (name) => (t(`titles.${name}`) === `titles.${name}` ? name : t(`titles.${name}`));

/**
 * A component: `mount("Player", keys, build)` gives `{render}` for both hosts; `build` returns what to undo. It is
 * built anew when the reader chooses another language. `keys` are pairs of a key and the key of its word.
 */
function mount(name, keys, build) {
  // Each component holds its own words only, and any of them may be asked for the keys of all.
  if (keys.length)
    pageState.keymaps.set(
      name,
      keys.map((row) => [...row, t]),
    );
  return {
    /** @param {Context} context */
    render(context) {
      let stop = put(context);
      const rebuild = () => {
        stop();
        stop = put(context);
      };
      const forget = ["language", "sentences"].map((kind) => onBroadcast(kind, rebuild));
      return () => {
        forget.forEach((cb) => cb());
        stop();
      };
    },
  };
  /** @param {Context} context */
  function put(context) {
    const link = connect(context),
      live = h("p.live.hidden", { "aria-live": "polite" });
    const root = h("section.acl", {
      "aria-label": titleOf(name),
      lang: language(),
      dir: LOCALES[language()].direction,
    });
    root.classList.add(`acl-${name.toLowerCase().replace(/\W+/g, "-")}`);
    const closers = [];
    const repaints = [];
    const node = {
      ...link,
      root,
      announce: (text) => setText(live, text),
      hide: (on) => {
        root.hidden = on;
        const shell = /** @type {any} */ (context.el.getRootNode()).host;
        if (shell) shell.style.display = on ? "none" : "";
      },
      onTheme: (cb) => repaints.push(cb),
      onClose: (cb) => closers.push(cb),
    };
    root.addEventListener("keydown", (event) => {
      if (event.key === "?" && !isTyping(event)) {
        showKeys(root);
        event.preventDefault();
      }
      if (event.key === "Escape" && !root.querySelector("dialog[open]"))
        /** @type {any} */ (root.getRootNode()).activeElement?.blur?.();
      else if (!savesDocument(event)) event.stopPropagation();
    });
    context.el.replaceChildren(h("style", {}, CSS), root);
    closers.push(followTheme(root, () => repaints.forEach((cb) => cb())));
    askSentences(link);
    const stop = build(node);
    link.on("error", (body) => nameError(root, textOf(body.code)));
    // After the component's own keys: Space that none of them took plays what is in hand.
    root.addEventListener("keydown", (event) => {
      if (event.key !== " " || event.defaultPrevented || !pageState.space || takesSpace(event)) return;
      if (root.querySelector("dialog[open]")) return;
      pageState.space();
      event.preventDefault();
    });
    closers.push(tellHeight(root));
    root.append(live);
    root.dataset.ready = "true";
    pageState.alive = (pageState.alive ?? 0) + 1;
    link.send("ready");
    return () => {
      pageState.alive -= 1;
      stop?.();
      closers.forEach((cb) => cb());
      link.close();
      context.el.replaceChildren();
    };
  }
}

/**
 * Whether buttons that begin something were just pressed; if not, they are held back for a moment, so that a double
 * click begins one run. They keep the focus, which a disabled button would lose.
 */
function justPressed(milliseconds, ...buttons) {
  if (buttons.some((button) => button.dataset.held)) return true;
  for (const button of buttons) {
    button.dataset.held = "true";
    button.setAttribute("aria-disabled", "true");
    setTimeout(() => {
      delete button.dataset.held;
      button.removeAttribute("aria-disabled");
    }, milliseconds);
  }
  return false;
}

/** A component that is one line when folded; its host says so too (`data-folded`): a page puts two in a row. */
function foldRoot(host, folded) {
  host.root.classList.toggle("folded", folded);
  const shell = /** @type {any} */ (host.root.getRootNode()).host;
  if (shell) shell.dataset.folded = String(folded);
}

/** The height of a component as `--acl-height` on its host, for a page that keeps its last row in sight. */
function tellHeight(root) {
  const shell = /** @type {any} */ (root.getRootNode()).host;
  if (!shell) return () => {};
  const watcher = new ResizeObserver(() => shell.style.setProperty("--acl-height", `${root.offsetHeight}px`));
  watcher.observe(root);
  return () => watcher.disconnect();
}

/** What kind of error is in view, by its code: a pointer that rests on the sentence tells it. */
function nameError(root, code) {
  root.dataset.error = code;
  for (const line of root.querySelectorAll(".error"))
    if (line.textContent && code) line.title = `${t(`errors.${code}`)} (${code})`;
    else line.removeAttribute("title");
}

/** The first component of a page asks for Python's sentences in the reader's language; all are built anew then. */
function askSentences(link) {
  const tag = language();
  link.on("sentences", (body) => {
    if (pageState.sentences[body.language]) return;
    keepSentences(body.language, tableOf(body.table));
    broadcast("sentences", {});
  });
  if (tag === "en" || pageState.sentences[tag] || pageState.asking === tag) return;
  pageState.asking = tag;
  link.send("sentences", { language: tag });
}
