// How the fleet is: the queue, runs that stand still, workers, and which code live runs need.

import { h, fill } from "./dom.js";
import { icon } from "./icons.js";
import { at, get } from "./api.js";
import { linkTo } from "./router.js";
import { ago, moment, number, plural, short, span } from "./format.js";
import { readPage } from "./blueprints.js";
import { trouble } from "./runs.js";

const AGAIN_MS = 15000;

export function healthView() {
  const drain = h("section", { class: "card" });
  const page = readPage("Health", () => get(at("health")), (data) => [
    h("div", { class: "page-head" }, h("h1", null, "Health"), h("span", { class: "faint", title: moment(data.at) }, `as of ${ago(data.at)}`)),
    figures(data), queueTrouble(data), standing(data), workers(data.workers), drain,
  ]);
  const offer = (load) => fill(drain, h("div", { class: "card-head" }, h("h2", null, "Code that live runs need"), h("div", { class: "actions" }, h("button", { class: "button small", type: "button", on: { click: load } }, "Make the report"))),
    h("p", { class: "card-body soft" }, "Tells whether workers of an older version may go. All live runs are read for it."));
  const report = async () => {
    fill(drain, h("p", { class: "boot", role: "status" }, "Reading live runs …"));
    try {
      fill(drain, needed(await get(at("drain-report"))));
    } catch (error) {
      fill(drain, trouble(error, report));
    }
  };
  offer(report);
  const timer = setInterval(() => document.hidden || page.load(), AGAIN_MS);
  return {
    title: "Health",
    el: page.el,
    update: () => true,
    destroy() {
      page.state.isOff = true;
      clearInterval(timer);
    },
  };
}

function figures({ queue, standing: still, workers: seen }) {
  const figure = (label, value, isBad = false) => h("div", { class: `card figure${isBad ? " is-bad" : ""}` }, h("b", null, value), h("span", null, label));
  const isTold = queue && !queue.trouble;
  const now = seen.kinds?.reduce((sum, each) => sum + each.workers, 0);
  return h("div", { class: "cards" },
    figure("jobs ready", isTold ? number(queue.ready) : "–"),
    figure("jobs in hand", isTold ? number(queue.inHand) : "–"),
    figure("jobs due later", isTold ? number(queue.delayed) : "–"),
    figure("oldest job", isTold && queue.oldestSeconds !== null ? span(queue.oldestSeconds) : "–", queue?.ready > 0 && queue.oldestSeconds > 300),
    figure("workers, last 15 minutes", now === undefined ? "–" : number(now)),
    figure("runs that stand still", still.runs ? number(still.runs.length) + (still.isWhole ? "" : "+") : "–", still.runs?.length > 0));
}

function queueTrouble({ queue }) {
  return queue?.trouble ? h("div", { class: "notice tone-again" }, icon("warn"), h("p", { class: "wrap" }, queue.trouble)) : null;
}

function titled(title, ...body) {
  return h("section", { class: "card list-card" }, h("div", { class: "card-head" }, h("h2", null, title)), body);
}

function whyStill(queue) {
  const first = "They have something to do, and nothing has happened in them for a while.";
  if (!queue || queue.trouble) return first;
  return queue.ready
    ? `${first} ${plural(queue.ready, "job")} on the queue ${queue.ready === 1 ? "is" : "are"} ready: they may only wait for a worker that has a hand free.`
    : `${first} No job on the queue is ready: their messages are lost, or in the hands of workers that are gone. A reconciler sends them again.`;
}

function standing({ standing: still, queue }) {
  if (still.trouble) return titled("Runs that stand still", h("p", { class: "card-body wrap" }, still.trouble));
  if (!still.runs.length) return titled("Runs that stand still", h("p", { class: "card-body soft" }, "None: every run that has something to do is being worked on."));
  return titled(`${plural(still.runs.length, "run")} that ${still.runs.length === 1 ? "stands" : "stand"} still`,
    h("p", { class: "card-body soft" }, whyStill(queue)),
    h("div", { class: "scroller" }, h("table", { class: "table" }, h("caption", { class: "unseen" }, "Runs that stand still"),
      h("thead", null, h("tr", null, ["Run", "Flow", "Since", "Steps not begun"].map((name, place) => h("th", { scope: "col", class: place > 1 ? "fit" : null }, name)))),
      h("tbody", null, still.runs.map((run) => h("tr", null,
        h("td", null, h("div", { class: "clip" }, h("a", { class: "row-link mono", href: linkTo(["runs", run.runId]) }, short(run.runId, 60)))),
        h("td", { class: "clip soft" }, run.blueprintId), h("td", { class: "fit soft", title: moment(run.since) }, ago(run.since)), h("td", { class: "fit soft number" }, number(run.messages))))))));
}

function workers(seen) {
  if (seen.trouble) return titled("Workers", h("p", { class: "card-body wrap" }, seen.trouble));
  if (!seen.kinds.length) return titled("Workers", h("div", { class: "empty" }, icon("health"), h("h2", null, "No worker was seen"), h("p", null, "Start one with ", h("code", null, "flowcraft worker"), ": runs go on as soon as it is there.")));
  return titled("Workers", h("div", { class: "scroller", tabindex: "0", role: "group", "aria-label": "Kinds of workers" }, h("table", { class: "table" }, h("caption", { class: "unseen" }, "Kinds of workers"),
    h("thead", null, h("tr", null, ["Kind", "Package", "Python", "Implementations", "Workers", "Seen"].map((name, place) => h("th", { scope: "col", class: place ? "fit" : null }, name)))),
    h("tbody", null, seen.kinds.map((each) => h("tr", null, h("td", { class: "mono clip" }, each.id), h("td", { class: "fit soft" }, each.package), h("td", { class: "fit soft" }, each.python),
      h("td", { class: "fit soft number" }, each.implementations === null ? "–" : number(each.implementations)), h("td", { class: "fit soft number" }, number(each.workers)), h("td", { class: "fit soft", title: moment(each.seenAt) }, ago(each.seenAt))))))));
}

function needed(report) {
  return [h("div", { class: "card-head" }, h("h2", null, "Code that live runs need"), h("span", { class: "faint" }, `${plural(report.runs, "live run")}, ${ago(report.at)}`)),
    report.needed.length ? h("div", { class: "scroller", tabindex: "0", role: "group", "aria-label": "Implementations that live runs need" }, h("table", { class: "table" }, h("caption", { class: "unseen" }, "Implementations that live runs need"),
      h("thead", null, h("tr", null, ["Implementation", "Flow", "May still run in"].map((name, place) => h("th", { scope: "col", class: place > 1 ? "fit" : null }, name)))),
      h("tbody", null, report.needed.map((each) => h("tr", null, h("td", { class: "mono clip" }, each.uses), h("td", { class: "clip soft" }, each.blueprintId), h("td", { class: "fit soft number" }, plural(each.runs, "run"))))))) : h("p", { class: "card-body soft" }, "No live run needs anything: all workers may go.")];
}
