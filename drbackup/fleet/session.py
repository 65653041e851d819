"""One session with one agent: its greeting, its one job, its questions, its result.

Invariants:

* Nothing is sent before the agent was judged.
* At most :data:`ANSWERERS` questions are being answered, and one more is in memory. Others wait in the agent's pipe.
* No handler method is running any more when :func:`run_session` returns or raises.
* The channel is always closed and its process reaped.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import TypeVar

import msgspec

from drbackup import __version__
from drbackup.errors import AgentDied, AgentStalled, DrbackupError, Interrupted, ProtocolViolation, Said, say
from drbackup.fleet.answers import Answerer, RequestHandler
from drbackup.fleet.bodies import Bodies
from drbackup.fleet.channel import Channel
from drbackup.fleet.greeting import Expected, judge_clock, judge_version, read_hello, why_it_ended
from drbackup.fleet.meter import CountedReader, MeteredWriter, Movement
from drbackup.system.masking import masked
from drbackup.wire.error_fields import error_of
from drbackup.wire.framing import Body, FrameStream
from drbackup.wire.messages import (
    PROTOCOL,
    BackupJob,
    BackupResult,
    Cancel,
    DrillJob,
    DrillResult,
    Failed,
    Fetch,
    Finished,
    Hello,
    Job,
    Locate,
    Note,
    Pinned,
    PreflightJob,
    PreflightResult,
    Progress,
    Question,
    RestoreJob,
    RestoreResult,
    Result,
    Start,
    Upload,
    Uploaded,
    Welcome,
)

ANSWERERS = 4  # threads
_GRACE_SECONDS = 5.0  # for an agent to end after its input was closed
_STALLED_GRACE_SECONDS = 1.0  # for one that did not react before
_LOOK_SECONDS = 0.25  # between two checks of the supervising thread; a result is returned at once
_RESULT_OF: dict[type, type] = {
    BackupJob: BackupResult,
    RestoreJob: RestoreResult,
    PreflightJob: PreflightResult,
    DrillJob: DrillResult,
}
_T = TypeVar("_T")


class Timeouts(msgspec.Struct, frozen=True):
    """The limits of one session, in seconds except the skew."""

    hello: float = 30.0  # from the start of the process to its Hello
    stall: float = 300.0  # without any movement, while the agent waits for no answer
    cancel: float = 15.0  # for a cancelled agent to end cleanly
    clock_skew: timedelta = timedelta(seconds=30)  # between the agent's clock and ours


def run_session(
    channel: Channel,
    job: Job,
    handler: RequestHandler,
    timeouts: Timeouts,
    *,
    expected: Expected | None = None,
    stop: threading.Event | None = None,
) -> Result:
    """The result of ``job`` on the agent of ``channel``, whose type fits the job's.

    Without ``expected`` any file of our own version may answer. When ``stop`` is set, the agent is cancelled and
    :class:`Interrupted` raised, as on Ctrl-C.

    Raises the agent's own error, :class:`AgentMissing`, :class:`AgentDied`, :class:`AgentStalled`,
    :class:`AgentVersionMismatch`, :class:`ClockSkewed` and :class:`ProtocolViolation`. The error's ``host`` is the
    channel's.
    """
    session = AgentSession(channel, timeouts, stop=stop)
    try:
        session.greet()
        session.judge(expected or Expected(__version__))
        return session.work(job, handler, _name(job))
    except DrbackupError as failure:
        failure.on(channel.host)
        raise
    finally:
        session.close()


def _name(job: Job) -> str:
    """The session's name in the logs of both sides. Empty for jobs that have no id in the catalog."""
    match job:
        case BackupJob():
            return job.session
        case DrillJob():
            return job.drill
        case _:
            return ""


