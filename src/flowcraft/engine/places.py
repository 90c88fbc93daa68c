"""What a command is about, the name of its lease, and what may become of it."""

from __future__ import annotations

from flowcraft.core import commands as cmd
from flowcraft.core import events as ev
from flowcraft.core.plan import Key, Plan, index_of_key, iteration_of_key

Subject = tuple[object, ...]
"""What at most one set of commands can be outstanding for."""

AttemptCommand = cmd.RunNode | cmd.RunItem | cmd.RunUndo
ATTEMPTS = (cmd.RunNode, cmd.RunItem, cmd.RunUndo)
RETRIES = (cmd.RetryNode, cmd.RetryItem, cmd.RetryUndo)


def node_subject(key: Key) -> Subject:
    """A node instance."""
    return ("node", key)


def item_subject(key: Key, item: int) -> Subject:
    """An item of a batch."""
    return ("item", key, item)


def shard_subject(key: Key, first: int) -> Subject:
    """A shard of a batch."""
    return ("shard", key, first)


def subject_of(command: cmd.Command) -> Subject:
    """What a command is about."""
    if isinstance(command, cmd.RunItem | cmd.RetryItem):
        return item_subject(command.key, command.item)
    if isinstance(command, cmd.RunUndo | cmd.RetryUndo):
        return ("undo", command.target)
    if isinstance(command, cmd.StopWork):
        return ("stop",)
    if isinstance(command, cmd.FinishRun):
        return ("finish",)
    if isinstance(command, cmd.StartShard):
        return shard_subject(command.key, command.first)
    if isinstance(command, cmd.TellShards | cmd.ReportShard):
        return (type(command).__name__,)
    if isinstance(command, cmd.StopChild):
        return ("child", command.key, command.attempt)
    return node_subject(command.key)


def place_of(command: AttemptCommand) -> str:
    """The name under which an attempt is leased: the same in every process."""
    if isinstance(command, cmd.RunNode):
        key = command.key
        text = str(key) if isinstance(key, int) else key_text(key)
        return f"{text}/{command.attempt}"
    if isinstance(command, cmd.RunItem):
        return f"{key_text(command.key)}#{command.item}/{command.attempt}"
    return f"{key_text(command.target)}~/{command.attempt}"


def key_text(key: Key) -> str:
    """An instance as text: its node's number, and its iteration if it has one."""
    iteration = ".".join(map(str, iteration_of_key(key)))
    return f"{index_of_key(key)}@{iteration}" if iteration else str(index_of_key(key))


def node_index_of(command: AttemptCommand) -> int:
    """The node that is executed; of an item of a batch the scatter node."""
    return command.node if isinstance(command, cmd.RunUndo) else index_of_key(command.key)


def key_called(plan: Plan, command: AttemptCommand) -> str:
    """The ``uses`` key of what an attempt calls."""
    if isinstance(command, cmd.RunItem):
        return command.uses
    return plan.nodes[node_index_of(command)].definition.uses


def stopped(command: AttemptCommand) -> ev.Event:
    """An attempt did not begin, or was stopped, because the run ends."""
    if isinstance(command, cmd.RunItem):
        return ev.ItemStopped(command.key, command.item, command.attempt)
    assert isinstance(command, cmd.RunNode)
    return ev.NodeStopped(command.key, command.attempt)


def lost(command: AttemptCommand) -> ev.Event:
    """The worker of an attempt is gone."""
    if isinstance(command, cmd.RunItem):
        return ev.ItemLost(command.key, command.item, command.attempt)
    if isinstance(command, cmd.RunNode):
        return ev.NodeLost(command.key, command.attempt)
    return ev.UndoLost(command.target, command.attempt)


def held_back(command: cmd.RunNode | cmd.RunItem) -> ev.Event:
    """An attempt did not begin, because the run is paused."""
    if isinstance(command, cmd.RunItem):
        return ev.ItemHeldBack(command.key, command.item, command.attempt)
    return ev.NodeHeldBack(command.key, command.attempt)


def was_stopped(event: ev.Event) -> bool:
    """Whether an attempt that was asked to stop did; it may have come to its end all the same."""
    if isinstance(event, ev.UndoSettled):
        return event.error is not None
    return isinstance(event, ev.NodeStopped | ev.ItemStopped)


def timer_of(command: cmd.Command) -> tuple[ev.Event | None, float]:
    """What a timer brings, and when; nothing, long ago, for a command that is none."""
    if isinstance(command, RETRIES):
        return due_event(command), command.due_at
    if isinstance(command, cmd.ArmTimer):
        return ev.TimerFired(command.key), command.due_at
    return None, 0.0


def due_event(command: cmd.RetryNode | cmd.RetryItem | cmd.RetryUndo) -> ev.Event:
    """The delay before an attempt is over."""
    if isinstance(command, cmd.RetryItem):
        return ev.ItemRetryDue(command.key, command.item, command.attempt)
    if isinstance(command, cmd.RetryUndo):
        return ev.UndoRetryDue(command.target, command.attempt)
    return ev.RetryDue(command.key, command.attempt)
