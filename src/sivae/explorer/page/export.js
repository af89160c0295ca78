// Tables as CSV, and both maps as a picture or a drawing.

/** A cell of a table: what a spreadsheet would take for a formula is made a text, by the rule of sivae/_spreadsheet.py. */
function csvCell(value) {
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  let text = String(value);
  const bare = text.replace(/^'+/, "");
  const formula = /^(?:[\s\x00-\x20\x85\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])/;
  if (formula.test(bare) && !/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(bare)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

const csv = (rows) => rows.map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
const round = (value) => Number(value.toPrecision(6));

function save(content, name, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function saveCells() {
  const k = data.axes.length;
  const gene = state.gene;
  const values = gene < 0 ? null : await valuesOf(gene);
  const head = ["cell", ...data.columns.map((c) => c.name), ...data.axes.map((_, a) => `axis${a + 1}`), ...(values ? [data.geneNames[gene]] : [])];
  const rows = [head];
  state.mask.forEach((inside, i) => {
    if (!inside) return;
    const labels = data.columns.map((c) => (c.kind === "number" ? round(c.values[i]) : c.categories[c.values[i]] ?? ""));
    const axes = data.axes.map((_, a) => round(data.position[i * k + a]));
    rows.push([data.cellNames[i], ...labels, ...axes, ...(values ? [round(values[i])] : [])]);
  });
  save(csv(rows), "sivae-cells.csv", "text/csv");
}

const GENE_HEAD = ["module", "hub_score", "connected_q", "r2"];

function geneRow(g) {
  const module = moduleOf(g);
  const number = (values) => (values ? round(values[g]) : NaN);
  return [module < 0 ? "" : data.modules.names[module], number(data.hub), number(data.q), number(data.r2),
    ...data.axes.map((_, a) => round(data.loading[g * data.axes.length + a]))];
}

function saveGenes() {
  const { inside, outside, difference, order } = state.contrast;
  const head = ["gene", "difference", "mean_selected", "mean_others", ...GENE_HEAD, ...data.axes.map((_, a) => `axis${a + 1}`)];
  const rows = [...order].map((g) => [data.geneNames[g], round(difference[g]), round(inside[g]), round(outside[g]), ...geneRow(g)]);
  save(csv([head, ...rows]), "sivae-genes.csv", "text/csv");
}

function saveNeighbors(gene) {
  const head = ["gene", "rank", "distance", ...GENE_HEAD, ...data.axes.map((_, a) => `axis${a + 1}`)];
  const rows = [{ gene, far: 0 }, ...neighborsOf(gene)].map(({ gene: g, far }, i) => [data.geneNames[g], i, round(far), ...geneRow(g)]);
  save(csv([head, ...rows]), "sivae-neighbors.csv", "text/csv");
}

// ---------------------------------------------------------------------------------------------------------- pictures

const TITLE = 34;
const GAP = 18;

/** Where each map and its legend lie in a picture of both. */
function sheet() {
  const maps = [cellMap, geneMap];
  const legendHeight = Math.max(...maps.map((map) => legendLines(map).length)) * 18 + 12;
  const height = TITLE + Math.max(...maps.map((map) => map.height)) + legendHeight;
  return { maps, height: Math.ceil(height), width: Math.ceil(cellMap.width + geneMap.width + 3 * GAP), left: [GAP, cellMap.width + 2 * GAP] };
}

async function savePng() {
  const { maps, width, height, left } = sheet();
  const scale = Math.max(2, window.devicePixelRatio || 1);
  const canvas = h("canvas", { width: width * scale, height: height * scale });
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.fillStyle = color("panel");
  pen.fillRect(0, 0, width, height);
  maps.forEach((map, i) => {
    pen.save();
    pen.translate(left[i], 0);
    drawHeading(canvasPen(pen), map);
    pen.translate(0, TITLE);
    pen.beginPath();
    pen.rect(0, 0, map.width, map.height);
    pen.save();
    pen.clip();
    drawFlat(pen, map.xy, map.held, map.view, map.width, map.height);
    drawOver(canvasPen(pen), map, map.width, map.height);
    pen.restore();
    pen.translate(0, map.height + 6);
    drawLegend(canvasPen(pen), map);
    pen.restore();
  });
  canvas.toBlob((blob) => save(blob, "sivae-maps.png"), "image/png");
}

function saveSvg() {
  const { maps, width, height, left } = sheet();
  const body = maps.map((map, i) => svgMap(map, left[i], i)).join("");
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" `
    + `viewBox="0 0 ${width} ${height}" font-family="${xml(FONT)}"><rect width="${width}" height="${height}" fill="${color("panel")}"/>${body}</svg>\n`;
  save(text, "sivae-maps.svg", "image/svg+xml");
}

function svgMap(map, left, number) {
  const [heading, over, legend] = [svgPen(), svgPen(), svgPen()];
  drawHeading(heading, map);
  drawOver(over, map, map.width, map.height);
  drawLegend(legend, map);
  const dots = [];
  eachPoint(map.xy, map.held, map.view, map.width, map.height, (x, y, radius, rgba, at) => {
    const fill = hexOf([rgba[at], rgba[at + 1], rgba[at + 2]]);
    dots.push(`<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${radius.toFixed(1)}" fill="${fill}" fill-opacity="${(rgba[at + 3] / 255).toFixed(2)}"/>`);
  });
  return `<g transform="translate(${left} 0)">${heading.parts.join("")}<clipPath id="c${number}"><rect width="${map.width}" height="${map.height}"/></clipPath>`
    + `<g transform="translate(0 ${TITLE})"><g clip-path="url(#c${number})">${dots.join("")}${over.parts.join("")}</g>`
    + `<g transform="translate(0 ${map.height + 6})">${legend.parts.join("")}</g></g></g>`;
}

const xml = (text) => String(text).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "").replace(/[<>&"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

function svgPen() {
  const parts = [];
  const at = (value) => Number(value.toFixed(2));
  return {
    parts,
    line: (x1, y1, x2, y2, stroke, width = 1) => parts.push(`<path d="M${at(x1)} ${at(y1)}L${at(x2)} ${at(y2)}" stroke="${stroke}" stroke-width="${width}"/>`),
    ring: (x, y, r, stroke, width) => parts.push(`<circle cx="${at(x)}" cy="${at(y)}" r="${at(r)}" fill="none" stroke="${stroke}" stroke-width="${width}"/>`),
    rect: (x, y, width, height, fill) => parts.push(`<rect x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}" fill="${fill}"/>`),
    text(words, x, y, { fill, size = 11, align = "left", halo = null, bold = false, turned = false }) {
      const anchor = { left: "start", center: "middle", right: "end" }[align];
      const edge = halo ? ` stroke="${halo}" stroke-width="3" stroke-linejoin="round" paint-order="stroke"` : "";
      const turn = turned ? ` transform="rotate(-90 ${at(x)} ${at(y)})"` : "";
      parts.push(`<text x="${at(x)}" y="${at(y)}"${turn} dy="0.35em" font-size="${size}" text-anchor="${anchor}" fill="${fill}"${bold ? ' font-weight="600"' : ""}${edge}>${xml(words)}</text>`);
    },
  };
}

function drawHeading(pen, map) {
  pen.text(map.title, 4, TITLE / 2, { fill: color("ink"), size: 15, bold: true });
  pen.text(cut(map.spec.title, 60), 4 + map.title.length * 10 + 8, TITLE / 2, { fill: color("soft"), size: 12 });
}

/** Names of groups in lines that fit the map. */
function legendLines(map) {
  const lines = [[]];
  let long = 0;
  (map.spec.groups || []).forEach((name, i) => {
    const words = cut(name, 32);
    const size = words.length * 6.400 + 30;
    if (long + size > map.width && lines[lines.length - 1].length) { lines.push([]); long = 0; }
    lines[lines.length - 1].push({ words, at: long, fill: categoryColor(i) });
    long += size;
  });
  return lines;
}

function drawLegend(pen, map) {
  const { groups, stops, low, high } = map.spec;
  if (groups) {
    legendLines(map).forEach((line, row) => line.forEach(({ words, at, fill }) => {
      pen.rect(at + 4, row * 18 + 4, 10, 10, fill);
      pen.text(words, at + 19, row * 18 + 9, { fill: color("ink"), size: 11 });
    }));
  } else if (stops) {
    const colors = table(stops);
    for (let i = 0; i < 128; i++) pen.rect(50 + i, 4, 1.500, 10, hexOf(colors.slice(6 * i, 6 * i + 3)));
    pen.text(short(low), 44, 9, { fill: color("ink"), size: 11, align: "right" });
    pen.text(short(high), 186, 9, { fill: color("ink"), size: 11 });
  }
}
