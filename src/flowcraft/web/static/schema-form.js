// A form made from a JSON Schema: the common part of it; the rest is written as JSON.

import { h, fill } from "./dom.js";
import { Mistake } from "./api.js";
import { icon } from "./icons.js";
import { jsonField } from "./json-field.js";
import { textOf } from "./json-tree.js";

const DEEPEST = 4;
const MOST_FIELDS = 200;
const INPUTS = { date: "date", email: "email", uri: "url", time: "time", "date-time": "datetime-local" };
const MOST_CHECKS = 20;

let count = 0;

/**
 * @param {object|null} schema
 * @returns {{el: Element, value: () => any}} `value` throws what is missing or wrong.
 */
export function schemaForm(schema, { label = "Answer" } = {}) {
  const state = { fields: 0 };
  if (!isPlain(schema) || (!schema.type && !schema.properties && !schema.enum)) return jsonField({ label, hint: schema ? "" : "Any JSON, or nothing." });
  const form = part(schema, schema.title ?? label, [], true, 0, state);
  const text = jsonField({ label, isOptional: true, value: "" });
  const frame = h("div", { class: "stack" }, form.el);
  const toggle = h("button", { class: "link-button", type: "button" }, "Write it as JSON");
  let asText = false;
  toggle.addEventListener("click", () => {
    asText = !asText;
    if (asText) {
      try {
        text.input.value = textOf(form.value());
      } catch {
        // What is not complete is written by hand.
      }
    }
    fill(frame, asText ? text.el : form.el);
    fill(toggle, asText ? "Back to the form" : "Write it as JSON");
  });
  return { el: h("div", { class: "stack" }, frame, h("div", null, toggle)), value: () => (asText ? text.value() : form.value()) };
}

