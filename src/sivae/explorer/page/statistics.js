// What is higher in some cells than in the others, and which axes put them there.

const CLIP = 10;

/** Mean standardized expression in the cells of the mask and in the others, per gene; null if it was called off. */
async function contrast(mask, goesOn) {
  const inside = new Float32Array(data.nGenes);
  const outside = new Float32Array(data.nGenes);
  const count = total(mask);
  if (!data.expression) {
    predictedContrast(mask, inside, outside);
    return { inside, outside };
  }
  for (let i = 0; i < data.expression.chunks.length; i++) {
    const part = await chunk(data.expression, i);
    if (!goesOn()) return null;
    part.genes.forEach((gene, g) => contrastOf(part.bytes, gene, part.from + g, mask, count, inside, outside));
    if (i % 8 === 7) await pause();
  }
  return goesOn() ? { inside, outside } : null;
}

function contrastOf(bytes, gene, g, mask, count, inside, outside) {
  const { zero, levels } = standardized(g);
  let sumIn = 0;
  let sumAll = 0;
  visit(bytes, gene, (cell, code) => {
    sumAll += levels[code];
    if (mask[cell]) sumIn += levels[code];
  });
  inside[g] = zero + sumIn / count;
  outside[g] = count < data.nCells ? zero + (sumAll - sumIn) / (data.nCells - count) : zero;
}

/** The standardized value of zero, and how far each code lies from it; 0 for genes that do not vary. */
function standardized(g) {
  const { low, step, mean, sd } = data.expression;
  const scaled = (x) => (sd[g] > 0 ? Math.max(-CLIP, Math.min(CLIP, (x - mean[g]) / sd[g])) : 0);
  const zero = scaled(0);
  const levels = new Float64Array(256);
  for (let code = 1; code < 256; code++) levels[code] = scaled(low[g] + (code - 1) * step[g]) - zero;
  return { zero, levels };
}

function predictedContrast(mask, inside, outside) {
  const k = data.axes.length;
  const means = axisMeans(mask);
  for (let g = 0; g < data.nGenes; g++) {
    for (let a = 0; a < k; a++) {
      inside[g] += means[a].inside * data.loading[g * k + a];
      outside[g] += means[a].outside * data.loading[g * k + a];
    }
  }
}

/** Mean position of the cells of the mask and of the others on each axis. */
function axisMeans(mask) {
  const k = data.axes.length;
  const count = total(mask);
  return data.axes.map((axis, a) => {
    let sumIn = 0;
    let sumAll = 0;
    for (let i = 0; i < data.nCells; i++) {
      const z = data.position[i * k + a];
      sumAll += z;
      if (mask[i]) sumIn += z;
    }
    const others = data.nCells - count;
    return { axis: a, inside: sumIn / count, outside: others ? (sumAll - sumIn) / others : 0 };
  });
}

/** Genes that were trained on, from one end of an axis inward. */
function ends(axis, sign, count) {
  const key = sign * (axis + 1);
  if (!sorted.has(key)) sorted.set(key, sortedEnd(axis, sign));
  return sorted.get(key).slice(0, count);
}

const sorted = new Map();

function sortedEnd(axis, sign) {
  const k = data.axes.length;
  const genes = [];
  for (let g = 0; g < data.nGenes; g++) if (data.modelled[g] && sign * data.loading[g * k + axis] > 0) genes.push(g);
  return genes.sort((a, b) => sign * (data.loading[b * k + axis] - data.loading[a * k + axis])).slice(0, 20);
}

function total(mask) {
  let count = 0;
  for (let i = 0; i < mask.length; i++) count += mask[i];
  return count;
}

/** Smallest and largest of the numbers that are known. */
function range(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}

/** A share of the known numbers lies below the result. */
function quantile(values, share) {
  const known = Float32Array.from(values).filter(Number.isFinite).sort();
  return known.length ? known[Math.round(share * (known.length - 1))] : 0;
}
