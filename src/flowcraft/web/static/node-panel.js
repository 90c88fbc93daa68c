// What is known of one node: values, attempts, errors; and what may be done with it.

import { h, fill, memo, safeHref } from "./dom.js";
import { icon } from "./icons.js";
import { at, get } from "./api.js";
import { linkTo, change } from "./router.js";
import { badge, isFinal, isSettled, statusOf } from "./status.js";
import { ago, moment, number, short, span } from "./format.js";
import { treeOrCut, textOf } from "./json-tree.js";
import { errorBlock } from "./errors.js";
import { jsonField } from "./json-field.js";
import { schemaForm } from "./schema-form.js";
import { messageOf, openDialog, toast } from "./dialogs.js";
import { carryOut } from "./run-actions.js";
import { instanceKey } from "./run.js";

const NEGATIVE = /^(reject|refuse|deny|decline|no|cancel|abort|stop)/i;

export class NodePanel {
  constructor(page, nodeId) {
    Object.assign(this, { page, nodeId, instances: null, error: null, calls: 0, forms: new Map() });
    this.title = h("h2", { class: "mono", tabindex: "-1" }, nodeId);
    this.headPart = h("section");
    this.answers = h("div");
    this.valuesPart = h("div", null, h("p", { class: "boot", role: "status" }, "Loading …"));
    this.el = h("aside", { class: "card panel", "aria-label": `Node ${nodeId}` },
      h("div", { class: "card-head" }, this.title, h("div", { class: "actions" },
        h("button", { class: "button quiet small square", type: "button", "aria-label": "Close", title: "Close (Esc)", on: { click: () => page.select(null) } }, icon("close")))),
      this.headPart, this.answers, this.valuesPart);
    this.showHead = memo(this.headPart, (data) => this.#head(data));
    this.showValues = memo(this.valuesPart, (data) => this.#values(data));
  }

  destroy() {
    this.calls += 1;
  }

  /** Put the focus there: at what is to be filled in, if there is that. */
  enter() {
    (this.answers.querySelector(".input, input, button") ?? this.title).focus();
  }

  get #wanted() {
    return this.page.query.get("iteration");
  }

  /** The instance that is asked for, else the last one that was not passed by. */
  #chosen(list) {
    const wanted = this.#wanted;
    const found = wanted !== null && list.find((each) => each.iteration.join(",") === wanted);
    return found || list.findLast((each) => each.status !== "skipped") || list.at(-1);
  }

  update() {
    const live = [...this.page.nodes.values()].filter((each) => each.nodeId === this.nodeId);
    const node = this.#chosen(live);
    this.showHead({ node: { ...node, leaseUntil: null }, others: live.map((each) => each.iteration.join(",")), status: this.page.run.status });
    this.#answers();
    const key = JSON.stringify([instanceKey(node), node.status, node.attempt, node.endedAt]);
    if (key !== this.key) {
      this.key = key;
      this.#load();
    }
  }