class AgentSession:
    """The steps of :func:`run_session` one by one, as ``agents check`` needs them. For one thread only."""

    def __init__(
        self,
        channel: Channel,
        timeouts: Timeouts,
        *,
        stop: threading.Event | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._channel = channel
        self._timeouts = timeouts
        self._stop = stop or threading.Event()
        self._clock = clock
        self._movement = Movement()
        self._reader = CountedReader(channel.reader, self._movement)
        self._bodies = Bodies()
        self._stream = FrameStream(self._reader, MeteredWriter(channel.writer, self._movement), self._bodies)
        self._listener = ThreadPoolExecutor(1, thread_name_prefix=f"listen {channel.host}")
        self._answerers = ThreadPoolExecutor(ANSWERERS, thread_name_prefix=f"answer {channel.host}")
        self._slots = threading.Semaphore(ANSWERERS)
        self._broken: Future[None] | None = None
        self._last_news: Progress | None = None
        self._hello: Hello | None = None
        self._heard_ns = 0
        self._grace = _GRACE_SECONDS

    def greet(self) -> Hello:
        """The agent's Hello. Only its protocol version is checked.

        Raises :class:`AgentMissing`, :class:`AgentDied`, :class:`AgentStalled` and the errors of
        :func:`~drbackup.fleet.greeting.read_hello`.
        """
        future = self._listener.submit(read_hello, self._reader, self._stream)
        try:
            self._hello = self._supervise(future, self._timeouts.hello)
        except AgentDied as died:
            raise why_it_ended(self._channel, died, spoke=False) from died
        except AgentStalled as silent:
            hello = say("the agent did not say hello within {seconds} s", seconds=f"{self._timeouts.hello:g}")
            raise AgentStalled(self._with_last_words(hello), host=self._channel.host) from silent
        self._heard_ns = self._clock()
        return self._hello

    def judge(self, expected: Expected) -> int:
        """The agent's clock minus ours in nanoseconds, after version, file and clock were judged to be right.

        Raises :class:`AgentVersionMismatch` and :class:`ClockSkewed`.
        """
        assert self._hello is not None
        judge_version(self._hello, expected)
        return judge_clock(self._hello, self._heard_ns, self._timeouts.clock_skew)

    def work(self, job: Job, handler: RequestHandler, name: str = "") -> Result:
        """The result of ``job``; until it comes, ``handler`` answers. ``name``: the session's, for the agent's log."""
        future = self._listener.submit(self._converse, job, handler, name)
        try:
            return self._supervise(future, self._timeouts.stall)
        except AgentDied as died:
            raise why_it_ended(self._channel, died, spoke=True) from died
        except AgentStalled as stalled:
            self._grace = _STALLED_GRACE_SECONDS
            raise AgentStalled(self._with_last_words(stalled.said)) from stalled
        except (KeyboardInterrupt, Interrupted):
            self._cancel(future)
            raise

    def _with_last_words(self, what: Said) -> Said:
        tail = self._channel.stderr_tail()
        return say("{what}; it says: {tail}", what=what, tail=tail) if tail else what

    def close(self) -> None:
        """The agent and every thread of this session have ended. Handler calls under way are waited for."""
        self._channel.close(self._grace)
        self._slots.release(ANSWERERS)  # a listener waiting for a slot sees the closed channel next
        self._listener.shutdown(wait=True)
        self._answerers.shutdown(wait=True)

    # --- the supervising thread, which is the caller's

    def _supervise(self, future: Future[_T], stall: float) -> _T:
        while not wait([future], timeout=_LOOK_SECONDS).done:
            if self._broken is not None:
                self._broken.result()
            if self._stop.is_set():
                raise Interrupted("the work was stopped while an agent was at it", host=self._channel.host)
            if self._movement.still_for() > stall:
                raise AgentStalled(
                    say("the agent moved nothing for {stall} s", stall=f"{stall:g}"), host=self._channel.host
                )
        if self._broken is not None:
            self._broken.result()
        return future.result()

    def _cancel(self, future: Future[Result]) -> None:
        """Asks the agent to stop, and waits up to :attr:`Timeouts.cancel`.

        The message is sent in a thread of its own, because a stuck agent does not read.
        """
        asking = threading.Thread(target=self._say_cancel, name="cancel", daemon=True)
        asking.start()
        wait([future], timeout=self._timeouts.cancel)

    def _say_cancel(self) -> None:
        with contextlib.suppress(AgentDied):  # it has ended already, so there is nothing to cancel
            self._stream.send(Cancel("the controller was interrupted"))

    # --- the listening thread

    def _converse(self, job: Job, handler: RequestHandler, name: str) -> Result:
        self._stream.send(Welcome(PROTOCOL, name, self._clock()))
        self._stream.send(Start(job))
        answerer = Answerer(handler)
        while True:
            message, body = self._stream.receive()
            match message:
                case Locate() | Upload() | Uploaded() | Fetch() | Pinned():
                    self._movement.mark()
                    self._slots.acquire()
                    task = self._answerers.submit(self._answer, answerer, message, body)
                    task.add_done_callback(self._answered)
                case Progress():
                    self._hear_progress(handler, message)
                case Note():
                    handler.note(Note(message.level, masked(message.text)))
                case Finished():
                    return _fitting(job, message.result)
                case Failed():
                    raise error_of(message.code, message.fields, masked).on(self._channel.host)
                case _:
                    raise ProtocolViolation(say("an agent may not send {kind}", kind=type(message).__name__))

    def _hear_progress(self, handler: RequestHandler, news: Progress) -> None:
        if news != self._last_news:  # the same figures again are a heartbeat, not movement
            self._movement.mark()
            self._last_news = news
        handler.progress(news)

    # --- the answering threads

    def _answer(self, answerer: Answerer, question: Question, body: Body) -> None:
        with self._movement:
            answer, answer_body = answerer.answer(question, body)
        self._bodies.give_back(body)
        with contextlib.suppress(AgentDied):  # the listener says why it died
            self._stream.send(answer, answer_body)

    def _answered(self, task: Future[None]) -> None:
        self._slots.release()
        if task.exception() is not None:  # a protocol violation, or our own bug: the supervisor raises it
            self._broken = task


def _fitting(job: Job, result: Result) -> Result:
    if not isinstance(result, _RESULT_OF[type(job)]):
        raise ProtocolViolation(
            say("a {kind} ended with a {kind2}", kind=type(job).__name__, kind2=type(result).__name__)
        )
    return result
