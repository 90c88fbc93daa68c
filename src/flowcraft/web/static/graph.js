// A workflow drawn: where boxes and lines stand comes from the server, how they fare from the run.
//
// A thousand nodes stay usable by two means: what is outside of the view is not painted, and from
// afar boxes are plain areas in the colour of their state.

import { h, memo, s } from "./dom.js";
import { icon, strokes } from "./icons.js";
import { isSettled, lookOf, statusOf } from "./status.js";
import { number, plural } from "./format.js";
import { Viewport } from "./viewport.js";

const FAR = 0.42;
const NAME = "600 12.5px";
const SMALL = "400 11px";
// The order of the legend: what wants to be looked at first.
const LEGEND = ["failed", "retrying", "rescuing", "waiting", "sleeping", "running", "working", "child", "ready", "succeeded", "rescued", "skipped", "blocked", "cancelled", "pending"];
const MANY = 120;
const READABLE = 0.75;
const ARROW = 7;

/**
 * @param {object} picture Boxes and lines, as `GET …/picture` gives them.
 * @param {{onSelect: (id: string, isByKey: boolean) => void, hasStates: boolean, label: string}} options
 */
export class Graph {
  constructor(picture, { onSelect, hasStates, label }) {
    this.picture = picture;
    this.onSelect = onSelect;
    this.hasStates = hasStates;
    this.numbers = new Map(picture.boxes.map((box, place) => [box.id, place]));
    this.lines = picture.lines.map((line) => this.#line(line));
    this.boxes = picture.boxes.map((box, place) => this.#box(box, place));
    this.world = s("g", { class: "world" }, this.lines.map((each) => each.el), this.boxes.map((each) => each.el));
    this.svg = s("svg", { class: "canvas", role: "group", "aria-label": `${label}: ${plural(picture.boxes.length, "node")}, arrow keys go from one to the next` }, this.world);
    this.selected = null;
    this.window = h("div", { class: "graph-window" }, this.svg);
    this.legend = hasStates && h("ul", { class: "legend", "aria-label": "States of nodes" });
    this.showLegend = this.legend && memo(this.legend, (counts) => this.#legend(counts));
    this.el = h("div", { class: "graph" }, this.window, this.legend, this.#tools());
    this.viewport = new Viewport(this.svg, picture, (view) => this.#place(view));
    this.svg.addEventListener("click", (event) => this.#clicked(event));
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    this.boxes[picture.starts[0] ?? 0]?.el.setAttribute("tabindex", "0");
    if (picture.boxes.length > MANY) this.world.classList.add("many");
    this.observer = new ResizeObserver(() => this.#resized());
    this.observer.observe(this.window);
  }

  destroy() {
    this.observer.disconnect();
    this.viewport.destroy();
  }

  /** Colour it: states of nodes by their ids, as `statesOf` puts them together. */
  update(states) {
    this.states = states;
    for (const box of this.boxes) box.show(states.get(box.id) ?? { status: "pending", took: new Set(), isOver: false });
    for (const line of this.lines) line.show(states);
    if (!this.legend) return;
    const counts = new Map(LEGEND.map((each) => [each, 0]));
    for (const box of this.boxes) counts.set(box.status, (counts.get(box.status) ?? 0) + 1);
    this.showLegend([...counts].filter(([, count]) => count));
  }

  /** Mark a node, and bring it into view. */
  select(id) {
    if (this.selected !== null) this.boxes[this.selected]?.el.classList.remove("selected");
    this.selected = this.numbers.get(id) ?? null;
    if (this.selected === null) return;
    const { el } = this.boxes[this.selected];
    el.classList.add("selected");
    this.#rove(this.selected);
    const box = this.picture.boxes[this.selected];
    if (this.hasPlace && !this.viewport.sees(box)) this.viewport.centre(box.x, box.y);
  }

  /** Put the focus on a node. */
  focus(id) {
    if (this.numbers.has(id)) this.#focus(this.numbers.get(id));
  }

  fit() {
    this.viewport.fit();
  }

  zoom(by) {
    this.viewport.zoom(by);
  }

  // -- where it is ------------------------------------------------------------------------

  #resized() {
    const { clientWidth, clientHeight } = this.window;
    if (!clientWidth || !clientHeight) return;
    this.viewport.resize(clientWidth, clientHeight);
    if (this.hasPlace) return;
    this.hasPlace = true;
    if (this.viewport.fit() >= FAR) return;
    // Of a large graph that part is shown where something is going on.
    const hot = this.picture.boxes.find((box) => /failed|waiting|running|retrying|child/.test(this.states?.get(box.id)?.status ?? ""));
    const box = this.picture.boxes[this.selected] ?? hot ?? this.picture.boxes[this.picture.starts[0] ?? 0];
    if (box) this.viewport.centre(box.x, box.y, READABLE);
  }

  #place({ x, y, scale, left, top, right, bottom }) {
    this.world.setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
    this.world.classList.toggle("far", scale < FAR);
    this.percent.textContent = `${Math.round(scale * 100)} %`;
    this.percent.setAttribute("aria-label", `${this.percent.textContent}: show at 100 %`);
    if (this.boxes.length <= MANY) return;
    for (const each of [this.boxes, this.lines]) {
      for (const one of each) {
        const isSeen = one.right > left && one.left < right && one.bottom > top && one.top < bottom;
        if (isSeen === one.isSeen) continue;
        one.isSeen = isSeen;
        if (isSeen) one.el.removeAttribute("display");
        else one.el.setAttribute("display", "none");
      }
    }
  }

  #tools() {
    const button = (label, sign, run) => h("button", { class: "button small square", type: "button", "aria-label": label, title: label, on: { click: run } }, icon(sign));
    this.percent = h("button", { class: "button small", type: "button", title: "100 % (0)", on: { click: () => this.viewport.zoomTo(1) } });
    return h("div", { class: "graph-tools", role: "group", "aria-label": "Size of the graph" }, button("Farther (-)", "minus", () => this.zoom(0.8)), this.percent, button("Nearer (+)", "plus", () => this.zoom(1.25)), button("Fit (f)", "fit", () => this.fit()));
  }

  /** Each state that there is, with the number of its nodes; leads from one of them to the next. */
  #legend(counts) {
    return counts.map(([status, count]) => {
      const { word, tone, sign } = lookOf(status);
      const label = `${word} ${number(count)}: go to the next`;
      return h("li", null, h("button", { type: "button", class: `tone-${tone}`, "aria-label": label, title: label, "data-status": status, on: { click: () => this.#next(status) } }, icon(sign), `${word} `, h("b", null, number(count))));
    });
  }

  #next(status) {
    const from = (this.last ?? this.selected ?? -1) + 1;
    const order = this.boxes.map((_, place) => (from + place) % this.boxes.length);
    const place = order.find((each) => this.boxes[each].status === status);
    if (place === undefined) return;
    const { x, y } = this.picture.boxes[place];
    this.viewport.centre(x, y, Math.max(this.viewport.view.scale, READABLE));
    this.el.scrollIntoView({ block: "nearest" });
    this.#focus(place);
  }

  // -- choosing ---------------------------------------------------------------------------

  #clicked(event) {
    if (this.viewport.hasMoved) return;
    const place = event.target.closest?.(".node")?.dataset.at;
    if (place !== undefined) this.onSelect(this.picture.boxes[Number(place)].id, false);
  }

  #key(event) {
    const place = Number(event.target.closest?.(".node")?.dataset.at ?? NaN);
    const arrow = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (arrow && event.shiftKey) {
      event.preventDefault();
      this.viewport.move(-arrow[0] * 80, -arrow[1] * 80);
    } else if (arrow && !Number.isNaN(place)) {
      event.preventDefault();
      this.#focus(this.#towards(place, arrow));
    } else if ((event.key === "Enter" || event.key === " ") && !Number.isNaN(place)) {
      event.preventDefault();
      this.onSelect(this.picture.boxes[place].id, true);
    }
  }

  /** The nearest box in a direction, where what a line leads to goes before others. */
  #towards(from, [dx, dy]) {
    const here = this.picture.boxes[from];
    const joined = new Set(this.picture.lines.flatMap((line) => (line.source === from ? [line.target] : line.target === from ? [line.source] : [])));
    let best = from;
    let least = Infinity;
    this.picture.boxes.forEach((box, place) => {
      const along = (box.x - here.x) * dx + (box.y - here.y) * dy;
      const aside = Math.abs((box.x - here.x) * dy + (box.y - here.y) * dx);
      if (along < 10) return;
      const cost = along + aside * 2 - (dy && joined.has(place) ? 1e4 : 0);
      if (cost < least) [best, least] = [place, cost];
    });
    return best;
  }

  #focus(place) {
    this.#rove(place);
    const box = this.picture.boxes[place];
    if (!this.viewport.sees(box)) this.viewport.centre(box.x, box.y);
    this.boxes[place].el.focus({ focusVisible: true });
  }

  #rove(place) {
    this.last = place;
    this.world.querySelector('.node[tabindex="0"]')?.setAttribute("tabindex", "-1");
    this.boxes[place].el.setAttribute("tabindex", "0");
  }

  // -- boxes and lines ----------------------------------------------------------------------

  #box(box, place) {
    const { width, height } = box;
    const [left, top] = [-width / 2, -height / 2];
    const room = width - 40;
    const sign = s("path", { class: "sign", transform: `translate(${left + 11} -8)` });
    const more = s("text", { class: "more", x: left + 34, y: 13 });
    const progress = s("rect", { class: "progress", x: left + 34, y: height / 2 - 6, height: 3, width: 0, rx: 1.5 });
    const count = s("text", { class: "count", x: width / 2 - 10, y: -4, "text-anchor": "end" });
    const title = s("title", null);
    const name = s("text", { class: "name", x: left + 34, y: -4 });
    const shape = s("rect", { class: "shape", x: left, y: top, width, height, rx: 8 });
    const inner = box.uses === "subflow" && s("rect", { class: "inner", x: left + 3, y: top + 3, width: width - 6, height: height - 6, rx: 6 });
    const el = s("g", { class: "node", transform: `translate(${box.x} ${box.y})`, tabindex: "-1", role: "button", "data-at": place, "data-id": box.id }, title, shape, inner, s("g", { class: "detail" }, sign, name, more, count), progress);
    let last = "";
    const show = (state) => {
      const look = lookOf(state.status);
      const key = `${state.status}|${state.detail ?? ""}|${state.times ?? 1}|${state.progress ?? ""}`;
      if (key === last) return;
      last = key;
      const word = this.hasStates ? [look.word, state.detail].filter(Boolean).join(" · ") : nameOf(box.uses);
      el.setAttribute("class", `node tone-${this.hasStates ? look.tone : "past"} is-${this.hasStates ? state.status : "drawn"}${this.selected === place ? " selected" : ""}`);
      sign.setAttribute("d", strokes(this.hasStates ? look.sign : signOf(box)));
      one.status = state.status;
      // Numbers tell more than the word that sign and colour tell as well.
      const both = fitted(word, room, SMALL);
      more.textContent = both.endsWith("…") && this.hasStates && state.detail ? fitted(state.detail, room, SMALL) : both;
      count.textContent = state.times > 1 ? `×${number(state.times)}` : "";
      progress.setAttribute("width", state.progress === undefined ? 0 : Math.max(0, (width - 46) * state.progress));
      name.textContent = fitted(box.id, room - (state.times > 1 ? 30 : 0), NAME);
      const said = `${box.id}, ${this.hasStates ? `${word}${state.times > 1 ? `, ${plural(state.times, "iteration")}` : ""}` : box.uses}`;
      el.setAttribute("aria-label", said);
      title.textContent = box.uses === box.id ? said : `${said} (${box.uses})`;
    };
    const one = { id: box.id, el, show, status: "pending", isSeen: true, left: box.x + left, right: box.x - left, top: box.y + top, bottom: box.y - top };
    show({ status: "pending" });
    return one;
  }

