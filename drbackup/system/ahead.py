"""A bounded parallel map: results in order, a bounded number of items under way. No thread outlives the call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

# Threads, and items under way for each: records and deltas are small, so what costs is the way to the store and back.
_READERS, _AHEAD_OF_EACH = 8, 4
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    work: Callable[[_Item], _Result], items: Iterable[_Item], readers: int = _READERS
) -> Iterator[tuple[_Item, _Result]]:
    """The pairs (item, result of ``work``), in order. ``readers`` threads work on a bounded number of items ahead.

    With one reader everything happens in the caller's thread, one item after the other. Raises what ``work`` raised for
    an item when that item's turn comes.
    """
    if readers == 1:
        yield from ((item, work(item)) for item in items)
        return
    left = iter(items)
    with ThreadPoolExecutor(readers) as pool:
        waiting = deque((item, pool.submit(work, item)) for item in islice(left, _AHEAD_OF_EACH * readers))
        try:
            while waiting:
                item, task = waiting.popleft()
                result = task.result()
                waiting.extend((more, pool.submit(work, more)) for more in islice(left, 1))
                yield item, result
        finally:
            for _, task in waiting:
                task.cancel()
