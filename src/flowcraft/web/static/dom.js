// Elements. Whatever comes out of runs gets into the page here, and here only as text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element.
 * @param {string} tag
 * @param {object|null} props `class`, `on` (listeners), `style` (properties), attributes; those
 *   that are null or false are left out.
 * @param {...(Node|string|number|null|false|Array)} children Texts become text, never markup.
 */
export function h(tag, props, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.setAttribute("class", value);
    else if (name === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else if (name === "style") for (const [key, of] of Object.entries(value)) element.style.setProperty(key, of);
    else if (name === "checked" || name === "disabled") element[name] = value;
    else if (name !== "value") element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  // A list of choices has to be there before one of them is chosen.
  if (props?.value !== undefined && props.value !== null) element.value = props.value;
  return element;
}

function add(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) add(element, child);
    else if (child instanceof Node) element.append(child);
    else if (child !== null && child !== undefined && child !== false) element.append(shown(child));
  }
}

/** Put children in the place of all that an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

// Signs that nobody sees, or that turn the order of others around.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

// Signs that join letters and pictures belong to some scripts, and to emoji.
const PICTURE_BEFORE = /\p{Extended_Pictographic}[\ufe0f\u{1f3fb}-\u{1f3ff}]*$/u;
const PICTURE_AFTER = /^\p{Extended_Pictographic}/u;
const JOINING = /[\p{Script=Arabic}\p{Script=Syriac}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Gujarati}\p{Script=Gurmukhi}\p{Script=Kannada}\p{Script=Malayalam}\p{Script=Oriya}\p{Script=Sinhala}\p{Script=Tamil}\p{Script=Telugu}]/u;

/** A text with every sign to be seen: control characters are named instead of carried out. */
export function shown(text) {
  return String(text).replace(HIDDEN, named).replace(LONE, named);
}

function named(sign, place, whole) {
  if ((sign === "\u200c" || sign === "\u200d") && joins(sign, whole.slice(Math.max(0, place - 6), place), whole.slice(place + 1, place + 3))) return sign;
  const code = sign.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/**
 * Build an element anew only when what it is made from has changed, so that nothing flickers. Whoever
 * is at a part of it stays there.
 */
export function memo(element, build) {
  let last;
  return (data) => {
    const key = JSON.stringify(data);
    if (key === last) return;
    last = key;
    keepFocus(element, () => fill(element, build(data)));
  };
}

const REACHABLE = "a[href], button, input, select, textarea, summary, [tabindex]";

/** Change what is in an element; the focus goes to what stands for the part that had it. */
export function keepFocus(element, change) {
  const had = document.activeElement;
  if (had === element || !element.contains(had)) return change();
  const before = [...element.querySelectorAll(REACHABLE)];
  const [at, name] = [before.indexOf(had), nameOf(had)];
  const nth = before.slice(0, at).filter((each) => nameOf(each) === name).length;
  change();
  if (document.activeElement === had) return;
  const now = [...element.querySelectorAll(REACHABLE)];
  const next = had.isConnected ? had : now.filter((each) => nameOf(each) === name)[nth] ?? now[Math.min(at, now.length - 1)];
  next?.focus({ preventScroll: true });
}

function nameOf(element) {
  return [element.tagName, element.getAttribute("href") ?? "", element.getAttribute("aria-label") ?? element.textContent].join(" ");
}

function joins(sign, before, after) {
  if (sign === "\u200d" && PICTURE_BEFORE.test(before) && PICTURE_AFTER.test(after)) return true;
  return JOINING.test(before.at(-1) ?? "") && JOINING.test(after[0] ?? "");
}

/** An address that may stand behind a link: of the web, whatever a template was filled with. */
export function safeHref(text) {
  try {
    const url = new URL(text, document.baseURI);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}
