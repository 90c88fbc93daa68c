// The list of runs.

import { h, fill, memo } from "./dom.js";
import { icon } from "./icons.js";
import { at, get, watch, withQuery } from "./api.js";
import { change, linkTo } from "./router.js";
import { RUN_STATUSES, badge, isFinal, lookOf } from "./status.js";
import { ago, moment, number, plural, short, span } from "./format.js";
import { messageOf } from "./dialogs.js";
import { onKeys } from "./keys.js";
import { flowsList, sendEvent, startRun } from "./start.js";

const PAGE = 50;
const SINCE = [["", "Any time"], ["15m", "Last 15 minutes"], ["1h", "Last hour"], ["24h", "Last 24 hours"], ["7d", "Last 7 days"], ["30d", "Last 30 days"]];
const SECONDS = { "15m": 900, "1h": 3600, "24h": 86400, "7d": 604800, "30d": 2592000 };

/** What the API is asked for, of the parameters of the address. */
function asked(query, now = Date.now()) {
  const since = SECONDS[query.get("since")];
  // To the minute, so that who watches the same list is told by the same look-out.
  const from = since && new Date(Math.floor((now - since * 1000) / 60000) * 60000).toISOString();
  return {
    status: query.getAll("status"), flow: query.get("flow"), tag: query.getAll("tag"), q: query.get("q"),
    createdFrom: query.get("from") ?? from, createdUntil: query.get("until"),
    top: query.get("children") ? null : "true", limit: PAGE,
  };
}

export function runsView({ query, session }) {
  const state = { query, runs: new Map(), order: [], after: null, read: 0, isLoaded: false, live: "", error: null };
  const rows = new Map();
  const body = h("tbody");
  const table = h("table", { class: "table runs-table" },
    h("caption", { class: "unseen" }, "Runs, the newest first"),
    h("thead", null, h("tr", null, ["Status", "Run", "Flow", "Tags", "Waits for", "Started", "Duration"].map((name, place) =>
      h("th", { scope: "col", class: place === 0 || place > 4 ? `fit${place > 4 ? " number" : ""}` : null }, name)))), body);
  const list = h("div", { class: "card list-card" });
  const foot = h("div", { class: "list-foot" });
  const liveSign = h("span", { class: "live", role: "status" });
  const showLive = memo(liveSign, (live) => {
    liveSign.className = `live is-${live || "none"}`;
    return liveText(live);
  });
  const filters = filterBar(state);
  const canChange = !session.readOnly;
  const el = h("div", { class: "page" },
    h("div", { class: "page-head" }, h("h1", null, "Runs"), liveSign,
      h("div", { class: "actions" }, canChange && [
        h("button", { class: "button", type: "button", on: { click: sendEvent } }, icon("bolt"), "Send event"),
        h("button", { class: "button main", type: "button", on: { click: () => startRun() } }, icon("plus"), "Start run")])),
    filters.el, list, foot);

  let source = null;
  let calls = 0;

  const draw = () => {
    showLive(state.live);
    if (state.error) {
      fill(list, trouble(state.error, load));
    } else if (!state.isLoaded) {
      fill(list, skeleton());
    } else if (!state.order.length) {
      fill(list, empty(state, canChange));
    } else {
      drawRows();
      if (list.firstChild !== table) fill(list, table);
    }
    drawFoot({ count: state.order.length, after: state.after, read: state.read, isPaged: state.query.has("after") });
  };

  const drawRows = () => {
    const wanted = new Set(state.order);
    for (const [id, row] of rows) {
      if (wanted.has(id)) continue;
      row.el.remove();
      rows.delete(id);
    }
    let place = body.firstElementChild;
    for (const id of state.order) {
      let row = rows.get(id);
      if (!row) {
        row = runRow();
        rows.set(id, row);
      }
      row.show(state.runs.get(id));
      if (row.el === place) place = place.nextElementSibling;
      else body.insertBefore(row.el, place);
    }
  };

  const drawFoot = memo(foot, ({ count, after, read, isPaged }) => [
    h("span", { class: "faint" }, count ? `${plural(count, "run")}${read > count + 1 ? `, ${number(read)} looked at` : ""}` : ""),
    h("div", { class: "row" },
      isPaged && h("button", { class: "button small", type: "button", on: { click: newer } }, icon("left"), history.state?.isOlder ? "Newer" : "Newest"),
      after && h("button", { class: "button small", type: "button", on: { click: () => older(after) } }, "Older", icon("right")))]);

  const take = ({ runs, gone, order }) => {
    for (const run of runs) state.runs.set(run.runId, run);
    for (const id of gone) state.runs.delete(id);
    const known = order.filter((id) => state.runs.has(id));
    // The API finds the run of exactly the text that is searched for wherever it is; streams do not.
    const named = state.query.get("q");
    if (named && state.runs.has(named) && !known.includes(named)) known.unshift(named);
    state.order = known;
    state.isLoaded = true;
    state.error = null;
    redraw();
  };

  let frame = 0;
  const redraw = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(draw);
  };

  const load = async () => {
    calls += 1;
    const call = calls;
    source?.close();
    source = null;
    const query = asked(state.query);
    const after = state.query.get("after");
    try {
      const page = await get(at("runs"), { ...query, after });
      if (call !== calls) return;
      state.runs = new Map(page.runs.map((run) => [run.runId, run]));
      state.order = page.runs.map((run) => run.runId);
      Object.assign(state, { after: page.after, read: page.read, isLoaded: true, error: null });
    } catch (error) {
      if (call !== calls) return;
      state.error = error;
    }
    redraw();
    if (after || state.error) return;
    source = watch(withQuery(at("runs", "events"), query), {
      snapshot: take,
      change: take,
      state: (live) => {
        state.live = live;
        redraw();
      },
    });
  };

  const clock = setInterval(() => rows.forEach((row) => row.tick()), 1000);
  onKeys({ n: () => canChange && startRun() });
  redraw();
  load();
  return {
    title: "Runs",
    el,
    update(next) {
      const isSame = state.query.toString() === next.toString();
      state.query = next;
      filters.update(next);
      if (!isSame) {
        state.live = "";
        load();
      }
      return true;
    },
    destroy() {
      calls += 1;
      clearInterval(clock);
      cancelAnimationFrame(frame);
      filters.destroy();
      source?.close();
    },
  };
}

