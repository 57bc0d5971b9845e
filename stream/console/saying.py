"""What an analyst says of a case on its page: a form that counts once, and a verdict that the console signs in their name.

`driftline feedback` signs with a key of the analyst's own. Here the key is the console's, and ``by`` is whom the provider named, whom the
token tells beside that by issuer and subject (``sub_id``, RFC 9493). Without a provider ``by`` is the key's own id.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool

from models.contracts import Feedback
from models.errors import ConfigError
from stream import feedback as tokens
from stream.console.guard import Access, Once, Visitor
from stream.offline.verdicts import Subject, Verdict
from stream.outbound.feedback import MAX_COMMENT, VERDICTS, cleaned, uid_of
from stream.shell.case_feedback import verdict_on

MEANS: Mapping[str, str] = {
    "true_positive": "the session drifted. Closes the case.",
    "false_positive": "the alert is wrong. Closes the case.",
    "benign": "the alert is right, and it was meant to happen. Closes the case.",
    "unsure": "somebody looked and cannot tell. The case stays open.",
    "reopen": "the word before is taken back. The case is open again.",
}
"""What each verdict says, and what it does to the case (docs/feedback.md)."""
MAX_FORM = 16_384
"""Bytes of what is posted: a comment of the longest, each character in four bytes and percent-encoded."""
MAX_SENDING, MAX_WAITING = 4, 256
"""Verdicts that are sent at once; that are remembered until the alerts tell of them."""
AGAIN_S = 60.0
"""After which a verdict of which nothing is told may be said again, as it is."""

_log = logging.getLogger("driftline.console")

Send = Callable[[str, str], None]
"""Puts a tenant's signed token on the bus, and returns once it is there; `BrokerError` otherwise."""


class Waiting(NamedTuple):
    """A verdict that was sent, and of which the alerts do not tell yet; `at_s` by the clock that only rises."""

    uid: str
    said: Feedback
    at_s: float


class Refused(Exception):
    """It was not said; the text tells why and the mend, `status` is HTTP's."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Saying:
    """Takes what analysts say of cases.

    Parameters
    ----------
    key : any
        Private, with a ``kid``; its public half stands in the workers' ``DRIFTLINE_RESPONDER_JWKS``.
    audience : str
        This installation: its issuer.
    send : callable
        See `Send`.

    Raises
    ------
    ConfigError
        The key's id is no name that a verdict could carry.
    """

    def __init__(self, key: Any, audience: str, send: Send) -> None:
        self.key_id = str(key.kid)
        if len(self.key_id) > tokens.MAX_BY or not self.key_id.isprintable():
            raise ConfigError(
                f"the console's feedback key has a kid that is no name of at most {tokens.MAX_BY} printable characters"
            )
        self._key, self._audience, self._send = key, audience, send
        self._used = Once()
        self._sending = asyncio.Semaphore(MAX_SENDING)
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()

    def by(self, visitor: Visitor) -> str:
        """In whose name a visitor's verdicts are."""
        return visitor.person.name if visitor.person is not None else self.key_id

    def form(self, access: Access, visitor: Visitor, case_id: str) -> str:
        """What a form carries that counts once: for this visitor's session and this case alone."""
        name = secrets.token_urlsafe(16)
        return f"{name}.{access.sealed('form', visitor.session, case_id, name)}"

    def waiting(self, case_id: str, told: Iterable[str]) -> Waiting | None:
        """What was said last of a case here, if the alerts do not tell of it yet; `told` are the ids that they tell of."""
        found = self._waiting.get(case_id)
        if found is not None and found.uid in told:
            del self._waiting[case_id]
            return None
        return found

    def _last(self, case_id: str, told: Sequence[Verdict]) -> tuple[str, str, str] | None:
        """The last word on a case, if this console's key signed it: verdict, name and reason."""
        waiting = self.waiting(case_id, [each.uid for each in told])
        # Of what no worker has told for long nobody knows whether one will: it may be said again.
        if waiting is not None and time.monotonic() - waiting.at_s < AGAIN_S:
            return waiting.said.verdict, waiting.said.by, cleaned(waiting.said.comment)
        mine = (each for each in told if each.stands and each.key == self.key_id)
        return next(((each.verdict, each.by, each.comment) for each in mine), None)

    async def say(
        self,
        access: Access,
        visitor: Visitor,
        subject: Subject,
        form: Mapping[str, str],
        told: Sequence[Verdict],
    ) -> None:
        """Sign a verdict and put it on the bus; nothing where the form was used already, or it is the last word (of `told`) once more.

        Raises
        ------
        Refused
            The form is not this visitor's of this case, or what it says is no verdict with a reason, or too many are sent.
        BrokerError
            It is not on the bus, as far as anybody knows; the form may be used again.
        """
        name, _, seal = form.get("form", "").partition(".")
        if not access.is_sealed(seal, "form", visitor.session, subject.case_id, name):
            raise Refused(
                403,
                "This form is of another sign-in, or of a console that was started anew. Nothing was said: say it again.",
            )
        verdict, comment = form.get("verdict", ""), form.get("comment", "").replace("\r\n", "\n").strip()
        if verdict not in VERDICTS:
            raise Refused(400, f"Nothing was said: choose one of {', '.join(VERDICTS)}.")
        if not cleaned(comment):
            raise Refused(
                400, "Nothing was said: give a reason, which whoever reads this later will ask for."
            )
        if len(comment) > MAX_COMMENT:
            raise Refused(
                400, f"Nothing was said: the reason has {len(comment)} characters, of at most {MAX_COMMENT}."
            )
        if self._sending.locked():
            raise Refused(503, "Nothing was said: other verdicts are being sent. Say it again in a moment.")
        said = verdict_on(subject, verdict, self.by(visitor), comment)
        if self._last(subject.case_id, told) == (verdict, said.by, cleaned(comment)) or not self._used.use(
            name
        ):
            return
        person = visitor.person
        whom = {"iss": person.issuer, "sub": person.subject} if person is not None else None
        try:
            async with self._sending:
                token = tokens.sign(said, self._audience, self._key, whom)
                await run_in_threadpool(self._send, said.tenant, token)
        except BaseException:
            self._used.give_back(name)
            raise
        self._waiting[subject.case_id] = Waiting(uid_of(said, self.key_id), said, time.monotonic())
        self._waiting.move_to_end(subject.case_id)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)
        _log.info("case %s: %s, says %s, signed by %s", subject.case_id, verdict, said.by, self.key_id)
