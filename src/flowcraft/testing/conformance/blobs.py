"""What a store of texts does."""

from __future__ import annotations

from flowcraft.testing.conformance.stage import Cases, Stage, equal

cases = Cases()

LONG = "äöü€😀\n" * 20_000


@cases
async def a_text_is_read_back_as_it_was(stage: Stage) -> None:
    """Texts come back unchanged: empty ones, long ones, with any characters."""
    for key, text in {"empty": "", "long": LONG, "quotes": "\"'\\\0", "a/b:c d": "{}"}.items():
        await stage.blobs.put(key, text)
        equal(await stage.blobs.get(key), text, f"the text under {key!r}")


@cases
async def another_client_reads_it_too(stage: Stage) -> None:
    """A text is there for every client once ``put`` has returned."""
    other = await stage.another()
    await stage.blobs.put("key", "text")
    equal(await other.blobs.get("key"), "text", "what the other client reads")


@cases
async def what_was_never_put_is_none(stage: Stage) -> None:
    """A key without a text gives ``None``."""
    equal(await stage.blobs.get("key"), None, "the text of an unknown key")


@cases
async def the_first_text_stays(stage: Stage) -> None:
    """A text that is there already stays."""
    await stage.blobs.put("key", "first")
    await stage.blobs.put("key", "second")
    equal(await stage.blobs.get("key"), "first", "the text")


@cases
async def a_text_is_replaced_on_request(stage: Stage) -> None:
    """With ``replace`` the new text is kept, whether or not there was one."""
    await stage.blobs.put("key", "first", replace=True)
    equal(await stage.blobs.get("key"), "first", "the text that replaced none")
    await stage.blobs.put("key", "second", replace=True)
    equal(await stage.blobs.get("key"), "second", "the text that replaced another")


@cases
async def a_deleted_text_is_gone(stage: Stage) -> None:
    """A deleted text is gone, others stay, and its key is free again."""
    await stage.blobs.put("key", "text")
    await stage.blobs.put("other", "other text")
    await stage.blobs.delete("key")
    equal(await stage.blobs.get("key"), None, "the deleted text")
    equal(await stage.blobs.get("other"), "other text", "the other text")
    await stage.blobs.put("key", "again")
    equal(await stage.blobs.get("key"), "again", "the text put again")


@cases
async def deleting_nothing_is_no_error(stage: Stage) -> None:
    """Deleting a text that is not there does nothing."""
    await stage.blobs.delete("key")
    equal(await stage.blobs.get("key"), None, "the text")
