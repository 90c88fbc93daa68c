// Values as trees that fold. Only what is open is in the page, a hundred entries at a time, so that
// values of megabytes can be looked into.

import { h, fill } from "./dom.js";
import { bytes, number, plural } from "./format.js";
import { copy, messageOf } from "./dialogs.js";
import { parse } from "./api.js";

const ENTRIES = 100;
const SIGNS = 400;
const MORE_SIGNS = 20000;

/** A value that is here. */
export function tree(value, { open = 2, label = "Value" } = {}) {
  const root = h("div", { class: "tree", role: "group", "aria-label": label }, entry(null, value, open));
  const tools = h("div", { class: "tree-tools" }, h("button", { class: "link-button", type: "button", on: { click: () => copy(textOf(value)) } }, "Copy"));
  return h("div", { class: "stack tight" }, root, tools);
}

/** Pretty text of a value. */
export function textOf(value) {
  return JSON.stringify(value, null, 2) ?? "null";
}

/**
 * A value that may be too large to stand in the answer: its beginning, and all of it on request.
 * @param {any} value
 * @param {{size: number, preview: string, href: string}|undefined} cut
 */
export function treeOrCut(value, cut, options = {}) {
  if (!cut) return tree(value, options);
  const frame = h("div", { class: "stack tight" });
  const load = async (event) => {
    event.target.disabled = true;
    fill(event.target, "Loading …");
    try {
      const response = await fetch(cut.href, { cache: "no-store" });
      if (!response.ok) throw new Error(`The server answered ${response.status}.`);
      fill(frame, tree(parse(await response.text()), { ...options, open: 1 }));
    } catch (error) {
      fill(frame, h("p", { class: "wrong" }, messageOf(error)));
    }
  };
  fill(frame,
    h("div", { class: "tree", role: "group", "aria-label": `${options.label ?? "Value"}, its beginning` }, h("div", { class: "leaf gist" }, `${cut.preview} …`)),
    h("div", { class: "tree-tools" },
      h("span", { class: "faint" }, `${bytes(cut.size)}; this is the beginning.`),
      h("button", { class: "link-button", type: "button", on: { click: load } }, "Load whole"),
      h("a", { href: cut.href, download: "value.json" }, "Download")));
  return frame;
}

function entry(name, value, open) {
  const label = name === null ? null : h("span", { class: "name" }, `${name}: `);
  if (value !== null && typeof value === "object" && !isRaw(value)) return branch(label, value, open);
  return h("div", { class: "leaf" }, label, leaf(value));
}

function isRaw(value) {
  return JSON.isRawJSON?.(value) ?? false;
}

function leaf(value) {
  if (typeof value === "string") return textLeaf(value);
  if (typeof value === "number") return h("span", { class: "number" }, value);
  if (value !== null && typeof value === "object") return h("span", { class: "number" }, value.rawJSON);
  return h("span", { class: "word" }, String(value));
}

function textLeaf(text) {
  const body = h("span", { class: "text" });
  const holder = h("span", null, body);
  let length = SIGNS;
  const show = () => {
    const isWhole = text.length <= length;
    fill(body, isWhole ? JSON.stringify(text) : `${JSON.stringify(text.slice(0, length)).slice(0, -1)}…`);
    holder.querySelector("button")?.remove();
    if (!isWhole) {
      const rest = text.length - length;
      holder.append(h("button", { class: "link-button", type: "button", on: { click: () => { length += MORE_SIGNS; show(); } } }, ` show more (${number(rest)} left)`));
    }
  };
  show();
  return holder;
}

function branch(label, value, open) {
  const isList = Array.isArray(value);
  const keys = isList ? null : Object.keys(value);
  const size = isList ? value.length : keys.length;
  if (!size) return h("div", { class: "leaf" }, label, h("span", { class: "gist" }, isList ? "[]" : "{}"));
  const gist = h("span", { class: "gist" }, isList ? `[${number(size)}] ` : "{…} ", isList ? "" : keys.slice(0, 4).map((key) => key.slice(0, 20)).join(", ") + (size > 4 ? ", …" : ""));
  const list = h("ul", { hidden: true });
  const button = h("button", { class: "fold", type: "button", "aria-expanded": "false" }, label, gist);
  let drawn = 0;
  const more = () => {
    list.querySelector(":scope > .more")?.remove();
    const until = Math.min(size, drawn + ENTRIES);
    for (; drawn < until; drawn += 1) {
      const key = isList ? drawn : keys[drawn];
      list.append(h("li", null, entry(key, value[key], open - 1)));
    }
    if (drawn < size) {
      list.append(h("li", { class: "more" }, h("button", { class: "link-button", type: "button", on: { click: more } }, `Show ${plural(Math.min(ENTRIES, size - drawn), "more", "more")} of ${number(size)}`)));
    }
  };
  const set = (isOpen) => {
    if (isOpen && !drawn) more();
    list.hidden = !isOpen;
    button.setAttribute("aria-expanded", String(isOpen));
  };
  button.addEventListener("click", () => set(list.hidden));
  if (open > 0) set(true);
  return h("div", null, button, list);
}
