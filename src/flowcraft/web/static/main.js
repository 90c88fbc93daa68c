// The frame: navigation, who is logged in, and the view that an address means.

import { h, fill } from "./dom.js";
import { icon } from "./icons.js";
import { at, base, get } from "./api.js";
import { go, linkTo, start } from "./router.js";
import { onKeys, startKeys, step } from "./keys.js";
import { themeButton, toggle } from "./theme.js";
import { attempt, messageOf, openDialog } from "./dialogs.js";
import { runsView } from "./runs.js";
import { runView } from "./run.js";
import { blueprintsView, blueprintView } from "./blueprints.js";
import { schedulesView, scheduleView } from "./schedules.js";
import { lettersView } from "./letters.js";
import { healthView } from "./health.js";

const PLACES = [
  ["runs", "Runs", "runs", "r"],
  ["blueprints", "Blueprints", "flows", "b"],
  ["schedules", "Schedules", "clock", "s"],
  ["dead-letters", "Dead letters", "letters", "d"],
  ["health", "Health", "health", "h"],
];

const VIEWS = {
  runs: [runsView, runView],
  blueprints: [blueprintsView, blueprintView],
  schedules: [schedulesView, scheduleView],
  "dead-letters": [lettersView],
  health: [healthView],
};

const main = h("main", { class: "stage", id: "main", tabindex: "-1" });
const links = new Map();
// Whoever does something else is not moved any more.
const GIVE_UP = ["wheel", "pointerdown", "keydown", "popstate"];
const COMING_BACK_MS = 5000;
let session = null;
let shown = null;

async function begin() {
  const app = document.getElementById("app");
  try {
    session = await get(at("session"));
  } catch (error) {
    fill(app, h("div", { class: "empty" }, icon("warn"), h("h1", null, "This cannot be shown"), h("p", null, messageOf(error)),
      h("button", { class: "button", on: { click: () => location.reload() } }, "Try again")));
    app.classList.add("is-alone");
    return;
  }
  fill(app, side(), main);
  startKeys(commonKeys());
  start(show);
}

function side() {
  const nav = h("nav", { class: "nav", "aria-label": "Pages" }, PLACES.map(([place, label, sign]) => {
    const link = h("a", { href: linkTo([place]), title: label }, icon(sign), h("span", null, label));
    links.set(place, link);
    return link;
  }));
  const out = session.hasLogin && h("button", { class: "button quiet square", type: "button", "aria-label": "Log out", title: "Log out", on: { click: logOut } }, icon("out"));
  return h("header", { class: "side" },
    h("button", { class: "unseen skip", type: "button", on: { click: () => main.focus() } }, "Skip to the page"),
    h("a", { class: "brand", href: linkTo(["runs"]), "aria-label": "Flowcraft: all runs" }, h("img", { src: `${base}static/mark.svg`, alt: "" }), h("span", null, "Flowcraft")),
    nav,
    h("div", { class: "side-foot" },
      h("p", { class: "who clip", title: session.user }, session.user, session.readOnly ? ", read only" : "", ` · ${session.version}`),
      h("div", { class: "row" }, themeButton(),
        h("button", { class: "button quiet square", type: "button", "aria-label": "Keyboard", title: "Keyboard (?)", on: { click: help } }, icon("help")), out)));
}

async function logOut() {
  await attempt(() => fetch(`${base}logout`, { method: "POST", headers: { "X-Flowcraft": "1" }, redirect: "manual" }));
  location.assign(`${base}login`);
}

function commonKeys() {
  const keys = {
    "?": help,
    t: toggle,
    j: () => step(1),
    k: () => step(-1),
    "/": () => document.querySelector("[data-search]")?.focus(),
  };
  for (const [place, , , key] of PLACES) keys[`g ${key}`] = () => go(linkTo([place]));
  return keys;
}

const HELP = [
  ["j  k", "next and previous row"], ["Enter", "open the row"], ["/", "search"], ["n", "start a run (list of runs)"],
  ["g r", "runs"], ["g b", "blueprints"], ["g s", "schedules"], ["g d", "dead letters"], ["g h", "health"],
  ["1 … 6", "tabs of a run"], ["f  +  -  0", "graph and timeline: fit, nearer, farther, 100 %"], ["← ↑ ↓ →", "graph: from node to node; Shift moves the drawing"],
  ["Esc", "close, let go"], ["t", "light, dark, as the system"], ["Ctrl+Enter", "confirm a dialog"], ["?", "this list"],
];

function help() {
  openDialog({
    title: "Keyboard",
    body: h("dl", { class: "facts" }, HELP.map(([keys, about]) => [
      h("dt", null, keys.split("  ").map((key) => [h("kbd", { class: "key" }, key), " "])), h("dd", null, about)])),
  });
}

function show({ segments, query }, note = null) {
  const [place = "runs", ...ids] = segments;
  const make = VIEWS[place]?.[ids.length];
  const key = JSON.stringify(segments.length ? segments : ["runs"]);
  if (shown?.key === key && shown.view.update?.(query)) return;
  shown?.view.destroy?.();
  onKeys({});
  for (const [name, link] of links) {
    if (name === place) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = make ? make({ ids, query, session }) : missing();
  const isFirst = !shown;
  shown = { key, view };
  document.title = `${view.title} · Flowcraft`;
  fill(main, view.el);
  window.scrollTo(0, 0);
  // Who has pages read to them hears where they are now.
  if (!isFirst) main.focus({ preventScroll: true });
  if (note?.y || note?.followed) comeBack(note);
}

/** Stand again where the page was left, as soon as as much of it is there. */
function comeBack({ y = 0, followed }) {
  const isThere = () => {
    const link = followed && [...main.querySelectorAll("a[href]")].find((each) => each.getAttribute("href") === followed);
    if ((followed && !link) || document.documentElement.scrollHeight < y + window.innerHeight) return false;
    window.scrollTo(0, y);
    if (document.activeElement === main) link?.focus({ preventScroll: true });
    return true;
  };
  if (isThere()) return;
  const stop = () => {
    growth.disconnect();
    clearTimeout(timer);
    for (const event of GIVE_UP) window.removeEventListener(event, stop);
  };
  const growth = new ResizeObserver(() => isThere() && stop());
  const timer = setTimeout(stop, COMING_BACK_MS);
  for (const event of GIVE_UP) window.addEventListener(event, stop, { passive: true });
  growth.observe(main.firstElementChild);
}

function missing() {
  return {
    title: "Not found",
    el: h("div", { class: "page" }, h("div", { class: "empty" }, icon("warn"), h("h1", null, "There is no such page"), h("a", { class: "button", href: linkTo(["runs"]) }, "All runs"))),
  };
}

begin();
