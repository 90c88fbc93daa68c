// Dead letters: jobs that were delivered in vain, by their causes, and sent back.

import { h, fill } from "./dom.js";
import { icon } from "./icons.js";
import { at, get, send } from "./api.js";
import { linkTo } from "./router.js";
import { ago, moment, number, plural, short } from "./format.js";
import { confirm, messageOf, openDialog, toast } from "./dialogs.js";
import { readPage } from "./blueprints.js";
import { badge } from "./status.js";

export function lettersView({ session }) {
  const page = readPage("Dead letters", () => get(at("dead-letters")), (data, load) => [
    h("div", { class: "page-head" }, h("h1", null, "Dead letters"), h("span", { class: "faint" }, data.box.name),
      h("div", { class: "actions" }, h("button", { class: "button", type: "button", on: { click: load } }, icon("again"), "Look again"),
        !session.readOnly && data.letters.length > 0 && h("button", { class: "button main", type: "button", on: { click: () => settle("redrive", { all: true }, plural(data.letters.length, "letter"), data.box, load) } }, icon("out"), "Redrive all"))),
    data.trouble && h("div", { class: "notice tone-again" }, icon("warn"), h("p", { class: "wrap" }, data.trouble)),
    data.box.isShared && h("div", { class: "notice tone-wait" }, icon("warn"), h("p", null, "Other queues send their dead letters here, too. Only those of this one are touched.")),
    data.letters.length ? data.causes.map((cause) => group(cause, data.letters.filter((each) => each.cause === cause.cause), session, data.box, load)) : h("div", { class: "card" }, h("div", { class: "empty" }, icon("check"), h("h2", null, "No dead letters"), h("p", null, "Jobs that no worker could carry out, however often they were delivered, come here. There are none."), data.box.hidden > 0 && h("p", null, `${plural(data.box.hidden, "letter")} cannot be seen for the moment: somebody is looking at them.`))),
    data.isCut && h("p", { class: "soft" }, `The first ${number(data.seen)} were looked at; there are more.`),
  ]);
  return { title: "Dead letters", el: page.el, update: () => true, destroy: () => (page.state.isOff = true) };
}

function group({ cause, meaning, letters: count }, letters, session, box, load) {
  const what = `${plural(count, "letter")} of this cause`;
  return h("section", { class: "card list-card", "data-cause": cause },
    h("div", { class: "group-head" }, h("div", { class: "grow" }, h("h2", null, cause.replaceAll("_", " ").replaceAll("-", " "), h("span", { class: "faint" }, ` · ${number(count)}`)), h("p", { class: "soft wrap" }, meaning)),
      !session.readOnly && h("div", { class: "actions" },
        h("button", { class: "button small", type: "button", on: { click: () => settle("redrive", { causes: [cause] }, what, box, load) } }, icon("out"), "Redrive group"),
        h("button", { class: "button small danger", type: "button", on: { click: () => settle("delete", { causes: [cause] }, what, box, load) } }, icon("bin"), "Delete group"))),
    h("div", { class: "scroller" }, h("table", { class: "table of-letters" }, h("caption", { class: "unseen" }, `Dead letters: ${cause}`),
      h("thead", null, h("tr", null, ["Run", "Node", "Why", "Sent", "Deliveries", "Actions"].map((name, place) => h("th", { scope: "col", class: place > 2 ? "fit" : null }, name)))),
      h("tbody", null, letters.map((letter) => row(letter, session, box, load))))));
}

function row(letter, session, box, load) {
  const { run } = letter;
  return h("tr", null,
    h("td", null, h("div", { class: "row" }, run ? h("a", { class: "mono clip above", href: linkTo(["runs", run.runId]), title: run.runId }, short(run.runId, 40)) : h("span", { class: "faint" }, "no run"), run?.status && badge(run.status, true))),
    h("td", { class: "clip soft" }, run?.nodeId ?? "–"),
    h("td", { class: "clip soft", title: letter.reason }, letter.reason),
    h("td", { class: "fit soft", title: letter.sentAt ? moment(letter.sentAt) : null }, letter.sentAt ? ago(letter.sentAt) : "–"),
    h("td", { class: "fit soft number" }, letter.receives ?? "–"),
    h("td", { class: "fit" }, h("div", { class: "row above" },
      h("button", { class: "button small", type: "button", on: { click: () => showLetter(letter) } }, "Show"),
      !session.readOnly && h("button", { class: "button small", type: "button", on: { click: () => settle("redrive", { ids: [letter.id] }, "this letter", box, load, letter) } }, "Redrive"),
      !session.readOnly && h("button", { class: "button small danger", type: "button", on: { click: () => settle("delete", { ids: [letter.id] }, "this letter", box, load, letter) } }, "Delete"))));
}

function showLetter(letter) {
  const facts = [["Id", h("span", { class: "mono" }, letter.id)], ["Why", letter.reason], ["Sent", letter.sentAt ? moment(letter.sentAt) : "–"], ["From", letter.source ?? "–"], ["Deliveries", letter.receives ?? "–"],
    letter.run && ["Run", `${letter.run.runId} (${letter.run.status ?? letter.run.standing})`], letter.run?.nodeId && ["Node", letter.run.nodeId], letter.run && ["Brings", letter.run.brings], letter.run?.detail && ["", letter.run.detail], ["Redriving it", letter.redriving], ["Deleting it", letter.deleting]].filter(Boolean);
  const body = h("pre", { class: "raw" }, letter.body);
  const whole = async () => {
    try {
      fill(body, (await get(at("dead-letters", letter.id))).body);
    } catch (error) {
      toast(messageOf(error), "bad");
    }
  };
  openDialog({ title: "Dead letter", wide: true, body: [h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)])), h("h3", null, "Body"), body, letter.body.endsWith("…") && h("button", { class: "link-button", type: "button", on: { click: whole } }, "Read it again")] });
}

async function settle(verb, which, what, box, load, letter = null) {
  const isRedrive = verb === "redrive";
  const text = isRedrive ? `${letter?.redriving ? `${letter.redriving} ` : ""}It is sent back to the queue, and workers try it again. Has its cause been seen to?` : "What it brings is lost, unless its run is sent again by workers that look for stuck runs. This cannot be taken back.";
  const foreign = h("input", { type: "checkbox" });
  const more = box.isShared ? [h("label", { class: "check" }, foreign, isRedrive ? "Those of other queues, too" : "Those of other queues, or of none that is known, too")] : [];
  const outcome = await confirm({ title: `${isRedrive ? "Redrive" : "Delete"} ${what}?`, text, submit: isRedrive ? "Redrive" : "Delete", danger: !isRedrive, more, run: () => send("POST", at("dead-letters", verb), foreign.checked ? { ...which, foreign: true } : which) });
  if (!outcome) return;
  const told = `${plural(outcome.done, "letter")} ${isRedrive ? "sent back" : "deleted"}.`;
  const rest = [outcome.refused[0]?.reason, outcome.missing.length > 0 && `${outcome.missing.length} are there no more.`, outcome.foreign > 0 && `${number(outcome.foreign)} of other queues left.`, outcome.unknownSource > 0 && `${number(outcome.unknownSource)} left: nobody knows which queue ${outcome.unknownSource > 1 ? "they are" : "it is"} of.`, outcome.error, outcome.trouble].filter(Boolean);
  toast([told, ...rest].join(" "), rest.length && !outcome.done ? "bad" : "good");
  load();
}
