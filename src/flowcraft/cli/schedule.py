"""``flowcraft schedule``: runs that start by the clock."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Final, TypeVar

import click

from flowcraft.adapters.system import SystemIdentifiers
from flowcraft.cli.columns import Column, show_rows
from flowcraft.cli.failures import CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.kinds import moment
from flowcraft.cli.output import Output, plain
from flowcraft.cli.portrait import say, value_text
from flowcraft.cli.start import context_of, flow_of, pairs_of
from flowcraft.cli.times import both, local, relative, span
from flowcraft.engine.client import FlowClient
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.engine.schedule_options import ScheduleOptions
from flowcraft.engine.schedule_view import ScheduleInfo, Tick
from flowcraft.engine.schedules import LONGEST_PAGE, MOST_TIMES
from flowcraft.errors import InputError
from flowcraft.memory import MemoryStorage
from flowcraft.ports.clock import Clock

T = TypeVar("T")
Command = Callable[..., Any]

MOST_TICKS: Final = 5

COLUMNS: Final = (
    Column("schedule", is_whole=True, least=12),
    Column("flow", least=8),
    Column("when", least=10),
    Column("state"),
    Column("next", least=10),
    Column("last", least=10),
)

_EPILOG_ADD: Final = """\b
flowcraft schedule add nightly order --cron '0 3 * * *' --time-zone Europe/Berlin
flowcraft schedule add often order --every 15m --overlap queue -c amount=21
flowcraft schedule preview --cron '0 3 * * 1-5' --count 10"""


@click.group(name="schedule", help="Runs that start by the clock; workers look after them.")
def group() -> None:
    """Commands about schedules."""


def _when(command: Command) -> Command:
    """Give a command the flags that say when a schedule has ticks."""
    flags = (
        click.option("--cron", metavar="TEXT", help="Minute, hour, day, month, day of week."),
        click.option("--every", metavar="TIME", help="Instead: from tick to tick, such as 15m."),
        click.option("--offset", metavar="TIME", help="How much later than multiples of --every."),
        click.option("--time-zone", metavar="NAME", help="Of --cron, such as Europe/Berlin; UTC."),
        click.option(
            "--start-at", type=moment, metavar="TIME", help="No ticks before (local time)."
        ),
        click.option("--end-at", type=moment, metavar="TIME", help="No ticks after (local time)."),
    )
    for flag in reversed(flags):
        command = flag(command)
    return command


# Named as ScheduleOptions has them, so that what the engine says of one leads to its flag.
@group.command("add", help="Create a schedule.", epilog=_EPILOG_ADD)
@click.argument("schedule_id", metavar="ID")
@click.argument("flow")
@_when
@click.option("-c", "--context", "pairs", multiple=True, metavar="KEY=VALUE", help="Context.")
@click.option("--context-json", metavar="JSON", help="Context, as a JSON object.")
@click.option("--context-file", metavar="FILE", help="The same in a file; '-' is standard input.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="A label of its runs.")
@click.option(
    "--overlap",
    type=click.Choice(["skip", "queue", "allow"]),
    help="A tick while its last run is not over: skip.",
)
@click.option("--queue-limit", type=int, metavar="N", help="Ticks that wait at most: 10.")
@click.option(
    "--catch-up",
    type=click.Choice(["none", "latest", "all"]),
    help="Ticks that nobody looked after in time: latest.",
)
@click.option("--catch-up-limit", type=int, metavar="N", help="How many at most: 100.")
@click.option("--grace-seconds", type=float, metavar="N", help="When a tick counts as missed: 300.")
@click.option(
    "--jitter-seconds", type=float, metavar="N", help="Runs start up to so much later: 0."
)
@click.option("--note", metavar="TEXT", help="What people are to know of it.")
@click.option("--paused", is_flag=True, help="It has no ticks until it is resumed.")
@pass_invocation
def add(invocation: Invocation, /, schedule_id: str, flow: str, **given: Any) -> None:
    """Create a schedule."""
    directory = invocation.directory
    context = context_of(
        given.pop("pairs"), given.pop("context_json"), given.pop("context_file"), directory
    )
    paused, tags = given.pop("paused"), pairs_of(given.pop("tags"), "--tag")
    options = _options(given) | ({"context": context} if context else {})
    if tags:
        options["tags"] = tags
    wanted = flow_of(flow, directory, invocation.options_if_any)

    async def verb(client: FlowClient) -> ScheduleInfo:
        return await client.schedules.create(schedule_id, wanted, paused=paused, **options)

    # A first schedule may be made before there is a file of runs.
    _tell(invocation, _with_client(invocation, verb, may_begin=True))


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, with times of this machine's zone."""
    return {
        name: value.astimezone() if isinstance(value, datetime) else value
        for name, value in given.items()
        if value is not None
    }


