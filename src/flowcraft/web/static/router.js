// Addresses of the page: each view has one, filters and what is selected included.

import { base } from "./api.js";

const SETTLED_MS = 150;

let listener = () => {};
let scrolled = 0;

/** Where the page is: the segments of its path, decoded, and its parameters. */
export function here() {
  const path = location.pathname.startsWith(base) ? location.pathname.slice(base.length) : "";
  const segments = path.split("/").filter(Boolean).map(decoded);
  return { segments, query: new URLSearchParams(location.search) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a view. */
export function linkTo(segments, query) {
  const path = base + segments.map((each) => encodeURIComponent(wellFormed(each))).join("/");
  const params = query instanceof URLSearchParams ? query : new URLSearchParams(query ?? {});
  const text = params.toString();
  return text ? `${path}?${text}` : path;
}

function wellFormed(text) {
  const whole = String(text);
  return whole.toWellFormed ? whole.toWellFormed() : whole;
}

/** Go to an address of the page. What is noted of the place in the history stays where it is replaced. */
export function go(href, { replace = false, note = null } = {}) {
  if (replace) history.replaceState(history.state, "", href);
  else {
    remember();
    history.pushState(note, "", href);
  }
  listener(here());
}

/** Note where the page stands, and what was followed, for who comes back. */
function remember(followed = document.activeElement?.getAttribute?.("href")) {
  clearTimeout(scrolled);
  history.replaceState({ ...history.state, y: window.scrollY, followed: followed ?? null }, "");
}

/** Change parameters of the address; `null` takes one away, a list gives several. */
export function change(changes, options = { replace: true }) {
  const { segments, query } = here();
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") query.append(name, each);
    }
  }
  go(linkTo(segments, query), options);
}

/** Open a part of a page: going back closes it. */
export function openPart(changes) {
  change(changes, history.state?.isPart ? { replace: true } : { replace: false, note: { isPart: true } });
}

/** Close it: as going back does, where that is how it was opened. */
export function closePart(changes) {
  if (history.state?.isPart) history.back();
  else change(changes);
}

/** Have somebody told wherever the page goes. */
export function start(told) {
  listener = told;
  // Views come back as they were left when they have been read again: see `show` of the frame.
  history.scrollRestoration = "manual";
  window.addEventListener("popstate", (event) => {
    clearTimeout(scrolled);
    listener(here(), event.state);
  });
  window.addEventListener("scroll", () => {
    clearTimeout(scrolled);
    scrolled = setTimeout(() => history.replaceState({ ...history.state, y: window.scrollY }, ""), SETTLED_MS);
  }, { passive: true });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (link.target || link.hasAttribute("download")) return;
    const url = new URL(link.href);
    const isOwn = url.origin === location.origin && url.pathname.startsWith(base);
    const rest = url.pathname.slice(base.length);
    if (!isOwn || /^(api|static|login|logout)(\/|$)/.test(rest)) return;
    event.preventDefault();
    link.focus({ preventScroll: true });
    go(url.pathname + url.search);
  });
  listener(here(), history.state);
}
