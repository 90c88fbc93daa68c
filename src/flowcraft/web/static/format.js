// Times, lengths of time and sizes as people read them.

const UNITS = [["d", 86400], ["h", 3600], ["m", 60]];

/** A length of time: two units at most, as in "2m 05s". */
export function span(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0) seconds = 0;
  if (seconds < 0.001) return "0 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)}s`;
  if (seconds < 60) return `${Math.floor(seconds)}s`;
  for (const [place, [unit, length]] of UNITS.entries()) {
    if (seconds < length) continue;
    const [below, size] = UNITS[place + 1] ?? ["s", 1];
    const rest = Math.floor((seconds % length) / size);
    return `${Math.floor(seconds / length)}${unit}${rest ? ` ${String(rest).padStart(2, "0")}${below}` : ""}`;
  }
  return "–";
}

/** How long ago, roughly. */
export function ago(time, now = Date.now()) {
  const seconds = (now - Date.parse(time)) / 1000;
  if (Number.isNaN(seconds)) return "–";
  const text = rough(Math.abs(seconds));
  if (text === null) return "just now";
  return seconds < 0 ? `in ${text}` : `${text} ago`;
}

function rough(seconds) {
  if (seconds < 5) return null;
  if (seconds < 60) return `${Math.floor(seconds)}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A time in the reader's own zone. */
export function moment(time) {
  const at = Date.parse(time);
  return Number.isNaN(at) ? "–" : MOMENT.format(at);
}

export function bytes(count) {
  if (count < 1000) return `${count} characters`;
  if (count < 1e6) return `${(count / 1000).toFixed(1)} KB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

export function number(count) {
  return count.toLocaleString("en-US");
}

export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** An id, cut in its middle where it is long: both ends tell ids apart. */
export function short(text, most = 44) {
  if (String(text).length <= most) return String(text);
  // By whole signs: many a picture is made of two.
  const signs = [...String(text)];
  return signs.length <= most ? signs.join("") : `${signs.slice(0, most - 13).join("")}…${signs.slice(-12).join("")}`;
}
