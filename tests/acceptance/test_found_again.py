"""Simulated runs that once went wrong, as they were found: none does any more.

What the number of a request means changes with the code, so these are no proof that a bug is gone:
each has a test of its own for that. They are cheap, and near places where something was wrong once.
"""

from __future__ import annotations

import pytest

from flowcraft.testing.simulate.named import backend_named, stories_named
from flowcraft.testing.simulate.options import read_scenario
from flowcraft.testing.simulate.play import play

FOUND = [
    # Two deliveries of one message: one deleted what the other stood on (decision 0014).
    *(
        f"aws: --graph retry --seed 100 --doubles --fault worker-1:{fault}"
        for fault in (
            "35:crash-after",
            "41:crash-before",
            "42:crash-before",
            "44:crash-after",
            "44:crash-before",
        )
    ),
    "aws: --graph loop-joined --seed 11 --workers 2 --doubles --fault worker-1:16:crash-after",
    "aws: --graph loop-joined --seed 11 --workers 2 --doubles --fault worker-1:18:crash-before",
    "aws: --graph wait --seed 953696756 --workers 2 --concurrency 2 --fault worker-2:4:throttle "
    "--fault worker-2:16:break --fault client-1:2:lost --fault worker-2:7:slow-after:40",
    # Of two reads at a time the older answer came last, and hid a lease.
    "aws: --graph shards-in-loop --seed 10002 --workers 2 --doubles "
    "--fault worker-2:49:crash-after",
    # A timer was left behind that nobody had swept for.
    "memory: --graph cancel-below-days --seed 1 --workers 2 --fault worker-2:13:crash-after",
    "memory: --graph cancel-below-days --seed 1 --workers 2 --fault worker-2:13:crash-before",
    # A run was removed, and another one began under its id.
    "memory: --graph delete-shards --seed 381154902 --concurrency 1 --doubles "
    "--fault worker-1:45:break --fault worker-1:8:late:5 --fault worker-1:38:slow-after:200",
    # Who started a run died and started it again, when it had been deleted: it is another run.
    "memory: --graph delete-shards --seed 40000 --fault client-1:3:crash-after",
    # A start that is carried out late, when the run was deleted, begins another run.
    "memory: --graph delete-days --seed 424415971 --workers 3 --fault worker-2:14:break "
    "--fault client-1:2:late:40 --fault worker-2:12:stall-after:200 --noise 0.03 --stale",
    "memory: --graph delete --seed 2 --workers 2 --fault client-1:3:late:5",
    "aws: --graph delete-shards --seed 482183544 --concurrency 1 --fault client-1:5:late:5 "
    "--fault worker-1:52:stop --fault client-1:1:lost --doubles --slow --older",
    # One that began so slept for ten days: to look for messages all that time took minutes.
    "aws: --graph delete-days --seed 1836043151 --workers 2 --fault client-1:2:partial "
    "--fault client-1:6:late:75 --noise 0.03 --doubles --skew-seconds 2 --reconciler",
    # A run was deleted, and still there for a worker whose clock was behind: a child stayed.
    "aws: --graph delete --seed 1378638796 --workers 2 --concurrency 1 "
    "--fault client-1:3:crash-after --fault worker-1:14:lost --noise 0.03 --skew-seconds 2 --slow",
    # A worker that lacks a child flow failed a run whose child flow only its starter knew.
    "memory: --graph cancel-undone-below --seed 1155098299 --concurrency 1 "
    "--fault worker-1:26:slow-before:5 --fault worker-3:39:break --slow --stranger --stale",
    # A node was given back, its message not sent: a copy of that had looked before.
    "memory: --graph lambda-loop --seed 235055005 --workers 3 --concurrency 2 "
    "--fault client-1:1:slow-after:40 --noise 0.03 --doubles --slow",
    # A lease had expired for a worker whose clock was ahead, and not for the store: it asked again
    # and again, without end.
    "memory: --graph limit-cancel --seed 1043261447 --concurrency 1 "
    "--fault worker-1:6:slow-after:75 --fault worker-1:8:slow-before:5 --doubles --skew-seconds 2",
    # The answer to a poll came so late that others had the message: what was claimed for it stood
    # still when its worker died.
    "memory: --graph reconcile-shards --seed 1222191963 --concurrency 2 --slow --stranger "
    "--fault worker-1:11:slow-after:200 --fault worker-1:31:late:40 "
    "--fault worker-1:27:crash-after",
    # Of a message that came again and again each copy sent one that waits beside a lease: more and
    # more of them, for as long as a node ran.
    "aws: --graph reconcile-shards --seed 1472698422 --workers 2 --noise 0.03 --doubles "
    "--fault worker-1:21:slow-before:200 --fault client-1:2:stall-after:5 --reconciler --stale "
    "--older",
    # While no worker had the code of a node, each copy of its message was put back; and under a
    # limit each stood in line: more and more of them.
    "aws: --graph deploy-drained --seed 7050000 --workers 2 --doubles "
    "--fault worker-2:88:crash-before",
    "aws: --graph limit-pause --seed 1050000 --workers 2 --doubles --fault worker-2:88:crash-after",
    # A run was continued while a claim that came late held what was to begin; the answer was lost.
    "memory: --graph late-claim --seed 1 --fault worker-1:18:lost",
    "memory: --graph late-claim --seed 1 --workers 2 --doubles --fault worker-1:16:lost",
    # Who started a run again died, and started it once more; the row of the one before was there.
    "memory: --graph again --seed 1 --fault client-2:14:crash-after",
    "aws: --graph again --seed 1 --fault client-2:19:lost",
    # Who armed a timer died, and the other hand that had its message was through: it stays there.
    "aws: --graph cancel-below-days --seed 4050000 --workers 2 --doubles "
    "--fault worker-2:91:crash-after",
    # A place was asked for anew since its time had passed, and answered too late once more.
    "memory: --graph limit-both --seed 1347375596 --concurrency 2 --fault worker-1:64:break "
    "--fault worker-1:12:slow-after:200 --noise 0.03 --doubles --reconciler",
    # What armed a timer was carried out once more, long after all was over: it stays there.
    "memory: --graph answer-days --seed 1346540063 --workers 3 --concurrency 1 --doubles "
    "--fault worker-1:9:late:40 --noise 0.03 --skew-seconds 2",
    # Who took over got no answer, asked again, and was refused for what it had done itself: twice,
    # so that the node had lost three workers, of which one was gone.
    "memory: --graph files --seed 1923386963 --workers 2 --concurrency 2 --noise 0.03 --doubles "
    "--slow --fault worker-1:8:crash-after --fault worker-1:17:crash-before",
    # A worker without the limit left a place to itself that was kept for a message it had called.
    "memory: --graph limit-items --seed 237592531 --fault worker-1:18:throttle "
    "--fault worker-1:12:fail --noise 0.03 --doubles --slow --stranger",
    # A pause was heard of while a place was asked for what followed: that was claimed all the same,
    # and nobody began it.
    "memory: --graph limit-pause --seed 1601619392 --workers 2 --skew-seconds 2 --slow",
    # A row that may be mended was taken for the record.
    "aws: --graph schedule-steered --seed 1 --workers 2 --doubles --fault worker-1:164:crash-after",
    "aws: --graph schedule-steered --seed 1 --workers 2 --doubles "
    "--fault worker-1:165:crash-before",
    # Of a tick's run and one that was triggered, begun at one time, the latter was taken for first.
    "memory: --graph schedule-steered --seed 1247811706 --concurrency 2 "
    "--fault worker-1:124:late:40 --fault worker-1:58:stall-after:40 --skew-seconds 2 --slow",
    # Of one that was triggered by somebody whose clock was behind the latter was taken for first.
    "memory: --graph schedule-steered --seed 1945550567 --workers 3 --concurrency 1 "
    "--fault client-1:2:partial --fault worker-1:238:late:200 --doubles --skew-seconds 2 "
    "--slow --stale",
    # An item began on a worker that knew its run was cancelled.
    "memory: --graph cancel-shards-anywhere --seed 4 --doubles --fault worker-1:43:lost",
    # A claim of nobody, on an item that was put aside, was in the way of a run that went on.
    "aws: --graph pause-shards-anywhere --seed 6 --workers 2 --doubles "
    "--fault worker-1:44:crash-after",
]

STORIES = stories_named(())


@pytest.mark.parametrize("found", FOUND, ids=range(len(FOUND)))
def test_what_was_found_once_is_right_now(found: str) -> None:
    """A run that violated an invariant once, by its seed and its faults, violates none."""
    backend, _, options = found.partition(": ")
    scenario = read_scenario(options)
    assert play(STORIES[scenario.graph], scenario, backend_named(backend)).problems == []
