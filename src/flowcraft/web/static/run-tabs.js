// The plainer tabs of a run: its nodes in a table, its context, its history, all of it as JSON.

import { h, fill, memo } from "./dom.js";
import { icon } from "./icons.js";
import { at, get, Problem, withQuery } from "./api.js";
import { badge, isFinal, lookOf, statusOf } from "./status.js";
import { moment, number, plural, span } from "./format.js";
import { treeOrCut, textOf, tree } from "./json-tree.js";
import { trouble } from "./runs.js";
import { copy } from "./dialogs.js";

const MOST_ROWS = 500;
const MOST_EVENTS = 1000;

export function nodesTab(page) {
  const search = h("input", { class: "input", type: "search", placeholder: "Find a node", "aria-label": "Find a node", "data-search": true, spellcheck: "false" });
  const status = h("select", { class: "input", "aria-label": "Status" });
  const list = h("div");
  const el = h("div", { class: "card" }, h("div", { class: "card-head node-filter" }, h("div", { class: "input-icon grow" }, icon("search"), search, h("kbd", { class: "key" }, "/")), status), list);
  const showChoices = memo(status, (counts) => [h("option", { value: "" }, "Any status"),
    counts.map(([each, count]) => h("option", { value: each }, `${lookOf(each).word} (${number(count)})`))]);
  const show = memo(list, ({ rows, all }) => [
    !rows.length && h("p", { class: "empty" }, "No node is like that."),
    rows.length > 0 && h("div", { class: "scroller" }, h("table", { class: "table of-nodes" },
      h("caption", { class: "unseen" }, "Nodes of the run"),
      h("thead", null, h("tr", null, ["Status", "Node", "Uses", "Attempts", "Started", "Took"].map((name, place) => h("th", { scope: "col", class: place === 0 || place > 2 ? "fit" : null }, name)))),
      h("tbody", null, rows.map(nodeRow(page))))),
    all > rows.length && h("p", { class: "empty" }, `The first ${number(rows.length)} of ${plural(all, "node")} are shown.`)]);
  const update = () => {
    const isOver = isFinal(page.run.status);
    const nodes = [...page.nodes.values()].map((node) => ({ ...node, shown: statusOf(node, isOver) }));
    const counts = new Map();
    for (const node of nodes) counts.set(node.shown, (counts.get(node.shown) ?? 0) + 1);
    const wanted = status.value;
    showChoices([...counts]);
    status.value = counts.has(wanted) ? wanted : "";
    const text = search.value.trim().toLowerCase();
    const found = nodes.filter((node) => (!status.value || node.shown === status.value) && (!text || `${node.name} ${node.uses}`.toLowerCase().includes(text)));
    show({ rows: found.slice(0, MOST_ROWS), all: found.length });
  };
  search.addEventListener("input", update);
  status.addEventListener("change", update);
  return { el, update };
}

function nodeRow(page) {
  return (node) => h("tr", null,
    h("td", { class: "fit" }, badge(node.shown)),
    h("td", null, h("div", { class: "clip" }, h("button", { class: "row-link link-button", type: "button", on: { click: () => page.select(node.nodeId, node.iteration) } }, node.name))),
    h("td", { class: "clip soft" }, node.uses),
    h("td", { class: "fit soft" }, node.attempt ? node.attempt - node.lost : "–", node.lost > 0 && ` (+${node.lost} lost)`),
    h("td", { class: "fit soft" }, node.startedAt ? moment(node.startedAt) : "–"),
    h("td", { class: "fit soft" }, node.startedAt && node.endedAt ? span((Date.parse(node.endedAt) - Date.parse(node.startedAt)) / 1000) : "–"));
}

/** A tab that is read when it is opened, and again on request. */
function readTab(read, draw) {
  const el = h("div", { class: "card" });
  let isOff = false;
  const load = async () => {
    fill(el, h("p", { class: "boot", role: "status" }, "Loading …"));
    try {
      const data = await read();
      if (!isOff) fill(el, draw(data, load));
    } catch (error) {
      if (!isOff) fill(el, trouble(error, load));
    }
  };
  load();
  return { el, destroy: () => (isOff = true) };
}

function headed(title, load, ...body) {
  return [h("div", { class: "card-head" }, h("h2", null, title), h("div", { class: "actions" }, h("button", { class: "button small", type: "button", on: { click: load } }, icon("again"), "Read again"))), h("div", { class: "card-body stack" }, body)];
}

