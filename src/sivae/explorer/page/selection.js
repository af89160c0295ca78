// Cells that were chosen: who they are, which genes are higher or lower there, which axes put them there.

const LISTED = 20;

function showSelection() {
  const panel = byId("selection");
  const open = panel.contains(document.activeElement) ? document.activeElement.id : "";
  panel.replaceChildren(h("h2", {}, "Selected cells"), ...[picker(), ...(state.mask ? selected() : [noCells()])].filter(Boolean));
  if (open) byId(open)?.focus();
}

function noCells() {
  return h("p", { class: "hint" }, "Encircle cells on the left, or choose a group: genes show what is higher there, and which axes put the cells there.");
}

/** The way without a pointer: the cells of a group. */
function picker() {
  const columns = data.columns.filter((c) => c.kind === "category");
  if (!columns.length) return null;
  const groups = h("select", { id: "pick-group", "aria-label": "Group of cells" });
  const column = h("select", { id: "pick-column", "aria-label": "Label", onchange: () => fill() });
  columns.forEach((c, i) => column.append(new Option(cut(c.name, 40), i)));
  column.value = columns.indexOf(state.picked?.column) < 0 ? 0 : columns.indexOf(state.picked.column);
  const fill = () => groups.replaceChildren(...columns[column.value].categories.map((name, i) => new Option(cut(name, 50), i)));
  fill();
  if (state.picked) groups.value = state.picked.group;
  const go = () => pickGroup(columns[column.value], Number(groups.value));
  return h("div", { class: "picker" }, column, groups, h("button", { type: "button", id: "pick", onclick: go }, "Select"));
}

function selected() {
  const count = total(state.mask);
  const share = ((100 * count) / data.nCells).toFixed(count / data.nCells < 0.1 ? 1 : 0);
  return [
    h("p", { class: "lead" }, h("b", { id: "n-selected" }, count.toLocaleString("en")), ` cells, ${share} % `, h("span", { class: "soft" }, composition())),
    h("div", { class: "row" },
      h("button", { type: "button", id: "save-cells", onclick: saveCells }, "Cells (CSV)"),
      h("button", { type: "button", id: "save-genes", onclick: saveGenes, disabled: state.comparing || !state.contrast }, "Genes (CSV)"),
      h("button", { type: "button", id: "clear-cells", onclick: () => pickCells(null) }, "Clear")),
    ranked(), axisList(),
  ];
}

/** The largest groups of the label that colors the cells, or of the first one. */
function composition() {
  const [kind, number] = state.cellColor.split(":");
  const column = kind === "obs" && data.columns[number].kind === "category" ? data.columns[number] : data.columns.find((c) => c.kind === "category");
  if (!column) return "";
  const { counts } = tally(column.values.filter((_, i) => state.mask[i]), column.categories.length);
  const order = counts.map((_, i) => i).filter((i) => counts[i]).sort((a, b) => counts[b] - counts[a]).slice(0, 3);
  const all = total(state.mask);
  return order.map((i) => `${cut(column.categories[i], 24)} ${Math.round((100 * counts[i]) / all)} %`).join(", ");
}

function ranked() {
  if (total(state.mask) === data.nCells) return h("p", { class: "hint" }, "All cells are selected: there are no others to compare with.");
  if (state.comparing) return h("p", { class: "soft" }, "Comparing \u2026");
  const tab = (sign, words) => h("button", {
    type: "button", id: sign > 0 ? "higher" : "lower", "aria-pressed": String(state.sign === sign), onclick: () => { state.sign = sign; showSelection(); draw(); },
  }, words);
  const genes = topGenes(state.sign, LISTED);
  const most = Math.max(...genes.map((g) => Math.abs(state.contrast.difference[g])), 1e-9);
  const rows = genes.map((g) => h("li", {}, geneButton(g), meter(Math.abs(state.contrast.difference[g]) / most), h("span", { class: "n" }, signed(state.contrast.difference[g]))));
  return h("div", {}, h("div", { class: "row tabs", role: "group", "aria-label": "Direction" }, tab(1, "Higher here"), tab(-1, "Lower here")),
    h("ol", { class: "ranked", id: "ranked" }, ...rows),
    h("p", { class: "soft small" }, data.expression
      ? "Mean standardized expression of these cells minus that of the others. A description, not a test."
      : "Linear prediction for these cells minus that for the others: the file has no expression."));
}

function meter(share) {
  const fill = h("span", { class: "fill" });
  fill.style.width = `${100 * share}%`;
  fill.style.background = color(state.sign > 0 ? "high" : "low");
  return h("span", { class: "track flat", "aria-hidden": "true" }, fill);
}

function topGenes(sign, count) {
  const { order } = state.contrast;
  const listed = Array.from(sign > 0 ? order.slice(0, count) : order.slice(-count).reverse());
  return listed.filter((g) => sign * state.contrast.difference[g] > 0);
}

function axisList() {
  if (total(state.mask) === data.nCells) return null;
  const rows = axisMeans(state.mask).filter(({ axis }) => !data.axes[axis].unused)
    .sort((a, b) => Math.abs(b.inside - b.outside) - Math.abs(a.inside - a.outside)).slice(0, 4);
  const items = rows.map(({ axis, inside, outside }) => {
    const sign = inside > outside ? 1 : -1;
    const set = setOfEnd(axis, sign);
    return h("li", {}, h("p", {}, h("button", { type: "button", class: "link", title: "Show along this axis", onclick: () => alongAxis(axis) }, data.axes[axis].name),
      ` ${signed(inside)} `, h("span", { class: "soft" }, `others ${signed(outside)}`)),
    h("p", { class: "genes" }, ...ends(axis, sign, 5).map((g) => geneButton(g))),
    set ? h("p", { class: "soft small" }, `${cut(set.set, 60)} (q = ${short(set.q, 2)})`) : null);
  });
  return h("div", {}, h("h3", {}, "Axes that put them there"), h("ul", { class: "axes", id: "axes" }, ...items),
    h("p", { class: "soft small" }, "Mean position, and the genes at that end of the axis."));
}

/** The set of smallest q at one end of an axis: of that end's genes, or by ranks, where 0.5 is no effect. */
function setOfEnd(axis, sign) {
  const name = `axis${axis + 1}`;
  const own = data.enrichment?.[`${name}${sign > 0 ? "+" : "-"}`] || [];
  const ranked = (data.enrichment?.[name] || []).filter((set) => sign * (set.effect - 0.5) > 0);
  return [...own, ...ranked].sort((a, b) => a.q - b.q)[0];
}
