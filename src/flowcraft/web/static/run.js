// The page of one run: what it is, its drawing, its time, its values; live while it goes on.

import { h, fill, memo, shown } from "./dom.js";
import { icon } from "./icons.js";
import { at, get, watch } from "./api.js";
import { change, closePart, linkTo, openPart } from "./router.js";
import { badge, isFinal, lookOf } from "./status.js";
import { ago, moment, number, plural, short, span } from "./format.js";
import { onKeys } from "./keys.js";
import { Graph, statesOf } from "./graph.js";
import { Timeline } from "./timeline.js";
import { NodePanel } from "./node-panel.js";
import { actionButtons } from "./run-actions.js";
import { errorBlock } from "./errors.js";
import { contextTab, historyTab, jsonTab, nodesTab } from "./run-tabs.js";
import { liveText, tagList, trouble } from "./runs.js";
import { copy, messageOf } from "./dialogs.js";

const TABS = [["graph", "Graph"], ["timeline", "Timeline"], ["nodes", "Nodes"], ["context", "Context"], ["history", "History"], ["json", "JSON"]];
const MOST_ERRORS = 5;
const MOST_WAITS = 5;
const MOST_CHILDREN = 3;
// What the head of the page shows of a run.
const HEAD = ["status", "paused", "stopping", "blueprintId", "blueprintHash", "version", "createdAt", "endedAt", "dueAt", "parent", "cost", "fairnessKey", "idempotencyKey", "tags"];

/** What tells one node instance from another. */
export function instanceKey(node) {
  return `${node.nodeId}\u0000${node.iteration.join(",")}`;
}

export function runView({ ids: [runId], query, session }) {
  return new RunPage(runId, query, session);
}

class RunPage {
  constructor(runId, query, session) {
    Object.assign(this, { runId, session, query, run: null, nodes: new Map(), picture: null, graph: null, live: "", title: short(runId, 40) });
    this.isOff = false;
    this.head = h("div", { class: "stack" });
    this.notices = h("div", { class: "stack" });
    this.tabs = h("nav", { class: "tabs", "aria-label": "Views of the run" });
    this.content = h("div", { class: "run-content" });
    this.panelPlace = h("div", { class: "panel-place", hidden: true });
    this.body = h("div", { class: "run-body" }, this.content, this.panelPlace);
    this.el = h("div", { class: "page filling" }, h("p", { class: "boot", role: "status" }, "Loading …"));
    this.actions = h("div", { class: "actions" });
    this.said = h("p", { class: "unseen", role: "status" });
    this.showActions = memo(this.actions, () => actionButtons(this));
    this.showHead = memo(this.head, (data) => this.#head(data));
    this.showNotices = memo(this.notices, (data) => this.#notices(data));
    this.showTabs = memo(this.tabs, (data) => this.#tabs(data));
    this.clock = setInterval(() => this.#tick(), 1000);
    this.#keys();
    this.#open();
  }

  update(query) {
    this.query = query;
    if (this.run) this.#draw();
    return true;
  }

  destroy() {
    this.isOff = true;
    clearInterval(this.clock);
    cancelAnimationFrame(this.frame);
    this.source?.close();
    this.graph?.destroy();
    this.panel?.destroy();
    this.shownTab?.destroy?.();
  }

  // -- what is known --------------------------------------------------------------------------

  #open() {
    // The stream begins with all of it.
    this.source = watch(at("runs", this.runId, "events"), {
      snapshot: (data) => {
        this.nodes.clear();
        this.#take(data);
      },
      change: (data) => this.#take(data),
      gone: (problem) => this.#gone(problem.detail),
      state: (live) => {
        this.live = live;
        if (live === "lost" && !this.run) this.#check();
        this.#later();
      },
    });
  }

  /** A stream does not say why it could not be opened; a request does. */
  async #check() {
    try {
      await get(at("runs", this.runId), { values: "false" });
    } catch (error) {
      if (this.isOff || this.run) return;
      if (error.status === 404) this.#gone(messageOf(error));
      else fill(this.el, trouble(error, () => location.reload()));
    }
  }

  #gone(text) {
    this.source.close();
    fill(this.el, h("div", { class: "empty" }, icon("bin"), h("h1", null, "There is no such run"), h("p", { class: "wrap" }, text),
      h("a", { class: "button", href: linkTo(["runs"]) }, "All runs")));
  }

  #take({ run, nodes, gone }) {
    this.run = run;
    for (const node of nodes) this.nodes.set(instanceKey(node), node);
    for (const node of gone) this.nodes.delete(instanceKey(node));
    const isNew = this.picture && [...this.nodes.values()].some((node) => !this.graph?.numbers.has(node.nodeId));
    if (!this.asksPicture && (!this.picture || isNew)) this.#loadPicture();
    this.#later();
  }

