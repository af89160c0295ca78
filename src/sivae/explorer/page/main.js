// What is shown now, and how one thing leads to another.

let cellMap = null;
let geneMap = null;
const state = {
  gene: -1, preview: -1, cardPreview: true, module: -1, mask: null, picked: null, contrast: null, comparing: false, sign: 1,
  cellColor: "", cellBefore: "", geneColor: "", geneBefore: "", turn: 0, contrastTurn: 0,
  shown() { return this.preview >= 0 ? this.preview : this.gene; },
  listed() { return this.module >= 0 ? membersOf(this.module) : this.contrast ? topGenes(this.sign, 12) : null; },
};

// ------------------------------------------------------------------------------------------------------------ choices

function pickGene(gene, { focus = false } = {}) {
  clearTimeout(waiting);
  Object.assign(state, { gene, preview: -1, module: -1 });
  if (gene >= 0 && state.cellColor !== "gene") state.cellBefore = state.cellColor;
  state.cellColor = gene >= 0 ? "gene" : state.cellBefore;
  refresh();
  if (focus && gene >= 0) byId("card").querySelector("h2").focus({ preventScroll: true });
}

let waiting = 0;

/** Shows a gene while the pointer or the focus is on it. */
function preview(gene, { card = true } = {}) {
  clearTimeout(waiting);
  if (gene === state.preview) return;
  waiting = setTimeout(() => {
    Object.assign(state, { preview: gene, cardPreview: card });
    refresh();
  }, gene < 0 ? 120 : 50);
}

function pickModule(module) {
  state.gene = -1;
  state.module = state.module === module ? -1 : module;
  const score = data.scores.findIndex((s) => s.group === "Modules" && s.name === data.modules.names[module]);
  if (state.module >= 0 && !state.cellColor.match(/^(gene|score)/)) state.cellBefore = state.cellColor;
  state.cellColor = state.module >= 0 && score >= 0 ? `score:${score}` : state.cellBefore;
  refresh();
}

function pickGroup(column, group) {
  const mask = Uint8Array.from(column.values, (code) => (code === group ? 1 : 0));
  pickCells(total(mask) ? mask : null, { column, group });
}

/** Chooses cells (null: none), and compares them with the others. */
async function pickCells(mask, picked = null) {
  const turn = ++state.contrastTurn;
  if (mask && !state.mask) state.geneBefore = state.geneColor;
  Object.assign(state, { mask, picked: picked || state.picked, sign: 1, comparing: Boolean(mask) && total(mask) < data.nCells });
  if (!state.comparing) {
    state.contrast = null;
    if (state.geneColor === "difference") state.geneColor = state.geneBefore;
  }
  refresh();
  showSelection();
  if (!mask) return say("No cells are selected.");
  const begun = performance.now();
  const found = state.comparing ? await contrast(mask, () => turn === state.contrastTurn) : null;
  if (!found) return undefined;
  found.difference = found.inside.map((value, g) => value - found.outside[g]);
  found.order = Uint32Array.from(found.difference.keys()).sort((a, b) => found.difference[b] - found.difference[a]);
  Object.assign(state, { contrast: found, comparing: false, geneColor: "difference" });
  document.documentElement.dataset.contrastMs = Math.round(performance.now() - begun);
  refresh();
  showSelection();
  return say(`${total(mask)} cells selected. Highest there: ${topGenes(1, 5).map((g) => data.geneNames[g]).join(", ")}.`);
}

function lassoed(mask, event) {
  const before = state.mask;
  if (before && event.shiftKey) mask = mask.map((inside, i) => inside | before[i]);
  if (before && event.altKey) mask = before.map((inside, i) => (mask[i] ? 0 : inside));
  pickCells(total(mask) ? mask : null);
}

function alongAxis(axis) {
  for (const map of [cellMap, geneMap]) {
    if (map.axes[1] === axis) map.turn(1, map.axes[0]);
    map.turn(0, axis);
  }
}

function say(words) { byId("said").textContent = words; }

// ----------------------------------------------------------------------------------------------------------- painting

function refresh() {
  showColors();
  paintCells();
  paintGenes();
  showCard(state.preview >= 0 && !state.cardPreview ? state.gene : state.shown());
}

