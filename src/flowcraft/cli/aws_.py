"""``flowcraft aws``: plan, make and remove what a fleet needs on AWS, or write it as a template."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from flowcraft import application
from flowcraft.cli.aws_policy import policy_command
from flowcraft.cli.columns import Column, show_rows
from flowcraft.cli.failures import REFUSED, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.questions import agree
from flowcraft.provisioning import (
    Destruction,
    Difference,
    Fleet,
    Functions,
    Plan,
    Provisioner,
    Removal,
    template,
)

CHANGES_PENDING: Final = 2
"""The exit code of a plan with changes, with ``--detailed-exit-code``: as terraform has it."""


@click.group(name="aws", help="Plan, make and remove what a fleet needs on AWS.")
def group() -> None:
    """Commands about resources."""


group.add_command(policy_command)


def _fleet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what a fleet is to be."""
    options = [
        click.option("--bucket", metavar="NAME", help="A bucket for large values and files."),
        click.option(
            "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of all of it."
        ),
        click.option("--kms-key", metavar="KEY", help="Encrypt with this key of KMS."),
        click.option(
            "--point-in-time-recovery/--no-point-in-time-recovery",
            default=None,
            help="Whether tables can be put back; as it is without either.",
        ),
        click.option(
            "--deletion-protection/--no-deletion-protection",
            default=None,
            help="Whether tables refuse to be deleted; as it is without either.",
        ),
        click.option(
            "--visibility-timeout",
            type=int,
            metavar="SECONDS",
            help="How long a received message is hidden (30 for a new queue).",
        ),
        click.option(
            "--max-receives",
            type=int,
            metavar="N",
            help="How often a message is received before it is a dead letter (100).",
        ),
        click.option(
            "--status-index/--no-status-index",
            default=True,
            help="Whether the status table has an index for runs that stand still.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@group.command(
    "plan",
    help="Show what is different from what the fleet needs; change nothing.",
    short_help="Show what apply would do; change nothing.",
)
@_fleet_options
@click.option(
    "--detailed-exit-code", is_flag=True, help="End with 2 if there are changes, with 0 if none."
)
@pass_invocation
def plan_(invocation: Invocation, /, detailed_exit_code: bool, **given: Any) -> int:
    """Show a plan."""
    found = _with_provisioner(invocation, given, lambda made: made.plan())
    _show_plan(invocation, found)
    if found.refusals:
        return REFUSED
    return CHANGES_PENDING if found.changes and detailed_exit_code else 0


@group.command("apply", help="Make what is missing, change what is different; show it first.")
@_fleet_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def apply(invocation: Invocation, /, yes: bool, **given: Any) -> int:
    """Show a plan and carry it out."""
    found: Plan = _with_provisioner(invocation, given, lambda made: made.plan())
    out = invocation.out
    if found.refusals:
        _show_plan(invocation, found)
        return REFUSED
    if found.changes:
        if not out.as_json:
            _show_plan(invocation, found)
        agree(invocation, "Make these changes?", yes=yes)
    done = _with_provisioner(invocation, given, lambda made: made.apply(found), tell=out.remark)
    if out.as_json:
        out.json({"changes": [_described(each) for each in done.changes], **_places(found, done)})
    else:
        is_changed = bool(done.changes)
        out.print("Done." if is_changed else "Nothing to do: all is as it should be.")
        out.print(f"The queue is {done.queue_url}")
    return 0


@group.command("destroy", help="Delete what the fleet has; name it first.")
@click.option("--bucket", metavar="NAME", help="The bucket, if it is to go too.")
@click.option("--empty-bucket", is_flag=True, help="Delete what is in the bucket, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def destroy(invocation: Invocation, /, empty_bucket: bool, yes: bool, **given: Any) -> int:
    """Name what would be deleted, ask, and delete it."""
    doomed: Destruction = _with_provisioner(
        invocation, given, lambda made: made.plan_destruction(empty_bucket=empty_bucket)
    )
    out = invocation.out
    if not out.as_json or not yes:
        _show_removals(invocation, doomed.removals)
    done: list[Removal] = []
    if doomed.deletions:
        agree(invocation, f"Delete all of the fleet '{doomed.prefix}' that is listed?", yes=yes)
        done = _with_provisioner(
            invocation,
            given,
            lambda made: made.destroy(doomed),
            tell=out.remark,
        )
    kept = [each for each in doomed.removals if each.fate == "keep"]
    if out.as_json:
        out.json({"prefix": doomed.prefix, "removals": [*done, *kept]})
    else:
        for each in done:
            if each.fate != "deleted":
                out.print(f"{each.fate}: {each.kind} {each.name}{_because(each.reason)}")
        out.print("Done." if done else "Nothing to delete.")
    return REFUSED if kept and not done else 0


@group.command("template", help="Write it all as a template of CloudFormation.")
@_fleet_options
@click.option("--functions", is_flag=True, help="With functions of Lambda that do the work.")
@click.option("--function-timeout", type=int, metavar="SECONDS", help="Theirs (60).")
@click.option("--function-memory", type=int, metavar="MB", help="Theirs (512).")
@click.option("--maximum-concurrency", type=int, metavar="N", help="Calls at a time (10).")
@click.option("--batch-size", type=int, metavar="N", help="Messages of a call (10).")
@click.option("--links", is_flag=True, help="With a function for links that answer waits.")
@click.option("--runtime", metavar="NAME", help="The runtime of the functions (python3.13).")
@click.option("--architecture", type=click.Choice(["arm64", "x86_64"]), help="Theirs (arm64).")
@click.option("--alarms", is_flag=True, help="With alarms of CloudWatch.")
@click.option("--dashboard", is_flag=True, help="With a dashboard of CloudWatch.")
@click.option("--policies", is_flag=True, help="With a policy of IAM for each role.")
@click.option("-o", "--output", "file", metavar="FILE", help="Write it there.")
@pass_invocation
def template_(
    invocation: Invocation,
    /,
    functions: bool,
    alarms: bool,
    dashboard: bool,
    policies: bool,
    file: str | None,
    **given: Any,
) -> int:
    """Write a template."""
    wanted = {
        "timeout_seconds": given.pop("function_timeout"),
        "memory_mb": given.pop("function_memory"),
        "maximum_concurrency": given.pop("maximum_concurrency"),
        "batch_size": given.pop("batch_size"),
        "runtime": given.pop("runtime"),
        "architecture": given.pop("architecture"),
        "links": given.pop("links") or None,
    }
    said = {name: value for name, value in wanted.items() if value is not None}
    if said and not functions:
        raise CommandError("Options of functions need --functions.")
    try:
        found = template(
            _fleet(invocation, given),
            functions=Functions(**said) if functions else None,
            alarms=alarms,
            dashboard=dashboard,
            policies=policies,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    if file is None:
        invocation.out.json(found)
        return 0
    path = invocation.directory / file
    try:
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"'{file}' cannot be written: {error.strerror}.") from error
    invocation.out.remark(f"Written to {file}: {len(found['Resources'])} resources.")
    return 0


def make_what_is_missing(invocation: Invocation) -> None:
    """Give the fleet of the settings what it needs, and say each step: for an emulator."""
    _with_provisioner(invocation, {}, lambda made: made.apply(), tell=invocation.out.remark)


# --- what is wanted ------------------------------------------------------------------------


def _fleet(invocation: Invocation, given: dict[str, Any]) -> Fleet:
    """The fleet that settings and options describe."""
    settings = invocation.settings
    _check_names(settings)
    options = {
        "kms_key": given.get("kms_key"),
        "point_in_time_recovery": given.get("point_in_time_recovery"),
        "deletion_protection": given.get("deletion_protection"),
        "visibility_timeout_seconds": given.get("visibility_timeout"),
        "max_receives": given.get("max_receives"),
    }
    said = {name: value for name, value in options.items() if value is not None}
    try:
        return Fleet(
            settings["aws.prefix"],
            bucket=given.get("bucket") or settings["aws.payload_bucket"],
            tags=_tags(given.get("tags", ())),
            status_index=given.get("status_index", True),
            **said,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error


def _check_names(settings: Any) -> None:
    """See that no resource has a name of its own, which would not be the one that is made."""
    names = ("aws.queue_url", "aws.context_table", "aws.status_table", "aws.coordination_table")
    fleet = Fleet(settings["aws.prefix"])
    made = [fleet.jobs.name, *(table.name for table in fleet.tables)]
    for name, resource in zip(names, made, strict=True):
        value = settings[name]
        if value is not None and value.rstrip("/").rpartition("/")[2] != resource:
            raise CommandError(
                f"{name} is '{value}' ({settings.origin(name)}), and these commands make resources "
                f"by their prefix, '{resource}'. Leave {name} out, or choose another prefix."
            )


def _tags(given: Sequence[str]) -> dict[str, str]:
    tags = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals:
            raise CommandError(f"--tag takes KEY=VALUE, such as team=blue, not '{pair}'.")
        tags[key] = value
    return tags


def _with_provisioner(
    invocation: Invocation, given: dict[str, Any], work: Callable[[Provisioner], Any], **more: Any
) -> Any:
    """Do something with the provisioner of a fleet, with clients of its own."""
    fleet = _fleet(invocation, given)
    clients = application.aws_clients(invocation.settings)
    services = ["sqs", "dynamodb", *(["s3"] if fleet.bucket is not None else [])]
    made = {f"{service}_client": clients.client(service) for service in services}

    async def carried_out() -> Any:
        async with Provisioner(fleet, **made, **more) as provisioner:
            return await work(provisioner)

    try:
        return invocation.run(carried_out())
    finally:
        for client in made.values():
            client.close()


# --- what is shown -------------------------------------------------------------------------


def _described(difference: Difference) -> dict[str, str]:
    names = ("kind", "name", "action", "aspect", "reason", "before", "after")
    return {name: getattr(difference, name) for name in names}


def _places(plan: Plan, done: Any) -> dict[str, Any]:
    fleet = plan.fleet
    return {
        "queueUrl": done.queue_url,
        "tables": [table.name for table in fleet.tables],
        "bucket": fleet.bucket_name,
    }


def _show_plan(invocation: Invocation, plan: Plan) -> None:
    out = invocation.out
    if out.as_json:
        counts = {"changes": len(plan.changes), "refusals": len(plan.refusals)}
        out.json({**counts, "differences": [_described(each) for each in plan.differences]})
        return
    rows = [
        (each.action, each.kind, _thing(each), _change(each), _briefly(each))
        for each in plan.differences
    ]
    show_rows(out, [*_COLUMNS, Column("change", least=12), Column("why", least=10)], rows)
    for each in plan.refusals:
        # In full, since somebody has to do something.
        out.print(f"{_thing(each)}: {each.reason}", "error")
    if plan.refusals:
        out.print("Nothing is done while there is something that cannot be changed.")
    else:
        changes = _counted(plan.changes)
        out.print(f"{changes}." if changes else "No changes: all is as it should be.")


_COLUMNS: Final = (
    Column("", least=7),
    Column("what", least=6),
    Column("name", is_whole=True, least=27),
)


def _briefly(difference: Difference) -> str:
    return "see below" if difference.action == "refuse" else difference.reason


def _counted(changes: Sequence[Difference]) -> str:
    """How many resources are created, and how many things of others are changed."""
    created = {(each.kind, each.name) for each in changes if each.action == "create"}
    changed = [each for each in changes if (each.kind, each.name) not in created]
    told = [f"{len(created)} to create"] if created else []
    told += [f"{len(changed)} to change"] if changed else []
    return ", ".join(told)


def _thing(difference: Difference) -> str:
    return f"{difference.name}: {difference.aspect}" if difference.aspect else difference.name


def _change(difference: Difference) -> str:
    if not difference.after:
        return ""
    return f"{difference.before} → {difference.after}" if difference.before else difference.after


def _show_removals(invocation: Invocation, removals: Sequence[Removal]) -> None:
    if invocation.out.as_json or not removals:
        return
    out = invocation.out
    rows = [(each.fate, each.kind, each.name, each.contents) for each in removals]
    show_rows(out, [*_COLUMNS, Column("with", least=12)], rows)
    for each in removals:
        if each.reason:
            out.print(f"{each.name} is kept: {each.reason}", "warning")


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""
