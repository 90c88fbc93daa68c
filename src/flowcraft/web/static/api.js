// The JSON API. Every request of the page passes here.

const BASE = new URL(document.querySelector("base")?.getAttribute("href") ?? "/", location.href).pathname;
const UNSAFE_DIGITS = /[0-9]{16}/;

export const base = BASE;

/** A request was refused or failed; `message` is for people. */
export class Problem extends Error {
  constructor(status, data) {
    super(data.detail || data.title || `The server answered ${status}.`);
    this.status = status;
    this.kind = String(data.type ?? "").split(":").pop();
    this.data = data;
  }
}

/** What somebody has filled in cannot be; `message` says what is wrong with it. */
export class Mistake extends Error {}

/** The address of something in the API; segments may hold any text. */
export function at(...segments) {
  return `${BASE}api/v1/${segments.map(encoded).join("/")}`;
}

function encoded(text) {
  const whole = String(text);
  return encodeURIComponent(whole.toWellFormed ? whole.toWellFormed() : whole);
}

/** An address with parameters; lists give one each, what is empty is left out. */
export function withQuery(address, query) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "" && each !== false) params.append(name, String(each));
    }
  }
  const text = params.toString();
  return text ? `${address}?${text}` : address;
}

export function get(address, query, options) {
  return request("GET", withQuery(address, query), undefined, options);
}

export function send(method, address, body = {}, options = {}) {
  return request(method, address, body, options);
}

async function request(method, address, body, { signal, headers } = {}) {
  const init = { method, signal, headers: { Accept: "application/json", ...headers }, cache: "no-store" };
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.headers["X-Flowcraft"] = "1";
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(address, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The server cannot be reached. Is it still running?" });
  }
  if (response.status === 204) return null;
  const text = await response.text();
  if (response.ok) return parse(text);
  const problem = new Problem(response.status, dataOf(text));
  if (response.status === 401 && problem.data.login) logIn();
  throw problem;
}

function dataOf(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function logIn() {
  const here = location.pathname + location.search;
  location.assign(`${BASE}login?next=${encodeURIComponent(here)}`);
}

/** JSON data, in which whole numbers keep all their digits where the browser can do that. */
export function parse(text) {
  if (!UNSAFE_DIGITS.test(text) || !JSON.rawJSON) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
      ? JSON.rawJSON(context.source)
      : value);
}

// A browser has six connections to a server, and a stream takes one: who is not looked at lets go.
const HIDDEN_MS = 10000;

/**
 * Watch something: calls back with each event until `close` is called on what this gives.
 * @param {string} address
 * @param {{snapshot: Function, change: Function, trouble?: Function, gone?: Function, state?: Function}} told
 */
export function watch(address, told) {
  let source = null;
  let timer = 0;
  let waited = 1000;
  let rest = 0;
  let isOver = false;
  const open = () => {
    clearTimeout(timer);
    source?.close();
    const mine = new EventSource(address);
    source = mine;
    const on = (event, call) => mine.addEventListener(event, (message) => source === mine && call(message));
    for (const event of ["snapshot", "change", "trouble", "gone"]) {
      on(event, (message) => {
        waited = 1000;
        told.state?.(event === "trouble" ? "trouble" : "live");
        told[event]?.(parse(message.data));
        if (event === "gone") close();
      });
    }
    on("open", () => told.state?.("live"));
    on("end", (message) => {
      mine.close();
      if (JSON.parse(message.data).reason !== "over") return again();
      isOver = true;
      told.state?.("over");
    });
    on("error", () => {
      told.state?.("lost");
      if (mine.readyState !== EventSource.CLOSED) return;
      again();
      // Whose session has ended is led to the login by this.
      get(at("session")).catch(() => {});
    });
  };
  const again = () => {
    clearTimeout(timer);
    timer = setTimeout(() => document.hidden || open(), waited);
    waited = Math.min(waited * 2, 30000);
  };
  const turned = () => {
    clearTimeout(rest);
    if (document.hidden) rest = setTimeout(() => source?.close(), HIDDEN_MS);
    else if (!isOver && source?.readyState === EventSource.CLOSED) open();
  };
  const close = () => {
    isOver = true;
    clearTimeout(timer);
    clearTimeout(rest);
    document.removeEventListener("visibilitychange", turned);
    source?.close();
    source = null;
  };
  document.addEventListener("visibilitychange", turned);
  open();
  return { close };
}
