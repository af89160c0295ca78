// The card of a gene: evidence, loadings, module, gene sets, neighbors.

function neighborsOf(gene) {
  if (!data.neighbors) return [];
  const { n, near, far } = data.neighbors;
  const found = [];
  for (let i = gene * n; i < (gene + 1) * n; i++) if (near[i] >= 0) found.push({ gene: near[i], far: far[i] });
  return found;
}

const moduleOf = (gene) => (data.modules && data.modules.codes[gene] < data.modules.names.length ? data.modules.codes[gene] : -1);

function showCard(gene) {
  const card = byId("card");
  card.setAttribute("aria-live", state.preview >= 0 ? "off" : "polite");
  if (card.dataset.gene === String(gene)) return;
  card.dataset.gene = gene;
  card.replaceChildren(...(gene < 0 ? noGene() : cardOf(gene)).filter(Boolean));
}

function noGene() {
  return [h("h2", {}, "Gene"), h("p", { class: "hint" }, "Point at a gene on the right, click it, or search for one (press ",
    h("kbd", {}, "/"), "). Cells take its expression; its neighbors and its module light up.")];
}

function cardOf(gene) {
  const name = data.geneNames[gene];
  const heading = h("h2", { tabindex: "-1" }, cut(name, 60));
  const row = h("div", { class: "title" }, heading, chips(gene),
    h("button", { type: "button", class: "small", title: "The gene and its neighbors as a table", onclick: () => saveNeighbors(gene) }, "CSV"));
  return [row, facts(gene), loadings(gene), moduleSets(gene), neighborList(gene)];
}

function chips(gene) {
  const found = [];
  const module = moduleOf(gene);
  if (module >= 0) {
    found.push(h("button", { type: "button", class: "chip", title: "Show this module", onclick: () => pickModule(module) },
      swatch(categoryColor(module)), data.modules.names[module]));
  }
  if (data.is_hub?.[gene]) found.push(h("span", { class: "chip strong" }, "hub"));
  if (!data.modelled[gene]) found.push(h("span", { class: "chip" }, "placed after training"));
  return h("div", { class: "chips" }, ...found);
}

function facts(gene) {
  const rows = [
    ["Hub score", data.hub ? score(data.hub[gene], rank(data.hub, gene)) : unknown("sivae.tl.hubs was not run")],
    ["Connected (q)", data.q ? connectedWords(gene) : unknown("sivae.tl.hubs was not run")],
    ["Explained variance", data.r2 && Number.isFinite(data.r2[gene]) ? score(data.r2[gene], "of validation cells") : unknown("not measured")],
    ["Module", moduleWords(gene)],
  ];
  return h("dl", {}, ...rows.flatMap(([term, words]) => [h("dt", {}, term), h("dd", {}, ...[words].flat())]));
}

const unknown = (why) => h("span", { class: "soft" }, why);
const score = (value, note) => [short(value), " ", h("span", { class: "soft" }, note)];

function connectedWords(gene) {
  const q = data.q[gene];
  if (!Number.isFinite(q)) return unknown("no evidence: placed after training");
  return [`${short(q, 2)} `, unknown(data.connected?.[gene] ? "follows others" : "not shown to follow others")];
}

function moduleWords(gene) {
  if (!data.modules) return unknown("sivae.tl.modules was not run");
  const module = moduleOf(gene);
  if (module < 0) return unknown("unassigned");
  return score2(data.modules.names[module], data.stability ? `stability ${short(data.stability[gene], 2)}` : "");
}

const score2 = (words, note) => [words, " ", h("span", { class: "soft" }, note)];

function rank(values, gene) {
  let above = 0;
  let known = 0;
  for (const value of values) {
    if (Number.isFinite(value)) known++;
    if (value > values[gene]) above++;
  }
  return Number.isFinite(values[gene]) ? `rank ${(above + 1).toLocaleString("en")} of ${known.toLocaleString("en")}` : "";
}

