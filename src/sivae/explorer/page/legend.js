// What the colors mean: names of groups that can be clicked, or a ramp with its ends.

/** An element with attributes, listeners (on...) and children; text is always text. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function swatch(fill) {
  const element = h("span", { class: "swatch", "aria-hidden": "true" });
  element.style.background = fill;
  return element;
}

function showLegend(map, spec) {
  map.spec = spec;
  map.legend.replaceChildren(h("span", { class: "legend-title" }, spec.title), ...(spec.groups ? groupKeys(spec) : rampKey(spec)).filter(Boolean));
}

function groupKeys({ groups, counts, other, onpick, does }) {
  const keys = groups.map((name, i) => h("button", {
    type: "button", class: "key", title: `${does}: ${name}`, "aria-label": `${does}: ${name}, ${counts[i]}`, onclick: () => onpick(i),
  }, swatch(categoryColor(i)), h("span", { class: "key-name" }, cut(name, 32)), h("span", { class: "many" }, counts[i].toLocaleString("en"))));
  if (other?.count) {
    keys.push(h("span", { class: "key" }, swatch(FAINT[theme()]), h("span", { class: "key-name" }, other.name), h("span", { class: "many" }, other.count.toLocaleString("en"))));
  }
  return keys;
}

function rampKey({ low, high, stops, note }) {
  if (!stops) return [];
  const bar = h("span", { class: "ramp", role: "img", "aria-label": `from ${short(low)} to ${short(high)}` });
  bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  return [h("span", { class: "end" }, short(low)), bar, h("span", { class: "end" }, short(high)), note ? h("span", { class: "many" }, note) : null];
}

/** How often each code occurs, and how many are none of these. */
function tally(codes, count) {
  const counts = new Array(count).fill(0);
  let other = 0;
  for (const code of codes) if (code < count) counts[code]++; else other++;
  return { counts, other };
}
