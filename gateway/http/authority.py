"""Who a request is from, and what it may do: the one place where credentials are looked at.

Each request is authorised anew, a resume like any other. What is wrong with a credential is told, and never
passed over: who sends one and is refused is not let in as anybody.
"""

from __future__ import annotations

import hmac
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from gateway.auth import keys
from gateway.auth.claims import Rules, grant_of
from gateway.auth.credentials import Carrier, Credential, bearer, credential, may_use_cookie
from gateway.auth.grants import Grant
from gateway.auth.refusals import Refusal, Refused
from gateway.auth.tokens import Header, read_header, verify
from gateway.broker.tickets import Tickets, TicketsAway
from gateway.http.refusing import refusal
from gateway.metrics import counters
from gateway.protocol.patterns import Patterns, PersonalChannel
from publisher.channels import Channel

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from gateway.http.admission import Admission
    from gateway.http.control import Control
    from gateway.http.current import Current
    from gateway.http.jwks import Jwks
    from gateway.settings import Settings

NOBODY: Final = (
    "This gateway lets nobody subscribe yet. Set jwt_secret, jwt_keys_file or jwks_url, so that it can check "
    "tokens, or anonymous_subscribe for what everybody may follow."
)
EVERYTHING: Final = Grant(publish=Patterns(["*"]), disconnect=True, presence=Patterns(["*"]))
"""What the bearer of the publish token may do."""
_MISSING: Final = "Send a token, as Authorization: Bearer <token>."
_NO_KEYS: Final = (
    "This gateway has no key to check tokens with: set jwt_secret, jwt_keys_file or jwks_url. Without a "
    "token, you get what everybody may follow."
)
_ORIGIN: Final = (
    "A cookie came with this request, and pages of this origin may not use it: add the origin to "
    "allowed_origins, or connect without credentials."
)


_REVOKED: Final = "What the token allows was revoked: get a new one."
_ISSUER_AWAY: Final = "The token's key is not known, and its issuer can't be asked now; try again."
_NOT_IN_SYNC: Final = "This node does not know yet which tokens were revoked; try again."
_PUBLISH_TOKEN: Final = "Send the publish token: Authorization: Bearer <token>"  # noqa: S105 - a message


class Undecided(Exception):
    """What it depends on can't be reached: the request may be good, and should come again. The text is for
    its sender."""


def rules_of(settings: Settings) -> Rules:
    template = settings.personal_channel
    return Rules(
        frozenset(settings.jwt_issuer),
        frozenset(settings.jwt_audience),
        settings.jwt_leeway_seconds,
        PersonalChannel.parse(template) if template is not None else None,
        settings.max_token_life_seconds,
    )


def takes_tokens(settings: Settings) -> bool:
    """Whether there is anything to check a token with."""
    return any((settings.jwt_secret, settings.jwt_keys_file, settings.jwks_url))


def serves_nobody(settings: Settings) -> bool:
    """Whether a node with these settings refuses every subscriber."""
    return not takes_tokens(settings) and not settings.anonymous_subscribe