function older(after) {
  change({ after }, { replace: false, note: { isOlder: true } });
}

/** The page before; who came by a link to this one has none, and begins anew. */
function newer() {
  if (history.state?.isOlder) history.back();
  else change({ after: null }, { replace: false });
}

export function liveText(live) {
  return { live: "Live", lost: "Connection lost, trying again", trouble: "The storage does not answer", over: "" }[live] ?? "";
}

function skeleton() {
  return h("div", { class: "skeleton", "aria-hidden": "true" }, Array.from({ length: 8 }, () => h("div", null)));
}

export function trouble(error, again) {
  return h("div", { class: "empty", role: "alert" }, icon("warn"), h("h2", null, "This could not be read"), h("p", { class: "wrap" }, messageOf(error)),
    again && h("button", { class: "button", type: "button", on: { click: again } }, "Try again"));
}

function empty({ query, after, read }, canChange) {
  if (after) {
    return h("div", { class: "empty" }, icon("search"), h("h2", null, `None among ${plural(read, "run")}`), h("p", null, "So many were looked at, the newest first; there are older ones."),
      h("button", { class: "button", type: "button", on: { click: () => older(after) } }, "Look further"));
  }
  if ([...query.keys()].some((key) => key !== "children")) {
    return h("div", { class: "empty" }, icon("search"), h("h2", null, "No run is like that"), h("p", null, "Take a filter away, or look at a longer time."),
      h("button", { class: "button", type: "button", on: { click: () => change(Object.fromEntries([...query.keys()].map((key) => [key, null])), { replace: false }) } }, "Clear all filters"));
  }
  return h("div", { class: "empty" }, icon("runs"), h("h2", null, "No runs yet"),
    h("p", null, "Runs that are started by your application, by the command ", h("code", null, "flowcraft run"), " or from here are listed as they begin."),
    canChange && h("button", { class: "button main", type: "button", on: { click: () => startRun() } }, icon("plus"), "Start the first run"));
}

// --- one row -------------------------------------------------------------------------------

function runRow() {
  const status = h("td", { class: "fit c-status" });
  const id = h("td", { class: "c-run" });
  const flow = h("td", { class: "c-flow clip" });
  const tags = h("td", { class: "c-tags" });
  const waits = h("td", { class: "c-waits clip" });
  const age = h("td", { class: "fit number c-age soft" });
  const length = h("td", { class: "fit number c-length soft" });
  const el = h("tr", null, status, id, flow, tags, waits, age, length);
  let run = null;
  const showStatus = memo(status, (now) => badge(now));
  const showId = memo(id, (runId) => h("div", { class: "clip" }, h("a", { class: "row-link mono", href: linkTo(["runs", runId]), title: runId }, short(runId, 60))));
  const showRest = memo(flow, (name) => h("span", { title: name }, name));
  const showTags = memo(tags, (pairs) => tagList(pairs, 2));
  const showWaits = memo(waits, (text) => h("span", { class: "soft", title: text }, text));
  const showAge = memo(age, (text) => text);
  const showLength = memo(length, (text) => text);
  const tick = () => {
    showAge(ago(run.createdAt));
    const end = isFinal(run.status) ? Date.parse(run.updatedAt) : Date.now();
    showLength(span((end - Date.parse(run.createdAt)) / 1000));
    showWaits(waitText(run));
  };
  return {
    el,
    tick,
    show(next) {
      run = next;
      showStatus(run.status);
      showId(run.runId);
      showRest(run.blueprintId);
      showTags(run.tags);
      age.title = moment(run.createdAt);
      tick();
    },
  };
}

