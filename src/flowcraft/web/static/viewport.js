// The part of a drawing that is seen: moved with a pointer, two fingers, a wheel or keys.
//
// To paint a drawing takes longer than a frame has, where it is large. So what is painted is larger
// than the window onto it, and moving shifts the painted picture; only at its rim, and some moments
// after its size was changed, is it painted anew.

const LEAST = 0.03;
const MOST = 2.5;
const CLICK = 4;
// Tools and legend stand there.
const FOOT = 44;
// So much is painted around the window, in pixels.
const RIM = 320;
const SETTLE_MS = 140;

/** Calls back when the drawing is to be painted: with where it stands, and what of it can be seen. */
export class Viewport {
  constructor(svg, { width, height }, placed) {
    this.svg = svg;
    this.window = svg.parentElement;
    this.painted = null;
    svg.style.setProperty("--beyond", `${RIM}px`);
    this.drawing = { width, height };
    this.placed = placed;
    this.size = { width: 0, height: 0 };
    this.view = { x: 0, y: 0, scale: 1 };
    this.pointers = new Map();
    this.hasMoved = false;
    this.isFitted = false;
    this.frame = 0;
    this.listeners = new AbortController();
    const on = (event, call, options = {}) => svg.addEventListener(event, call, { signal: this.listeners.signal, ...options });
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#moved(event));
    for (const event of ["pointerup", "pointercancel"]) on(event, (it) => this.#up(it));
    on("wheel", (event) => this.#wheel(event), { passive: false });
  }

  destroy() {
    this.listeners.abort();
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
  }

  resize(width, height) {
    // What was in the middle stays there.
    this.view.x += (width - this.size.width) / 2;
    this.view.y += this.size.height ? (height - this.size.height) / 2 : 0;
    this.size = { width, height };
    this.painted = null;
    // Who saw all of it goes on seeing all of it.
    if (this.isFitted) this.fit();
    this.#draw();
  }

  /** All of it; gives the scale that takes. */
  fit() {
    const { width, height } = this.size;
    const scale = Math.max(LEAST, Math.min(1, width / this.drawing.width, (height - FOOT) / this.drawing.height));
    const y = Math.max(4, (height - FOOT - this.drawing.height * scale) / 2);
    this.view = { x: (width - this.drawing.width * scale) / 2, y, scale };
    this.isFitted = true;
    this.#draw();
    return scale;
  }

  centre(x, y, scale = this.view.scale) {
    this.isFitted = false;
    this.view = { x: this.size.width / 2 - x * scale, y: this.size.height / 2 - y * scale, scale };
    this.#draw();
  }

  move(dx, dy) {
    this.isFitted = false;
    this.view.x += dx;
    this.view.y += dy;
    this.#draw();
  }

  zoomTo(scale) {
    this.zoom(scale / this.view.scale);
  }

  zoom(by, x = this.size.width / 2, y = this.size.height / 2) {
    this.isFitted = false;
    const scale = Math.min(MOST, Math.max(LEAST, this.view.scale * by));
    const ratio = scale / this.view.scale;
    this.view = { x: x - (x - this.view.x) * ratio, y: y - (y - this.view.y) * ratio, scale };
    this.#draw();
  }

  /** Whether a box is in view. */
  sees({ x, y, width, height }) {
    const { left, top, right, bottom } = this.#seen();
    return x - width / 2 >= left && x + width / 2 <= right && y - height / 2 >= top && y + height / 2 <= bottom;
  }

  #seen() {
    const { x, y, scale } = this.view;
    return { left: -x / scale, top: -y / scale, right: (this.size.width - x) / scale, bottom: (this.size.height - y) / scale };
  }

  #draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.#shift()) this.#paint();
    });
  }

  #paint() {
    clearTimeout(this.timer);
    this.painted = { ...this.view };
    const { left, top, right, bottom } = this.#seen();
    const rim = RIM / this.view.scale;
    this.svg.style.removeProperty("transform");
    this.placed({ x: this.view.x + RIM, y: this.view.y + RIM, scale: this.view.scale, left: left - rim, top: top - rim, right: right + rim, bottom: bottom + rim });
  }

  /** Move what is painted already; gives whether that is enough. */
  #shift() {
    if (!this.painted) return false;
    const grown = this.view.scale / this.painted.scale;
    const x = this.view.x - grown * this.painted.x;
    const y = this.view.y - grown * this.painted.y;
    const isCovered = -x / grown >= -RIM && -y / grown >= -RIM && (this.size.width - x) / grown <= this.size.width + RIM && (this.size.height - y) / grown <= this.size.height + RIM;
    if (!isCovered || grown > 2) return false;
    const rest = RIM - grown * RIM;
    this.svg.style.setProperty("transform", `translate(${x + rest}px, ${y + rest}px) scale(${grown})`);
    clearTimeout(this.timer);
    if (grown !== 1) this.timer = setTimeout(() => this.#paint(), SETTLE_MS);
    return true;
  }

  #down(event) {
    if (event.button) return;
    if (!this.pointers.size) this.hasMoved = false;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, from: [event.clientX, event.clientY] });
  }

  #moved(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, each]) => each);
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    if (!this.hasMoved && Math.hypot(event.clientX - before.from[0], event.clientY - before.from[1]) > CLICK) {
      this.hasMoved = true;
      this.svg.setPointerCapture(event.pointerId);
      this.svg.classList.add("is-moving");
    }
    if (!this.hasMoved) return;
    if (others.length) this.#pinch(before, event, others[0]);
    else this.move(dx, dy);
    Object.assign(before, { x: event.clientX, y: event.clientY });
  }

  #pinch(before, after, other) {
    const { left, top } = this.window.getBoundingClientRect();
    const was = Math.hypot(before.x - other.x, before.y - other.y);
    const is = Math.hypot(after.clientX - other.x, after.clientY - other.y);
    if (was > 0) this.zoom(is / was, (after.clientX + other.x) / 2 - left, (after.clientY + other.y) / 2 - top);
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    this.svg.classList.remove("is-moving");
  }

  #wheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : 1;
    if (event.ctrlKey || event.metaKey) {
      const { left, top } = this.window.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * unit * 0.004), event.clientX - left, event.clientY - top);
    } else if (event.shiftKey && !event.deltaX) this.move(-event.deltaY * unit, 0);
    else this.move(-event.deltaX * unit, -event.deltaY * unit);
  }
}