/** A bar for each axis, with a whisker of one standard deviation; the twelve largest where there are more. */
function loadings(gene) {
  const k = data.axes.length;
  const rows = data.axes.map((axis, a) => ({ a, axis, value: data.loading[gene * k + a], sd: data.sd ? data.sd[gene * k + a] : NaN }))
    .filter(({ axis }) => !axis.unused);
  const most = Math.max(...rows.map(({ value, sd }) => Math.abs(value) + (sd || 0)), 1e-9);
  const shown = rows.length > 12 ? rows.sort((x, y) => Math.abs(y.value) - Math.abs(x.value)).slice(0, 12).sort((x, y) => x.a - y.a) : rows;
  const body = shown.map(({ a, axis, value, sd }) => h("tr", {},
    h("th", { scope: "row" }, h("button", { type: "button", class: "link", title: "Show along this axis", onclick: () => alongAxis(a) }, axis.name)),
    h("td", { class: "bar-cell" }, bar(value / most, sd / most)),
    h("td", { class: "n" }, signed(value), Number.isFinite(sd) ? h("span", { class: "soft" }, ` \u00b1 ${sd.toFixed(2)}`) : "")));
  const title = rows.length > shown.length ? `Loadings (largest ${shown.length} of ${rows.length})` : "Loadings";
  if (!rows.length) return h("div", {}, h("h3", {}, title), h("p", { class: "soft" }, "No axis is used."));
  return h("div", {}, h("h3", {}, title), h("table", { class: "loadings" }, h("tbody", {}, ...body)));
}

function bar(share, sd) {
  const fill = h("span", { class: "fill" });
  fill.style.left = `${50 + 50 * Math.min(0, share)}%`;
  fill.style.width = `${50 * Math.abs(share)}%`;
  fill.style.background = share < 0 ? color("low") : color("high");
  const track = h("span", { class: "track", "aria-hidden": "true" }, fill);
  if (Number.isFinite(sd)) {
    const whisker = h("span", { class: "whisker" });
    whisker.style.left = `${50 + 50 * (share - sd)}%`;
    whisker.style.width = `${100 * sd}%`;
    track.append(whisker);
  }
  return track;
}

function moduleSets(gene) {
  if (!data.enrichment) return null;
  const module = moduleOf(gene);
  const own = module < 0 ? [] : (data.enrichment[data.modules.names[module]] || []).map((set) => ({ ...set, group: "" }));
  const others = Object.entries(data.enrichment).filter(([group]) => module < 0 || group !== data.modules.names[module])
    .flatMap(([group, sets]) => sets.filter((set) => set.genes.includes(gene)).map((set) => ({ ...set, group })));
  const seen = new Set(own.map((set) => set.set));
  const fresh = others.sort((a, b) => a.q - b.q).filter((set) => !seen.has(set.set) && seen.add(set.set));
  const listed = [...own.slice(0, 5), ...fresh.slice(0, 4)];
  const rows = listed.map((set) => h("li", { class: set.genes.includes(gene) ? "member" : "" }, cut(set.set, 60),
    h("span", { class: "soft" }, ` ${set.group ? `${set.group}, ` : ""}q = ${short(set.q, 2)}${set.n_set ? `, ${set.n_overlap} of ${set.n_set}` : ""}`)));
  const title = module < 0 ? "Enriched sets with this gene" : `Sets enriched in ${data.modules.names[module]}, and others with this gene`;
  return h("div", {}, h("h3", {}, title),
    rows.length ? h("ul", { class: "sets" }, ...rows) : h("p", { class: "soft" }, "None at q \u2264 0.05."));
}

function neighborList(gene) {
  const heading = h("h3", {}, "Nearest genes");
  if (!data.neighbors) return h("div", {}, heading, h("p", { class: "soft" }, "sivae.tl.gene_neighbors was not run."));
  const listed = neighborsOf(gene);
  if (!listed.length) return h("div", {}, heading, h("p", { class: "soft" }, "None were found for this gene."));
  const items = listed.map(({ gene: g, far }, i) => h("li", {}, geneButton(g, { title: `distance ${short(far)}`, "data-near": String(i) })));
  return h("div", {}, heading, h("ol", { class: "near" }, ...items));
}

/** A gene that can be clicked; while it has the pointer or the focus, the maps show it. */
function geneButton(gene, attributes = {}) {
  return h("button", {
    type: "button", class: "gene", onclick: () => pickGene(gene, { focus: true }), onfocus: () => preview(gene, { card: false }),
    onblur: () => preview(-1), onpointerenter: () => preview(gene, { card: false }), onpointerleave: () => preview(-1), ...attributes,
  }, data.modules ? swatch(moduleOf(gene) < 0 ? FAINT[theme()] : categoryColor(moduleOf(gene))) : null, cut(data.geneNames[gene], 28));
}

/** Moves the focus through the list of neighbors. */
function stepNeighbor(by) {
  const buttons = [...document.querySelectorAll("#card [data-near]")];
  if (!buttons.length) return false;
  const now = buttons.indexOf(document.activeElement);
  const next = now < 0 ? (by > 0 ? 0 : buttons.length - 1) : (now + by + buttons.length) % buttons.length;
  buttons[next].focus();
  buttons[next].scrollIntoView({ block: "nearest" });
  return true;
}