function waitText(run) {
  if (isFinal(run.status)) return "";
  const events = run.awaits.map((each) => (each.key === null || each.key === undefined ? each.event ?? each.name : `${each.event ?? each.name} (${each.key})`));
  if (events.length) return events.join(", ");
  if (run.dueAt && Date.parse(run.dueAt) > Date.now()) return `timer, ${ago(run.dueAt)}`;
  return run.status === "awaiting" ? "an answer" : "";
}

export function tagList(tags, most = 20) {
  const pairs = Object.entries(tags ?? {});
  const shownPairs = pairs.slice(0, most).map(([name, value]) =>
    h("a", { class: "tag above", href: linkTo(["runs"], [["tag", `${name}=${value}`]]), title: `${name}=${value}` }, h("span", null, h("b", null, name), ` ${value}`)));
  return h("div", { class: "row tags" }, shownPairs, pairs.length > most && h("span", { class: "faint" }, `+${pairs.length - most}`));
}

// --- filters -------------------------------------------------------------------------------

function filterBar(state) {
  const search = h("input", { class: "input", type: "search", placeholder: "Find by run id", "aria-label": "Find by run id", "data-search": true, spellcheck: "false" });
  const flow = h("input", { class: "input", placeholder: "Any flow", "aria-label": "Flow", list: "known-flows", spellcheck: "false" });
  const tag = h("input", { class: "input", placeholder: "tag=value", "aria-label": "Add a tag", spellcheck: "false" });
  const since = h("select", { class: "input", "aria-label": "Started" }, SINCE.map(([value, label]) => h("option", { value }, label)));
  const children = h("input", { type: "checkbox" });
  const segments = h("div", { class: "segments", role: "group", "aria-label": "Status" });
  const chips = h("div", { class: "row wrapped", hidden: true });
  // Going back takes the last filter away; what is typed is one.
  const set = (changes, options = { replace: false }) => change({ after: null, ...changes }, options);
  let timer = 0;
  const later = (input, name) => input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = 0;
      set({ [name]: input.value.trim() }, { replace: Boolean(state.query.get(name) && input.value.trim()) });
    }, 250);
  });
  later(search, "q");
  later(flow, "flow");
  since.addEventListener("change", () => set({ since: since.value, from: null, until: null }));
  children.addEventListener("change", () => set({ children: children.checked ? "1" : null }));
  tag.addEventListener("keydown", (event) => {
    const text = tag.value.trim();
    if (event.key !== "Enter" || !text) return;
    const isPair = text.indexOf("=") > 0;
    tag.toggleAttribute("aria-invalid", !isPair);
    if (!isPair) return tag.setAttribute("aria-invalid", "true");
    tag.value = "";
    set({ tag: [...new Set([...state.query.getAll("tag"), text])] });
  });
  const toggled = (status) => {
    const now = state.query.getAll("status");
    set({ status: now.includes(status) ? now.filter((each) => each !== status) : [...now, status] });
  };
  const buttons = [["", h("button", { type: "button", on: { click: () => set({ status: [] }) } }, "All")], ...RUN_STATUSES.map((status) => {
    const { word, sign, tone } = lookOf(status);
    return [status, h("button", { type: "button", class: `tone-${tone}`, on: { click: () => toggled(status) } }, icon(sign), word)];
  })];
  fill(segments, buttons.map(([, button]) => button));
  const update = (query) => {
    const statuses = query.getAll("status");
    for (const [status, button] of buttons) button.setAttribute("aria-pressed", String(status ? statuses.includes(status) : !statuses.length));
    for (const [input, name] of [[search, "q"], [flow, "flow"]]) {
      const value = query.get(name) ?? "";
      if (!timer && input.value.trim() !== value) input.value = value;
    }
    since.value = query.get("since") ?? "";
    children.checked = query.has("children");
    const tags = query.getAll("tag");
    const times = ["from", "until"].filter((name) => query.get(name)).map((name) => [name, `${name} ${moment(query.get(name))}`]);
    chips.hidden = !tags.length && !times.length;
    fill(chips, tags.map((pair) => chip(pair, () => set({ tag: tags.filter((each) => each !== pair) }))), times.map(([name, text]) => chip(text, () => set({ [name]: null }))));
  };
  update(state.query);
  const el = h("div", { class: "stack filters" },
    h("div", { class: "row wrapped" }, segments),
    h("div", { class: "filter-row" }, h("div", { class: "input-icon" }, icon("search"), search, h("kbd", { class: "key" }, "/")), flow, flowsList(), tag, since, h("label", { class: "check soft" }, children, "Child runs")), chips);
  return { el, update, destroy: () => clearTimeout(timer) };
}

function chip(text, remove) {
  return h("span", { class: "tag chip" }, h("span", null, text), h("button", { class: "link-button", type: "button", "aria-label": `Remove ${text}`, on: { click: remove } }, icon("close")));
}