  #line(line) {
    const boxes = this.picture.boxes;
    const [source, target] = [boxes[line.source], boxes[line.target]];
    const { path, end, isUp, extent } = line.points.length ? routed(line.points) : looped(source);
    const head = isUp === null
      ? `M${end[0]} ${end[1]}l${ARROW} ${-ARROW / 1.7}v${ARROW * 1.2}z`
      : `M${end[0]} ${end[1]}l${-ARROW / 1.8} ${isUp ? ARROW : -ARROW}h${ARROW * 1.1}z`;
    const text = line.labels.join(" / ");
    const at = line.points.length ? line.labelAt : [source.x + source.width / 2 + 34, source.y];
    const shownText = cut(text, 29);
    const label = text && at && s("g", { class: "label", transform: `translate(${at[0]} ${at[1]})` },
      s("title", null, text),
      s("rect", { x: -(shownText.length * 6.2 + 10) / 2, y: -8.5, width: shownText.length * 6.2 + 10, height: 17, rx: 8.5 }),
      s("text", { y: 3.8, "text-anchor": "middle" }, shownText));
    const kind = `${line.isBack ? " back" : ""}${line.kind === "edge" ? "" : " helper"}`;
    const el = s("g", { class: `edge${kind}`, "data-from": source.id, "data-to": target.id }, s("path", { class: "line", d: path }), s("path", { class: "head", d: head }), label);
    let last = "";
    const show = (states) => {
      const fate = fateOf(line, source.id, target.id, states);
      if (fate !== last) el.setAttribute("class", `edge${kind} is-${fate}`);
      last = fate;
    };
    return { el, show, isSeen: true, ...extent };
  }
}

