"""The agent's side of a session: asks questions, waits for the numbered answers, tells, and learns of a cancellation.

Invariant: no call waits for ever. The link ends when the connection ends, the controller cancels or the process is told
to stop. From then on every :meth:`Link.ask` raises at once, the waiting ones too.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import msgspec

from drbackup.errors import AgentDied, DrbackupError, Interrupted, ProtocolViolation, say
from drbackup.wire.error_fields import error_of
from drbackup.wire.framing import Body, FrameStream
from drbackup.wire.messages import (
    Answer,
    Cancel,
    Fetched,
    GetHttp,
    Located,
    Message,
    Note,
    Proceed,
    Progress,
    PutHttp,
    PutRelay,
    Question,
    Refused,
    Stored,
)

_HEARTBEAT_SECONDS = 5.0
_TOO_SOON_SECONDS = 0.25

_Reply = tuple[Answer, Body] | DrbackupError


class Link:
    """One session's link. :meth:`listen` needs a thread of its own; the other methods may be called from any thread."""

    def __init__(self, stream: FrameStream, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._mutex = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[_Reply]] = {}
        self._number = 0
        self._ended: DrbackupError | None = None
        self._told_at = float("-inf")
        self._told: Progress | None = None
        self.cancelled = threading.Event()
        """Set when the work should stop, for whatever reason; :meth:`check` raises the reason."""

    def ask(self, question: Question, body: Body = b"") -> tuple[Answer, Body]:
        """The controller's answer to ``question`` and the answer's body. The question's number is set here.

        Raises the error that the controller refused with. Raises :class:`AgentDied` when the connection ended, and
        :class:`Interrupted` when the work was cancelled.
        """
        reply: queue.SimpleQueue[_Reply] = queue.SimpleQueue()
        with self._mutex:
            if self._ended is not None:
                raise self._ended
            self._number += 1
            number = self._number
            self._waiting[number] = reply
        try:
            self._stream.send(msgspec.structs.replace(question, ask=number), body)
            answer = reply.get()  # always comes: an answer, or the reason why none will (end)
        finally:
            with self._mutex:
                self._waiting.pop(number, None)
        if isinstance(answer, DrbackupError):
            raise answer
        if isinstance(answer[0], Refused):
            raise error_of(answer[0].code, answer[0].fields)
        return answer

    def tell(self, message: Message) -> None:
        """A message without an answer is sent. Progress within 0.25 s of the last one of its phase is left out."""
        if isinstance(message, Progress) and not self._worth_telling(message):
            return
        self._stream.send(message)

    def note(self, text: str, level: str = "info") -> None:
        """A line is sent for the controller's log."""
        self.tell(Note(level, text))

    def check(self) -> None:
        """The work may go on when this returns. Raises the reason once it should stop; long loops call this often."""
        if self._ended is not None:
            raise self._ended

    def heartbeat(self) -> None:
        """The last progress is sent again every 5 s until the work stops, so that no firewall drops the connection."""
        while not self.cancelled.wait(_HEARTBEAT_SECONDS):
            with self._mutex:
                news = self._told
                due = self._clock() - self._told_at >= _HEARTBEAT_SECONDS
            if news is not None and due:
                try:
                    self._stream.send(news)
                except AgentDied as died:
                    self.end(died)

    def listen(self) -> None:
        """Every answer reaches its question until the link ends. A failure ends the link and is not raised here."""
        try:
            while not self.cancelled.is_set():
                message, body = self._stream.receive()
                self._hand_out(message, body)
        except DrbackupError as failure:
            self.end(failure)

    def end(self, reason: DrbackupError) -> None:
        """No answer comes any more, and every waiting question raises ``reason``. The first reason stays.

        Not for signal handlers: it takes a mutex that the interrupted code may hold.
        """
        with self._mutex:
            if self._ended is None:
                self._ended = reason
            waiting = list(self._waiting.values())
            self._waiting.clear()
        self.cancelled.set()
        for reply in waiting:
            reply.put(reason)

    def _hand_out(self, message: Message, body: Body) -> None:
        match message:
            case Cancel():
                self.end(Interrupted(say("cancelled by the controller: {message}", message=message.reason)))
            case Located() | PutHttp() | PutRelay() | Stored() | GetHttp() | Fetched() | Proceed() | Refused():
                with self._mutex:
                    reply = self._waiting.pop(message.ask, None)
                if reply is None:
                    raise ProtocolViolation(say("an answer to question {ask}, which nobody asked", ask=message.ask))
                reply.put((message, body))
            case _:
                raise ProtocolViolation(say("a controller may not send {kind} now", kind=type(message).__name__))

    def _worth_telling(self, news: Progress) -> bool:
        now = self._clock()
        with self._mutex:
            new_phase = self._told is None or self._told.phase != news.phase
            if not new_phase and now - self._told_at < _TOO_SOON_SECONDS:
                return False
            self._told, self._told_at = news, now
        return True
