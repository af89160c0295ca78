// What lies over the points: axes, names, rings. Drawn by a pen, of a canvas or of an SVG file.

const FONT = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif";
const NAMED = 16;

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function canvasPen(pen) {
  return {
    line(x1, y1, x2, y2, stroke, width = 1) {
      Object.assign(pen, { strokeStyle: stroke, lineWidth: width });
      pen.beginPath();
      pen.moveTo(x1, y1);
      pen.lineTo(x2, y2);
      pen.stroke();
    },
    ring(x, y, radius, stroke, width) {
      Object.assign(pen, { strokeStyle: stroke, lineWidth: width });
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.stroke();
    },
    text(words, x, y, { fill, size = 11, align = "left", halo = null, bold = false, turned = false }) {
      pen.save();
      pen.translate(x, y);
      if (turned) pen.rotate(-Math.PI / 2);
      Object.assign(pen, { font: `${bold ? 600 : 400} ${size}px ${FONT}`, textAlign: align, textBaseline: "middle" });
      if (halo) {
        Object.assign(pen, { strokeStyle: halo, lineWidth: 3, lineJoin: "round" });
        pen.strokeText(words, 0, 0);
      }
      pen.fillStyle = fill;
      pen.fillText(words, 0, 0);
      pen.restore();
    },
    rect(x, y, width, height, fill) {
      pen.fillStyle = fill;
      pen.fillRect(x, y, width, height);
    },
  };
}

function drawOver(pen, map, width, height) {
  drawAxes(pen, map, width, height);
  if (map.kind === "genes") drawGenes(pen, map, width, height);
}

function drawAxes(pen, map, width, height) {
  const { sx, sy, tx, ty } = map.view;
  const [line, faint, soft] = [color("line"), color("grid"), color("soft")];
  if (tx > MARGIN.left && tx < width) pen.line(tx, 0, tx, height - MARGIN.bottom, faint);
  if (ty > 0 && ty < height - MARGIN.bottom) pen.line(MARGIN.left, ty, width, ty, faint);
  pen.rect(0, height - MARGIN.bottom, width, MARGIN.bottom, color("panel"));
  pen.rect(0, 0, MARGIN.left, height, color("panel"));
  pen.line(MARGIN.left, height - MARGIN.bottom + 0.5, width, height - MARGIN.bottom + 0.5, line);
  pen.line(MARGIN.left - 0.5, 0, MARGIN.left - 0.5, height - MARGIN.bottom, line);
  for (const value of ticks((MARGIN.left - tx) / sx, (width - tx) / sx, width / 90)) {
    const x = value * sx + tx;
    if (x > MARGIN.left + 6 && x < width - 14) pen.text(short(value), x, height - MARGIN.bottom + 9, { fill: soft, size: 10, align: "center" });
  }
  if (data.axes.length > 1) drawRungs(pen, sy, ty, width, height, soft);
  drawEnds(pen, map, width, height, soft);
}

/** Values along the vertical axis. */
function drawRungs(pen, sy, ty, width, height, soft) {
  for (const value of ticks((ty - height + MARGIN.bottom) / sy, ty / sy, height / 70)) {
    const y = ty - value * sy;
    if (y > 10 && y < height - MARGIN.bottom - 6) pen.text(short(value), MARGIN.left - 6, y, { fill: soft, size: 10, align: "right" });
  }
}

/** Names of the axes, and of the genes at both ends of each. */
function drawEnds(pen, map, width, height, soft) {
  const [y, x, bottom] = [height - 9, 9, height - MARGIN.bottom];
  const name = { fill: color("ink"), size: 11, align: "center", bold: true };
  const end = { fill: soft, size: 10.500 };
  const [left, right] = endNames(map.axes[0], width - MARGIN.left);
  pen.text(data.axes[map.axes[0]].name, (MARGIN.left + width) / 2, y, name);
  pen.text(left, MARGIN.left + 2, y, end);
  pen.text(right, width - 6, y, { ...end, align: "right" });
  if (data.axes.length === 1) return;
  const [below, above] = endNames(map.axes[1], bottom);
  pen.text(data.axes[map.axes[1]].name, x, bottom / 2, { ...name, turned: true });
  pen.text(below, x, bottom - 2, { ...end, turned: true });
  pen.text(above, x, 6, { ...end, align: "right", turned: true });
}