function isPlain(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function typeOf(schema) {
  const types = [].concat(schema.type ?? []).filter((each) => each !== "null");
  return types.length === 1 ? types[0] : types.length ? "any" : schema.properties ? "object" : "any";
}

function part(schema, label, path, isRequired, depth, state) {
  state.fields += 1;
  if (!isPlain(schema)) schema = {};
  if (state.fields > MOST_FIELDS || schema.$ref || schema.oneOf || schema.anyOf || schema.allOf) return written(schema, label, isRequired);
  if (Array.isArray(schema.enum)) return choice(schema, label, isRequired);
  switch (typeOf(schema)) {
    case "object":
      return depth < DEEPEST && isPlain(schema.properties) ? group(schema, label, path, isRequired, depth, state) : written(schema, label, isRequired);
    case "array":
      return depth < DEEPEST ? several(schema, label, path, isRequired, depth, state) : written(schema, label, isRequired);
    case "boolean":
      return flag(schema, label);
    case "integer":
    case "number":
      return numeric(schema, label, isRequired);
    case "string":
      return textual(schema, label, isRequired);
    default:
      return written(schema, label, isRequired);
  }
}

function written(schema, label, isRequired) {
  const value = schema.default === undefined ? "" : textOf(schema.default);
  return jsonField({ label: schema.title ?? label, value, hint: schema.description ?? "JSON", isOptional: !isRequired, rows: 4 });
}

function group(schema, label, path, isRequired, depth, state) {
  schema = withDefault(schema, schema.default);
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  const parts = Object.entries(schema.properties).map(([name, inner]) => [name, part(inner, name, [...path, name], required.has(name), depth + 1, state), required.has(name)]);
  const fields = parts.map(([, each]) => each.el);
  const about = schema.description ? h("p", { class: "hint faint" }, schema.description) : null;
  const el = depth === 0 ? h("div", { class: "stack" }, about, fields) : h("fieldset", { class: "group" }, h("legend", null, schema.title ?? label), about, fields);
  const filledIn = () => JSON.stringify([...el.querySelectorAll("input, select, textarea")].map((each) => (each.type === "checkbox" ? each.checked : each.value)));
  const before = depth > 0 && !isRequired ? filledIn() : null;
  const has = (name) => schema.properties[name]?.default !== undefined;
  const isWhole = parts.some(([name]) => has(name)) && [...required].every(has);
  const value = () => {
    // What may be left out, and was not touched, is left out, whatever it would have to have.
    if (before !== null && !isWhole && filledIn() === before) return undefined;
    const found = {};
    for (const [name, each] of parts) {
      const inner = each.value();
      if (inner !== undefined) found[name] = inner;
    }
    return depth > 0 && !isRequired && !Object.keys(found).length ? undefined : found;
  };
  return { el, value };
}

/** A list: ticks where its items are some of a few, else a field for each, with more on request. */
function several(schema, label, path, isRequired, depth, state) {
  const items = isPlain(schema.items) ? schema.items : {};
  if (schema.prefixItems || !(items.enum || items.type || items.properties)) return written(schema, label, isRequired);
  const name = schema.title ?? label;
  const isTicked = Array.isArray(items.enum) && schema.uniqueItems && items.enum.length <= MOST_CHECKS;
  const list = isTicked ? ticks(items.enum, schema.default) : listed(schema, items, name, path, depth, state);
  const optional = !isRequired && h("span", { class: "faint" }, " (optional)");
  const about = schema.description && h("p", { class: "hint faint" }, schema.description);
  const value = () => {
    const found = list.value();
    if (!found.length && !isRequired) return undefined;
    wrongIf(found.length < schema.minItems, schema, label, `at least ${schema.minItems}.`, list.first());
    wrongIf(found.length > schema.maxItems, schema, label, `at most ${schema.maxItems}.`, list.first());
    return found;
  };
  return { el: h("fieldset", { class: "group" }, h("legend", null, name, optional), about, list.el), value };
}

function ticks(choices, chosen) {
  const inputs = choices.map((each) => h("input", { type: "checkbox", checked: Array.isArray(chosen) && chosen.includes(each) }));
  const el = h("div", { class: "checks" }, choices.map((each, place) => h("label", { class: "check" }, inputs[place], typeof each === "string" ? each : textOf(each))));
  return { el, value: () => choices.filter((_, place) => inputs[place].checked), first: () => inputs[0] };
}

function listed(schema, items, name, path, depth, state) {
  const rows = h("div", { class: "stack" });
  let parts = [];
  const more = h("button", { class: "button small", type: "button", on: { click: () => add(items.default).querySelector("input, select, textarea")?.focus() } }, icon("plus"), "Add");
  more.setAttribute("aria-label", `Add to ${name}`);
  const add = (value) => {
    const inner = part(withDefault({ ...items, title: items.title ?? `${name} ${parts.length + 1}` }, value), name, path, true, depth + 1, state);
    const drop = h("button", { class: "button quiet small square", type: "button", "aria-label": `Remove ${items.title ?? name} ${parts.length + 1}`, on: { click: () => {
      parts = parts.filter((each) => each !== inner);
      row.remove();
      more.focus();
    } } }, icon("close"));
    const row = h("div", { class: "listed" }, inner.el, drop);
    parts.push(inner);
    rows.append(row);
    return row;
  };
  const begin = Array.isArray(schema.default) ? schema.default : Array.from({ length: Math.min(schema.minItems ?? 0, MOST_CHECKS) });
  begin.forEach(add);
  return { el: h("div", { class: "stack" }, rows, h("div", null, more)), value: () => parts.map((each) => each.value()), first: () => more };
}

/** A schema of which a value is the default; of an object, each property has its own. */
function withDefault(schema, value) {
  if (value === undefined) return schema;
  if (!isPlain(schema.properties) || !isPlain(value)) return { ...schema, default: value };
  const properties = Object.entries(schema.properties).map(([name, inner]) => [name, isPlain(inner) ? withDefault(inner, value[name]) : inner]);
  return { ...schema, properties: Object.fromEntries(properties) };
}

function labelled(schema, label, isRequired, input) {
  count += 1;
  const id = `form-${count}`;
  input.id = id;
  if (schema.description) input.setAttribute("aria-describedby", `${id}-about`);
  if (isRequired) input.setAttribute("aria-required", "true");
  return h("div", { class: "field" },
    h("label", { for: id }, schema.title ?? label, isRequired ? h("span", { class: "wrong", "aria-hidden": "true" }, " *") : h("span", { class: "faint" }, " (optional)")),
    input,
    schema.description && h("p", { class: "hint", id: `${id}-about` }, schema.description));
}

function wrongIf(condition, schema, label, what, input) {
  input.toggleAttribute("aria-invalid", Boolean(condition));
  if (!condition) return;
  input.setAttribute("aria-invalid", "true");
  input.focus();
  throw new Mistake(`${schema.title ?? label}: ${what}`);
}

function choice(schema, label, isRequired) {
  const options = schema.enum.map((each, place) => h("option", { value: place }, typeof each === "string" ? each : textOf(each)));
  const chosen = schema.enum.findIndex((each) => each === schema.default);
  const input = h("select", { class: "input" }, h("option", { value: "" }, "Choose …"), options);
  input.value = chosen < 0 ? "" : String(chosen);
  const value = () => {
    wrongIf(isRequired && input.value === "", schema, label, "choose one.", input);
    return input.value === "" ? undefined : schema.enum[Number(input.value)];
  };
  return { el: labelled(schema, label, isRequired, input), value };
}

function flag(schema, label) {
  const input = h("input", { type: "checkbox", checked: schema.default === true });
  const el = h("div", { class: "field" }, h("label", { class: "check" }, input, schema.title ?? label), schema.description && h("p", { class: "hint" }, schema.description));
  return { el, value: () => input.checked };
}

function numeric(schema, label, isRequired) {
  const isWhole = typeOf(schema) === "integer";
  const input = h("input", { class: "input", type: "number", step: isWhole ? 1 : "any", min: schema.minimum, max: schema.maximum, value: schema.default ?? "" });
  const value = () => {
    const text = input.value.trim();
    wrongIf(input.validity.badInput || (isRequired && !text), schema, label, isWhole ? "a whole number is needed." : "a number is needed.", input);
    if (!text) return undefined;
    const found = Number(text);
    wrongIf(isWhole && !Number.isInteger(found), schema, label, "a whole number is needed.", input);
    wrongIf(found < schema.minimum, schema, label, `at least ${schema.minimum}.`, input);
    wrongIf(found > schema.maximum, schema, label, `at most ${schema.maximum}.`, input);
    return found;
  };
  return { el: labelled(schema, label, isRequired, input), value };
}

function textual(schema, label, isRequired) {
  const isLong = schema.maxLength > 200 || schema.format === "textarea";
  const kind = INPUTS[schema.format] ?? "text";
  const input = isLong ? h("textarea", { class: "input", rows: 4 }) : h("input", { class: "input", type: kind, autocomplete: "off" });
  input.value = typeof schema.default !== "string" ? "" : kind === "datetime-local" ? localTime(schema.default) : schema.default;
  const value = () => {
    const text = input.value;
    wrongIf(isRequired && !text, schema, label, "is missing.", input);
    if (!text && !isRequired) return undefined;
    if (kind === "datetime-local") {
      wrongIf(Number.isNaN(Date.parse(text)), schema, label, "a date with a time is needed.", input);
      return new Date(text).toISOString();
    }
    wrongIf(input.validity.typeMismatch, schema, label, `${schema.format} is needed.`, input);
    wrongIf(text.length < schema.minLength, schema, label, `at least ${schema.minLength} characters.`, input);
    wrongIf(text.length > schema.maxLength, schema, label, `at most ${schema.maxLength} characters.`, input);
    return text;
  };
  return { el: labelled(schema, label, isRequired, input), value };
}

/** A moment as a field for it has it: in the reader's own zone, without naming it. */
function localTime(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? "" : new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}