/** Taken, dead, failed or open: as the nodes at its ends say. */
function fateOf(line, source, target, states) {
  const state = states.get(source);
  if (line.kind !== "edge") return line.kind === "fallback" && /^resc/.test(state?.status) ? "taken" : "open";
  if (!state || state.status === "pending") return "open";
  if (state.took.has(target)) return "taken";
  if (!isSettled(state.status) && !state.isOver) return "open";
  return state.status === "failed" ? "failed" : "dead";
}

/** Of a key such as `shop.nodes:charge` the part that tells nodes apart. */
function nameOf(uses) {
  return uses.slice(uses.lastIndexOf(":") + 1) || uses;
}

function signOf(box) {
  if (box.uses === "subflow") return "nested";
  if (box.uses === "loop-controller") return "again";
  if (/^(wait|webhook)$/.test(box.uses)) return "hand";
  if (box.uses === "sleep") return "moon";
  return box.uses.startsWith("batch-") ? "runs" : "play";
}

function clean(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "�");
}

function cut(text, most) {
  const signs = [...clean(text)];
  return signs.length > most ? `${signs.slice(0, Math.max(1, most - 1)).join("")}…` : signs.join("");
}

const pen = document.createElement("canvas").getContext("2d");
let family = "";

/** As much of a text as has room. */
function fitted(text, room, font) {
  family ||= getComputedStyle(document.documentElement).fontFamily;
  pen.font = `${font} ${family}`;
  const fits = (part) => pen.measureText(part).width <= room;
  const whole = clean(text);
  if (fits(whole)) return whole;
  const signs = [...whole.slice(0, 200)];
  let [least, most] = [1, signs.length];
  while (least < most) {
    const middle = Math.ceil((least + most) / 2);
    if (fits(`${signs.slice(0, middle).join("")}…`)) least = middle;
    else most = middle - 1;
  }
  return `${signs.slice(0, least).join("")}…`;
}

