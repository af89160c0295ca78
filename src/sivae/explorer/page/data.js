// What the page holds: the account in JSON, and arrays that are inflated when they are needed.

const byId = (id) => document.getElementById(id);
const account = JSON.parse(byId("account").textContent);
const KINDS = { f: Float32Array, i: Int32Array, u: Uint16Array };
const EVERY = 0xffffffff;
const MISSING = 65535;

/** Bytes of a named array; its text is let go. */
function packed(name) {
  const element = byId(name);
  const text = element.textContent;
  element.remove();
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function inflated(name) {
  const stream = new Blob([packed(name)]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

async function numbers(name, kind) {
  return name === null ? null : new KINDS[kind](await inflated(name));
}

async function texts(name) {
  return JSON.parse(new TextDecoder().decode(await inflated(name)));
}

/** Everything but expression and scores. */
async function load() {
  const { cells, genes } = account;
  const data = { axes: account.axes, nCells: cells.n, nGenes: genes.n, enrichment: account.enrichment };
  data.cellNames = await texts(cells.names);
  data.geneNames = await texts(genes.names);
  data.position = await numbers(cells.position, "f");
  data.loading = await numbers(genes.loading, "f");
  data.sd = await numbers(genes.sd, "f");
  for (const name of ["hub", "q", "r2", "stability"]) data[name] = await numbers(genes[name], "f");
  for (const name of ["is_hub", "connected", "modelled"]) data[name] = await numbers(genes[name], "u");
  data.columns = await Promise.all(cells.columns.map(column));
  data.scores = await Promise.all(cells.scores.map(async (s) => ({ ...s, values: await numbers(s.blob, "f") })));
  data.modules = genes.module && { names: genes.module.names, codes: await numbers(genes.module.blob, "u") };
  data.neighbors = genes.neighbors && {
    n: genes.neighbors.n, metric: genes.neighbors.metric,
    near: await numbers(genes.neighbors.near, "i"), far: await numbers(genes.neighbors.far, "f"),
  };
  data.expression = account.expression && await expression(account.expression);
  return data;
}

async function column(described) {
  const kind = described.kind === "number" ? "f" : "u";
  return { ...described, values: await numbers(described.blob, kind) };
}

async function expression(described) {
  const found = { chunks: described.chunks, held: new Map() };
  for (const name of ["low", "step", "mean", "sd"]) found[name] = await numbers(described[name], "f");
  return found;
}

/** A chunk of genes, inflated once: its bytes, and where the gaps and the codes of each gene begin. */
function chunk(expression, number) {
  if (!expression.held.has(number)) {
    const { from, blob } = expression.chunks[number];
    const to = number + 1 < expression.chunks.length ? expression.chunks[number + 1].from : data.nGenes;
    expression.held.set(number, inflated(blob).then((buffer) => indexed(buffer, from, to - from)));
  }
  return expression.held.get(number);
}

function indexed(buffer, from, count) {
  const head = new DataView(buffer, 0, 8 * count);
  const genes = [];
  let gaps = 8 * count;
  for (let i = 0; i < count; i++) {
    const length = head.getUint32(8 * i, true);
    const entries = head.getUint32(8 * i + 4, true);
    genes.push({ dense: length === EVERY, gaps, entries, codes: 0 });
    if (length !== EVERY) gaps += length;
  }
  let codes = gaps;
  for (const gene of genes) {
    gene.codes = codes;
    codes += gene.entries;
  }
  return { bytes: new Uint8Array(buffer), from, genes };
}

/** Calls visit(cell, code) for each cell in which the gene is not zero. */
function visit(bytes, gene, visitor) {
  if (gene.dense) {
    for (let i = 0; i < gene.entries; i++) if (bytes[gene.codes + i]) visitor(i, bytes[gene.codes + i]);
    return;
  }
  let cell = -1;
  let at = gene.gaps;
  for (let i = 0; i < gene.entries; i++) {
    let gap = bytes[at++];
    cell += gap + 1;
    while (gap === 255) {
      gap = bytes[at++];
      cell += gap;
    }
    visitor(cell, bytes[gene.codes + i]);
  }
}

function chunkOf(expression, gene) {
  let low = 0;
  let high = expression.chunks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (expression.chunks[middle].from <= gene) low = middle; else high = middle - 1;
  }
  return low;
}

/** Expression of a gene in every cell; without expression the linear prediction z.v. */
async function valuesOf(gene) {
  const values = new Float32Array(data.nCells);
  if (!data.expression) {
    const k = data.axes.length;
    for (let i = 0; i < values.length; i++) {
      for (let a = 0; a < k; a++) values[i] += data.position[i * k + a] * data.loading[gene * k + a];
    }
    return values;
  }
  const { low, step } = data.expression;
  const { bytes, from, genes } = await chunk(data.expression, chunkOf(data.expression, gene));
  visit(bytes, genes[gene - from], (cell, code) => { values[cell] = low[gene] + (code - 1) * step[gene]; });
  return values;
}

/** Inflates what is left while nothing else is to be done, so that encircling answers at once. */
async function loadAhead() {
  if (!data.expression) return;
  for (let i = 0; i < data.expression.chunks.length; i++) {
    await chunk(data.expression, i);
    await pause();
  }
}

const pause = () => new Promise((done) => setTimeout(done, 0));
let data = null;
