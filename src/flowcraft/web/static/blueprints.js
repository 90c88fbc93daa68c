// Blueprints: those that the application knows, and those of runs.

import { h, fill, keepFocus } from "./dom.js";
import { icon } from "./icons.js";
import { at, get } from "./api.js";
import { closePart, linkTo, openPart } from "./router.js";
import { ago, number, plural, short, span } from "./format.js";
import { isFinal, lookOf } from "./status.js";
import { Graph } from "./graph.js";
import { textOf, tree } from "./json-tree.js";
import { trouble } from "./runs.js";
import { startRun } from "./start.js";
import { onKeys } from "./keys.js";

const MOST_LAST = 40;

/** A page that is read once, and drawn when it is there. */
export function readPage(title, read, draw, more = "") {
  const el = h("div", { class: `page ${more}` }, h("p", { class: "boot", role: "status" }, "Loading …"));
  const state = { isOff: false };
  const load = async () => {
    try {
      const data = await read();
      if (!state.isOff) keepFocus(el, () => fill(el, draw(data, load)));
    } catch (error) {
      if (!state.isOff) fill(el, h("div", { class: "page-head" }, h("h1", null, title)), h("div", { class: "card" }, trouble(error, load)));
    }
  };
  load();
  return { el, load, state };
}

export function blueprintsView({ session }) {
  const page = readPage("Blueprints", () => get(at("blueprints")), ({ blueprints }) => [
    h("div", { class: "page-head" }, h("h1", null, "Blueprints")),
    h("div", { class: "card list-card" }, blueprints.length ? table(blueprints, session) : h("div", { class: "empty" }, icon("flows"), h("h2", null, "No blueprints are known"), h("p", null, "Start the dashboard with your application, ", h("code", null, "flowcraft --app shop:runtime ui"), ", or start a run: its blueprint is listed here.")))]);
  return { title: "Blueprints", el: page.el, update: () => true, destroy: () => (page.state.isOff = true) };
}

function table(blueprints, session) {
  return h("div", { class: "scroller" }, h("table", { class: "table of-blueprints" }, h("caption", { class: "unseen" }, "Blueprints"),
    h("thead", null, h("tr", null, ["Blueprint", "Version", "Nodes", "Known from", "Actions"].map((name, place) => h("th", { scope: "col", class: place ? "fit" : null }, name)))),
    h("tbody", null, blueprints.map((each) => h("tr", null,
      h("td", null, h("div", { class: "clip" }, h("a", { class: "row-link", href: linkTo(["blueprints", each.blueprintId]) }, each.blueprintId))),
      h("td", { class: "fit soft" }, each.version ?? "–"),
      h("td", { class: "fit soft number" }, each.nodes === null ? "–" : number(each.nodes)),
      h("td", { class: "fit soft" }, each.origin === "app" ? "the application" : "runs"),
      h("td", { class: "fit" }, h("div", { class: "row above" }, h("a", { class: "button small", href: linkTo(["runs"], { flow: each.blueprintId }) }, "Runs"),
        !session.readOnly && h("button", { class: "button small", type: "button", on: { click: () => startRun({ flow: each.blueprintId }) } }, "Start"))))))));
}

