"""Asking all nodes, and answering them.

How many answers there should be is what PUBLISH returns: the processes that have heard the question. The
asker waits until it has as many, or for a moment; then it says how many there were. It answers itself
without the way through Redis, once it has heard its own question.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from gateway.inspect.line import Line
from gateway.metrics import counter, gauge
from gateway.protocol.fields import BadMessage
from gateway.protocol.inquiry import Answer, Ask, Question, Top
from gateway.protocol.limits import Limit, OverLimit
from gateway.protocol.rates import Rates

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from gateway.broker.link import Link
    from gateway.http.current import Current
    from gateway.protocol.summary import Summary
    from publisher.channels import Channel, Partition

_MOST_ANSWERS: Final = 4096
_ALL: Final = None
_TOO_OFTEN: Final = "This node asks the others as often as it may in a second; try again."


class Self(Protocol):
    """What this process says of itself."""

    def summary(self) -> Summary: ...
    def counts(self, channels: Iterable[Channel]) -> tuple[int, ...]: ...
    def top(self, prefix: str, most: int) -> Top: ...


@dataclass(slots=True)
class Inquiry:
    """A question, and what has come of it."""

    question: Question
    answers: dict[str, Answer] = field(default_factory=dict)
    """By process."""
    heard_by: int = 0
    """How many processes have heard it, by Redis' word."""
    _done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def silent(self) -> int:
        """How many have heard it, and have not answered."""
        return max(0, self.heard_by - len(self.answers))

    @property
    def whole(self) -> bool:
        return len(self.answers) >= self.heard_by > 0

    def add(self, answer: Answer) -> None:
        if len(self.answers) < _MOST_ANSWERS:
            self.answers.setdefault(answer.sender, answer)
        if self.whole:
            self._done.set()

    async def wait(self, seconds: float) -> None:
        """Until all who have heard it have answered, or for so long."""
        if not self.whole:
            try:
                async with asyncio.timeout(seconds):
                    await self._done.wait()
            except TimeoutError:
                return


class Inquiries:
    """Of one process, whose `id` is drawn at its start."""

    def __init__(
        self,
        current: Current,
        link: Link,
        partition: Partition,
        node: Self,
        hit: Callable[[Limit], None],
    ) -> None:
        """`hit` is told when a limit is come to that nobody is told of."""
        self.id = secrets.token_hex(8)
        self._node = node
        self._hit = hit
        self._inspect = partition.inspect
        self._clock = asyncio.get_running_loop().time
        self._current = current
        self._asked: Rates[None] = Rates(lambda: current.settings.max_questions_per_second)
        self._answered: Rates[None] = Rates(lambda: current.settings.max_answers_per_second)
        self._open: dict[str, Inquiry] = {}
        heard = {self._inspect("ask"): self._heard_question, self._inspect(self.id): self._heard_answer}
        self.line = Line(link, heard, deadline_seconds=current.settings.link_deadline_seconds)
        self.asked_total = self.answered_total = self.unanswered_total = self.invalid_total = 0

    # Asking.

    def allow(self) -> None:
        """Whoever asks on behalf of a request calls this first. Raises `OverLimit`."""
        now = self._clock()
        if wait := self._asked.wait_seconds(_ALL, now):
            raise OverLimit(Limit.QUESTIONS, _TOO_OFTEN, wait)
        self._asked.take(_ALL, now)

    async def counts(self, channels: tuple[Channel, ...]) -> Inquiry:
        """How many follow each of these channels. Raises `Away`."""
        return await self._ask(Question(self._new_id(), self.id, Ask.COUNTS, channels))

    async def overview(self, prefix: str, most: int) -> Inquiry:
        """How all are, and their channels with the most subscribers. Raises `Away`."""
        return await self._ask(Question(self._new_id(), self.id, Ask.OVERVIEW, prefix=prefix, most=most))

    def alone(self, prefix: str, most: int) -> Inquiry:
        """The same of this process only, where the others can't be asked."""
        inquiry = Inquiry(Question(self._new_id(), self.id, Ask.OVERVIEW, prefix=prefix, most=most))
        inquiry.add(self._answer(inquiry.question))
        return inquiry

    async def _ask(self, question: Question) -> Inquiry:
        inquiry = self._open[question.id] = Inquiry(question)
        try:
            inquiry.heard_by = await self.line.publish(self._inspect("ask"), question.encode())
            self.asked_total += 1
            await inquiry.wait(self._current.settings.answer_wait_seconds)
        finally:
            del self._open[question.id]
        self.unanswered_total += inquiry.silent
        return inquiry

    def _new_id(self) -> str:
        return secrets.token_hex(8)

    # Answering.

    def _heard_question(self, raw: bytes) -> None:
        now = self._clock()
        if self._answered.wait_seconds(_ALL, now):
            self._hit(Limit.ANSWERS)
            return
        self._answered.take(_ALL, now)
        try:
            question = Question.decode(raw)
        except BadMessage:
            self.invalid_total += 1
            return
        answer = self._answer(question)
        if question.sender != self.id:
            self.answered_total += 1
            self.line.say(self._inspect(question.sender), answer.encode())
        elif question.id in self._open:
            self._open[question.id].add(answer)

    def _answer(self, question: Question) -> Answer:
        if question.ask is Ask.COUNTS:
            return Answer(question.id, self.id, self._node.counts(question.channels))
        top = self._node.top(question.prefix, question.most)
        return Answer(question.id, self.id, summary=self._node.summary(), top=top)

    def _heard_answer(self, raw: bytes) -> None:
        if not self._open:
            return  # late: nobody waits for it
        try:
            answer = Answer.decode(raw, {id_: inquiry.question for id_, inquiry in self._open.items()})
        except BadMessage:
            self.invalid_total += 1
            return
        if answer is not None:
            self._open[answer.id].add(answer)

    def metrics(self) -> Iterable[Metric]:
        yield gauge("inspect_connected", "Whether other nodes can be asked.", self.line.connected)
        yield counter("questions_asked", "Questions put to all nodes.", self.asked_total)
        yield counter("questions_answered", "Questions of other nodes answered.", self.answered_total)
        yield counter("answers_missed", "Answers that did not come in time.", self.unanswered_total)
        yield counter("inquiries_invalid", "Questions and answers that are not ours.", self.invalid_total)
