// A map: two of the axes, a view that moves and zooms, points, and what is drawn over them.

const MARGIN = { left: 54, right: 14, top: 14, bottom: 34 };

class PointMap {
  constructor(root, { kind, count, positions, title }) {
    Object.assign(this, { root, kind, count, positions, title, axes: [0, Math.min(1, data.axes.length - 1)] });
    root.append(byId("map").content.cloneNode(true));
    const heading = root.querySelector("h2");
    heading.textContent = title;
    heading.id = `${kind}-title`;
    this.canvas = root.querySelector(".points");
    this.over = root.querySelector(".over");
    this.pen = this.over.getContext("2d");
    this.legend = root.querySelector(".legend");
    this.points = makePoints(this.canvas);
    this.points.onrestored = () => this.draw();
    this.canvas.dataset.kind = this.points.kind;
    this.xy = new Float32Array(2 * count);
    this.size = Math.max(2.4, Math.min(9, (kind === "genes" ? 8 : 7) * Math.pow(700 / count, 0.25)));
    this.base = shuffled(count);
    this.choices(root.querySelector(".axis-x"), 0);
    this.choices(root.querySelector(".axis-y"), 1);
    root.querySelector(".axis-y").parentElement.hidden = data.axes.length === 1;
    this.place();
    new ResizeObserver(() => this.resize()).observe(root.querySelector(".frame"));
  }

  choices(select, which) {
    select.setAttribute("aria-label", `${this.title}: ${which ? "vertical" : "horizontal"} axis`);
    data.axes.forEach((axis, a) => select.append(new Option(axis.name + (axis.unused ? " (unused)" : ""), a)));
    select.value = this.axes[which];
    select.addEventListener("change", () => this.turn(which, Number(select.value)));
  }

  /** Shows another axis. */
  turn(which, axis) {
    this.axes[which] = axis;
    this.root.querySelector(which ? ".axis-y" : ".axis-x").value = axis;
    this.place();
    this.fit();
  }

  /** Takes positions from the two axes; points on a single axis are spread out, for the eye alone. */
  place() {
    const k = data.axes.length;
    const [x, y] = this.axes;
    for (let i = 0; i < this.count; i++) {
      this.xy[2 * i] = this.positions[i * k + x];
      this.xy[2 * i + 1] = k === 1 ? ((i * 0.618034) % 1) - 0.5 : this.positions[i * k + y];
    }
    this.points.set(this.xy);
  }

  resize() {
    const box = this.over.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const first = !this.width;
    this.ratio = window.devicePixelRatio || 1;
    const [before, beforeHeight] = [this.width, this.height];
    [this.width, this.height] = [box.width, box.height];
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = Math.round(box.width * this.ratio);
      canvas.height = Math.round(box.height * this.ratio);
    }
    if (first || this.isWhole) this.fit();
    else {
      this.view.tx += (this.width - before) / 2;
      this.view.ty += (this.height - beforeHeight) / 2;
      this.draw();
    }
  }

  /** Shows all points, and the origin. */
  fit() {
    if (!this.width) return;
    const [left, right] = this.extent(0);
    const [bottom, top] = this.extent(1);
    const sx = (this.width - MARGIN.left - MARGIN.right) / (right - left);
    const sy = (this.height - MARGIN.top - MARGIN.bottom) / (top - bottom);
    this.view = { sx, sy, tx: MARGIN.left - left * sx, ty: MARGIN.top + top * sy, grow: 1 };
    this.unit = sx;
    this.isWhole = true;
    this.draw();
  }

  extent(which) {
    let low = 0;
    let high = 0;
    for (let i = which; i < this.xy.length; i += 2) {
      if (this.xy[i] < low) low = this.xy[i];
      if (this.xy[i] > high) high = this.xy[i];
    }
    const room = 0.04 * (high - low) || 1;
    return [low - room, high + room];
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const { view } = this;
    const now = view.sx / this.unit;
    const by = Math.max(0.5, Math.min(200, now * factor)) / now;
    view.tx = x - (x - view.tx) * by;
    view.ty = y - (y - view.ty) * by;
    view.sx *= by;
    view.sy *= by;
    view.grow = Math.max(0.8, Math.min(2.4, Math.pow(view.sx / this.unit, 0.35)));
    this.isWhole = false;
    this.draw();
  }

  pan(x, y) {
    this.view.tx += x;
    this.view.ty += y;
    this.isWhole = false;
    this.draw();
  }

  screen(i) {
    return [this.xy[2 * i] * this.view.sx + this.view.tx, this.view.ty - this.xy[2 * i + 1] * this.view.sy];
  }

  /** The point nearest to a place of the screen, -1 where there is none near. */
  nearest(x, y, reach = 9) {
    const { sx, sy, tx, ty } = this.view;
    let best = reach * reach;
    let found = -1;
    for (let i = 0; i < this.count; i++) {
      const dx = this.xy[2 * i] * sx + tx - x;
      const dy = ty - this.xy[2 * i + 1] * sy - y;
      const far = dx * dx + dy * dy;
      if (far < best) { best = far; found = i; }
    }
    return found;
  }

  /** Colors of the points; `emphasis(i)` is 0 for faint, 1 for as usual, 2 for large. */
  paint({ rgba, order }, emphasis) {
    const sizes = new Float32Array(this.count).fill(this.size);
    let turn = order || this.base;
    if (emphasis) {
      const level = new Uint8Array(this.count);
      for (let i = 0; i < this.count; i++) {
        level[i] = emphasis(i);
        if (level[i] === 0) rgba[4 * i + 3] = Math.round(rgba[4 * i + 3] * 0.22);
        if (level[i] === 2) sizes[i] = this.size * 1.5;
      }
      turn = sortedBy(turn, level);
    }
    this.held = { rgba, sizes, order: turn };
    this.points.paint(rgba, sizes, turn);
    this.draw();
  }

  draw() {
    if (!this.width || !this.view) return;
    this.points.draw(this.view, this.width, this.height, this.ratio);
    this.pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.pen.clearRect(0, 0, this.width, this.height);
    drawOver(canvasPen(this.pen), this, this.width, this.height);
    if (this.outline) drawOutline(this.pen, this.outline);
  }
}

/** The same order, faint points first and large points last. */
function sortedBy(order, level) {
  const found = new Uint32Array(order.length);
  let at = 0;
  for (let wanted = 0; wanted < 3; wanted++) for (const i of order) if (level[i] === wanted) found[at++] = i;
  return found;
}
