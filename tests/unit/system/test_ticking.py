"""News come again and again while the work goes on, and none afterwards."""

from __future__ import annotations

import threading

import pytest

from drbackup.system.ticking import ticking


def test_news_come_while_the_work_goes_on_and_none_afterwards() -> None:
    told = threading.Semaphore(0)
    with ticking(0.001, told.release, threading.Event()):
        for _ in range(3):
            assert told.acquire(timeout=60)
    while told.acquire(blocking=False):
        pass
    assert not any(thread.name == "ticker" for thread in threading.enumerate())
    assert not told.acquire(blocking=False)


def test_works_own_error_ends_the_news_and_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), ticking(0.001, lambda: None, threading.Event()):
        raise ZeroDivisionError
    assert not any(thread.name == "ticker" for thread in threading.enumerate())


def test_a_cancelled_work_tells_nothing_more() -> None:
    told, cancelled = threading.Semaphore(0), threading.Event()

    def tell() -> None:
        cancelled.set()
        told.release()

    with ticking(0.001, tell, cancelled):
        assert told.acquire(timeout=60)
        ended = next((thread for thread in threading.enumerate() if thread.name == "ticker"), None)
        if ended is not None:
            ended.join(60)
    assert not told.acquire(blocking=False)
