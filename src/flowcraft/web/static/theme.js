// Light, dark, or as the system has it.

import { h, fill } from "./dom.js";
import { icon } from "./icons.js";

const KEY = "flowcraft.theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const SIGNS = { auto: "auto", light: "sun", dark: "moon" };

function current() {
  return document.documentElement.dataset.theme ?? "auto";
}

function choose(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // It holds until the page is left.
  }
}

/** The switch. */
export function themeButton() {
  const button = h("button", { class: "button quiet square", type: "button", on: { click: toggle } });
  const show = () => {
    fill(button, icon(SIGNS[current()]));
    button.setAttribute("aria-label", `Theme: ${current()}. Change it`);
    button.title = `Theme: ${current()}`;
  };
  document.addEventListener("themechange", show);
  show();
  return button;
}

/** The next of the three. */
export function toggle() {
  choose(NEXT[current()]);
  document.dispatchEvent(new Event("themechange"));
}
