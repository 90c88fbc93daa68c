"""Workflows whose nodes run in functions of AWS Lambda."""

from __future__ import annotations

from functools import partial

from flowcraft.testing.simulate.functions import FunctionProcess, look_now_and_then
from flowcraft.testing.simulate.zoo.nodes import story
from flowcraft.testing.simulate.zoo.people import ENDS, cancel, undoable
from flowcraft.testing.simulate.zoo.shapes import batch, fan, loop, subflow
from flowcraft.testing.simulate.zoo.times import sleeping

_story = partial(story, new_process=FunctionProcess)

STORIES = (
    _story("lambda-fan", fan),
    _story("lambda-loop", loop, context={"n": 0}),
    _story("lambda-batch", batch),
    _story("lambda-shards", batch, shard_items=2),
    _story("lambda-subflow", subflow),
    _story("lambda-sleep", sleeping),
    _story("lambda-cancel", undoable, people=(cancel,), is_settled=False, statuses=ENDS),
    _story("lambda-looked-after", sleeping, people=(look_now_and_then,)),
)
