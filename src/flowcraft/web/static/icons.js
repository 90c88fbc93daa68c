// Signs, each a few strokes on 16 by 16.

import { s } from "./dom.js";

const PATHS = {
  runs: "M2.5 4h11M2.5 8h11M2.5 12h7",
  flows: "M4 3.5h3v3H4zM9 9.5h3v3H9zM5.5 6.5v2a2 2 0 0 0 2 2H9",
  clock: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 4.8V8l2.2 1.6",
  letters: "M2.5 4h11v8.5h-11zM2.5 4.5 8 9l5.5-4.5",
  health: "M1.5 8.5h3l2-5 3 9 2-4h3",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.4 10.4 14 14",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  close: "M4 4l8 8M12 4l-8 8",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M12.6 3.4l-.7.7M4.1 11.9l-.7.7",
  moon: "M13.5 9.5A5.8 5.8 0 0 1 6.5 2.5a5.8 5.8 0 1 0 7 7z",
  auto: "M2.5 3.5h11v7.5h-11zM6 13.5h4",
  help: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM6.3 6.3a1.8 1.8 0 1 1 2.6 1.6c-.6.3-.9.6-.9 1.3M8 11.4h.01",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  out: "M9.5 2.5h4v4M13.5 2.5 7.5 8.5M11.5 9v4.5h-9v-9H7",
  left: "M10 3 5 8l5 5",
  right: "M6 3l5 5-5 5",
  play: "M4.5 3l8 5-8 5z",
  bolt: "M9 1.5 3.5 9H8l-1 5.5L12.5 7H8z",
  bin: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.5 9h6l.5-9",
  pen: "M3 13l.6-2.8 7-7 2.2 2.2-7 7z",
  warn: "M8 2.2 14.5 13.5h-13zM8 6.5v3.2M8 11.6h.01",
  ring: "M8 2a6 6 0 1 1-6 6",
  check: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM5.4 8.2l1.8 1.8 3.4-3.8",
  cross: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM6 6l4 4M10 6l-4 4",
  pause: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM6.6 6v4M9.4 6v4",
  stop: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM4 12 12 4",
  again: "M13 8a5 5 0 1 1-1.5-3.6M13.5 2v3h-3",
  hand: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 5v3.4M8 10.9h.01",
  skip: "M3 4l5 4-5 4zM9 4l4 4-4 4z",
  dots: "M8 2.2a5.8 5.8 0 0 1 2 .4M12.6 4.5a5.8 5.8 0 0 1 1 1.8M13.6 9.6a5.8 5.8 0 0 1-1 1.9M10 13.4a5.8 5.8 0 0 1-4 0M3.4 11.5a5.8 5.8 0 0 1-1-1.9M2.4 6.3a5.8 5.8 0 0 1 1-1.8M6 2.6a5.8 5.8 0 0 1 2-.4",
  nested: "M2.5 2.5h11v11h-11zM5.5 5.5h5v5h-5z",
};

/** A sign; those who have pages read to them do not hear of it. */
export function icon(name, more = "") {
  const path = s("path", { d: PATHS[name], class: name === "ring" ? "spins" : null });
  return s("svg", { class: `icon ${more}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, path);
}

/** The strokes of a sign, for drawings that place it themselves. */
export function strokes(name) {
  return PATHS[name];
}