function draw() {
  cellMap.draw();
  geneMap.draw();
}

async function paintCells() {
  const begun = performance.now();
  const turn = ++state.turn;
  const gene = state.preview >= 0 ? state.preview : state.cellColor === "gene" ? state.gene : -1;
  const [kind, number] = state.cellColor.split(":");
  const painted = gene >= 0 ? await byGene(gene) : kind === "obs" ? byLabel(data.columns[number]) : byScore(kind, Number(number));
  if (turn !== state.turn) return;
  cellMap.paint(painted.colors, state.mask ? (i) => state.mask[i] : null);
  showLegend(cellMap, painted.legend);
  cellMap.over.setAttribute("aria-label", `Map of ${data.nCells} cells on ${axesWords(cellMap)}, colored by ${painted.legend.title}`);
  cellMap.over.dataset.colored = painted.legend.title;
  document.documentElement.dataset.recolorMs = Math.round(performance.now() - begun);
}

async function byGene(gene) {
  const values = await valuesOf(gene);
  const [least, most] = range(values);
  const title = `${cut(data.geneNames[gene], 40)} (${account.scale})`;
  if (least < 0) {
    const far = Math.max(quantile(values, 0.995), -quantile(values, 0.005), 1e-9);
    return painted(title, byNumber(values, { low: -far, high: far, split: true }));
  }
  const high = quantile(values.filter((value) => value > 0), 0.99) || most;
  return painted(title, byNumber(values, { low: 0, high }), most > high ? `up to ${short(most)}` : "");
}

const painted = (title, colors, note = "") => ({ colors, legend: { title, low: colors.low, high: colors.high, stops: colors.stops, note } });

function byLabel(column) {
  if (column.kind === "number") {
    const [low, high] = [quantile(column.values, 0.005), quantile(column.values, 0.995)];
    return painted(column.name, byNumber(column.values, { low, high, order: "none" }));
  }
  const { counts, other } = tally(column.values, column.categories.length);
  return {
    colors: byCategory(column.values, column.categories.length),
    legend: { title: column.name, groups: column.categories, counts, other: { name: "none", count: other }, does: "Select these cells", onpick: (i) => pickGroup(column, i) },
  };
}

function byScore(kind, number) {
  if (kind === "") return { colors: plain(data.nCells), legend: { title: "nothing" } };
  const k = data.axes.length;
  const values = kind === "score" ? data.scores[number].values : Float32Array.from({ length: data.nCells }, (_, i) => data.position[i * k + number]);
  const far = Math.max(quantile(values, 0.995), -quantile(values, 0.005), 1e-9);
  return painted(kind === "score" ? `score of ${data.scores[number].name}` : data.axes[number].name, byNumber(values, { low: -far, high: far, split: true, order: "none" }));
}

function paintGenes() {
  const { colors, legend } = geneColors();
  const gene = state.shown();
  const near = new Set(gene < 0 ? [] : [gene, ...neighborsOf(gene).map((n) => n.gene)]);
  const module = gene < 0 ? state.module : moduleOf(gene);
  const emphasis = (g) => (near.has(g) ? 2 : module >= 0 && moduleOf(g) === module ? 1 : 0);
  geneMap.paint(colors, near.size > 1 || module >= 0 ? emphasis : null);
  showLegend(geneMap, legend);
  geneMap.over.setAttribute("aria-label", `Map of ${data.nGenes} genes on ${axesWords(geneMap)}, colored by ${legend.title}`);
  geneMap.over.dataset.colored = legend.title;
}

function geneColors() {
  const [kind, number] = state.geneColor.split(":");
  if (kind === "difference") {
    const far = quantile(state.contrast.difference.map(Math.abs), 0.995) || 1e-9;
    return painted("selected cells minus others", byNumber(state.contrast.difference, { low: -far, high: far, split: true }));
  }
  if (kind === "module") {
    const { names, codes } = data.modules;
    const { counts, other } = tally(codes, names.length);
    return {
      colors: byCategory(codes, names.length),
      legend: { title: "module", groups: names, counts, other: { name: "unassigned", count: other }, does: "Show this module", onpick: pickModule },
    };
  }
  if (kind === "") return { colors: plain(data.nGenes), legend: { title: "nothing" } };
  const values = geneValues(kind, Number(number));
  const split = kind === "loading";
  const high = quantile(split ? values.map(Math.abs) : values, 0.99) || 1e-9;
  return painted(geneWords(kind, number), byNumber(values, { low: split ? -high : Math.min(0, high), high, split }));
}

