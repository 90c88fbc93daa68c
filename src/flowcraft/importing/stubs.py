"""The text of a module with the functions that an imported blueprint needs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.importing.asl_resources import python_name
from flowcraft.importing.assembly import Stub
from flowcraft.importing.findings import Finding

WIDTH = 88


def file_names(blueprints: Sequence[WorkflowBlueprint]) -> list[str]:
    """A name for the file of each blueprint, such as ``order.json`` and ``order.items.json``."""
    names: list[str] = []
    for blueprint in blueprints:
        stem = ".".join(python_name(part) for part in blueprint.id.split("."))
        name, number = f"{stem}.json", 2
        while name in names:
            name, number = f"{stem}_{number}.json", number + 1
        names.append(name)
    return names


def module_text(
    name: str,
    blueprints: Sequence[WorkflowBlueprint],
    stubs: Iterable[Stub],
    findings: Iterable[Finding],
) -> str:
    """The module: a typed function for each stub, and ``create_runtime`` at its end.

    Args:
        name: The id of the outermost blueprint.
        blueprints: All blueprints, whose files lie beside the module.
        stubs: The functions.
        findings: What could not be taken over, which the module's docstring lists.
    """
    functions = sorted(stubs, key=lambda stub: stub.name)
    helpers = sorted({stub.kind for stub in functions} | {"state_nodes"})
    context = "NodeContext, " if functions else ""
    typing = "from typing import Any\n" if functions else ""
    parts = [
        _docstring(name, findings),
        "from __future__ import annotations\n",
        f"from pathlib import Path\n{typing}",
        f"from flowcraft import FlowRuntime, {context}WorkflowBlueprint\n"
        f"from flowcraft.importing import {', '.join(helpers)}\n",
        _names(file_names(blueprints)),
    ]
    text = "\n".join(parts)
    for stub in functions:
        text += f"\n\n{_function(stub)}"
    return f"{text}\n\n{_runtime(functions)}"


def _docstring(name: str, findings: Iterable[Finding]) -> str:
    lines = [
        f'"""What the states of "{_plain(name)}" do, imported from AWS Step Functions.',
        "",
        "Write the functions that raise NotImplementedError. A run is started with the input of an",
        'execution under the context key "input":',
        "",
        f'    await create_runtime().run("{_plain(name)}", {{"input": {{}}}})',
    ]
    listed = [str(finding) for finding in dict.fromkeys(findings)]
    if listed:
        lines += ["", "Not taken over as it was:", ""]
        for each in listed:
            lines += _wrapped(f"- {each}", "", "  ")
    return "\n".join([*lines, '"""', ""])


def _names(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f'BLUEPRINTS = ("{names[0]}",)\n'
    lines = "".join(f'    "{name}",\n' for name in names)
    return f"BLUEPRINTS = (\n{lines})\n"


def _function(stub: Stub) -> str:
    returns = "str | None" if stub.kind == "choice" else "Any"
    about = [line for each in stub.about for line in _wrapped(each, "    ", "    ")]
    summary, rest = about[0].strip(), about[1:]
    closing = '"""' if not rest else '\n    """'
    body = "".join(f"\n{line}" for line in rest)
    return (
        f"async def {stub.name}(payload: Any, ctx: NodeContext[Any]) -> {returns}:\n"
        f'    """{summary}{body}{closing}\n'
        f'    raise NotImplementedError("{stub.name} has to be written")\n'
    )


def _runtime(stubs: Sequence[Stub]) -> str:
    entries = "".join(f'            "{_key(s.uses)}": {s.kind}({s.name}),\n' for s in stubs)
    return (
        "def create_runtime() -> FlowRuntime:\n"
        '    """A runtime with these functions, and the blueprints that lie beside this file."""\n'
        "    here = Path(__file__).parent\n"
        '    texts = [(here / name).read_text(encoding="utf-8") for name in BLUEPRINTS]\n'
        "    blueprints = [WorkflowBlueprint.from_json(text) for text in texts]\n"
        "    return FlowRuntime(\n"
        "        blueprints={blueprint.id: blueprint for blueprint in blueprints},\n"
        "        registry={\n"
        "            **state_nodes(),\n"
        f"{entries}"
        "        },\n"
        "    )\n"
    )


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        _plain(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(text: str) -> str:
    """Text that can stand in a docstring and means nothing there."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    return shown.replace("\\", "/").replace('"""', "'''").removesuffix('"') if shown else ""


def _key(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