/** The genes at the low and at the high end of an axis, as many as there is room for. */
function endNames(axis, room) {
  const count = room < 420 ? 1 : room < 620 ? 2 : 3;
  const names = (sign) => ends(axis, sign, count).map((g) => cut(data.geneNames[g], 14)).join(", ");
  const [low, high] = [names(-1), names(1)];
  return [low && `\u2190 ${low}`, high && `${high} \u2192`];
}

function ticks(low, high, about) {
  const rough = (high - low) / Math.max(2, about);
  const power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high; v += step) found.push(Math.abs(v) < step / 1e6 ? 0 : v);
  return found;
}

/** Rings around the gene and its neighbors, and names where there is room: of these, else of genes far out. */
function drawGenes(pen, map, width, height) {
  const [ink, halo, accent] = [color("ink"), color("panel"), color("accent")];
  const gene = state.shown();
  const near = gene < 0 ? [] : neighborsOf(gene).map((n) => n.gene);
  const radius = 0.75 * map.size * map.view.grow;
  for (const g of near) {
    const [x, y] = map.screen(g);
    pen.ring(x, y, radius + 1, ink, 1);
  }
  const taken = [];
  if (gene >= 0) {
    const [x, y] = map.screen(gene);
    pen.ring(x, y, radius + 4, accent, 2.5);
    nameGene(pen, map, gene, taken, { fill: ink, halo, bold: true, size: 13 }, width, height);
  }
  const listed = gene >= 0 ? near : state.listed() || farthest(map);
  for (const g of listed.slice(0, 40)) {
    if (taken.length < NAMED) nameGene(pen, map, g, taken, { fill: ink, halo, size: 11 }, width, height);
  }
}

function nameGene(pen, map, g, taken, style, width, height) {
  const words = cut(data.geneNames[g], 18);
  const [x, y] = map.screen(g);
  const long = words.length * style.size * 0.66 + 4;
  if (x < MARGIN.left || x > width || y < 0 || y > height - MARGIN.bottom) return;
  const gap = 0.75 * map.size * map.view.grow + (style.bold ? 7 : 4);
  const flip = x + gap + long > width;
  const box = { left: flip ? x - gap - long : x + gap, top: y - style.size * 0.65, right: flip ? x - gap : x + gap + long, bottom: y + style.size * 0.65 };
  const hits = taken.some((t) => t.left < box.right && box.left < t.right && t.top < box.bottom && box.top < t.bottom);
  if (hits && !style.bold) return;
  taken.push(box);
  pen.text(words, flip ? x - gap : x + gap, y, { ...style, align: flip ? "right" : "left" });
}

/** Genes of a module, those farthest from the origin first. */
function membersOf(module) {
  const size = (g) => geneMap.xy[2 * g] ** 2 + geneMap.xy[2 * g + 1] ** 2;
  return Array.from({ length: data.nGenes }, (_, g) => g).filter((g) => moduleOf(g) === module).sort((a, b) => size(b) - size(a));
}

/** Genes farthest from the origin on the axes that are shown. */
function farthest(map) {
  const key = map.axes.join();
  if (map.farKey === key) return map.far;
  const far = (i) => map.xy[2 * i] ** 2 + (data.axes.length > 1 ? map.xy[2 * i + 1] ** 2 : 0);
  map.far = Array.from({ length: map.count }, (_, i) => i).sort((a, b) => far(b) - far(a)).slice(0, 40);
  map.farKey = key;
  return map.far;
}

function drawOutline(pen, outline) {
  pen.beginPath();
  outline.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
  Object.assign(pen, { strokeStyle: color("accent"), lineWidth: 1.5, fillStyle: color("veil") });
  pen.setLineDash([5, 3]);
  pen.stroke();
  pen.setLineDash([]);
  pen.fill();
}

/** A number in few characters, with a true minus. */
function short(value, digits = 3) {
  if (!Number.isFinite(value)) return "\u2013";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(1) : String(Number(value.toPrecision(digits)));
  return text.replace(/-/g, "\u2212");
}

function signed(value, digits = 2) {
  return (value > 0 ? "+" : value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(digits);
}

/** A long name, cut in the middle. */
function cut(name, limit) {
  if (name.length <= limit) return name;
  const tail = Math.floor((limit - 1) / 2);
  return `${name.slice(0, limit - 1 - tail)}\u2026${name.slice(-tail)}`;
}
