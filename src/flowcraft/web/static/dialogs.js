// What stands in front of the page: dialogs, menus, and short messages.

import { h, fill } from "./dom.js";
import { icon } from "./icons.js";
import { Mistake, Problem } from "./api.js";

/**
 * Open a dialog.
 * @param {{title: string, body: Node|Node[], submit?: string, danger?: boolean, wide?: boolean,
 *   run?: Function, cancel?: string}} about `run` carries it out; what it throws is shown, and the dialog stays.
 * @returns {Promise<any>} What `run` gave; `undefined` where it was closed.
 */
export function openDialog({ title, body, submit, danger = false, wide = false, run, cancel = "Cancel" }) {
  return new Promise((resolve) => {
    let result;
    const trouble = h("p", { class: "wrong", role: "alert", hidden: true });
    const button = submit && h("button", { class: `button main${danger ? " danger" : ""}`, type: "submit" }, submit);
    const close = h("button", { class: "button quiet square", type: "button", "aria-label": "Close", on: { click: () => box.close() } }, icon("close"));
    const form = h("form", { novalidate: true, class: "box-form" },
      h("div", { class: "box-head" }, h("h2", { id: "box-title" }, title), close),
      h("div", { class: "box-body" }, body, trouble),
      submit && h("div", { class: "box-foot" },
        h("button", { class: "button", type: "button", on: { click: () => box.close() } }, cancel), button));
    const box = h("dialog", { class: `box${wide ? " wide" : ""}`, "aria-labelledby": "box-title" }, form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (button?.classList.contains("is-busy")) return;
      button?.classList.add("is-busy");
      trouble.hidden = true;
      try {
        result = await run?.();
        box.close();
      } catch (error) {
        trouble.hidden = false;
        fill(trouble, messageOf(error));
        trouble.scrollIntoView({ block: "nearest" });
      } finally {
        button?.classList.remove("is-busy");
      }
    });
    form.addEventListener("input", () => { trouble.hidden = true; });
    box.addEventListener("click", (event) => event.target === box && box.close());
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    const before = document.activeElement;
    box.addEventListener("close", () => {
      box.remove();
      before?.focus?.();
      resolve(result);
    });
    document.body.append(box);
    box.showModal();
    (box.querySelector("[autofocus]") ?? box.querySelector(".box-body .input") ?? button ?? close).focus();
  });
}

/** Ask whether something is meant, and do it. */
export function confirm({ title, text, submit, danger = false, run, more = [] }) {
  return openDialog({ title, body: [h("p", { class: "wrap" }, text), ...more], submit, danger, run: async () => (await run()) ?? true });
}

/** What a person is told of an error. */
export function messageOf(error) {
  if (!(error instanceof Problem || error instanceof Mistake)) console.error(error);
  return error.message || String(error);
}

const toasts = h("div", { class: "toasts", role: "status", "aria-live": "polite" });

/** Say something for a few seconds. */
export function toast(text, tone = "good", link = null) {
  if (!toasts.isConnected) document.body.append(toasts);
  const one = h("div", { class: `toast tone-${tone}` }, icon(tone === "good" ? "check" : "warn"), h("div", { class: "grow" }, text, link && " ", link));
  toasts.append(one);
  while (toasts.childElementCount > 4) toasts.firstElementChild.remove();
  setTimeout(() => one.remove(), tone === "good" ? 5000 : 12000);
}

/** Do something that may fail; say so if it does. */
export async function attempt(run, done = null) {
  try {
    const result = await run();
    if (done) toast(done);
    return result;
  } catch (error) {
    toast(messageOf(error), "bad");
    return undefined;
  }
}

/**
 * A button that opens a menu.
 * @param {string} label What it is for.
 * @param {() => {label: string, sign: string, run: Function, danger?: boolean, disabled?: boolean}[]} entries
 */
export function menu(label, entries) {
  const button = h("button", { class: "button square", type: "button", "aria-label": label, "aria-haspopup": "menu", "aria-expanded": "false" }, icon("more"));
  const frame = h("div", { class: "menu" }, button);
  let list = null;
  const close = (refocus = false) => {
    list?.remove();
    list = null;
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside);
    if (refocus) button.focus();
  };
  const outside = (event) => frame.contains(event.target) || close();
  const open = () => {
    list = h("div", { class: "menu-list", role: "menu", "aria-label": label }, entries().map((each) =>
      h("button", { type: "button", role: "menuitem", class: each.danger ? "danger" : null, disabled: each.disabled, on: { click: () => { close(true); each.run(); } } }, icon(each.sign), each.label)));
    frame.append(list);
    button.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", outside);
    list.querySelector("button:not(:disabled)")?.focus();
  };
  button.addEventListener("click", () => (list ? close() : open()));
  frame.addEventListener("keydown", (event) => {
    if (!list) return;
    const buttons = [...list.querySelectorAll("button:not(:disabled)")];
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") { event.stopPropagation(); event.preventDefault(); close(true); }
    else if (event.key === "Tab") close();
    else if (move) {
      event.preventDefault();
      buttons[(buttons.indexOf(document.activeElement) + move + buttons.length) % buttons.length]?.focus();
    }
  });
  return frame;
}

/** Copy a text, and say so. */
export async function copy(text) {
  await attempt(() => navigator.clipboard.writeText(text), "Copied.");
}
