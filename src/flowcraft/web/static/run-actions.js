// What may be done with a run. The server decides whether it can be; here is only what makes sense.

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { at, send, withQuery } from "./api.js";
import { go, linkTo } from "./router.js";
import { isFinal } from "./status.js";
import { attempt, confirm, menu, openDialog, toast } from "./dialogs.js";
import { jsonField, textField } from "./json-field.js";
import { startRun } from "./start.js";

export function actionButtons(page) {
  if (page.session.readOnly) return null;
  const { run } = page;
  const button = (label, sign, act, more = "") => h("button", { class: `button ${more}`, type: "button", on: { click: act } }, icon(sign), label);
  const buttons = [];
  if (run.status === "failed") buttons.push(button("Retry failed", "again", () => retry(page), "main"));
  if (run.paused && !isFinal(run.status)) buttons.push(button("Continue", "play", () => verb(page, "continue", {}, "Goes on."), "main"));
  else if (!isFinal(run.status) && !run.stopping) buttons.push(button("Pause", "pause", () => verb(page, "pause", {}, "Paused: nothing new is started.")));
  if (!isFinal(run.status) && !run.stopping) buttons.push(button("Cancel", "stop", () => cancel(page), "danger"));
  buttons.push(menu("More actions", () => [
    { label: "Change context …", sign: "pen", run: () => patch(page), disabled: run.status !== "paused" },
    { label: "Start another of this flow …", sign: "plus", run: () => startRun({ flow: run.blueprintId }) },
    { label: "Delete run …", sign: "bin", danger: true, run: () => remove(page) },
  ]));
  return buttons;
}

/** Carry out a verb; where it led to another run, go there. */
export async function carryOut(page, name, body) {
  const done = await send("POST", at("runs", page.runId, name), body);
  const other = done.runs.find((each) => each !== page.runId);
  if (other) go(linkTo(["runs", other]));
  return { ...done, other };
}

async function verb(page, name, body, told) {
  await attempt(() => carryOut(page, name, body), told);
}

async function retry(page) {
  const done = await attempt(() => carryOut(page, "retry", {}));
  if (done) toast(done.other ? "A new run tries again what failed; all else is taken over." : "What failed is tried again.");
}

async function cancel(page) {
  const reason = textField({ label: "Reason", placeholder: "optional; is kept with the run" });
  await confirm({
    title: "Cancel this run?",
    text: "It starts nothing more, and what it completed is compensated where the flow says how. This cannot be taken back.",
    more: [reason.el],
    submit: "Cancel run",
    danger: true,
    run: async () => {
      await carryOut(page, "cancel", reason.value() ? { reason: reason.value() } : {});
      toast("Cancelled.");
    },
  });
}

async function patch(page) {
  const values = jsonField({ label: "Values", value: "{\n  \n}", isObject: true, hint: "Context keys with their new values." });
  const names = textField({ label: "Keys to delete", placeholder: "one, another" });
  const run = () => {
    const gone = names.value().split(",").map((each) => each.trim()).filter(Boolean);
    return send("POST", at("runs", page.runId, "patch"), { values: values.value() ?? {}, delete: gone });
  };
  if (await openDialog({ title: "Change the context", body: [values.el, names.el], submit: "Change", run })) toast("The context is changed.");
}

async function remove(page) {
  const isOver = isFinal(page.run.status);
  const force = h("input", { type: "checkbox" });
  const done = await confirm({
    title: "Delete this run?",
    text: "Its record, values and files are deleted for good; child runs with it. What it did elsewhere stays.",
    more: isOver ? [] : [h("label", { class: "check" }, force, "It is not over: delete it all the same")],
    submit: "Delete run",
    danger: true,
    run: () => send("DELETE", withQuery(at("runs", page.runId), { force: force.checked ? "true" : null })),
  });
  if (!done) return;
  toast("Deleted.");
  go(linkTo(["runs"]));
}