  async #load() {
    this.calls += 1;
    const call = this.calls;
    try {
      const { instances } = await get(at("runs", this.page.runId, "nodes", this.nodeId));
      if (call !== this.calls) return;
      this.showValues({ instance: this.#chosen(instances) });
    } catch (error) {
      if (call === this.calls) this.showValues({ problem: messageOf(error) });
    }
  }

  // -- the head -------------------------------------------------------------------------------

  #head({ node, others, status }) {
    const isAtWork = statusOf(node, isFinal(status)) !== node.status;
    const took = node.startedAt && node.endedAt && !isAtWork ? span((Date.parse(node.endedAt) - Date.parse(node.startedAt)) / 1000) : null;
    const facts = [
      ["Uses", h("span", { class: "mono" }, node.uses)],
      node.startedAt && ["Started", h("span", { title: moment(node.startedAt) }, ago(node.startedAt))],
      took && ["Took", took],
      node.dueAt && !isSettled(node.status) && ["Due", h("span", { title: moment(node.dueAt) }, ago(node.dueAt))],
      node.action !== null && ["Action", h("span", { class: "mono" }, typeof node.action === "string" ? node.action : textOf(node.action))],
      node.childRunId && ["Child run", h("span", { class: "row" }, h("a", { class: "mono clip", href: linkTo(["runs", node.childRunId]), title: node.childRunId }, short(node.childRunId)), node.childStatus && badge(node.childStatus, true))],
      node.lost > 0 && ["Lost attempts", `${node.lost}: their workers died`],
      node.batch && ["Batch", `${number(node.batch.done)} of ${number(node.batch.items)} done, ${number(node.batch.running)} running, ${number(node.batch.failed)} failed`],
    ].filter(Boolean);
    return [
      h("div", { class: "row wrapped" }, badge(statusOf(node, isFinal(status))), others.length > 1 && this.#iterations(node, others), h("div", { class: "grow" }), this.#buttons(node, status)),
      h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
    ];
  }

  #iterations(node, others) {
    const select = h("select", { class: "input fit-input", "aria-label": "Iteration", value: node.iteration.join(",") }, others.map((each) => h("option", { value: each }, `iteration ${each.replaceAll(",", ".")}`)));
    select.addEventListener("change", () => change({ iteration: select.value }));
    return select;
  }

