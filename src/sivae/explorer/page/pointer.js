// Pointers and keys on a map: move, zoom, encircle, point at.

function listen(map, { onhover, onpick, onlasso, lasso }) {
  const pressed = new Map();
  let start = null;
  const at = (event) => {
    const box = map.over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  setTool(map, lasso ? "lasso" : "move");
  map.over.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    map.over.setPointerCapture(event.pointerId);
    pressed.set(event.pointerId, at(event));
    start = { at: at(event), moved: false, apart: apart(pressed) };
    if (map.tool === "lasso" && pressed.size === 1) map.outline = [at(event)];
  });
  map.over.addEventListener("pointermove", (event) => {
    const now = at(event);
    if (!pressed.has(event.pointerId)) {
      if (event.pointerType !== "touch") onhover(map.nearest(...now), event);
      return;
    }
    const before = pressed.get(event.pointerId);
    pressed.set(event.pointerId, now);
    if (Math.hypot(now[0] - start.at[0], now[1] - start.at[1]) > 4) start.moved = true;
    if (pressed.size === 2) pinch(map, pressed, start);
    else if (start.moved && map.tool === "lasso" && map.outline) encircle(map, now);
    else if (start.moved) map.pan(now[0] - before[0], now[1] - before[1]);
  });
  const end = (event) => {
    if (!pressed.delete(event.pointerId)) return;
    const outline = map.outline;
    map.outline = null;
    if (event.type === "pointercancel") return map.draw();
    if (!start.moved) onpick(map.nearest(...at(event), event.pointerType === "touch" ? 18 : 9));
    else if (outline && outline.length > 2) onlasso?.(within(map, outline), event);
    map.draw();
  };
  map.over.addEventListener("pointerup", end);
  map.over.addEventListener("pointercancel", end);
  map.over.addEventListener("pointerleave", (event) => { if (!pressed.size) onhover(-1, event); });
  map.over.addEventListener("wheel", (event) => {
    event.preventDefault();
    map.zoom(Math.pow(2, -event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), ...at(event));
  }, { passive: false });
  map.over.addEventListener("dblclick", () => map.fit());
  map.over.addEventListener("keydown", (event) => keys(map, event));
  buttons(map, Boolean(onlasso));
}

function buttons(map, canLasso) {
  const button = (name) => map.root.querySelector(`.float .${name}`);
  map.root.querySelector(".float").setAttribute("aria-label", `${map.title}: tools`);
  if (!canLasso) for (const name of ["move", "lasso"]) button(name).remove();
  else for (const name of ["move", "lasso"]) button(name).addEventListener("click", () => setTool(map, name));
  button("closer").addEventListener("click", () => map.zoom(1.5));
  button("farther").addEventListener("click", () => map.zoom(1 / 1.5));
  button("whole").addEventListener("click", () => map.fit());
}

function setTool(map, tool) {
  map.tool = tool;
  map.over.dataset.tool = tool;
  for (const name of ["move", "lasso"]) {
    map.root.querySelector(`.float .${name}`)?.setAttribute("aria-pressed", String(name === tool));
  }
}

function keys(map, event) {
  const steps = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
  if (event.shiftKey && steps[event.key]) map.pan(...steps[event.key]);
  else if (event.key === "+" || event.key === "=") map.zoom(1.5);
  else if (event.key === "-") map.zoom(1 / 1.5);
  else if (event.key === "0") map.fit();
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function apart(pressed) {
  const [a, b] = pressed.values();
  return b ? Math.hypot(a[0] - b[0], a[1] - b[1]) : 0;
}

function pinch(map, pressed, start) {
  const now = apart(pressed);
  const [a, b] = pressed.values();
  if (start.apart > 0) map.zoom(now / start.apart, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
  Object.assign(start, { apart: now, moved: true });
  map.outline = null;
}

function encircle(map, now) {
  const last = map.outline[map.outline.length - 1];
  if (Math.hypot(now[0] - last[0], now[1] - last[1]) < 3) return;
  map.outline.push(now);
  map.draw();
}

/** Mask of the points inside a polygon of the screen. */
function within(map, outline) {
  const mask = new Uint8Array(map.count);
  for (let i = 0; i < map.count; i++) if (isInside(...map.screen(i), outline)) mask[i] = 1;
  return mask;
}

function isInside(x, y, outline) {
  let inside = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
    const [xi, yi] = outline[i];
    const [xj, yj] = outline[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
