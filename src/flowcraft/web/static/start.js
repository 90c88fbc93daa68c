// Starting runs, and sending events: what the list of runs offers.

import { h, fill } from "./dom.js";
import { Mistake, at, get, send } from "./api.js";
import { go, linkTo } from "./router.js";
import { openDialog, toast } from "./dialogs.js";
import { jsonField, tagsOf, textField } from "./json-field.js";
import { plural } from "./format.js";

let known = null;

/** The blueprints that are known, for fields that ask for one. */
export function flowsList() {
  const list = h("datalist", { id: "known-flows" });
  known ??= get(at("blueprints")).catch(() => {
    known = null;
    return { blueprints: [] };
  });
  known.then(({ blueprints }) => fill(list, blueprints.map((each) => h("option", { value: each.blueprintId }))));
  return list;
}

/** A name that nobody has used. */
function freshKey() {
  const parts = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(parts, (each) => each.toString(16).padStart(2, "0")).join("");
}

/** Ask for what is to be started, start it, and go there. */
export async function startRun({ flow = "", context = "{}" } = {}) {
  const fields = {
    flow: textField({ label: "Flow", value: flow, placeholder: "order", list: "known-flows-2", required: true }),
    context: jsonField({ label: "Context", value: context, isObject: true, hint: "A JSON object: what the nodes of the run may read." }),
    runId: textField({ label: "Run id", placeholder: "made up for you" }),
    key: textField({ label: "Idempotency key", value: freshKey(), hint: "Starting twice with the same key starts one run." }),
    tags: textField({ label: "Tags", placeholder: "tenant=acme, tier=gold" }),
    startAt: textField({ label: "Start at", type: "datetime-local", hint: "At once, if this is empty." }),
  };
  const list = flowsList();
  list.id = "known-flows-2";
  if (flow) fields.context.input.setAttribute("autofocus", "");
  const run = async () => {
    if (!fields.flow.value().trim()) throw new Mistake("Flow: which one is to be started?");
    const body = { flow: fields.flow.value().trim(), context: fields.context.value() ?? {} };
    if (fields.runId.value().trim()) body.runId = fields.runId.value().trim();
    const tags = tagsOf(fields.tags.value());
    if (Object.keys(tags).length) body.tags = tags;
    if (fields.startAt.value()) body.startAt = new Date(fields.startAt.value()).toISOString();
    const key = fields.key.value().trim();
    return send("POST", at("runs"), body, { headers: key ? { "Idempotency-Key": key } : {} });
  };
  const body = [fields.flow.el, list, fields.context.el,
    h("details", { class: "more" }, h("summary", null, "More"), h("div", { class: "stack two" }, fields.runId.el, fields.key.el, fields.tags.el, fields.startAt.el))];
  const started = await openDialog({ title: "Start a run", body, submit: "Start run", run });
  if (started) {
    toast("Started.");
    go(linkTo(["runs", started.runId]));
  }
}

/** Send an event to all runs that wait for it. */
export async function sendEvent() {
  const name = textField({ label: "Event", placeholder: "payment.received", required: true });
  const key = textField({ label: "Correlation key", placeholder: "order-17", hint: "Which runs are meant; empty for waits without one." });
  const action = textField({ label: "Action", placeholder: "optional" });
  const output = jsonField({ label: "Output", hint: "What the waiting nodes give; null if this is empty.", rows: 5 });
  const run = () => {
    if (!name.value().trim()) throw new Mistake("Event: its name is missing.");
    const body = {};
    if (key.value()) body.correlationKey = key.value();
    if (action.value().trim()) body.action = action.value().trim();
    const data = output.value();
    if (data !== undefined) body.output = data;
    return send("POST", at("events", name.value().trim()), body);
  };
  const sent = await openDialog({ title: "Send an event", body: [name.el, key.el, action.el, output.el], submit: "Send event", run });
  if (sent) toast(`Sent to ${plural(sent.runs.length, "run")}.`);
}

