// Colors for light and dark pages, readable to color-blind eyes.

const CATEGORIES = {
  light: ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a7a00", "#555555",
    "#882255", "#44aa99", "#332288", "#999933", "#aa4499", "#117733", "#ddaa88", "#6699cc"],
  dark: ["#4aa8e8", "#f0b33c", "#2fc79a", "#ff8a4c", "#e59ac4", "#8fd3ff", "#e5d84a", "#b4bac1",
    "#d86a9b", "#7fd8c8", "#9d8df1", "#cfcf6a", "#d98fd9", "#5fbf74", "#f3cbb0", "#9fc0e8"],
};
const RAMPS = {
  light: ["#dde2e7", "#b5d3e7", "#6aaed6", "#2a7fb8", "#0b4f8a", "#08274d"],
  dark: ["#3b444f", "#2f658c", "#2f93b5", "#56c1b0", "#b6e39a", "#fdf5b0"],
};
const SPLITS = {
  light: ["#8f2d0c", "#d55e00", "#f0b48a", "#e4e4e2", "#8fc3e6", "#0072b2", "#063f66"],
  dark: ["#ffc9a3", "#ff8a4c", "#8a4f33", "#414a55", "#2f658c", "#4aa8e8", "#bfe4ff"],
};
const FAINT = { light: "#c4cad0", dark: "#4a535e" };

const theme = () => document.documentElement.dataset.theme;

function parts(hex) {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function hexOf(rgb) {
  return "#" + Array.from(rgb, (part) => Math.round(part).toString(16).padStart(2, "0")).join("");
}

/** 256 colors between those of a ramp, as bytes. */
function table(stops) {
  const colors = stops.map(parts);
  const found = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (colors.length - 1);
    const left = Math.min(Math.floor(at), colors.length - 2);
    for (let c = 0; c < 3; c++) found[3 * i + c] = colors[left][c] + (at - left) * (colors[left + 1][c] - colors[left][c]);
  }
  return found;
}

function categoryColor(number) {
  const colors = CATEGORIES[theme()];
  return colors[number % colors.length];
}

/** How values become colors: a ramp, or one that splits at zero; and the order in which points are drawn. */
function byNumber(values, { low, high, split = false, order = "value" }) {
  const stops = (split ? SPLITS : RAMPS)[theme()];
  const ramp = table(stops);
  const n = values.length;
  const rgba = new Uint8Array(4 * n);
  const level = new Uint8Array(n);
  const faint = parts(FAINT[theme()]);
  const scale = high > low ? 255 / (high - low) : 0;
  for (let i = 0; i < n; i++) {
    const known = Number.isFinite(values[i]);
    const at = known ? Math.max(0, Math.min(255, Math.round((values[i] - low) * scale))) : 0;
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = known ? ramp[3 * at + c] : faint[c];
    rgba[4 * i + 3] = known ? 235 : 120;
    level[i] = split ? Math.abs(at - 128) : at;
  }
  return { rgba, order: order === "value" ? byLevel(level) : null, low, high, stops };
}

function byCategory(codes, count) {
  const rgba = new Uint8Array(4 * codes.length);
  const colors = Array.from({ length: count }, (_, i) => parts(categoryColor(i)));
  const faint = parts(FAINT[theme()]);
  for (let i = 0; i < codes.length; i++) {
    const known = codes[i] < count;
    rgba.set(known ? colors[codes[i]] : faint, 4 * i);
    rgba[4 * i + 3] = known ? 225 : 150;
  }
  return { rgba, order: null };
}

function plain(count) {
  const rgba = new Uint8Array(4 * count);
  const color = parts(categoryColor(0));
  for (let i = 0; i < count; i++) {
    rgba.set(color, 4 * i);
    rgba[4 * i + 3] = 200;
  }
  return { rgba, order: null };
}

/** Points in ascending level, so that the strongest are drawn last. */
function byLevel(level) {
  const start = new Uint32Array(257);
  for (const value of level) start[value + 1]++;
  for (let i = 0; i < 256; i++) start[i + 1] += start[i];
  const order = new Uint32Array(level.length);
  for (let i = 0; i < level.length; i++) order[start[level[i]]++] = i;
  return order;
}

/** An order that favors no group, the same each time. */
function shuffled(count) {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  let state = 42;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 4294967296) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