@group.command("list", help="List schedules, by their ids.")
@click.option(
    "--limit",
    type=click.IntRange(1, LONGEST_PAGE),
    default=100,
    metavar="N",
    help="How many at most (100).",
)
@click.option("--after", metavar="ID", help="Go on behind this schedule.")
@pass_invocation
def list_(invocation: Invocation, /, limit: int, after: str | None) -> None:
    """List schedules."""

    async def verb(client: FlowClient) -> tuple[ScheduleInfo, ...]:
        return await client.schedules.list(after=after, limit=limit)

    found = _with_client(invocation, verb)
    out, now = invocation.out, invocation.clock.now()
    last = found[-1].id if len(found) == limit else None
    if out.as_json:
        out.json({"schedules": found, "after": last})
        return
    if not found:
        out.remark("There are no schedules.")
        return
    show_rows(out, COLUMNS, [_row(info, now) for info in found])
    for info in found:
        if info.problem:
            out.print(f"{info.id}: {info.problem}", "error")
    if last is not None:
        out.remark(f"There may be more: flowcraft schedule list --after {last}")


@group.command(
    "show",
    help="Show a schedule: its next ticks, and what became of the last ones.",
    short_help="Show a schedule, its next and its last ticks.",
)
@click.argument("schedule_id", metavar="ID")
@pass_invocation
def show(invocation: Invocation, /, schedule_id: str) -> None:
    """Show a schedule."""
    _tell(invocation, _with_client(invocation, lambda client: client.schedules.get(schedule_id)))


@group.command("pause", help="Let a schedule have no ticks until it is resumed.")
@click.argument("schedule_id", metavar="ID")
@click.option("--note", default="", metavar="TEXT", help="Why.")
@pass_invocation
def pause(invocation: Invocation, /, schedule_id: str, note: str) -> None:
    """Pause a schedule."""
    _tell(
        invocation,
        _with_client(invocation, lambda client: client.schedules.pause(schedule_id, note)),
    )


@group.command("resume", help="Let a schedule have ticks again, from now on.")
@click.argument("schedule_id", metavar="ID")
@click.option("--note", metavar="TEXT", help="Its new note.")
@pass_invocation
def resume(invocation: Invocation, /, schedule_id: str, note: str | None) -> None:
    """Resume a schedule."""
    _tell(
        invocation,
        _with_client(invocation, lambda client: client.schedules.resume(schedule_id, note)),
    )


@group.command("remove", help="Forget schedules; runs that were started go on.")
@click.argument("schedule_ids", nargs=-1, required=True, metavar="ID...")
@pass_invocation
def remove(invocation: Invocation, /, schedule_ids: tuple[str, ...]) -> None:
    """Forget schedules."""

    async def verb(client: FlowClient) -> None:
        for each in schedule_ids:
            await client.schedules.delete(each)

    _with_client(invocation, verb)
    if invocation.as_json:
        invocation.out.json({"removed": schedule_ids})
    else:
        invocation.out.print(f"Removed {', '.join(schedule_ids)}")


@group.command("trigger", help="Start a run of a schedule now; prints its id.")
@click.argument("schedule_id", metavar="ID")
@pass_invocation
def trigger(invocation: Invocation, /, schedule_id: str) -> None:
    """Start a run now."""

    async def verb(client: FlowClient) -> str:
        return str(await client.schedules.trigger(schedule_id))

    run_id = _with_client(invocation, verb)
    if invocation.as_json:
        invocation.out.json({"runId": run_id})
    else:
        invocation.out.print(run_id)


@group.command("preview", help="Tell the ticks that a schedule has, or would have.")
@click.argument("schedule_id", metavar="[ID]", required=False)
@_when
@click.option(
    "--count", type=click.IntRange(1, MOST_TIMES), default=5, metavar="N", help="How many (5)."
)
@click.option(
    "--after", type=moment, metavar="TIME", help="Ticks after this time (local time); now."
)
@pass_invocation
def preview(invocation: Invocation, /, schedule_id: str | None, count: int, **given: Any) -> None:
    """Tell ticks."""
    options = _options(given)
    if schedule_id is not None and options:
        raise click.UsageError("Give either the ID of a schedule, or --cron or --every.")

    if schedule_id is not None:
        name = schedule_id
        times = _with_client(invocation, lambda client: client.schedules.next_times(name, count))
    else:
        times = _run(invocation, _previewed(invocation.clock, count, options))
    out, now = invocation.out, invocation.clock.now()
    if out.as_json:
        out.json({"times": times})
    elif times:
        columns = (Column("here"), Column("UTC"), Column("from now"))
        out_rows = [
            (local(each), f"{each:%Y-%m-%d %H:%M:%S}", relative(each, now)) for each in times
        ]
        show_rows(out, columns, out_rows)
    else:
        out.remark("There are no ticks.")