  #buttons(node, status) {
    if (this.page.session.readOnly) return null;
    const canSkip = ["failed", "retrying", "waiting"].includes(node.status) && !isFinal(status);
    const hasBegun = node.attempt > 0 || isSettled(node.status);
    return [
      canSkip && h("button", { class: "button small", type: "button", on: { click: () => this.#skip(node) } }, icon("skip"), "Skip"),
      hasBegun && h("button", { class: "button small", type: "button", on: { click: () => this.#rerun(node) } }, icon("again"), "Rerun from here"),
    ];
  }

  async #skip(node) {
    const output = jsonField({ label: "Output", hint: "What the node counts as having given; null if this is empty." });
    const run = () => {
      const data = output.value();
      const body = { node: this.nodeId, output: data === undefined ? null : data };
      if (node.iteration.length) body.iteration = node.iteration;
      return carryOut(this.page, "skip", body);
    };
    const done = await openDialog({ title: `Skip ${this.nodeId}`, body: [h("p", { class: "soft" }, "It counts as done, without being carried out; the run goes on behind it."), output.el], submit: "Skip node", run });
    if (done) toast("Skipped.");
  }

  async #rerun() {
    const instance = this.instance;
    const isCut = Boolean(instance?.cut?.input);
    const before = isCut || !instance ? "" : textOf(instance.input);
    const input = jsonField({ label: "Input", value: before, hint: isCut ? "The input is too large to be shown here; what is written here goes in its place." : "Change it, and the node is given this instead.", rows: 10 });
    const run = () => {
      const text = input.input.value;
      const body = { node: this.nodeId };
      if (text.trim() && text !== before) body.inputs = { [this.nodeId]: input.value() };
      return carryOut(this.page, "rerun", body);
    };
    const about = h("p", { class: "soft" }, "A new run starts from this node on; what comes before is taken over with its outputs.");
    const done = await openDialog({ title: `Rerun from ${this.nodeId}`, body: [about, input.el], submit: "Start new run", run });
    if (done) toast("A new run goes on from here.");
  }

  // -- answers --------------------------------------------------------------------------------

  /** A form for each wait at this node, or in the child run that it started; it stays as it is while it is filled in. */
  #answers() {
    const isOver = isFinal(this.page.run.status);
    const waits = isOver ? [] : this.page.run.awaiting.filter((each) => each.path[0] === this.nodeId && each.reason === "external_event");
    const keys = new Set();
    for (const wait of waits) {
      const key = JSON.stringify([wait.path, wait.title, wait.actions, wait.schema, wait.event]);
      keys.add(key);
      if (this.forms.has(key)) continue;
      const form = this.#form(wait);
      this.forms.set(key, form);
      this.answers.append(form);
    }
    for (const [key, form] of this.forms) {
      if (keys.has(key)) continue;
      form.remove();
      this.forms.delete(key);
    }
  }

  #form(wait) {
    const title = wait.title ?? (wait.event ? `Event ${wait.event}` : "Answer");
    const head = [h("h3", null, wait.path.length > 1 ? wait.path.slice(1).join(" › ") : "Waits for an answer"), h("p", { class: "wrap" }, h("b", null, title)),
      wait.event && h("p", { class: "soft wrap" }, `Event ${wait.event}`, wait.correlationKey !== null && `, key ${wait.correlationKey}`),
      wait.dueAt && h("p", { class: "soft" }, `until ${moment(wait.dueAt)}`)];
    if (this.page.session.readOnly) return h("section", { class: "answer" }, head);
    const fields = schemaForm(wait.schema);
    const wrong = h("p", { class: "wrong", role: "alert" });
    const answer = async (action, button) => {
      fill(wrong);
      button.classList.add("is-busy");
      try {
        const body = { node: wait.path };
        const output = fields.value();
        if (output !== undefined) body.output = output;
        if (action !== null) body.action = action;
        await carryOut(this.page, "resume", body);
        toast(action === null ? "Answered." : `Answered: ${action}.`);
      } catch (error) {
        fill(wrong, messageOf(error));
      } finally {
        button.classList.remove("is-busy");
      }
    };
    const actions = wait.actions.length ? wait.actions : [null];
    const main = actions.findIndex((each) => each === null || !NEGATIVE.test(each));
    const buttons = actions.map((action, place) => {
      const kind = place === main ? " main" : NEGATIVE.test(action ?? "") ? " danger" : "";
      const button = h("button", { class: `button${kind}`, type: "button", "data-action": action ?? "" }, action ?? "Send answer");
      button.addEventListener("click", () => answer(action, button));
      return button;
    });
    return h("section", { class: "answer", "data-wait": wait.path.join("/") }, head, fields.el, wrong, h("div", { class: "row wrapped" }, buttons));
  }

  // -- values -----------------------------------------------------------------------------------

  #values({ instance, problem }) {
    if (problem) return h("section", null, h("p", { class: "wrong", role: "alert" }, problem));
    this.instance = instance;
    const part = (name, label) => h("section", { "data-part": name }, h("h3", null, label), treeOrCut(instance[name], instance.cut?.[name], { label }));
    const hasOutput = isSettled(instance.status) && !["failed", "skipped", "blocked", "cancelled"].includes(instance.status);
    return [
      instance.error && h("section", null, h("h3", null, instance.status === "failed" ? "Error" : "Last error"), errorBlock(instance.error)),
      (instance.attempt > 0 || instance.input !== null || instance.cut?.input) && part("input", "Input"),
      hasOutput && part("output", "Output"),
      instance.attempts.length > 0 && h("section", null, h("h3", null, "Attempts"), h("ol", { class: "attempts" }, instance.attempts.map(attemptLine).reverse())),
    ];
  }
}

function attemptLine(attempt) {
  const end = attempt.endedAt ? Date.parse(attempt.endedAt) : Date.now();
  const took = attempt.startedAt ? span((end - Date.parse(attempt.startedAt)) / 1000) : "";
  const href = attempt.logHref && safeHref(attempt.logHref);
  const state = attempt.error ? ["bad", "cross"] : attempt.endedAt ? ["good", "check"] : ["busy", "ring"];
  return h("li", null,
    h("span", { class: `row tone-${state[0]} badge plain` }, icon(state[1]), `#${attempt.number}`),
    h("span", { class: "soft" }, attempt.startedAt ? moment(attempt.startedAt) : "", href && [" · ", h("a", { class: "plainly", href, target: "_blank", rel: "noopener noreferrer" }, "Log")]),
    h("span", { class: "soft" }, took),
    attempt.error && h("details", { class: "error", style: { "grid-column": "2 / -1" } }, h("summary", null, h("span", { class: "type" }, attempt.error.type), ` ${attempt.error.message.slice(0, 120)}`), errorBlock(attempt.error)));
}