export function blueprintView({ ids: [id], query, session }) {
  const hash = query.get("hash");
  let graph = null;
  let now = query;
  const read = () => Promise.all([get(at("blueprints", id), { hash }), get(at("blueprints", id, "picture"), { hash })]);
  const side = h("div", { class: "panel-place", hidden: true });
  const body = h("div", { class: "run-body" });
  const strip = h("section", { class: "card", "aria-label": "Last runs", hidden: true });
  let nodes = new Map();
  const page = readPage(id, read, ([data, picture]) => {
    graph = new Graph(picture, { onSelect: (node) => openPart({ node }), hasStates: false, label: `Graph of ${id}` });
    graph.update(new Map());
    nodes = new Map(Object.values(data.blueprint.nodes).map((each) => [each.id, each]));
    fill(body, h("div", { class: "run-content" }, h("div", { class: "card" }, graph.el), findings(data.findings)), side);
    queueMicrotask(select);
    showLast(strip, id);
    return [
      h("div", { class: "crumbs" }, h("a", { href: linkTo(["blueprints"]) }, "Blueprints"), icon("right"), short(id)),
      h("div", { class: "page-head" }, h("div", { class: "run-title" }, h("h1", null, id)), h("div", { class: "actions" },
        h("a", { class: "button", href: linkTo(["runs"], { flow: id }) }, icon("runs"), "Runs"),
        !session.readOnly && h("button", { class: "button main", type: "button", on: { click: () => startRun({ flow: id }) } }, icon("plus"), "Start run"))),
      h("dl", { class: "run-facts" }, [["Version", data.version ?? "–"], ["Nodes", number(nodes.size)], ["Known from", data.origin === "app" ? "the application" : "runs"], ["Content", h("span", { class: "mono", title: data.hash }, data.hash.slice(0, 12))]].map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
      strip, body,
    ];
  }, "filling");
  const select = () => {
    const node = nodes.get(now.get("node"));
    side.hidden = !node;
    body.classList.toggle("has-panel", Boolean(node));
    graph?.select(now.get("node"));
    if (node) fill(side, definition(node));
  };
  onKeys({ f: () => graph?.fit(), "+": () => graph?.zoom(1.25), "-": () => graph?.zoom(0.8), 0: () => graph?.viewport.zoomTo(1), Escape: () => now.has("node") && closePart({ node: null }) });
  return {
    title: id,
    el: page.el,
    update(next) {
      if ((next.get("hash") ?? null) !== hash) return false;
      now = next;
      select();
      return true;
    },
    destroy() {
      page.state.isOff = true;
      graph?.destroy();
    },
  };
}

/** The newest runs, from left to right: as high as they took long, in the colour of how they fare. */
async function showLast(strip, flow) {
  const { runs } = await get(at("runs"), { flow, limit: MOST_LAST }).catch(() => ({ runs: [] }));
  strip.hidden = !runs.length;
  const lengths = runs.map((run) => ((isFinal(run.status) ? Date.parse(run.updatedAt) : Date.now()) - Date.parse(run.createdAt)) / 1000);
  // Seconds and hours are told apart only by their logarithms.
  const heights = lengths.map((each) => Math.log1p(Math.max(0, each) * 10));
  const most = Math.max(...heights, 0.001);
  const bars = runs.map((run, place) => {
    const { word, tone } = lookOf(run.status);
    const told = `${short(run.runId)}: ${word.toLowerCase()}, ${span(lengths[place])}, started ${ago(run.createdAt)}`;
    return h("li", null, h("a", { class: `tone-${tone}`, href: linkTo(["runs", run.runId]), "aria-label": told, title: told }, h("i", { style: { height: `${(heights[place] / most) * 100}%` } })));
  });
  const failed = runs.filter((run) => run.status === "failed").length;
  fill(strip, h("div", { class: "strip-head" }, h("h2", null, "Last runs"), h("span", { class: "soft" }, `${plural(runs.length, "run")}, ${failed ? `${number(failed)} failed` : "none failed"}; a bar is as high as its run took long`)), h("ol", { class: "strip" }, bars.reverse()));
  strip.lastElementChild.scrollLeft = strip.lastElementChild.scrollWidth;
}

function definition(node) {
  const { id, uses, ...rest } = node;
  return h("aside", { class: "card panel", "aria-label": `Node ${id}` },
    h("div", { class: "card-head" }, h("h2", { class: "mono" }, id), h("div", { class: "actions" }, h("button", { class: "button quiet small square", type: "button", "aria-label": "Close", title: "Close (Esc)", on: { click: () => closePart({ node: null }) } }, icon("close")))),
    h("section", null, h("dl", { class: "facts" }, h("dt", null, "Uses"), h("dd", { class: "mono" }, uses))),
    Object.entries(rest).map(([name, value]) => h("section", null, h("h3", null, name), typeof value === "object" ? tree(value, { open: 3, label: name }) : h("p", { class: "mono wrap" }, textOf(value)))));
}

function findings(found) {
  if (!found.length) return null;
  return h("div", { class: "card" }, h("div", { class: "card-head" }, h("h2", null, plural(found.length, "finding"), " of lint")),
    h("ul", { class: "card-body stack tight" }, found.map((each) => h("li", { class: "row" }, h("span", { class: `tone-${each.severity === "error" ? "bad" : "wait"} badge` }, each.severity ?? "hint"), h("span", { class: "wrap" }, [each.place, each.message].filter(Boolean).join(": "))))));
}
