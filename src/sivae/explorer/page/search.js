// Search by name: what begins with the text first, then what holds it.

function startSearch() {
  const input = byId("search");
  const list = byId("hits");
  const lower = data.geneNames.map((name) => name.toLowerCase());
  let hits = [];
  let at = -1;

  const close = () => {
    list.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const mark = (next) => {
    at = next;
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === at)));
    if (at >= 0 && hits.length) {
      input.setAttribute("aria-activedescendant", `hit${at}`);
      list.children[at].scrollIntoView({ block: "nearest" });
    }
  };
  const choose = (gene) => {
    close();
    input.value = "";
    pickGene(gene, { focus: true });
  };
  const show = () => {
    hits = matches(lower, input.value.trim().toLowerCase());
    if (!input.value.trim()) return close();
    list.replaceChildren(...(hits.length ? hits.map((g, i) => h("li", {
      role: "option", id: `hit${i}`, "aria-selected": "false", onpointerdown: (event) => { event.preventDefault(); choose(g); },
    }, data.modules ? swatch(moduleOf(g) < 0 ? FAINT[theme()] : categoryColor(moduleOf(g))) : null, cut(data.geneNames[g], 40)))
      : [h("li", { class: "none", role: "option", "aria-disabled": "true", "aria-selected": "false" }, "No such gene on this page")]));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(hits.length ? 0 : -1);
  };
  input.addEventListener("input", show);
  input.addEventListener("focus", show);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by && hits.length && !list.hidden) mark((at + by + hits.length) % hits.length);
    else if (event.key === "Enter" && at >= 0) choose(hits[at]);
    else if (event.key === "Escape") { input.value = ""; close(); input.blur(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

function matches(lower, text) {
  if (!text) return [];
  const first = [];
  const later = [];
  lower.forEach((name, g) => {
    const where = name.indexOf(text);
    if (where === 0) first.push(g); else if (where > 0) later.push(g);
  });
  first.sort((a, b) => lower[a].length - lower[b].length);
  return [...first, ...later].slice(0, 12);
}
