// An error as it is kept: what happened, what was behind it, where.

import { h } from "./dom.js";
import { plural } from "./format.js";

/** @param {{isShort?: boolean}} options Short: without the traceback. */
export function errorBlock(error, { isShort = false } = {}) {
  const where = [error.nodeId && `node ${error.nodeId}`, error.attempts > 1 && `after ${plural(error.attempts, "attempt")}`].filter(Boolean).join(", ");
  return h("div", { class: `error${isShort ? " is-short" : ""}` },
    h("div", null, h("span", { class: "type" }, error.type), where && h("span", { class: "faint" }, ` · ${where}`), error.isFatal && h("span", { class: "faint" }, " · fatal")),
    h("div", { class: "message" }, error.message),
    error.causes?.map((cause) => h("div", { class: "cause" }, h("span", { class: "faint" }, "because of "), h("b", null, cause.type), `: ${cause.message}`)),
    !isShort && error.traceback && h("details", null, h("summary", null, "Traceback"), h("pre", null, error.traceback)));
}
