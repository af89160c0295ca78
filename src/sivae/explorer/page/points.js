// Many points on a canvas: by WebGL, or where there is none by the canvas itself.

const VERTEX = `
attribute vec2 position; attribute vec4 color; attribute float size;
uniform vec2 scale; uniform vec2 shift; uniform float pixels;
varying vec4 fill; varying float radius;
void main() {
  gl_Position = vec4(position * scale + shift, 0.0, 1.0);
  radius = size * pixels * 0.5;
  gl_PointSize = size * pixels + 1.0;
  fill = color;
}`;
const FRAGMENT = `
precision mediump float;
varying vec4 fill; varying float radius;
void main() {
  float far = length(gl_PointCoord - 0.5) * (2.0 * radius + 1.0);
  float alpha = fill.a * clamp(radius - far + 0.5, 0.0, 1.0);
  if (alpha < 0.004) discard;
  gl_FragColor = vec4(fill.rgb * alpha, alpha);
}`;

/** What draws points: set(positions), paint(rgba, sizes, order), draw(view). */
function makePoints(canvas) {
  const gl = location.hash === "#canvas" ? null : context(canvas);
  return gl ? new GlPoints(canvas, gl) : new FlatPoints(canvas);
}

function context(canvas) {
  const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, premultipliedAlpha: true });
  return gl || null;
}

class GlPoints {
  constructor(canvas, gl) {
    this.canvas = canvas;
    this.gl = gl;
    this.kind = "webgl";
    this.start();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => this.restart());
  }

  start() {
    this.program = twgl.createProgramInfo(this.gl, [VERTEX, FRAGMENT]);
    this.buffers = null;
  }

  restart() {
    this.start();
    if (this.held) this.upload();
    this.onrestored?.();
  }

  set(position) {
    this.position = position;
    if (this.buffers) twgl.setAttribInfoBufferFromArray(this.gl, this.buffers.attribs.position, position);
  }

  paint(rgba, sizes, order) {
    this.held = { rgba, sizes, order };
    this.upload();
  }

  upload() {
    const { gl } = this;
    const { rgba, sizes, order } = this.held;
    if (!this.buffers) {
      this.buffers = twgl.createBufferInfoFromArrays(gl, {
        position: { numComponents: 2, data: this.position, drawType: gl.DYNAMIC_DRAW },
        color: { numComponents: 4, data: rgba, normalize: true, drawType: gl.DYNAMIC_DRAW },
        size: { numComponents: 1, data: sizes, drawType: gl.DYNAMIC_DRAW },
        indices: { data: order, drawType: gl.DYNAMIC_DRAW },
      });
      return;
    }
    twgl.setAttribInfoBufferFromArray(gl, this.buffers.attribs.color, rgba);
    twgl.setAttribInfoBufferFromArray(gl, this.buffers.attribs.size, sizes);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.indices);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, order, gl.DYNAMIC_DRAW);
  }

  draw(view, width, height, ratio) {
    const { gl, program, buffers } = this;
    if (!buffers || gl.isContextLost()) return;
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.useProgram(program.program);
    twgl.setBuffersAndAttributes(gl, program, buffers);
    twgl.setUniforms(program, {
      scale: [(2 * view.sx) / width, (2 * view.sy) / height],
      shift: [(2 * view.tx) / width - 1, 1 - (2 * view.ty) / height],
      pixels: ratio * view.grow,
    });
    twgl.drawBufferInfo(gl, buffers, gl.POINTS);
  }
}

const MANY = 4000;

class FlatPoints {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.kind = "canvas";
  }

  set(position) { this.position = position; }

  paint(rgba, sizes, order) { this.held = { rgba, sizes, order }; }

  draw(view, width, height, ratio) {
    if (!this.held) return;
    if (this.held.order.length > MANY) return this.drawMany(view, width, height, ratio);
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.pen.clearRect(0, 0, width, height);
    drawFlat(this.pen, this.position, this.held, view, width, height);
  }

  drawMany(view, width, height, ratio) {
    const { width: across, height: down } = this.canvas;
    const kept = this.image && this.image.width === across && this.image.height === down;
    if (kept) this.image.data.fill(0);
    else this.image = this.pen.createImageData(across, down);
    eachPoint(this.position, this.held, view, width, height, (x, y, radius, rgba, at) => {
      stamp(this.image, x * ratio, y * ratio, Math.max(0.7, radius * ratio), rgba, at);
    });
    this.pen.putImageData(this.image, 0, 0);
  }
}

/** Lays a dot over the pixels of a picture. */
function stamp({ data: pixels, width, height }, x, y, radius, rgba, at) {
  const over = rgba[at + 3] / 255;
  for (let row = Math.max(0, Math.ceil(y - radius - 0.5)); row + 0.5 <= Math.min(height, y + radius); row++) {
    for (let column = Math.max(0, Math.ceil(x - radius - 0.5)); column + 0.5 <= Math.min(width, x + radius); column++) {
      if ((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 > radius * radius) continue;
      const to = 4 * (row * width + column);
      const under = (pixels[to + 3] / 255) * (1 - over);
      const sum = over + under;
      for (let c = 0; c < 3; c++) pixels[to + c] = (rgba[at + c] * over + pixels[to + c] * under) / sum;
      pixels[to + 3] = 255 * sum;
    }
  }
}

/** The points that can be seen, by calls of mark(x, y, radius, rgba, at). */
function eachPoint(position, held, view, width, height, mark) {
  const { rgba, sizes, order } = held;
  for (let n = 0; n < order.length; n++) {
    const i = order[n];
    const radius = 0.5 * sizes[i] * view.grow;
    const x = position[2 * i] * view.sx + view.tx;
    const y = view.ty - position[2 * i + 1] * view.sy;
    if (x < -radius || y < -radius || x > width + radius || y > height + radius) continue;
    mark(x, y, radius, rgba, 4 * i);
  }
}

function drawFlat(pen, position, held, view, width, height) {
  let last = -1;
  eachPoint(position, held, view, width, height, (x, y, radius, rgba, at) => {
    const color = ((rgba[at] << 24) | (rgba[at + 1] << 16) | (rgba[at + 2] << 8) | rgba[at + 3]) >>> 0;
    if (color !== last) {
      pen.fillStyle = `rgba(${rgba[at]},${rgba[at + 1]},${rgba[at + 2]},${rgba[at + 3] / 255})`;
      last = color;
    }
    if (radius < 1.6) {
      pen.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
      return;
    }
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fill();
  });
}
