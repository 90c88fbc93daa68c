"""What a store of objects does."""

from __future__ import annotations

from flowcraft.errors import StorageCorrupt
from flowcraft.ports.objects import PART_BYTES, ObjectStore, key_part, run_prefix
from flowcraft.testing.conformance.stage import Cases, Stage, equal

cases = Cases()

BINARY = bytes(range(256)) * 300
LARGE = (b"%07d " % 7) * (PART_BYTES // 8)


async def _in_parts(objects: ObjectStore, key: str, *pieces: bytes) -> bool:
    upload = await objects.begin(key)
    numbered = enumerate(pieces, 1)
    parts = [await objects.add(key, upload, number, piece) for number, piece in numbered]
    return await objects.finish(key, upload, parts)


@cases
async def an_object_is_read_back_as_it_was(stage: Stage) -> None:
    """Bytes come back unchanged, also none at all, and for every client."""
    other = await stage.another()
    for key, data in {"a/empty": b"", "a/binary": BINARY}.items():
        equal(await stage.objects.put(key, data), True, "whether it is new")
        equal(await other.objects.read(key), data, f"the object {key!r}")


@cases
async def an_object_that_is_not_there_is_none(stage: Stage) -> None:
    """An unknown key gives ``None``, also where others begin or end with it."""
    await stage.objects.put("a/key/more", b"x")
    equal(await stage.objects.read("a/key"), None, "the object above another")
    equal(await stage.objects.read("a/key/more/yet"), None, "the object below another")
    equal(await stage.objects.read("b", 7, 7), None, "the object of an unknown key")


@cases
async def the_first_content_stays(stage: Stage) -> None:
    """What is there already stays, however the second one comes."""
    await stage.objects.put("a/key", b"first")
    equal(await stage.objects.put("a/key", b"second"), False, "whether the second is new")
    equal(await _in_parts(stage.objects, "a/key", b"third"), False, "whether the third is new")
    equal(await stage.objects.read("a/key"), b"first", "the object")


@cases
async def ranges_end_where_the_object_does(stage: Stage) -> None:
    """A range gives what there is of it: less at the end, nothing beyond."""
    await stage.objects.put("a/key", b"0123456789")
    for start, size, expected in (
        (0, 4, b"0123"),
        (4, 4, b"4567"),
        (8, 4, b"89"),
        (10, 4, b""),
        (99, 4, b""),
        (3, 0, b""),
    ):
        found = await stage.objects.read("a/key", start, size)
        equal(found, expected, f"{size} bytes from {start} on")


@cases
async def parts_become_one_object_at_once(stage: Stage) -> None:
    """Of an object of several parts nobody sees anything before it is finished."""
    objects = stage.objects
    upload = await objects.begin("a/key")
    first = await objects.add("a/key", upload, 1, LARGE)
    equal(await objects.read("a/key"), None, "the object after one part")
    second = await objects.add("a/key", upload, 2, b"end")
    equal(await objects.read("a/key"), None, "the object after all parts")
    equal(await objects.finish("a/key", upload, [first, second]), True, "whether it is new")
    equal(await objects.read("a/key", 0, PART_BYTES) == LARGE, True, "whether the beginning is it")
    equal(await objects.read("a/key", PART_BYTES), b"end", "the end")


@cases
async def every_step_may_be_repeated(stage: Stage) -> None:
    """A step whose answer was lost is taken again, and nothing comes of it but the same."""
    objects = stage.objects
    upload = await objects.begin("a/key")
    await objects.add("a/key", upload, 1, LARGE)
    first = await objects.add("a/key", upload, 1, LARGE)
    second = await objects.add("a/key", upload, 2, b"end")
    for _ in range(2):
        await objects.finish("a/key", upload, [first, second])
    equal(await objects.read("a/key", PART_BYTES - 1), LARGE[-1:] + b"end", "the end")


@cases
async def what_is_given_up_is_never_there(stage: Stage) -> None:
    """What was given up cannot be finished, and giving up twice is no error."""
    objects = stage.objects
    upload = await objects.begin("a/key")
    part = await objects.add("a/key", upload, 1, b"x")
    await objects.give_up("a/key", upload)
    await objects.give_up("a/key", upload)
    try:
        await objects.finish("a/key", upload, [part])
    except StorageCorrupt:
        pass
    else:
        raise AssertionError("what was given up was finished")
    equal(await objects.read("a/key"), None, "the object")


@cases
async def all_under_a_prefix_are_deleted(stage: Stage) -> None:
    """Everything under a prefix goes, however much, and nothing beside it."""
    objects = stage.objects
    mine, other = run_prefix("run", "epoch"), run_prefix("run", "epoch2")
    for number in range(30):
        await objects.put(f"{mine}f/{number}/x", b"mine")
    await objects.put(f"{other}f/0/x", b"other")
    await objects.put("runs/run-of-others/epoch/f/0", b"other")
    await objects.delete_all(mine)
    left = [number for number in range(30) if await objects.read(f"{mine}f/{number}/x") is not None]
    equal(left, [], "what is left")
    equal(await objects.read(f"{other}f/0/x"), b"other", "the object of another start")
    equal(await objects.read("runs/run-of-others/epoch/f/0"), b"other", "that of another run")
    equal(await objects.put(f"{mine}f/0/x", b"again"), True, "whether the key is free again")


@cases
async def deleting_nothing_is_no_error(stage: Stage) -> None:
    """Deleting where nothing is does nothing, once or twice."""
    for _ in range(2):
        await stage.objects.delete_all(run_prefix("run", "epoch"))
    equal(await stage.objects.read("runs/run/epoch/x"), None, "the object")


@cases
async def ids_of_any_kind_make_keys(stage: Stage) -> None:
    """Ids with any characters, or very long ones, have keys of their own that every store takes."""
    ids = ["a/b", "a", "a%2Fb", "..", ".", "ä €", "x" * 1_900, "x" * 1_901, "A b", "A+b"]
    for run_id in ids:
        await stage.objects.put(run_prefix(run_id, key_part("é")) + "f/1", run_id.encode())
    for run_id in ids:
        found = await stage.objects.read(run_prefix(run_id, key_part("é")) + "f/1")
        equal(found, run_id.encode(), f"the object of {run_id[:20]!r}")


@cases
async def its_place_has_its_key(stage: Stage) -> None:
    """What errors say of an object names it."""
    equal("f/1" in stage.objects.place("a/f/1"), True, "whether the place names the key")
