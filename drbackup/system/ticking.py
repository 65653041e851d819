"""A call repeated by a thread of its own, while the work goes on in the caller's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ticking(seconds: float, tell: Callable[[], None], cancelled: threading.Event) -> Iterator[None]:
    """A context in which ``tell`` is called every so many ``seconds``, never after its end.

    The calls end early when ``cancelled`` is set. An error of ``tell`` ends them and stays in their own thread: the
    work will meet the same fault itself.
    """
    over = threading.Event()

    def tick() -> None:
        while not over.wait(seconds) and not cancelled.is_set():
            tell()

    ticker = threading.Thread(target=tick, name="ticker", daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()
