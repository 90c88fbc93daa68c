// Schedules: when runs start by the clock.

import { h, fill } from "./dom.js";
import { icon } from "./icons.js";
import { Mistake, at, get, send } from "./api.js";
import { go, linkTo } from "./router.js";
import { ago, moment, short, span } from "./format.js";
import { attempt, confirm, messageOf, openDialog, toast } from "./dialogs.js";
import { jsonField, tagsOf, textField } from "./json-field.js";
import { readPage } from "./blueprints.js";
import { flowsList } from "./start.js";
import { tagList } from "./runs.js";
import { tree } from "./json-tree.js";

function rhythm(each) {
  if (each.cron) return `${each.cron}${each.timeZone && each.timeZone !== "UTC" ? ` (${each.timeZone})` : ""}`;
  return each.every === null ? "–" : `every ${span(each.every)}${each.offset ? `, ${span(each.offset)} later` : ""}`;
}

function stateBadge(each) {
  if (each.problem) return h("span", { class: "badge tone-bad", title: each.problem }, icon("warn"), "Trouble");
  return each.paused ? h("span", { class: "badge tone-still" }, icon("pause"), "Paused") : h("span", { class: "badge tone-good" }, icon("clock"), "Active");
}

function verbs(each, load) {
  const act = (name, told) => attempt(async () => {
    await send("POST", at("schedules", each.id, name), {});
    load();
  }, told);
  const trigger = async () => {
    const started = await attempt(() => send("POST", at("schedules", each.id, "trigger"), {}));
    if (!started) return;
    toast("Started.", "good", h("a", { href: linkTo(["runs", started.runId]) }, "Show the run"));
    load();
  };
  return [
    h("button", { class: "button small", type: "button", on: { click: trigger } }, icon("play"), "Run now"),
    each.paused
      ? h("button", { class: "button small", type: "button", on: { click: () => act("resume", "Resumed.") } }, "Resume")
      : h("button", { class: "button small", type: "button", on: { click: () => act("pause", "Paused.") } }, "Pause"),
  ];
}

export function schedulesView({ query, session }) {
  const after = query.get("after");
  const page = readPage("Schedules", () => get(at("schedules"), { after }), ({ schedules, after: more }, load) => [
    h("div", { class: "page-head" }, h("h1", null, "Schedules"), !session.readOnly && h("div", { class: "actions" }, h("button", { class: "button main", type: "button", on: { click: add } }, icon("plus"), "Add schedule"))),
    h("div", { class: "card list-card" }, schedules.length ? table(schedules, session, load) : h("div", { class: "empty" }, icon("clock"), h("h2", null, "No schedules"), h("p", null, "A schedule starts runs of a flow by a cron expression in a time zone, or at an interval."))),
    more && h("div", { class: "list-foot" }, h("span"), h("a", { class: "button small", href: linkTo(["schedules"], { after: more }) }, "More", icon("right"))),
  ]);
  return { title: "Schedules", el: page.el, update: (next) => (next.get("after") ?? null) === after, destroy: () => (page.state.isOff = true) };
}

function table(schedules, session, load) {
  return h("div", { class: "scroller" }, h("table", { class: "table of-schedules" }, h("caption", { class: "unseen" }, "Schedules"),
    h("thead", null, h("tr", null, ["State", "Schedule", "Flow", "When", "Next", "Last", "Actions"].map((name, place) => h("th", { scope: "col", class: place === 0 || place > 3 ? "fit" : null }, name)))),
    h("tbody", null, schedules.map((each) => h("tr", null,
      h("td", { class: "fit" }, stateBadge(each)),
      h("td", null, h("div", { class: "clip" }, h("a", { class: "row-link", href: linkTo(["schedules", each.id]) }, each.id))),
      h("td", { class: "clip soft" }, each.flow),
      h("td", { class: "clip soft mono" }, rhythm(each)),
      h("td", { class: "fit soft", title: each.nextTicks[0] ? moment(each.nextTicks[0]) : null }, each.paused || !each.nextTicks[0] ? "–" : ago(each.nextTicks[0])),
      h("td", { class: "fit soft" }, each.ticks[0] ? ago(each.ticks[0].at) : "–"),
      h("td", { class: "fit" }, !session.readOnly && h("div", { class: "row above" }, verbs(each, load))))))));
}