export function contextTab(page) {
  return readTab(() => get(at("runs", page.runId)), ({ context, cut }, load) => {
    const keys = [...new Set([...Object.keys(context), ...Object.keys(cut)])];
    if (!keys.length) return h("div", { class: "empty" }, h("h2", null, "The context is empty"), h("p", null, "Keys that the run is started with, and those that nodes write, are here."));
    return headed(plural(keys.length, "key"), load, keys.map((key) => h("section", { class: "stack tight" }, h("h3", { class: "mono wrap" }, key), treeOrCut(context[key], cut[key], { label: key }))));
  });
}

export function jsonTab(page) {
  return readTab(() => get(at("runs", page.runId)), (run, load) => {
    const text = textOf(run);
    return headed("As the API tells it", load,
      h("div", { class: "tree-tools" }, h("button", { class: "link-button", type: "button", on: { click: () => copy(text) } }, "Copy all"), h("a", { href: at("runs", page.runId), target: "_blank", rel: "noopener" }, "Open alone")),
      tree(run, { open: 1, label: "The run" }));
  });
}

export function historyTab(page) {
  return readTab(() => readHistory(page.runId), ({ events, isWhole }, load) => {
    if (events === null) {
      return h("div", { class: "empty" }, icon("clock"), h("h2", null, "No history is kept of this run"), h("p", null, "Its attempts and last errors are in the timeline and with the nodes."));
    }
    const whole = h("a", { href: at("runs", page.runId, "history"), download: "history.jsonl" }, "Download it whole, with values");
    return [
      ...headed(plural(events.length, "event"), load, h("div", { class: "tree-tools" }, whole, !isWhole && h("span", { class: "faint" }, "Only the first of them are shown here."))),
      h("div", { class: "scroller", tabindex: "0", role: "group", "aria-label": "What happened, in order" }, h("table", { class: "table history" },
        h("caption", { class: "unseen" }, "What happened, in order"),
        h("thead", null, h("tr", null, ["After", "Event", "Node", "Attempt", "Details"].map((name, place) => h("th", { scope: "col", class: place < 2 || place === 3 ? "fit" : null }, name)))),
        h("tbody", null, events.map(historyRow(events[0]?.at ?? 0)))))];
  });
}

function historyRow(begin) {
  return (event) => h("tr", null,
    h("td", { class: "fit number soft", title: moment(event.time) }, span(event.at - begin)),
    h("td", { class: "fit" }, h("span", { class: `badge tone-${toneOf(event.type)}` }, icon(signOf(event.type)), event.type)),
    h("td", { class: "clip" }, event.nodeId ?? "", event.iteration.length > 0 && h("span", { class: "faint" }, ` @${event.iteration.join(".")}`)),
    h("td", { class: "fit soft" }, event.attempt || ""),
    h("td", { class: "clip soft mono" }, gistOf(event.payload)));
}

function gistOf(payload) {
  return Object.entries(payload ?? {}).filter(([, value]) => value !== null && typeof value !== "object").slice(0, 4).map(([name, value]) => `${name}=${name.endsWith("_at") && typeof value === "number" ? moment(new Date(value * 1000).toISOString()) : value}`).join("  ");
}

function toneOf(type) {
  if (/error|failed/.test(type)) return "bad";
  if (/retry|fallback|released/.test(type)) return "again";
  if (/finish|processed/.test(type)) return "good";
  if (/awaiting|pause/.test(type)) return "wait";
  return /start|resume/.test(type) ? "busy" : "past";
}

function signOf(type) {
  return { bad: "cross", again: "again", good: "check", wait: "hand", busy: "play", past: "dots" }[toneOf(type)];
}

/** Events without their values, which may be large; of very many the first. */
async function readHistory(runId) {
  const stop = new AbortController();
  const response = await fetch(withQuery(at("runs", runId, "history"), { payloads: "false" }), { cache: "no-store", signal: stop.signal });
  if (!response.ok) {
    const problem = new Problem(response.status, JSON.parse(await response.text()));
    if (problem.kind === "not-kept") return { events: null };
    throw problem;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const events = [];
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines.filter(Boolean).map((each) => JSON.parse(each))) if (line.type) events.push(line);
    if (done) return { events, isWhole: true };
    if (events.length >= MOST_EVENTS) {
      stop.abort();
      return { events: events.slice(0, MOST_EVENTS), isWhole: false };
    }
  }
}
