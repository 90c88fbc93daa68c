"""``make demo``: orders on SQLite with two worker processes, one of which is killed midway."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from examples.order_worker import LEASE_SECONDS, adapter_for
from examples.order_workflow import order
from examples.shop import Shop
from flowcraft import generate_mermaid
from flowcraft.engine.client import FlowClient
from flowcraft.engine.stored import StoredRun

ORDER = {
    "customer": "Ada",
    "items": [
        {"sku": "cup", "quantity": 4},
        {"sku": "tea", "quantity": 10},
        {"sku": "pot", "quantity": 1},
    ],
}
PAUSE_SECONDS = 0.15
ROOT = Path(__file__).resolve().parents[1]


class Workers:
    """The worker processes of the demo."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self, count: int) -> None:
        """Start some."""
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "examples.order_worker", str(self._directory)),
                *("--pause", str(PAUSE_SECONDS)),
                cwd=ROOT,
                stderr=asyncio.subprocess.DEVNULL,
            )
            self._processes.append(process)
            print(f"  worker {process.pid} started")

    async def kill_the_one_at(self, node_id: str) -> None:
        """Wait until a worker executes a node, and kill it in the middle of that."""
        while True:
            for pid, key in self._under_way():
                if key.endswith(f":{node_id}") and pid in self.pids:
                    victim = next(each for each in self._processes if each.pid == pid)
                    victim.kill()
                    await victim.wait()
                    self._processes.remove(victim)
                    print(f"  worker {pid} was killed with SIGKILL in the middle of '{node_id}'")
                    return
            await asyncio.sleep(0.01)

    @property
    def pids(self) -> list[int]:
        """The ids of those that live."""
        return [process.pid for process in self._processes]

    def _under_way(self) -> list[tuple[int, str]]:
        journal = self._directory / "journal.tsv"
        lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
        begun: dict[tuple[int, str], None] = {}
        for line in lines:
            what, pid, key, _ = line.split("\t")
            if what == "begin":
                begun[int(pid), key] = None
            else:
                begun.pop((int(pid), key), None)
        return list(begun)

    async def stop(self) -> None:
        """Let all of them drain and end."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            await process.wait()
        print(f"\nWorkers {', '.join(map(str, self.pids))} drained and ended after SIGTERM.")


async def approve(client: FlowClient, run_id: str) -> None:
    """Wait until somebody is asked, and approve."""
    while True:
        run = await client.get_run(run_id)
        waits = [wait for wait in run.awaiting if wait.reason == "external_event"]
        if waits:
            break
        await asyncio.sleep(0.05)
    print(f"  it waits: {waits[0].title} ({', '.join(waits[0].actions)}); Grace approves")
    await client.resume_with_action(run_id, "approve", {"by": "Grace"})


def show_timeline(run: StoredRun) -> None:
    """What happened in a run, as its record has it."""
    for step in run.timeline:
        at = (step.started_at or step.ended_at or run.created_at) - run.created_at
        took = "" if step.seconds is None else f"{step.seconds:5.2f} s"
        notes = [f"attempt {step.attempt}"] if step.attempt > 1 else []
        if step.lost:
            notes.append(f"{step.lost} lost with its worker")
        notes += [f"{error.type}: {error.message}" for error in step.errors]
        text = f"  ({'; '.join(notes)})" if notes else ""
        print(f"  {at / timedelta(seconds=1):6.2f} s {took:>8}  {step.name:16} {step.status}{text}")


async def show(directory: Path, where: str) -> int:
    """One order that survives the death of its worker, and one that is undone.

    Args:
        directory: Where the shop is, and what says where the runs are.
        where: What the workers share, for the heading.

    Returns:
        0 if both orders ended as they have to.
    """
    client, workers, shop = (
        adapter_for(directory),
        Workers(directory),
        Shop(directory / "shop.json"),
    )
    print(f"Two worker processes on {where}:\n")
    await workers.start(2)

    print("\nFirst order: a worker is killed, the payment service fails twice\n")
    first_id = await client.start_run("order", {"order": ORDER}, tags={"customer": "Ada"})
    await workers.kill_the_one_at("total")
    print(f"  its lease runs out after {LEASE_SECONDS:g} s, then the other one takes over")
    await approve(client, first_id)
    first = await client.wait_for_run(first_id, timeout=40)
    print(f"\n  {first.status}: {first.outputs['deliver']}\n")
    show_timeline(first)

    shop.lose_courier()
    print("\nSecond order: no courier, so what was done is undone\n")
    second_id = await client.start_run("order", {"order": ORDER}, tags={"customer": "Ada"})
    await approve(client, second_id)
    second = await client.wait_for_run(second_id, timeout=40)
    print(f"\n  {second.status}: {second.errors[0].message}\n")
    show_timeline(second)

    print("\nThe second order, drawn as Mermaid (paste it into any Mermaid viewer):\n")
    print(generate_mermaid(order().to_blueprint(), states=second.states))
    runs = await client.list_runs(tags={"customer": "Ada"})
    print("All orders of Ada: " + ", ".join(f"{r.status}" for r in runs.runs))
    books = shop.books()
    print(f"stock: {books['stock']}, payments: {payments(books)}")
    await workers.stop()
    await client.aclose()
    undone = [node for node, error in second.compensations if error is None]
    lost = sum(step.lost for step in first.timeline)
    result = (first.status, second.status, undone, books["stock"], payments(books), lost)
    stock = {"cup": 36, "tea": 90, "pot": 1}
    expected = ("completed", "failed", ["refund", "put_back"], stock, [113.0, 113.0, -113.0], 1)
    return 0 if result == expected else 1


def payments(books: dict[str, object]) -> list[float]:
    """What was charged and refunded."""
    done = books["done"]
    assert isinstance(done, dict)
    return [amount for amount in done.values() if isinstance(amount, float)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        sys.exit(asyncio.run(show(Path(directory), "one SQLite file")))