export function scheduleView({ ids: [id], session }) {
  const page = readPage(id, () => get(at("schedules", id)), (each, load) => [
    h("div", { class: "crumbs" }, h("a", { href: linkTo(["schedules"]) }, "Schedules"), icon("right"), short(id)),
    h("div", { class: "page-head" }, h("div", { class: "run-title" }, h("h1", null, id), stateBadge(each)),
      !session.readOnly && h("div", { class: "actions" }, verbs(each, load), h("button", { class: "button small danger", type: "button", on: { click: () => remove(id) } }, icon("bin"), "Delete"))),
    each.problem && h("div", { class: "notice tone-bad" }, icon("warn"), h("p", { class: "wrap" }, each.problem)),
    each.paused && each.pauseNote && h("div", { class: "notice tone-still" }, icon("pause"), h("p", { class: "wrap" }, each.pauseNote)),
    h("dl", { class: "run-facts" }, [
      ["Flow", h("a", { href: linkTo(["blueprints", each.flow]) }, each.flow)], ["When", h("span", { class: "mono" }, rhythm(each))], ["Overlap", each.overlap], ["Missed ticks", each.catchUp],
      each.jitterSeconds > 0 && ["Jitter", span(each.jitterSeconds)], ["Created", moment(each.createdAt)], each.note && ["Note", each.note],
      Object.keys(each.tags).length > 0 && ["Tags", tagList(each.tags)]].filter(Boolean).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
    h("div", { class: "cards two-cards" },
      h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", null, "Next ticks")), h("ol", { class: "card-body stack tight" }, each.nextTicks.length ? each.nextTicks.map((tick) => h("li", { class: "row" }, h("span", { class: "grow" }, moment(tick)), h("span", { class: "faint" }, ago(tick)))) : h("li", { class: "faint" }, "None"))),
      h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", null, "Last ticks")), h("ol", { class: "card-body stack tight" }, each.ticks.length ? each.ticks.map(tickLine) : h("li", { class: "faint" }, "None yet")))),
    each.context && Object.keys(each.context).length > 0 && h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", null, "Context of its runs")), h("div", { class: "card-body" }, tree(each.context, { label: "Context" }))),
  ]);
  return { title: id, el: page.el, update: () => true, destroy: () => (page.state.isOff = true) };
}

function tickLine(tick) {
  const word = `${tick.outcome}${tick.count > 1 ? ` ×${tick.count}` : ""}${tick.reason ? ` (${tick.reason.replaceAll("_", " ")})` : ""}`;
  return h("li", { class: "row" }, h("span", { class: "grow" }, moment(tick.at)), h("span", { class: "soft" }, word), tick.runId && h("a", { href: linkTo(["runs", tick.runId]) }, "Run"));
}

async function remove(id) {
  const done = await confirm({ title: "Delete this schedule?", text: "It starts no more runs. Runs that it has started go on.", submit: "Delete schedule", danger: true, run: () => send("DELETE", at("schedules", id)) });
  if (done) go(linkTo(["schedules"]));
}

async function add() {
  const fields = {
    id: textField({ label: "Schedule", placeholder: "nightly-report", required: true }),
    flow: textField({ label: "Flow", list: "known-flows-3", required: true }),
    cron: textField({ label: "Cron", placeholder: "0 9 * * mon-fri", hint: "Minute, hour, day, month, day of week." }),
    zone: textField({ label: "Time zone", placeholder: "UTC", value: Intl.DateTimeFormat().resolvedOptions().timeZone }),
    every: textField({ label: "Or every", placeholder: "15m" }),
    tags: textField({ label: "Tags", placeholder: "tenant=acme" }),
    note: textField({ label: "Note" }),
  };
  const list = flowsList();
  list.id = "known-flows-3";
  const overlap = h("select", { class: "input", "aria-label": "While a run is not over" }, [["skip", "skip the tick"], ["queue", "let it wait"], ["allow", "start another"]].map(([value, label]) => h("option", { value }, `While a run is not over: ${label}`)));
  const context = jsonField({ label: "Context", isObject: true, value: "{}", rows: 5 });
  const options = () => {
    const found = {};
    if (fields.cron.value().trim()) Object.assign(found, { cron: fields.cron.value().trim(), timeZone: fields.zone.value().trim() || "UTC" });
    if (fields.every.value().trim()) found.every = fields.every.value().trim();
    return found;
  };
  const ticks = h("p", { class: "hint faint", role: "status" });
  let timer = 0;
  const look = () => {
    clearTimeout(timer);
    const asked = setTimeout(async () => {
      if (!Object.keys(options()).length) return fill(ticks);
      try {
        const { times } = await send("POST", at("schedules", "preview"), { ...options(), count: 3 });
        if (asked === timer) fill(ticks, `Next: ${times.map(moment).join(" · ")}`);
      } catch (error) {
        if (asked === timer) fill(ticks, messageOf(error));
      }
    }, 300);
    timer = asked; // what was asked for before is not shown any more
  };
  for (const name of ["cron", "zone", "every"]) fields[name].input.addEventListener("input", look);
  const run = () => {
    const body = { id: fields.id.value().trim(), flow: fields.flow.value().trim(), overlap: overlap.value, context: context.value() ?? {}, ...options() };
    if (!body.id || !body.flow) throw new Mistake("Schedule and flow: both need a name.");
    const tags = tagsOf(fields.tags.value());
    if (Object.keys(tags).length) body.tags = tags;
    if (fields.note.value()) body.note = fields.note.value();
    return send("POST", at("schedules"), body);
  };
  const two = (...parts) => h("div", { class: "stack two" }, parts);
  const made = await openDialog({ title: "Add a schedule", wide: true, submit: "Add schedule", run, body: [two(fields.id.el, fields.flow.el), list, two(fields.cron.el, fields.zone.el), two(fields.every.el, h("div", { class: "field" }, h("span", { class: "label" }, "Overlap"), overlap)), ticks, context.el, two(fields.tags.el, fields.note.el)] });
  if (made) go(linkTo(["schedules", made.id]));
}

