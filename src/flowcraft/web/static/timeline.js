// When what ran: a bar for each attempt, with an axis of time. A part is picked by dragging along it.

import { h, fill } from "./dom.js";
import { icon } from "./icons.js";
import { isFinal, lookOf, statusOf } from "./status.js";
import { plural, span } from "./format.js";

const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 2592000];
const TICKS = 7;
const LEAST_SECONDS = 0.002;

export class Timeline {
  constructor({ onSelect }) {
    this.onSelect = onSelect;
    this.picked = null;
    this.rows = new Map();
    this.axis = h("div", { class: "time-axis", role: "group", tabindex: "0", "aria-label": "Time since the start: plus and minus look closer and farther, arrow keys move; or drag along it" });
    this.reset = h("button", { class: "button small quiet", type: "button", hidden: true, on: { click: () => this.#pick(null) } }, icon("fit"), "All");
    this.list = h("div", { class: "time-list" });
    this.el = h("div", { class: "timeline" },
      h("div", { class: "time-head" }, h("div", { class: "row who-ran" }, this.reset), this.axis), this.list);
    this.axis.addEventListener("pointerdown", (event) => this.#drag(event));
    this.axis.addEventListener("dblclick", () => this.#pick(null));
    this.axis.addEventListener("keydown", (event) => this.#key(event));
  }

  /** All of it. */
  fit() {
    this.#pick(null);
  }

  /** Look closer or farther, at the middle. */
  zoom(by) {
    if (!this.range) return;
    const [from, until] = this.picked ?? this.whole;
    const [middle, half] = [(from + until) / 2, Math.max(LEAST_SECONDS, (until - from) / by) / 2];
    this.#pickWithin(middle - half, middle + half);
  }

  #key(event) {
    const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!along || !this.picked) return;
    event.preventDefault();
    const [from, until] = this.picked;
    const [least, most] = this.whole;
    const by = Math.min(most - until, Math.max(least - from, (along * (until - from)) / 4));
    this.#pick([from + by, until + by]);
  }

  #pickWithin(from, until) {
    const [least, most] = this.whole;
    const within = [Math.max(least, from), Math.min(most, until)];
    this.#pick(within[0] <= least && within[1] >= most ? null : within);
  }

  update(nodes, run, selected) {
    this.run = run;
    const byNode = new Map();
    for (const node of nodes) {
      if (!node.startedAt && !node.attempts.some((each) => each.startedAt)) continue;
      if (!byNode.has(node.nodeId)) byNode.set(node.nodeId, []);
      byNode.get(node.nodeId).push(node);
    }
    this.nodes = byNode;
    this.selected = selected;
    this.tick();
  }

  tick() {
    if (!this.run) return;
    const begin = Date.parse(this.run.createdAt) / 1000;
    const ends = [...this.nodes.values()].flat().map((node) => Date.parse(node.endedAt ?? 0) / 1000);
    const end = this.run.endedAt ? Date.parse(this.run.endedAt) / 1000 : isFinal(this.run.status) ? Math.max(begin, ...ends) : Date.now() / 1000;
    this.begin = begin;
    this.whole = [begin, Math.max(end, begin + 0.001)];
    const [from, until] = this.picked ?? this.whole;
    this.range = this.picked ? [from, until] : [from, until + (until - from) * 0.06];
    this.#drawAxis();
    this.#drawRows(end);
  }

  #drawAxis() {
    const [from, until] = this.range;
    const step = STEPS.find((each) => (until - from) / each <= TICKS) ?? (until - from) / TICKS;
    const ticks = [];
    for (let at = Math.ceil((from - this.begin) / step) * step; this.begin + at < until - (until - from) * 0.035; at += step) ticks.push(at);
    fill(this.axis, ticks.map((at) => h("span", { style: { left: this.#percent(this.begin + at) } }, at < step / 2 ? "0" : span(at + step / 1e6))));
    this.reset.hidden = !this.picked;
  }

  #percent(seconds) {
    const [from, until] = this.range;
    return `${((seconds - from) / (until - from)) * 100}%`;
  }

  #drawRows(now) {
    if (!this.nodes.size) {
      this.rows.clear();
      fill(this.list, h("div", { class: "empty" }, icon("clock"), h("h2", null, "Nothing has run yet"), h("p", null, "Each attempt of a node becomes a bar here.")));
      return;
    }
    if (!this.rows.size) fill(this.list);
    for (const [id, nodes] of this.nodes) {
      let row = this.rows.get(id);
      if (!row) {
        row = this.#row(id);
        this.rows.set(id, row);
        this.list.append(row.el);
      }
      row.show(nodes, now);
    }
    for (const [id, row] of this.rows) {
      if (this.nodes.has(id)) continue;
      row.el.remove();
      this.rows.delete(id);
    }
  }

  #row(id) {
    const who = h("span", { class: "who-ran" });
    const bars = h("span", { class: "time-bars" });
    const el = h("button", { class: "time-row row-link", type: "button", "data-node": id, on: { click: () => this.onSelect(id) } }, who, bars);
    let last = "";
    const show = (nodes, now) => {
      el.setAttribute("aria-current", String(id === this.selected));
      const isOpen = nodes.some((node) => !node.endedAt);
      const key = JSON.stringify([this.range, nodes.map((node) => [statusOf(node, isFinal(this.run.status)), node.attempt, node.endedAt]), isOpen && now]);
      if (key === last) return;
      last = key;
      const { tone, word, sign } = lookOf(statusOf(nodes.at(-1), isFinal(this.run.status)));
      el.className = `time-row row-link tone-${tone}`;
      fill(who, icon(sign), h("span", { class: "clip", title: id }, id), nodes.length > 1 && h("span", { class: "faint" }, `×${nodes.length}`));
      const drawn = nodes.flatMap((node) => this.#bars(node, now));
      fill(bars, drawn, this.#length(nodes, now));
      const attempts = nodes.reduce((sum, node) => sum + node.attempts.length, 0);
      el.setAttribute("aria-label", [id, nodes.length > 1 && `×${nodes.length}`, word, attempts > nodes.length && plural(attempts, "attempt"), lengthOf(nodes, now)].filter(Boolean).join(", "));
    };
    return { el, show };
  }

  #bars(node, now) {
    const { tone } = lookOf(node.status);
    const bars = [];
    let before = null;
    for (const each of node.attempts) {
      const start = seconds(each.startedAt);
      if (start === null) continue;
      const end = seconds(each.endedAt) ?? now;
      if (before !== null && start > before) bars.push(this.#bar(before, start, "between", tone, "waits to be tried again"));
      const name = `${node.name}, attempt ${each.number}: ${each.error ? each.error.type : lookOf(node.status).word}, ${span(end - start)}`;
      bars.push(this.#bar(start, end, `${each.error ? "failed-attempt" : ""}${each.endedAt ? "" : " open"}`, tone, name));
      before = end;
    }
    if (!bars.length) bars.push(this.#bar(seconds(node.startedAt), seconds(node.endedAt) ?? now, node.endedAt ? "" : "open", tone, node.name));
    else if (node.status === "retrying" && before !== null) bars.push(this.#bar(before, now, "between", tone, "waits to be tried again"));
    return bars;
  }

  #bar(from, until, kind, tone, title) {
    const [begin, end] = this.range;
    const width = ((until - from) / (end - begin)) * 100;
    return h("span", { class: `bar ${kind} tone-${tone}`, title, style: { left: this.#percent(from), width: `${Math.max(0, width)}%` } });
  }

  #length(nodes, now) {
    const last = nodes.at(-1);
    const end = seconds(last.endedAt) ?? now;
    const start = seconds(nodes[0].startedAt);
    if (start === null) return null;
    const place = ((end - this.range[0]) / (this.range[1] - this.range[0])) * 100;
    const text = lengthOf(nodes, now);
    return place > 86
      ? h("span", { class: "bar-text", style: { right: `${Math.min(100, 100 - ((start - this.range[0]) / (this.range[1] - this.range[0])) * 100)}%`, "padding-right": "6px" } }, text)
      : h("span", { class: "bar-text", style: { left: `${Math.max(0, place)}%` } }, text);
  }

  #drag(event) {
    if (event.button) return;
    const { left, width } = this.axis.getBoundingClientRect();
    const at = (x) => Math.min(1, Math.max(0, (x - left) / width));
    const [from, until] = this.range;
    const first = at(event.clientX);
    const mark = h("div", { class: "pick" });
    let last = first;
    const move = (next) => {
      last = at(next.clientX);
      if (!mark.isConnected) this.axis.append(mark);
      mark.style.setProperty("left", `${Math.min(first, last) * 100}%`);
      mark.style.setProperty("width", `${Math.abs(last - first) * 100}%`);
    };
    const up = () => {
      this.axis.removeEventListener("pointermove", move);
      mark.remove();
      if (Math.abs(last - first) < 0.01) return;
      const length = until - from;
      this.#pick([from + Math.min(first, last) * length, from + Math.max(first, last) * length]);
    };
    this.axis.setPointerCapture(event.pointerId);
    this.axis.addEventListener("pointermove", move);
    this.axis.addEventListener("pointerup", up, { once: true });
    event.preventDefault();
  }

  #pick(range) {
    this.picked = range;
    this.tick();
  }
}

function lengthOf(nodes, now) {
  const start = seconds(nodes[0].startedAt);
  return start === null ? "" : span((seconds(nodes.at(-1).endedAt) ?? now) - start);
}

function seconds(time) {
  return time ? Date.parse(time) / 1000 : null;
}