function geneValues(kind, number) {
  if (kind === "evidence") return data.q.map((q) => -Math.log10(Math.max(q, 1e-12)));
  if (kind === "loading") return Float32Array.from({ length: data.nGenes }, (_, g) => data.loading[g * data.axes.length + number]);
  return data[kind];
}

const geneWords = (kind, number) => ({ r2: "explained variance", hub: "hub score", evidence: "evidence (\u2212log10 q)" }[kind] || `loading on ${data.axes[number].name}`);
const axesWords = (map) => map.axes.map((a) => data.axes[a].name).join(" and ");

// ------------------------------------------------------------------------------------------------------------- colors

function cellChoices() {
  const labels = data.columns.map((c, i) => [`obs:${i}`, cut(c.name, 40)]);
  const scores = (group) => data.scores.map((s, i) => [s.group, `score:${i}`, cut(s.name, 40)]).filter(([g]) => g === group).map((s) => s.slice(1));
  const axes = data.axes.map((axis, a) => [`axis:${a}`, axis.name]);
  return [["Labels", labels], ["Modules", scores("Modules")], ["Gene sets", scores("Gene sets")], ["Axes", axes]];
}

function geneChoices() {
  const known = [["module", "module", data.modules], ["r2", geneWords("r2"), data.r2], ["hub", geneWords("hub"), data.hub], ["evidence", geneWords("evidence"), data.q]];
  const loadings = data.axes.map((axis, a) => [`loading:${a}`, axis.name]);
  return [["Genes", known.filter(([, , there]) => there).map(([value, words]) => [value, words])], ["Loadings", loadings]];
}

function fillColors(map, choices, onchange) {
  const select = map.root.querySelector(".color");
  select.setAttribute("aria-label", `${map.title}: color`);
  for (const [group, options] of choices) {
    if (options.length) select.append(h("optgroup", { label: group }, ...options.map(([value, words]) => new Option(words, value))));
  }
  select.addEventListener("change", () => onchange(select.value));
}

/** The choices of color as they are: a gene or a difference is a choice while there is one. */
function showColors() {
  offer(cellMap, "gene", state.gene >= 0 ? `${cut(data.geneNames[state.gene], 30)} expression` : null, state.cellColor);
  offer(geneMap, "difference", state.contrast ? "difference" : null, state.geneColor);
}

function offer(map, value, words, now) {
  const select = map.root.querySelector(".color");
  let option = [...select.options].find((o) => o.value === value);
  if (words === null) option?.remove();
  else {
    if (!option) {
      option = new Option(words, value);
      select.prepend(option);
    }
    option.textContent = words;
  }
  select.value = now;
}

// -------------------------------------------------------------------------------------------------------------- start

