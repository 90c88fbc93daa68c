// How runs and nodes fare: for each status a word, a sign and a tone, so that nobody needs the colour.

import { h } from "./dom.js";
import { icon } from "./icons.js";

export const RUN_STATUSES = ["running", "awaiting", "paused", "failed", "completed", "cancelled"];

const LOOKS = {
  running: ["Running", "ring", "busy"],
  awaiting: ["Awaiting", "hand", "wait"],
  paused: ["Paused", "pause", "still"],
  completed: ["Completed", "check", "good"],
  failed: ["Failed", "cross", "bad"],
  cancelled: ["Cancelled", "stop", "past"],
  ready: ["Ready", "dots", "still"],
  retrying: ["Retrying", "again", "again"],
  waiting: ["Waiting", "hand", "wait"],
  sleeping: ["Sleeping", "moon", "wait"],
  child: ["Child run", "nested", "busy"],
  working: ["Working", "ring", "busy"],
  succeeded: ["Succeeded", "check", "good"],
  rescuing: ["Falling back", "again", "again"],
  rescued: ["Fell back", "check", "again"],
  skipped: ["Skipped", "skip", "past"],
  blocked: ["Blocked", "stop", "past"],
  pending: ["Pending", "dots", "past"],
};

/** Word, sign and tone of a status. */
export function lookOf(status) {
  const [word, sign, tone] = LOOKS[status] ?? [String(status), "dots", "past"];
  return { word, sign, tone };
}

/** A status as it stands in lists and heads. */
export function badge(status, plain = false) {
  const { word, sign, tone } = lookOf(status);
  return h("span", { class: `badge tone-${tone}${plain ? " plain" : ""}`, "data-status": status }, icon(sign), word);
}

const SETTLED = new Set(["succeeded", "failed", "rescued", "skipped", "blocked", "cancelled"]);

/** Whether nothing more becomes of a node. */
export function isSettled(status) {
  return SETTLED.has(status);
}

/** The status that is shown of a node: a batch that was handed out is at work until its items are done. */
export function statusOf(node, isOver) {
  const isAtWork = node.batch && !isOver && node.status === "succeeded" && node.batch.done < node.batch.items;
  return isAtWork ? "working" : node.status;
}

export function isFinal(status) {
  return status === "completed" || status === "failed" || status === "cancelled";
}
