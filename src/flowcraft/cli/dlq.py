"""``flowcraft dlq``: dead letters seen, sent back, deleted."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import click

from flowcraft.cli.failures import DONE, FAILED, NOT_FOUND, REFUSED, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.output import Output
from flowcraft.cli.questions import agree
from flowcraft.dead_letters import (
    DEFAULT_LIMIT,
    MEANINGS,
    MOST,
    BoxFacts,
    Cause,
    DeadLetters,
    Letter,
    LetterNotFound,
    Listing,
    Outcome,
    Selection,
    Tell,
    open_dead_letters,
)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Verb = Callable[[DeadLetters], Awaitable[T]]

SHORT: Final = 8
"""So many characters of an id of SQS are shown, and taken for it where they are unique."""

SHOWN_REFUSALS: Final = 10
SHOWN_CHARACTERS: Final = 40
"""Of a body that names no run so much is shown in a list."""

_COLUMNS: Final = ("letter", "body", "run", "node", "the run is", "sent")

_LIMIT: Final = click.IntRange(1, MOST)


@click.group(
    name="dlq",
    help="Dead letters: jobs that were delivered in vain, why, and what to do about them.",
)
def group() -> None:
    """Hold the subcommands together."""


def _do(invocation: Invocation, verb: Verb[T]) -> T:
    """Do something with the dead letters of the queue."""

    async def work() -> T:
        async with open_dead_letters(invocation.client(with_app=True)) as letters:
            return await verb(letters)

    return invocation.run(work())


def _selects(function: F) -> F:
    """Add the flags that say which letters are meant."""
    cause = click.option(
        "--cause",
        "causes",
        multiple=True,
        type=click.Choice([str(each) for each in Cause]),
        metavar="CAUSE",
        help="Those of a cause, as 'dlq list' names them; may be given more than once.",
    )
    run = click.option("--run", "run_id", metavar="RUN", help="Those of a run.")
    return cause(run(function))


_ids = click.argument("ids", nargs=-1, metavar="[LETTER]...")
_all = click.option("--all", "is_all", is_flag=True, help="All letters of this queue.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_limit = click.option("--limit", type=_LIMIT, metavar="N", help="So many at most.")


def _foreign(what: str) -> Callable[[F], F]:
    return click.option("--foreign", is_flag=True, help=f"{what} letters of other queues, too.")


@group.command(name="list", help="List dead letters by cause, with what became of their runs.")
@_selects
@click.option(
    "--limit",
    type=_LIMIT,
    default=DEFAULT_LIMIT,
    show_default=True,
    metavar="N",
    help="How many letters to look at.",
)
@click.option("--no-runs", is_flag=True, help="Do not look at their runs: faster, and says less.")
@pass_invocation
def list_(invocation: Invocation, /, **given: Any) -> None:
    """List letters."""
    selection = Selection.of((), given["causes"], given["run_id"])
    reads_runs = not given["no_runs"]

    async def verb(letters: DeadLetters) -> Listing:
        return await letters.look(selection, limit=given["limit"], reads_runs=reads_runs)

    listing = _do(invocation, verb)
    if invocation.as_json:
        invocation.out.json(_listing_data(listing))
    else:
        _show_listing(invocation.out, listing)


@group.command(name="show", help="Show all of one letter.")
@click.argument("letter_id", metavar="LETTER")
@pass_invocation
def show(invocation: Invocation, /, letter_id: str) -> None:
    """Show a letter."""
    try:
        letter = _do(invocation, lambda letters: letters.get(letter_id))
    except LetterNotFound as error:
        raise CommandError(str(error), NOT_FOUND) from error
    if invocation.as_json:
        invocation.out.json(letter.to_dict())
    else:
        _show_letter(invocation.out, letter)


@group.command(
    name="redrive",
    short_help="Send letters back to the queue they came from.",
    help="Send letters back to the queue that they came from: some, those of a cause, or all.",
    epilog="\b\nflowcraft dlq redrive --cause implementation-missing\n"
    "flowcraft dlq redrive --all --yes",
)
@_ids
@_selects
@_all
@_foreign("Send back")
@_limit
@_yes
@pass_invocation
def redrive(invocation: Invocation, /, **given: Any) -> int:
    """Send letters back."""
    selection = _selection(given)

    async def verb(letters: DeadLetters, tell: Tell) -> Outcome:
        facts = await letters.facts()
        if given["is_all"] and facts.waiting:
            agree(
                invocation,
                f"Send about {facts.waiting} letters of '{facts.name}' back?",
                yes=given["yes"],
            )
        may = {"foreign": given["foreign"], "limit": given["limit"]}
        return await letters.redrive(selection, **may, tell=tell)

    return _settle(invocation, given, verb, "sent back")


@group.command(name="delete", help="Delete letters for good: some, those of a cause, or all.")
@_ids
@_selects
@_all
@_foreign("Delete")
@_limit
@_yes
@pass_invocation
def delete(invocation: Invocation, /, **given: Any) -> int:
    """Delete letters."""
    selection = _selection(given)

    async def verb(letters: DeadLetters, tell: Tell) -> Outcome:
        agree(invocation, f"Delete {_said(given)} for good?", yes=given["yes"])
        may = {"foreign": given["foreign"], "limit": given["limit"]}
        return await letters.delete(selection, **may, tell=tell)

    return _settle(invocation, given, verb, "deleted")


@group.command(name="purge", help="Delete all letters for good.")
@_foreign("Delete")
@_yes
@pass_invocation
def purge(invocation: Invocation, /, **given: Any) -> int:
    """Delete all letters."""

    async def verb(letters: DeadLetters, tell: Tell) -> Outcome:
        facts = await letters.facts()
        if facts.waiting + facts.hidden == 0:
            return Outcome()
        agree(invocation, _purge_question(facts, given["foreign"]), yes=given["yes"])
        return await letters.purge(foreign=given["foreign"], tell=tell)

    return _settle(invocation, given, verb, "deleted")


# --- asking --------------------------------------------------------------------------------


def _selection(given: dict[str, Any]) -> Selection:
    """The letters that arguments and flags mean.

    Raises:
        CommandError: They mean none, or all and some.
    """
    selection = Selection.of(given["ids"], given["causes"], given["run_id"])
    if selection.is_all and not given["is_all"]:
        raise CommandError("Say which letters: by their ids, by --cause or --run, or --all.")
    if given["is_all"] and not selection.is_all:
        raise CommandError("Give either --all or which letters, not both.")
    return selection


def _said(given: dict[str, Any]) -> str:
    """The letters that arguments and flags mean, in words."""
    if given["ids"]:
        return ", ".join(given["ids"])
    parts = [*(f"of cause {cause}" for cause in given["causes"])]
    if given["run_id"]:
        parts.append(f"of run '{given['run_id']}'")
    return f"all letters {' '.join(parts)}".rstrip()


def _purge_question(facts: BoxFacts, foreign: bool) -> str:
    count = facts.waiting + facts.hidden
    if not facts.is_shared:
        return f"Delete all of about {count} letters of '{facts.name}' for good?"
    shared = _shared(facts)
    if foreign:
        return f"Delete all of about {count} letters of '{facts.name}' for good? {shared}"
    return (
        f"Delete the letters that came from '{_short_name(facts.source)}' for good? {shared} "
        "Theirs are left; --foreign deletes all."
    )


def _shared(facts: BoxFacts) -> str:
    """Whose letters there may be, too."""
    if facts.sources is None:
        return "Whether other queues have their letters here cannot be told."
    others = [_short_name(each) for each in facts.sources if each != facts.source]
    names = ", ".join(f"'{each}'" for each in others)
    return f"Letters of {names} come here, too."


def _short_name(arn: str) -> str:
    return arn.rpartition(":")[2]


# --- telling what was done -----------------------------------------------------------------


def _settle(
    invocation: Invocation,
    given: dict[str, Any],
    verb: Callable[[DeadLetters, Tell], Awaitable[Outcome]],
    done: str,
) -> int:
    """Carry out a verb, and tell what came of it; gives the exit code."""
    through = [0]
    try:
        outcome = _do(invocation, lambda letters: verb(letters, through.append))
    except KeyboardInterrupt:
        invocation.out.remark(f"{_count(through[-1])} were {done} by then.", "warning")
        raise
    if invocation.as_json:
        invocation.out.json(_outcome_data(outcome))
    else:
        _show_outcome(invocation.out, outcome, done)
    if outcome.error is not None:
        raise outcome.error
    if outcome.refused:
        return FAILED
    if outcome.missing:
        return NOT_FOUND
    return REFUSED if given.get("ids") and (outcome.foreign or outcome.unknown) else DONE


def _outcome_data(outcome: Outcome) -> dict[str, Any]:
    return {
        "done": outcome.done,
        "by": outcome.by,
        "refused": [
            {"id": each.id, "wasSent": each.was_sent, "reason": each.reason}
            for each in outcome.refused
        ],
        "foreign": outcome.foreign,
        "unknownSource": outcome.unknown,
        "missing": list(outcome.missing),
        "isCut": outcome.is_cut,
        "trouble": outcome.trouble,
    }


def _show_outcome(out: Output, outcome: Outcome, done: str) -> None:
    how = {"letters": "", "task": ", by a task of SQS", "purge": ", all at once"}[outcome.by]
    about = "About " if outcome.by != "letters" else ""
    out.print(f"{about}{_count(outcome.done)} {done}{how}.")
    for refusal in outcome.refused[:SHOWN_REFUSALS]:
        twice = " It was sent back, and is there twice, which does no harm."
        extra = twice if refusal.was_sent else ""
        out.remark(f"Letter {refusal.id} is still there: {refusal.reason}.{extra}", "error")
    if len(outcome.refused) > SHOWN_REFUSALS:
        out.remark(f"… and {len(outcome.refused) - SHOWN_REFUSALS} more are still there.", "error")
    if outcome.foreign:
        out.remark(f"{_count(outcome.foreign)} of other queues left; see --foreign.", "warning")
    if outcome.unknown:
        text = "left, since nobody knows which queue it is of"
        out.remark(f"{_count(outcome.unknown)} {text}.", "warning")
    for missing in outcome.missing:
        out.remark(f"There is no letter '{missing}'.", "error")
    if outcome.trouble:
        out.remark(f"Runs could not be looked at: {outcome.trouble}", "warning")


def _count(number: int) -> str:
    return f"{number} letter{'' if number == 1 else 's'}"


# --- showing letters -----------------------------------------------------------------------


def _listing_data(listing: Listing) -> dict[str, Any]:
    box = listing.box
    return {
        "box": {
            "name": box.name,
            "source": box.source,
            "waiting": box.waiting,
            "hidden": box.hidden,
            "sources": None if box.sources is None else list(box.sources),
            "forwardsAfter": box.forwards_after,
        },
        "causes": {str(cause): len(letters) for cause, letters in listing.groups.items()},
        "letters": [letter.to_dict() for letter in listing.letters],
        "seen": listing.seen,
        "isCut": listing.is_cut,
        "trouble": listing.trouble,
    }


def _show_listing(out: Output, listing: Listing) -> None:
    box = listing.box
    if not listing.letters:
        what = "no dead letters" if not listing.seen else "no such letters"
        out.print(f"There are {what} in '{box.name}'.")
    for number, (cause, letters) in enumerate(listing.groups.items()):
        if number:
            out.print()
        out.print(f"{cause}: {_count(len(letters))}", "bold")
        out.print(MEANINGS[cause])
        _show_letters(out, letters)
    for remark in _remarks(listing):
        out.remark(remark, "warning")


def _show_letters(out: Output, letters: Sequence[Letter]) -> None:
    """A table of letters, without the columns that would be empty."""
    rows = [_row(letter) for letter in letters]
    columns = [name for name in _COLUMNS if name == "letter" or any(row[name] for row in rows)]
    out.table(columns, ([row[name] for name in columns] for row in rows))


def _row(letter: Letter) -> dict[str, str]:
    run = letter.run
    row = dict.fromkeys(_COLUMNS, "")
    row["letter"] = _short_id(letter.id)
    row["sent"] = "" if letter.sent_at is None else f"{letter.sent_at:%Y-%m-%d %H:%M}"
    if letter.is_ours is False:
        row["run"] = f"(of the queue '{letter.source}')"
    elif run is None:
        row["body"] = _beginning(letter.body)
    else:
        row |= {"run": run.run_id, "node": run.node_id or "", "the run is": str(run.standing)}
    return row


def _beginning(body: str) -> str:
    line = " ".join(body.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


def _short_id(id_: str) -> str:
    return id_[:SHORT] if "-" in id_ else id_


def _remarks(listing: Listing) -> Iterable[str]:
    box = listing.box
    if listing.is_cut:
        yield f"These are of the first {listing.seen}; --limit looks at more."
    if box.hidden and not listing.is_cut:
        yield (
            f"About {_count(box.hidden)} were hidden: somebody received them a moment ago. Look "
            "again in a minute."
        )
    if box.sources is not None and box.is_shared:
        yield _shared(box)
    if box.forwards_after is not None:
        yield (
            f"'{box.name}' has a redrive policy of its own: a letter goes on to another queue "
            f"after {box.forwards_after} receives, and each look at it is one."
        )
    if listing.trouble:
        yield f"Runs could not be looked at: {listing.trouble}"


def _show_letter(out: Output, letter: Letter) -> None:
    run = letter.run
    rows: list[tuple[str, object]] = [
        ("letter", letter.id),
        ("cause", f"{letter.cause}: {MEANINGS[letter.cause]}"),
        ("found", letter.reason),
        ("from", letter.source or "nobody knows"),
    ]
    looks = ""
    if letter.sent_at is not None:  # a queue that counts looks as well
        rows += [("sent", letter.sent_at), ("first received", letter.first_received_at)]
        looks = ", looks at it included"
    rows.append(("received", f"{letter.receives} time{'' if letter.receives == 1 else 's'}{looks}"))
    if run is not None:
        status = f"{run.status}, " if run.status else ""
        rows += [("run", run.run_id), ("it is", f"{status}{run.standing}")]
        rows += [("blueprint", run.blueprint_id)] if run.blueprint_id else []
        rows += [("node", f"{run.node_id}, attempt {run.attempt or 1}")] if run.node_id else []
        rows += [("brings", run.brings)] if run.brings else []
    rows += [("redriving", letter.redriving), ("deleting", letter.deleting)]
    rows += sorted((name, value) for name, value in letter.attributes.items())
    attached = letter.to_dict()["messageAttributes"]
    rows += [(f"attribute {name}", value) for name, value in sorted(attached.items())]
    out.table(("", ""), rows)
    out.print()
    out.print(_pretty(letter.body))


def _pretty(body: str) -> str:
    """A body as it is best read: JSON with a line for each field, else as it is."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return body
