"""A bounded parallel map: results in order, a bounded number of items under way. Owns no thread beyond one call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_READERS, _AHEAD_OF_EACH = 8, 4  # records and deltas are small: what costs is the way to the store and back
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    work: Callable[[_Item], _Result], items: Iterable[_Item], readers: int = _READERS
) -> Iterator[tuple[_Item, _Result]]:
    """(item, what ``work`` made of it), in order, ``readers`` at the same time and a bounded number ahead.

    With one reader everything happens in the caller's thread, one by one.
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
