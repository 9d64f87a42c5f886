// A card that is open while something happens in it, and one line after. Opened or shut by hand, it stays so until the
// next run. Python says when (`unfolded`); what a person does with it is known here only.

/**
 * @param {Host} host
 * @param {{title: string, brief: () => string, wants: () => boolean, extras?: any[], body: any[]}} parts
 */
function foldingCard(host, { title, brief, wants, extras = [], body }) {
  /** @type {boolean | null} */
  let byHand = null;
  const line = h("span.brief.num"),
    inner = h("div.foldbody", {}, ...body),
    toggle = h("button.plain.fold", {
      onclick: () => {
        byHand = !isOpen();
        show();
        toggle.focus();
      },
    });
  const isOpen = () => byHand ?? wants();
  const show = () => {
    const open = isOpen();
    inner.hidden = !open;
    foldRoot(host, !open);
    setText(line, open ? "" : brief());
    heading.hidden = !open;
    setText(toggle, open ? t("fold.hide") : t("fold.show"));
    toggle.setAttribute("aria-expanded", String(open));
    toggle.setAttribute("aria-label", `${title}: ${toggle.textContent}`);
  };
  const heading = h("h2", {}, title);
  host.root.classList.add("folding");
  host.root.append(h("div.head.foldhead", {}, heading, line, h("span.spring"), ...extras, toggle), inner);
  return {
    show,
    isOpen,
    reset: () => {
      byHand = null;
      show();
    },
  };
}