/** A smooth path that leaves and enters each point upright. */
function routed(points) {
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  let [x, y] = points[0];
  const isUp = ys.at(-1) < ys.at(-2);
  let path = `M${x} ${y}`;
  points.slice(1).forEach(([nx, ny], place) => {
    // The last piece ends where the arrow begins.
    const to = place === points.length - 2 ? ny + (isUp ? ARROW - 1 : 1 - ARROW) : ny;
    const middle = (y + to) / 2;
    path += Math.abs(nx - x) < 0.05 ? `L${nx} ${to}` : `C${x} ${middle} ${nx} ${middle} ${nx} ${to}`;
    [x, y] = [nx, ny];
  });
  const extent = { left: Math.min(...xs) - 60, right: Math.max(...xs) + 60, top: Math.min(...ys) - 10, bottom: Math.max(...ys) + 10 };
  return { path, end: points.at(-1), isUp, extent };
}

/** An edge from a box to itself, at its right. */
function looped(box) {
  const right = box.x + box.width / 2;
  const path = `M${right} ${box.y - 8}C${right + 34} ${box.y - 24} ${right + 34} ${box.y + 24} ${right + ARROW} ${box.y + 9}`;
  return { path, end: [right, box.y + 8], isUp: null, extent: { left: right, right: right + 120, top: box.y - 30, bottom: box.y + 30 } };
}

/** What a drawing shows of a run: its node instances put together by node. */
export function statesOf(nodes, isOver = false) {
  const found = new Map();
  for (const node of nodes) {
    const before = found.get(node.nodeId);
    const state = before ?? { rank: null, times: 0, took: new Set(), isOver: true };
    const isPassed = node.status === "skipped" || node.status === "blocked";
    const rank = [isPassed ? 0 : 1, ...node.iteration];
    for (const target of node.took ?? []) state.took.add(target);
    if (node.iteration.length && !isPassed) state.times += 1;
    state.isOver &&= isSettled(node.status);
    if (state.rank === null || compare(state.rank, rank) <= 0) Object.assign(state, { rank, status: statusOf(node, isOver), ...detailOf(node) });
    found.set(node.nodeId, state);
  }
  return found;
}

function compare(one, other) {
  for (let place = 0; place < Math.max(one.length, other.length); place += 1) {
    const by = (one[place] ?? -1) - (other[place] ?? -1);
    if (by) return by;
  }
  return 0;
}

function detailOf(node) {
  if (node.batch) {
    const { items, done, failed } = node.batch;
    const told = `${number(done)}/${number(items)}${failed ? `, ${number(failed)} failed` : ""}`;
    return { detail: told, progress: items ? done / items : 1 };
  }
  const isAgain = node.attempt - node.lost > 1;
  return { detail: isAgain ? `try ${node.attempt - node.lost}` : node.childStatus ?? "", progress: undefined };
}
