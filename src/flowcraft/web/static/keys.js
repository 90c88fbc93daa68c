// The keyboard: what every page knows, and what the page that is shown adds.

let local = {};
let pending = "";
let timer = 0;

/** Set what the shown page does on keys: by key, such as `f` or `g r`. */
export function onKeys(bindings) {
  local = bindings;
}

/** Listen; `common` holds what every page does. */
export function startKeys(common) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const pressed = pending ? `${pending} ${event.key}` : event.key;
    pending = "";
    const call = local[pressed] ?? common[pressed];
    if (call) {
      event.preventDefault();
      call(event);
    } else if (event.key === "g") {
      pending = "g";
      clearTimeout(timer);
      timer = setTimeout(() => (pending = ""), 1200);
    }
  });
}

function isTyping(element) {
  return element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);
}

/** Move along the rows of the list that is shown. */
export function step(by) {
  const links = [...document.querySelectorAll(".row-link")];
  if (!links.length) return;
  const now = links.indexOf(document.activeElement);
  const next = now < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, now + by));
  // Asked for by a key, so that where one is can be seen.
  links[next].focus({ focusVisible: true });
  links[next].scrollIntoView({ block: "nearest" });
}