class Authority:
    """A node's judgement of requests."""

    def __init__(
        self, current: Current, jwks: Jwks | None, tickets: Tickets, admission: Admission, control: Control
    ) -> None:
        settings = current.settings
        self._current = current
        self._admission = admission
        self._jwks = jwks
        self._tickets = tickets
        self._control = control
        self._rules = rules_of(settings)
        self._everybody = Grant(Patterns(settings.anonymous_subscribe))
        self._max_token_bytes = settings.max_token_bytes
        self._cookie = settings.token_cookie
        self._origins = frozenset(settings.allowed_origins)
        self._accepted: Counter[str] = Counter()
        self._refused: Counter[Refusal] = Counter()

    @property
    def takes_tokens(self) -> bool:
        return takes_tokens(self._current.settings)

    async def subscriber(self, request: web.Request, ticket: str | None = None) -> Grant:
        """What this request may subscribe to. Raises `Refused`, `Undecided`, `OverLimit`."""
        headers = request.headers
        found = credential(
            headers.getall(hdrs.AUTHORIZATION, ()), ticket, headers.getall(hdrs.COOKIE, ()), self._cookie
        )
        if found is None:
            if not self._everybody.subscribe:
                raise Refused(Refusal.MISSING, _MISSING if self.takes_tokens else NOBODY)
            self._accepted["none"] += 1
            return self._everybody
        with self._admission.credentials(request):
            grant = await self._grant(found, request)
        self._accepted[found.carrier.value] += 1
        return grant.beside(self._everybody)

    async def bearer(self, request: web.Request) -> Grant:
        """What the bearer of the token in the header may do. A request that changes something is never
        authorised by what a browser sends by itself. Raises `Refused`, `Undecided`, `OverLimit`."""
        token = bearer(request.headers.getall(hdrs.AUTHORIZATION, ()))
        if token is None:
            raise Refused(Refusal.MISSING, _MISSING)
        with self._admission.credentials(request):
            grant = await self._verified(token)
        self.check_revoked(grant)
        self._accepted[Carrier.HEADER.value] += 1
        return grant

    async def service(self, request: web.Request) -> Grant:
        """What the bearer of the token in the header may do; the publish token may do all that services do.
        Raises `Refused`, `Undecided`."""
        secret = self._current.settings.publish_token
        if secret is not None:
            token = bearer(request.headers.getall(hdrs.AUTHORIZATION, ()))
            given, wanted = (token or "").encode("utf-8", "replace"), secret.get_secret_value().encode()
            if hmac.compare_digest(given, wanted):
                return EVERYTHING
            if not self.takes_tokens:
                raise Refused(Refusal.MISSING if token is None else Refusal.MALFORMED, _PUBLISH_TOKEN)
        return await self.bearer(request)

    def check_again(self, grant: Grant) -> None:
        """Once the body has come, which takes as long as its sender likes. Raises `Refused`, `Undecided`."""
        grant.check_expiry(time.time())
        self.check_in_sync(grant)
        self.check_revoked(grant)

    def check_in_sync(self, grant: Grant) -> None:
        """Raises `Undecided` while this node may not know of a revocation."""
        if not grant.anonymous and not self._control.in_sync:
            raise Undecided(_NOT_IN_SYNC)

    def check_revoked(self, grant: Grant, channels: Collection[Channel] = ()) -> None:
        """Raises `Refused` if the grant was revoked, by all that this node knows. Of `channels` those count
        that are to be followed. Where nobody is named, everybody may come: nothing was issued to them."""
        found = None if grant.anonymous else self._control.find(grant.bearer, channels)
        if found is not None:
            raise Refused(Refusal.REVOKED, _REVOKED)

    def answer(self, error: Refused, headers: Mapping[str, str]) -> web.Response:
        """The answer to a request that was refused."""
        self._refused[error.reason] += 1
        return refusal(error, headers)

    async def _grant(self, found: Credential, request: web.Request) -> Grant:
        if found.carrier is Carrier.COOKIE:
            headers = request.headers
            page = (headers.get(hdrs.ORIGIN), headers.get("Sec-Fetch-Site"), headers.get(hdrs.HOST))
            if not may_use_cookie(*page, self._origins):
                raise Refused(Refusal.ORIGIN, _ORIGIN)
        if found.carrier is Carrier.TICKET:
            try:
                return await self._tickets.redeem(found.value)
            except TicketsAway:
                raise Undecided("Redis can't be asked now; try again.") from None
        return await self._verified(found.value)

    async def _verified(self, token: str) -> Grant:
        if not self.takes_tokens:
            raise Refused(Refusal.NO_KEYS, _NO_KEYS)
        header = read_header(token, self._max_token_bytes)
        payload = await self._payload(token, header)
        return grant_of(payload, self._rules, time.time())

    async def _payload(self, token: str, header: Header) -> bytes:
        """What the token's signature vouches for, by a key that is known, or that the issuer has by now."""
        jwks = self._jwks
        if jwks is None or header.algorithm is keys.Algorithm.HS256:  # secrets are not published
            return verify(token, keys.fitting(self._current.keys, header.algorithm, header.key_id))
        certain = _names_one(header, self._current.keys + jwks.keys) or await jwks.ask()
        try:
            known = self._current.keys + jwks.keys
            return verify(token, keys.fitting(known, header.algorithm, header.key_id))
        except Refused as error:
            if certain or error.reason not in (Refusal.UNKNOWN_KEY, Refusal.SIGNATURE):
                raise
            # It may be of a new key, and the issuer can't be asked now: no browser must give up for that.
            raise Undecided(_ISSUER_AWAY) from None

    def metrics(self) -> Iterable[Metric]:
        accepted = {name: float(self._accepted[name]) for name in ("none", *(c.value for c in Carrier))}
        refused = {reason.value: float(self._refused[reason]) for reason in Refusal}
        yield counters("credentials_accepted", "Credentials found good, by carrier.", "carrier", accepted)
        yield counters("requests_refused", "Requests refused, by reason.", "reason", refused)


def _names_one(header: Header, known: tuple[keys.Key, ...]) -> bool:
    """Whether the token names one of these keys, or names none and may be of one of them."""
    return any(key.algorithm is header.algorithm and header.key_id in (None, key.key_id) for key in known)