async def _previewed(clock: Clock, count: int, options: dict[str, Any]) -> tuple[datetime, ...]:
    """The ticks of a schedule that is nowhere: asked of a client of nothing but memory."""
    storage = MemoryStorage(clock)
    runtime = FlowRuntime()
    client = FlowClient(
        storage.open_ports, runtime.options, clock=clock, identifiers=SystemIdentifiers()
    )
    async with client:
        return await client.schedules.preview(count, **options)


# --- what they share -----------------------------------------------------------------------


def _with_client(
    invocation: Invocation,
    verb: Callable[[FlowClient], Coroutine[Any, Any, T]],
    *,
    may_begin: bool = False,
) -> T:
    async def work() -> T:
        async with invocation.client(with_app=True, may_begin=may_begin) as client:
            return await verb(client)

    return _run(invocation, work())


def _run(invocation: Invocation, work: Coroutine[Any, Any, T]) -> T:
    """Do something; what is said of an option is said of its flag."""
    try:
        return invocation.run(work)
    except InputError as error:
        if error.option == "flow":
            raise CommandError(f"FLOW: {error.said}") from error
        if error.option in ScheduleOptions.__annotations__:
            flag = "--" + error.option.replace("_", "-")
            raise CommandError(f"{flag}: {error.said}") from error
        raise CommandError(str(error)) from error


def _tell(invocation: Invocation, info: ScheduleInfo) -> None:
    if invocation.as_json:
        invocation.out.json(info)
    else:
        show_schedule(invocation.out, info, invocation.clock.now())


def _row(info: ScheduleInfo, now: float) -> tuple[object, ...]:
    state = "paused" if info.paused else "problem" if info.problem else "active"
    next_tick = "" if info.paused or not info.next_ticks else relative(info.next_ticks[0], now)
    last = "" if not info.ticks else f"{info.ticks[0].outcome} {relative(info.ticks[0].at, now)}"
    return info.id, info.flow, when_text(info), state, next_tick, last


def when_text(info: ScheduleInfo) -> str:
    """When a schedule has ticks, in a few words."""
    if info.cron is not None:
        return info.cron if info.time_zone == "UTC" else f"{info.cron} {info.time_zone}"
    seconds = 0.0 if info.every is None else info.every.total_seconds()
    offset = info.offset.total_seconds()
    return f"every {span(seconds)}" + (f", {span(offset)} later" if offset else "")


def show_schedule(out: Output, info: ScheduleInfo, now: float) -> None:
    """Write a schedule."""
    out.print(f"{info.id}  {info.flow}", "bold")
    say(out, "when", when_text(info))
    for label, bound in (("not before", info.start_at), ("not after", info.end_at)):
        if bound is not None:
            say(out, label, local(bound))
    note = f": {info.pause_note}" if info.pause_note else ""
    say(
        out,
        "state",
        f"paused{note}" if info.paused else "active",
        "paused" if info.paused else "ok",
    )
    if info.problem:
        say(out, "problem", info.problem, "error")
    if info.note:
        say(out, "note", info.note)
    say(out, "overlap", _overlap(info))
    say(out, "catch up", _catch_up(info))
    if info.jitter_seconds:
        say(out, "jitter", f"up to {span(info.jitter_seconds)}")
    if info.tags:
        say(out, "tags", " ".join(f"{name}={value}" for name, value in info.tags.items()))
    if info.context:
        say(out, "context", value_text(info.context))
    for place, tick in enumerate(info.next_ticks):
        label = "" if place else "would be" if info.paused else "next"
        say(out, label, both(tick, now))
    if info.waiting:
        say(out, "waiting", f"{len(info.waiting)} ticks, since {both(info.waiting[0], now)}")
    for place, each in enumerate(info.ticks[:MOST_TICKS]):
        say(out, "" if place else "last", _tick_text(each, now))


def _overlap(info: ScheduleInfo) -> str:
    if info.overlap == "queue":
        return f"queue, up to {info.queue_limit} ticks wait"
    return str(info.overlap)


def _catch_up(info: ScheduleInfo) -> str:
    most = f", up to {info.catch_up_limit}" if info.catch_up == "all" else ""
    return f"{info.catch_up}{most}; a tick is missed after {span(info.grace_seconds)}"


def _tick_text(tick: Tick, now: float) -> str:
    parts = [f"{both(tick.at, now)}: {tick.outcome}"]
    if tick.reason:
        parts.append(f"({tick.reason.replace('_', ' ')})")
    if tick.count is not None and tick.count > 1:
        parts.append(f"{tick.count} ticks")
    if tick.run_id is not None:
        parts.append(plain(tick.run_id))
    return " ".join(parts)
