"""``flowcraft lint``: look for mistakes in workflows before they run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.text import Text

from flowcraft import application
from flowcraft.cli.failures import DONE, FAILED, CommandError
from flowcraft.cli.invocation import Invocation, pass_invocation
from flowcraft.cli.output import STYLES, plain
from flowcraft.cli.portrait import say
from flowcraft.cli.start import json_of, read_text
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.expressions import Evaluator
from flowcraft.core.lint import LintResult, lint_blueprint
from flowcraft.engine.runtime import FlowRuntime

EPILOG: Final = """\b
flowcraft lint
flowcraft lint order.json refund.json --app shop:runtime
flowcraft lint shop.py:order --strict"""

HELP: Final = """Look for mistakes in workflows: all of the app's, or those that are named.

Where there is an app, it is also checked that it has the code of all nodes, and the workflows of
all subflows. Exit code 1: there are errors, or with --strict warnings."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A workflow to look at.

    Attributes:
        name: What to call it.
        document: The blueprint, or its JSON form, which may be malformed.
        registry: The keys that have code; ``None`` where nothing is known of that.
        blueprints: The ids that subflows can run; ``None`` where nothing is known of that.
        evaluator: What evaluates its conditions.
    """

    name: str
    document: WorkflowBlueprint | Mapping[str, Any]
    registry: Collection[str] | None
    blueprints: Collection[str] | None
    evaluator: Evaluator | None = None


@click.command(name="lint", help=HELP, epilog=EPILOG)
@click.argument("flows", nargs=-1, metavar="[FLOW|FILE]...")
@click.option("--strict", is_flag=True, help="Warnings count as errors do.")
@pass_invocation
def command(invocation: Invocation, /, flows: tuple[str, ...], strict: bool) -> int:
    """Look at all that is named."""
    found = [(each, _look(each)) for each in subjects(invocation, flows)]
    issues = [issue for _, result in found for issue in result.issues]
    errors = sum(issue.severity == "error" for issue in issues)
    warnings = len(issues) - errors
    if invocation.as_json:
        invocation.out.json(
            {
                "isValid": not errors,
                "errors": errors,
                "warnings": warnings,
                "flows": [{"flow": each.name, **result.to_dict()} for each, result in found],
            }
        )
    else:
        for each, result in found:
            _show(invocation, each, result)
        _sum_up(invocation, len(found), errors, warnings)
    return FAILED if errors or (strict and warnings) else DONE


def _look(subject: Subject) -> LintResult:
    return lint_blueprint(
        subject.document,
        registry=subject.registry,
        blueprints=subject.blueprints,
        evaluator=subject.evaluator,
    )


def subjects(invocation: Invocation, names: Collection[str]) -> list[Subject]:
    """What a command was told to look at.

    Args:
        invocation: The call of the command.
        names: Ids of flows of the app, ``module:attribute``, JSON files; none for all of the app.

    Raises:
        SettingsError: The app, or a module, cannot be loaded.
        CommandError: A file cannot be read or is malformed JSON, or there is no such flow.
    """
    app = None
    if invocation.settings["app"] is not None:
        app = application.load_runtime(invocation.settings)
    if not names:
        if app is None:
            raise CommandError(application.NO_APP)
        return list(_of_runtime(app))
    documents = {
        name: _document(invocation, name)
        for name in names
        if name.endswith(".json") and not (app is not None and name in app.blueprints)
    }
    beside = {str(each.get("id")) for each in documents.values()}
    found: list[Subject] = []
    for name in names:
        if name in documents:
            found.append(_of_file(name, documents[name], app, beside))
        elif app is not None and name in app.blueprints:
            found += [each for each in _of_runtime(app) if each.name == name]
        elif ":" in name or name.endswith(".py"):
            loaded = application.load_object(name, invocation.settings)
            found += _of_runtime(application.runtime_of(loaded, name))
        else:
            raise CommandError(_unknown(name, app))
    return found


def _document(invocation: Invocation, name: str) -> Mapping[str, Any]:
    data = json_of(read_text(name, invocation.directory), f"'{name}'")
    if not isinstance(data, Mapping):
        raise CommandError(f"'{name}' is a blueprint as a JSON object, not {type(data).__name__}.")
    return data


def _of_file(
    name: str, document: Mapping[str, Any], app: FlowRuntime | None, beside: set[str]
) -> Subject:
    """A file: what the app has is there for it, and what is looked at together with it."""
    if app is None:
        return Subject(Path(name).name, document, None, None)
    known = {*app.blueprints, *beside}
    return Subject(Path(name).name, document, _keys(app), known, app.options.evaluator)


def _of_runtime(runtime: FlowRuntime) -> Iterator[Subject]:
    for name, blueprint in runtime.blueprints.items():
        evaluator = runtime.options.evaluator
        yield Subject(name, blueprint, _keys(runtime), list(runtime.blueprints), evaluator)


def _keys(runtime: FlowRuntime) -> Collection[str] | None:
    """The keys that have code; of an app without any code nothing is asked."""
    return list(runtime.registry) or None


def _unknown(name: str, app: FlowRuntime | None) -> str:
    if app is None:
        return (
            f"'{name}' is no flow that is known here: name it as module:attribute, or as a file "
            "that ends in .json, or configure an app that has it (--app)."
        )
    known = ", ".join(sorted(app.blueprints)) or "none"
    return f"The app has no flow '{name}'. It has: {known}."


# --- for people ------------------------------------------------------------------------------


def _show(invocation: Invocation, subject: Subject, result: LintResult) -> None:
    if not result.issues:
        return
    out = invocation.out
    out.print(subject.name, style="bold")
    for issue in result.issues:
        head = Text("  ")
        head.append(issue.severity.ljust(9), style=STYLES[issue.severity])
        head.append(issue.code)
        if issue.place:
            head.append(f"  {plain(issue.place)}", style="dim")
        out.console.print(head, soft_wrap=True)
        message = issue.message.removeprefix(f"{issue.place}: ")
        say(out, "", message)


def _sum_up(invocation: Invocation, flows: int, errors: int, warnings: int) -> None:
    counted = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    style = "error" if errors else "warning" if warnings else "ok"
    invocation.out.print(f"{counted} in {_count(flows, 'workflow')}.", style=style)


def _count(number: int, noun: str) -> str:
    shown = "no" if number == 0 else str(number)
    return f"{shown} {noun}{'' if number == 1 else 's'}"