  async #loadPicture() {
    this.asksPicture = true;
    try {
      this.picture = await get(at("runs", this.runId, "picture"));
      this.pictureError = null;
    } catch (error) {
      this.pictureError = error;
    }
    if (this.isOff) return;
    this.asksPicture = Boolean(this.pictureError);
    this.graph?.destroy();
    this.graph = null;
    if (this.shownTab?.name === "graph") this.shownTab = null;
    this.#later();
  }

  // -- drawing --------------------------------------------------------------------------------

  #later() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.run && this.#draw());
  }

  get tab() {
    const wanted = this.query.get("tab");
    return TABS.some(([name]) => name === wanted) ? wanted : "graph";
  }

  #draw() {
    if (this.isOff) return;
    if (!this.head.isConnected) fill(this.el, this.head, this.said, this.notices, this.tabs, this.body);
    const { counts } = this.run;
    this.showActions([this.run.status, this.run.paused, this.run.stopping]);
    this.showHead({ ...Object.fromEntries(HEAD.map((name) => [name, this.run[name]])), live: this.live, children: this.#children() });
    this.#say();
    this.showNotices({ status: this.run.status, awaiting: this.run.awaiting, errors: this.run.errors, reason: this.run.reason });
    this.showTabs({ tab: this.tab, nodes: Object.values(counts).reduce((sum, each) => sum + each, 0), query: this.query.toString() });
    this.#drawTab();
    this.#drawPanel();
    this.#tick();
  }

  /** Tell those who do not see it what has become of the run; only when that changes. */
  #say() {
    const word = lookOf(this.run.status).word.toLowerCase();
    const now = this.live === "lost" ? liveText(this.live) : `The run is ${word}.`;
    if (this.saying !== undefined && this.saying !== now) fill(this.said, now);
    this.saying = now;
  }

  /** Child runs of nodes, the first of them. */
  #children() {
    const found = [...this.nodes.values()].filter((node) => node.childRunId);
    return { count: found.length, first: found.slice(0, MOST_CHILDREN).map((node) => [node.childRunId, node.childStatus]) };
  }

  #drawTab() {
    const tab = this.tab;
    if (this.shownTab?.name !== tab) {
      this.shownTab?.destroy?.();
      this.shownTab = { name: tab, ...this.#makeTab(tab) };
      fill(this.content, this.shownTab.el);
    }
    this.shownTab.update?.();
  }

  #makeTab(tab) {
    const page = this;
    switch (tab) {
      case "graph":
        return this.#graphTab();
      case "timeline": {
        const timeline = new Timeline({ onSelect: (id, iteration) => this.select(id, iteration) });
        return { el: h("div", { class: "card" }, timeline.el), timeline, update: () => timeline.update([...this.nodes.values()], this.run, this.query.get("node")), tick: () => timeline.tick() };
      }
      case "nodes":
        return nodesTab(page);
      case "context":
        return contextTab(page);
      case "history":
        return historyTab(page);
      default:
        return jsonTab(page);
    }
  }

  #graphTab() {
    const card = h("div", { class: "card" });
    if (this.pictureError) fill(card, trouble(this.pictureError));
    else if (!this.picture) fill(card, h("div", { class: "graph" }, h("p", { class: "boot", role: "status" }, "Drawing …")));
    else {
      this.graph ??= new Graph(this.picture, { onSelect: (id, isByKey) => this.select(id, null, isByKey), hasStates: true, label: `Graph of ${this.run.blueprintId}` });
      fill(card, this.graph.el);
    }
    const update = () => {
      if (!this.graph) return;
      this.graph.update(statesOf(this.nodes.values(), isFinal(this.run.status)));
      const node = this.query.get("node");
      if (node !== this.graphNode) this.graph.select(node);
      this.graphNode = node;
    };
    this.graphNode = undefined;
    return { el: card, update };
  }

  #drawPanel() {
    const node = this.query.get("node");
    const isOpen = node !== null && [...this.nodes.values()].some((each) => each.nodeId === node);
    this.panelPlace.hidden = !isOpen;
    this.body.classList.toggle("has-panel", isOpen);
    if (!isOpen) {
      const had = this.panel?.nodeId;
      this.panel?.destroy();
      this.panel = null;
      if (had !== undefined) this.#goBack(had);
      return;
    }
    if (this.panel?.nodeId !== node) {
      this.panel?.destroy();
      this.panel = new NodePanel(this, node);
      fill(this.panelPlace, this.panel.el);
    }
    this.panel.update();
    if (this.isEntering) this.panel.enter();
    this.isEntering = false;
  }

  /** Whoever was in the panel, or nowhere, is at what it belongs to when it closes. */
  #goBack(node) {
    const now = document.activeElement;
    if (now && now !== document.body && now.id !== "main" && !this.panelPlace.contains(now)) return;
    const place = this.opener?.isConnected ? this.opener : this.content.querySelector(`[data-node="${CSS.escape(node)}"]`);
    if (place) place.focus({ preventScroll: true });
    else if (this.tab === "graph") this.graph?.focus(node);
  }

  /** Show a node, or none; `isEntered`: who asked goes there, too. */
  select(nodeId, iteration = null, isEntered = true) {
    if (nodeId === null) return closePart({ node: null, iteration: null });
    this.opener = document.activeElement;
    this.isEntering = isEntered;
    openPart({ node: nodeId, iteration: iteration?.length ? iteration.join(",") : null });
    // It was shown already.
    if (this.isEntering && this.panel) this.panel.enter();
    this.isEntering = false;
  }

  #tick() {
    if (!this.run) return;
    const end = this.run.endedAt ? Date.parse(this.run.endedAt) : Date.now();
    const length = this.head.querySelector("[data-length]");
    if (length) fill(length, span((end - Date.parse(this.run.createdAt)) / 1000));
    const age = this.head.querySelector("[data-age]");
    if (age) fill(age, ago(this.run.createdAt));
    if (!isFinal(this.run.status)) this.shownTab?.tick?.();
  }

  #keys() {
    const keys = {
      f: () => (this.shownTab?.timeline ?? this.graph)?.fit(),
      "+": () => (this.shownTab?.timeline ?? this.graph)?.zoom(1.25),
      "-": () => (this.shownTab?.timeline ?? this.graph)?.zoom(0.8),
      0: () => (this.shownTab?.timeline ? this.shownTab.timeline.fit() : this.graph?.viewport.zoomTo(1)),
      Escape: () => this.query.get("node") && this.select(null),
    };
    TABS.forEach(([name], place) => (keys[place + 1] = () => change({ tab: name === "graph" ? null : name })));
    onKeys(keys);
  }

  // -- parts ----------------------------------------------------------------------------------

  #head(run) {
    const facts = [
      ["Flow", h("a", { href: linkTo(["blueprints", run.blueprintId], { hash: run.blueprintHash }) }, run.blueprintId, run.version && ` v${shown(run.version)}`)],
      ["Started", h("span", { title: moment(run.createdAt), "data-age": true }, ago(run.createdAt))],
      [isFinal(run.status) ? "Took" : "Elapsed", h("span", { "data-length": true })],
      run.endedAt && ["Ended", moment(run.endedAt)],
      run.dueAt && !isFinal(run.status) && ["Next timer", h("span", { title: moment(run.dueAt) }, ago(run.dueAt))],
      run.parent && ["Parent", h("a", { class: "mono", href: linkTo(["runs", run.parent]) }, short(run.parent))],
      run.children.count > 0 && [run.children.count > 1 ? "Child runs" : "Child run", childList(run.children)],
      run.cost && ["Cost", costText(run.cost)],
      run.fairnessKey && ["Fairness key", run.fairnessKey],
      run.idempotencyKey && ["Idempotency key", h("span", { class: "mono" }, short(run.idempotencyKey))],
      Object.keys(run.tags).length > 0 && ["Tags", tagList(run.tags)],
    ].filter(Boolean);
    return [
      h("div", { class: "crumbs" }, h("a", { href: linkTo(["runs"]) }, "Runs"), icon("right"),
        h("a", { href: linkTo(["runs"], { flow: run.blueprintId }) }, short(run.blueprintId)), liveSign(run)),
      h("div", { class: "page-head" },
        h("div", { class: "run-title" }, h("h1", null, this.runId), badge(run.status),
          run.stopping && h("span", { class: "soft" }, `being stopped: ${run.stopping}`),
          run.paused && run.status === "running" && h("span", { class: "soft" }, "pausing: what runs comes to its end"),
          h("button", { class: "button quiet small square", type: "button", "aria-label": "Copy the run's id", title: "Copy id", on: { click: () => copy(this.runId) } }, icon("copy"))),
        this.actions),
      h("dl", { class: "run-facts" }, facts.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
    ];
  }

  #notices({ status, awaiting, errors, reason }) {
    const waits = isFinal(status) ? [] : awaiting.filter((each) => each.reason === "external_event");
    const list = waits.slice(0, MOST_WAITS).map((wait) => h("div", { class: "notice tone-wait" }, icon("hand"),
      h("div", { class: "grow" }, h("h2", { class: "wrap" }, wait.title ?? (wait.event ? `Waits for the event ${wait.event}` : "Waits for an answer")),
        h("p", { class: "soft" }, `at ${wait.path.join(" › ")}`, wait.dueAt && `, until ${moment(wait.dueAt)}`)),
      h("div", { class: "actions" }, h("button", { class: "button", type: "button", on: { click: () => this.select(wait.path[0]) } }, this.session.readOnly ? "Show" : "Answer"))));
    if (waits.length > MOST_WAITS) list.push(h("p", { class: "soft" }, `and ${plural(waits.length - MOST_WAITS, "more wait")}.`));
    for (const error of errors.slice(0, MOST_ERRORS)) {
      list.push(h("div", { class: "notice tone-bad" }, icon("cross"), h("div", { class: "grow" }, errorBlock(error, { isShort: true })),
        error.nodeId && h("div", { class: "actions" }, h("button", { class: "button", type: "button", on: { click: () => this.select(error.nodeId) } }, "Show node"))));
    }
    if (errors.length > MOST_ERRORS) list.push(h("p", { class: "soft" }, `and ${plural(errors.length - MOST_ERRORS, "more error")}.`));
    if (status === "cancelled" && reason) list.push(h("div", { class: "notice tone-past" }, icon("stop"), h("p", { class: "wrap" }, `Cancelled: ${reason}`)));
    return list;
  }

  #tabs({ tab, nodes }) {
    return TABS.map(([name, label]) => {
      const query = new URLSearchParams(this.query);
      if (name === "graph") query.delete("tab");
      else query.set("tab", name);
      return h("a", { href: linkTo(["runs", this.runId], query), "aria-current": name === tab ? "true" : null }, label, name === "nodes" && h("span", { class: "count" }, number(nodes)));
    });
  }
}

function liveSign(run) {
  if (isFinal(run.status)) return null;
  const text = liveText(run.live);
  return text && h("span", { class: `live is-${run.live}` }, text);
}

function childList({ count, first }) {
  return h("span", { class: "row wrapped" },
    first.map(([id, status]) => h("span", { class: "row child" }, h("a", { class: "mono", href: linkTo(["runs", id]), title: id }, short(id, 32)), status && badge(status, true))),
    count > first.length && h("span", { class: "faint" }, `and ${number(count - first.length)} more`));
}

function costText(cost) {
  const usd = cost.usd ?? cost.dollars;
  const requests = cost.requests === undefined ? "" : plural(Math.round(cost.requests), "request");
  return [usd === undefined ? "" : `$${Number(usd).toPrecision(2)}`, requests].filter(Boolean).join(", ");
}
