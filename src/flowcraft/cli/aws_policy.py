"""``flowcraft aws policy``: what a role has to be allowed, as a policy of IAM."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import click

from flowcraft import application
from flowcraft.cli.failures import CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.provisioning.permitted import ROLES, TASKS, Role, permissions
from flowcraft.provisioning.policies import Resources, policy

EPILOG: Final = """\b
worker      runs nodes, and does what a reconciler does
starter     starts runs, waits for their results, answers their waits
answerer    serves links that answer waits
operator    all that these commands do, but be a worker
reconciler  gets runs going that stand still, starts what schedules have due
viewer      lists, inspects, follows; runs the doctor

\b
flowcraft aws policy worker --account 123456789012 > worker.json
flowcraft aws policy viewer --why"""


@click.command(
    name="policy",
    short_help="Print the policy of IAM for a role.",
    help="Print the policy of IAM for a role: the least that it needs, as JSON.",
    epilog=EPILOG,
)
@click.argument("role", type=click.Choice(ROLES))
@click.option("--account", metavar="DIGITS", help="The account; AWS is asked by default.")
@click.option("--bucket", metavar="NAME", help="The bucket, if it is not in the settings.")
@click.option("--kms-key", metavar="KEY", help="The key that all is encrypted with, if it is one.")
@click.option("--why", is_flag=True, help="Tell what each permission is needed for instead.")
@pass_invocation
def policy_command(
    invocation: Invocation,
    /,
    role: Role,
    account: str | None,
    bucket: str | None,
    kms_key: str | None,
    why: bool,
) -> None:
    """Print a policy, or the reasons for what is in it."""
    if why:
        _tell_why(invocation, role)
        return
    settings = invocation.settings
    names = application.names_of(settings)
    try:
        made = Resources.named(
            region=_region(invocation),
            account=account or _account(invocation),
            prefix=settings["aws.prefix"],
            queue=names.queue,
            context_table=names.contexts,
            status_table=names.statuses,
            coordination_table=names.coordination,
            bucket=bucket or names.bucket,
            kms_key=kms_key,
        )
        invocation.out.json(policy(role, made))
    except ValueError as error:
        raise CommandError(str(error)) from error


def _tell_why(invocation: Invocation, role: Role) -> None:
    needed = permissions(role)
    out = invocation.out
    if out.as_json:
        out.json(
            [
                {
                    "action": each.action,
                    "resource": each.kind,
                    "requests": list(each.requests),
                    "reasons": [TASKS[task].why for task in each.tasks],
                }
                for each in needed
            ]
        )
        return
    rows = [(each.kind, each.action, ", ".join(each.tasks)) for each in needed]
    out.table(["on", "allow", "for"], rows)
    tasks = dict.fromkeys(task for each in needed for task in each.tasks)
    out.table(["", "what it is"], [(task, TASKS[task].why) for task in tasks])


def _region(invocation: Invocation) -> str:
    """The configured region, else that of the profile or the environment."""
    region = invocation.settings["aws.region"]
    if region is None:
        client = application.aws_clients(invocation.settings).client("sqs")
        region = client.meta.region_name
        client.close()
    return str(region)


def _account(invocation: Invocation) -> str:
    """The account of whoever asks.

    Raises:
        CommandError: It could not be asked for.
    """
    client = application.aws_clients(invocation.settings).client("sts")
    return asyncio.run(_ask(client))


async def _ask(client: Any) -> str:
    # Those who give the account need no boto3.
    from flowcraft.adapters.aws.client import BotoTransport  # noqa: PLC0415
    from flowcraft.adapters.aws.transport import AwsError  # noqa: PLC0415

    transport = BotoTransport(client, 1)
    try:
        return str((await transport.call("GetCallerIdentity", {}))["Account"])
    except AwsError as error:
        raise CommandError(
            f"The account could not be asked for ({error.code}: {error.message}). Say which one it "
            "is: --account 123456789012.",
            5,
        ) from error
    finally:
        await transport.aclose(1.0)
        client.close()
