"""The agent's end of the conversation: answers find their question, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from drbackup.errors import AgentDied, Interrupted, ProtocolViolation, StoreFull
from drbackup.wire.messages import Cancel, Locate, PreflightJob, Progress, Refused, Start, Stored, Upload
from drbackup_agent.session.link import Link
from tests.support.doubles.wire_pair import WirePair, wire_pair

WAIT = 10


@pytest.fixture
def pair() -> Iterator[WirePair]:
    made = wire_pair()
    yield made
    made.close()


@pytest.fixture
def link(pair: WirePair) -> Link:
    made = Link(pair.agent)
    threading.Thread(target=made.listen, daemon=True).start()
    return made


def test_answers_in_any_order_reach_their_questions(pair: WirePair, link: Link) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(link.ask, Upload(0, "p", bytes([n]) * 32, n + 1)) for n in range(8)]
        questions = [pair.controller.receive()[0] for _ in range(8)]
        for question in reversed(questions):
            assert isinstance(question, Upload)
            pair.controller.send(Stored(question.ask), bytes([question.size]))
        for number, future in enumerate(asked):
            assert future.result(WAIT)[1] == bytes([number + 1])
    assert len({question.ask for question in questions if isinstance(question, Upload)}) == 8


def test_a_refusal_is_raised_as_its_own_class(pair: WirePair, link: Link) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(link.ask, Locate(0, b""))
        question = pair.controller.receive()[0]
        assert isinstance(question, Locate)
        pair.controller.send(Refused(question.ask, "StoreFull", {"message": "no room", "where": "offsite"}))
        with pytest.raises(StoreFull, match="no room"):
            asked.result(WAIT)
    link.check()


def test_a_dead_connection_wakes_everybody_who_waits(pair: WirePair, link: Link) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(link.ask, Locate(0, b"")) for _ in range(4)]
        for _ in asked:
            pair.controller.receive()
        pair.cut()
        for future in asked:
            with pytest.raises(AgentDied):
                future.result(WAIT)
    with pytest.raises(AgentDied):
        link.ask(Locate(0, b""))
    assert link.cancelled.wait(WAIT)


def test_a_cancellation_wakes_everybody_and_says_why(pair: WirePair, link: Link) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(link.ask, Locate(0, b""))
        pair.controller.receive()
        pair.controller.send(Cancel("window is over"))
        with pytest.raises(Interrupted, match="window is over"):
            asked.result(WAIT)
    with pytest.raises(Interrupted):
        link.check()


@pytest.mark.parametrize("message", [Stored(99), Start(PreflightJob())], ids=["unasked", "second-job"])
def test_a_controller_that_breaks_the_protocol_ends_the_link(
    pair: WirePair, link: Link, message: Stored | Start
) -> None:
    pair.controller.send(message)
    assert link.cancelled.wait(WAIT)
    with pytest.raises(ProtocolViolation):
        link.check()


def test_progress_is_thinned_but_every_new_phase_is_told(pair: WirePair) -> None:
    now = [0.0]
    link = Link(pair.agent, clock=lambda: now[0])
    for second in range(20):
        now[0] = second * 0.05
        link.tell(Progress("reading", second))
    link.tell(Progress("sending", 0))
    link.tell(Progress("sending", 0))
    pair.agent.send(Stored(1))
    heard = []
    while not isinstance(message := pair.controller.receive()[0], Stored):
        heard.append(message)
    phases = [message.phase for message in heard if isinstance(message, Progress)]
    assert phases.count("reading") == 4
    assert phases.count("sending") == 1


def test_the_first_reason_to_end_stays(pair: WirePair) -> None:
    link = Link(pair.agent)
    link.end(Interrupted("told to stop"))
    link.end(AgentDied("and then the line went too"))
    with pytest.raises(Interrupted, match="told to stop"):
        link.check()