function tip(words, event) {
  const box = byId("tip");
  box.hidden = !words;
  if (!words) return;
  box.replaceChildren(...words.map((line, i) => h(i ? "span" : "b", {}, line)));
  box.style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${Math.max(4, Math.min(event.clientY + 14, window.innerHeight - box.offsetHeight - 8))}px`;
}

function cellTip(i, event) {
  if (i < 0) return tip(null);
  const lines = data.columns.slice(0, 3).map((c) => `${cut(c.name, 20)}: ${c.kind === "number" ? short(c.values[i]) : cut(c.categories[c.values[i]] ?? "none", 30)}`);
  return tip([cut(data.cellNames[i], 40), ...lines], event);
}

function geneTip(g, event) {
  preview(g);
  const about = state.contrast && g >= 0 ? [`difference ${signed(state.contrast.difference[g])}`] : g >= 0 && moduleOf(g) >= 0 ? [data.modules.names[moduleOf(g)]] : [];
  tip(g < 0 ? null : [cut(data.geneNames[g], 40), ...about], event);
}

function escape() {
  if (state.preview >= 0 && byId("card").contains(document.activeElement)) document.activeElement.blur();
  if (state.gene >= 0 || state.module >= 0) { state.module = -1; pickGene(-1); }
  else if (state.mask) pickCells(null);
}

function globalKeys(event) {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || byId("about").open;
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (event.key === "/") byId("search").focus();
  else if (event.key === "Escape") escape();
  else if (by && state.gene >= 0 && !event.shiftKey) { if (!stepNeighbor(by)) return; }
  else return;
  event.preventDefault();
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").setAttribute("aria-pressed", String(name === "dark"));
  if (!cellMap) return;
  byId("card").dataset.gene = "";
  refresh();
  showSelection();
}

function showFacts() {
  const { cells, genes } = account;
  const many = (n, total, what) => (n < total ? `${n.toLocaleString("en")} of ${total.toLocaleString("en")} ${what}` : `${n.toLocaleString("en")} ${what}`);
  byId("counts").textContent = `${many(cells.n, cells.total, "cells")} \u00d7 ${many(genes.n, genes.total, "genes")}`;
  const notes = [];
  if (cells.n < cells.total) notes.push(`Thinned: ${cells.n.toLocaleString("en")} of ${cells.total.toLocaleString("en")} cells, drawn at random by their names. Means and differences are of these.`);
  if (genes.n < genes.total) notes.push(`Thinned: ${genes.n.toLocaleString("en")} of ${genes.total.toLocaleString("en")} genes, those farthest from the origin.`);
  if (!account.expression) notes.push("The file has no expression: cells are colored by what the model predicts linearly from their position.");
  if (cells.left_out.length) notes.push(`Labels with too many different values are left out: ${cells.left_out.slice(0, 8).map((n) => cut(n, 30)).join(", ")}.`);
  byId("notes").replaceChildren(...notes.map((note) => h("li", {}, note)));
  byId("notes").hidden = !notes.length;
  byId("scales").textContent = `Expression: ${account.scale}, kept in 255 levels per gene. Differences are on the scale on which the model was trained: standardized by the training cells, effects of batches and other covariates still in them.`;
  byId("made").textContent = `Made by sivae-tools ${account.version}.`;
}

async function start() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => setTheme(theme() === "dark" ? "light" : "dark"));
  byId("help").addEventListener("click", () => byId("about").showModal());
  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old: it cannot inflate data by itself");
  data = await load();
  showFacts();
  byId("main").hidden = false;
  cellMap = new PointMap(byId("cells"), { kind: "cells", count: data.nCells, positions: data.position, title: "Cells" });
  geneMap = new PointMap(byId("genes"), { kind: "genes", count: data.nGenes, positions: data.loading, title: "Genes" });
  state.cellColor = state.cellBefore = account.cells.label === null ? "axis:0" : `obs:${account.cells.label}`;
  state.geneColor = data.modules?.names.length ? "module" : data.r2 ? "r2" : "loading:0";
  fillColors(cellMap, cellChoices(), (value) => { state.cellColor = value; if (value !== "gene") state.cellBefore = value; refresh(); });
  fillColors(geneMap, geneChoices(), (value) => { state.geneColor = value; refresh(); });
  const coarse = window.matchMedia("(pointer: coarse)").matches;
  listen(cellMap, { onhover: cellTip, onpick: (i) => { if (i < 0) tip(null); }, onlasso: lassoed, lasso: !coarse });
  listen(geneMap, { onhover: geneTip, onpick: (g) => pickGene(g === state.gene ? -1 : g) });
  byId("png").addEventListener("click", savePng);
  byId("svg").addEventListener("click", saveSvg);
  document.addEventListener("keydown", globalKeys);
  startSearch();
  for (const map of [cellMap, geneMap]) map.resize();
  refresh();
  showSelection();
  byId("wait").hidden = true;
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  Object.assign(document.documentElement.dataset, { ready: "yes", interactiveMs: Math.round(performance.now()) });
  await loadAhead();
  document.documentElement.dataset.ahead = "yes";
}

start().catch((error) => {
  byId("wait").hidden = false;
  byId("wait").className = "trouble";
  byId("wait").textContent = `The page could not be shown: ${error.message}.`;
  console.error(error);
});
