// TakeTree: takes as dots, lineage as lines; click or Enter selects one. Python half: acestep_lab/ui/take_tree.py.

export default mount(
  "Lineage",
  [
    ["← → ↑ ↓", "tree.key_move"],
    ["Enter", "tree.key_select"],
  ],
  (host) => {
    const SVG = "http://www.w3.org/2000/svg",
      stage = h("div.scroll"),
      empty = h("p.empty", {}, t("tree.empty")),
      error = h("p.error", { role: "alert" });
    const s = (tag, attributes = {}, ...children) => {
      const node = document.createElementNS(SVG, tag);
      for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
      node.append(...children);
      return node;
    };
    const STEP = 200,
      ROW = 54,
      at = (n) => [26 + n.x * STEP, 30 + n.y * ROW];
    function show() {
      const nodes = tablesOf(host.get("nodes")).map((n) => ({
          ...n,
          id: textOf(n.id),
          state: textOf(n.state) || "here",
          title: tellTitle(n.title) || (n.state === "recording" ? t("tree.unnamed_recording") : ""),
          x: numberOf(n.x),
          y: numberOf(n.y),
        })),
        edges = host.list("edges").filter(Array.isArray),
        selected = host.get("selected"),
        by = new Map(nodes.map((n) => [n.id, n]));
      host.root.dataset.nodes = String(nodes.length);
      empty.hidden = nodes.length > 0;
      stage.hidden = !nodes.length;
      if (!nodes.length) return;
      const svg = s("svg", {
        width: 60 + (Math.max(...nodes.map((n) => n.x)) + 1) * STEP,
        height: 60 + Math.max(...nodes.map((n) => n.y)) * ROW,
        role: "tree",
        "aria-label": t("tree.label"),
      });
      for (const [from, to] of edges) {
        const [a, b] = [by.get(from), by.get(to)];
        if (!a || !b) continue;
        const [x1, y1] = at(a),
          [x2, y2] = at(b);
        svg.append(
          s("path", { d: `M${x1} ${y1} C${x1 + STEP / 2} ${y1} ${x2 - STEP / 2} ${y2} ${x2} ${y2}`, class: "edge" }),
        );
      }
      for (const n of nodes) {
        const [x, y] = at(n),
          said = n.state === "here" ? "" : t(`tree.state_${n.state}`),
          name = n.title || said,
          text = name.length > 26 ? `${name.slice(0, 25)}…` : name,
          group = s("g", {
            class: `node${n.id === selected ? " selected" : ""}${n.here ? "" : " gone"} ${n.state}`,
            tabindex: "0",
            role: "treeitem",
            "aria-label": [name, n.title && said, n.star && t("tree.starred")].filter(Boolean).join(", "),
            "aria-current": String(n.id === selected),
            "data-state": n.state,
            "data-node": n.id,
          });
        const label = s("text", { x: x + 14, y: y + 15 }),
          kind = s("text", { x: x + 14, y: y - 6, class: "kind" }),
          title = s("title");
        label.textContent = `${n.star ? "★ " : ""}${text}`;
        kind.textContent = n.title ? said : "";
        title.textContent = name;
        group.append(s("circle", { cx: x, cy: y, r: n.id === selected ? 10 : 8 }), kind, label, title);
        group.addEventListener("click", () => n.here && host.send("select", { id: n.id }));
        group.addEventListener("keydown", (event) => {
          if (event.key === "Enter" || event.key === " ") {
            if (n.here) host.send("select", { id: n.id });
            event.preventDefault();
            return;
          }
          const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
          if (!way) return;
          const next = nodes
            .filter((m) => (way[0] ? Math.sign(m.x - n.x) === way[0] : m.x === n.x && Math.sign(m.y - n.y) === way[1]))
            .sort((p, q) => Math.hypot(p.x - n.x, p.y - n.y) - Math.hypot(q.x - n.x, q.y - n.y))[0];
          if (next) stage.querySelector(`[data-node="${CSS_escape(next.id)}"]`)?.focus();
          event.preventDefault();
        });
        svg.append(group);
      }
      stage.replaceChildren(svg);
    }
    const CSS_escape = (text) => globalThis.CSS.escape(text);
    host.on("error", (body) => setText(error, say(body.text)));
    host.root.append(
      h(
        "div.head",
        {},
        h("h2", {}, t("titles.Lineage")),
        h("span.spring"),
        h("button.plain", { onclick: () => copyText(host.root, host.text("code"), host.announce) }, t("tree.copy")),
      ),
      empty,
      stage,
      error,
    );
    host.watch(["nodes", "edges", "selected"], show);
    host.onClose(onBroadcast("titles", show));
    show();
  },
);
