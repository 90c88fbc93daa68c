// A field for JSON that says at once what is wrong with it, and where.

import { h, fill } from "./dom.js";
import { Mistake, parse } from "./api.js";

let count = 0;

/**
 * @param {{label: string, value?: string, hint?: string, isObject?: boolean, isOptional?: boolean, rows?: number}} about
 * @returns {{el: Element, input: Element, value: () => any}} `value` throws what is wrong; gives
 *   `undefined` where the field is empty and may be.
 */
export function jsonField({ label, value = "", hint = "", isObject = false, isOptional = true, rows = 7 }) {
  count += 1;
  const id = `json-${count}`;
  const wrong = h("p", { class: "wrong", id: `${id}-wrong`, role: "status" });
  const input = h("textarea", { id, class: "input code", rows, spellcheck: "false", autocomplete: "off", "aria-describedby": `${id}-wrong`, value });
  const read = () => {
    const text = input.value.trim();
    if (!text) {
      if (isOptional) return undefined;
      throw new Mistake(`${label}: JSON is missing.`);
    }
    let data;
    try {
      data = parse(text);
    } catch (error) {
      throw new Mistake(`${label}: ${placed(error.message, input.value)}`);
    }
    if (isObject && (data === null || typeof data !== "object" || Array.isArray(data))) throw new Mistake(`${label}: an object is needed, such as {"order": 7}.`);
    return data;
  };
  const check = () => {
    try {
      read();
      fill(wrong);
      input.removeAttribute("aria-invalid");
    } catch (error) {
      fill(wrong, error.message);
      input.setAttribute("aria-invalid", "true");
    }
  };
  input.addEventListener("input", check);
  input.addEventListener("keydown", (event) => {
    // Esc lets go of the field first, so that Tab is no trap.
    if (event.key !== "Tab" || event.shiftKey || input.selectionStart === input.selectionEnd) return;
    event.preventDefault();
    input.setRangeText("  ", input.selectionStart, input.selectionStart, "end");
  });
  const el = h("div", { class: "field" }, h("label", { for: id }, label), input, hint && h("p", { class: "hint" }, hint), wrong);
  return { el, input, value: read };
}

function placed(message, text) {
  const found = /position (\d+)/.exec(message);
  if (!found || /line \d+/.test(message)) return message;
  const before = text.slice(0, Number(found[1])).split("\n");
  return `${message} (line ${before.length}, column ${before.at(-1).length + 1})`;
}

/** A field of one line. */
export function textField({ label, value = "", hint = "", placeholder = "", type = "text", list = null, required = false }) {
  count += 1;
  const id = `text-${count}`;
  const input = h("input", { id, class: "input", type, placeholder, value, list, required, autocomplete: "off", spellcheck: "false" });
  const el = h("div", { class: "field" }, h("label", { for: id }, label), input, hint && h("p", { class: "hint" }, hint));
  return { el, input, value: () => input.value };
}

/** Labels as they are written: `tenant=acme, tier=gold`. */
export function tagsOf(text) {
  const tags = {};
  for (const part of text.split(",").map((each) => each.trim()).filter(Boolean)) {
    const place = part.indexOf("=");
    if (place < 1) throw new Mistake(`Tags: '${part}' is not name=value.`);
    tags[part.slice(0, place).trim()] = part.slice(place + 1).trim();
  }
  return tags;
}
