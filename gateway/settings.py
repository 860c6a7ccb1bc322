"""The gateway's settings: one frozen, typed object.

`Settings(...)` reads its arguments and nothing else, so that an object made by a test or by an embedder
is what it says. Flags, the environment and a TOML file are read by `gateway.cli.configuration`.

Names end in their unit (`_seconds`, `_bytes`, `_ms`); limits stand in the field, once.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import PydanticBaseSettingsSource as Source
from redis.connection import parse_url

from gateway.protocol.addresses import Proxies
from gateway.protocol.patterns import Patterns, PersonalChannel
from publisher.channels import validate_prefix
from publisher.connections import check_database, trusting
from publisher.control import MAX_REVOCATIONS, MAX_TOKEN_LIFE_SECONDS
from publisher.sentinel.url import SentinelUrl, is_sentinel_url, shown_address

ENV_PREFIX: Final = "FANLIGHT_"
CROSS_CHECK: Final = "cross_check"
_URL_SCHEMES: Final = ("redis", "rediss", "unix")
_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.ASCII)
_TOKEN: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)
_COOKIE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_MIN_SECRET_BYTES: Final = 32
TextList = Annotated[list[str], NoDecode]
"""A flag given twice, a list in TOML, or text with commas."""


def _setting(group: str, default: Any, text: str, **bounds: float) -> Any:
    """A field of `Settings`: its limits stand once, in `bounds`, and are added to the text."""
    return Field(default, description=text, json_schema_extra={"group": group}, **bounds)  # type: ignore[call-overload]


def _list(group: str, text: str) -> Any:
    """A field of `Settings` that holds texts, with commas between where it is one text."""
    return Field(default_factory=list, description=text, json_schema_extra={"group": group})


class Settings(BaseSettings):
    """Everything that can be set, checked. Wrong values raise pydantic's ValidationError."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_ignore_empty=True, hide_input_in_errors=True
    )

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        description="The Redis or Valkey server: redis://, rediss:// (TLS), unix://, or redis+sentinel:// "
        "with sentinels and the primary's name. May hold a password.",
        json_schema_extra={"group": "Redis"},
        repr=False,
    )
    redis_ca_file: str | None = _setting(
        "Redis",
        None,
        "Certificates, in PEM, that rediss:// servers and sentinels are trusted by, beside the system's.",
    )
    prefix: str = _setting("Redis", "fanlight", "What every key of this installation begins with.")
    retention_events: int = _setting(
        "Redis", 10_000, "About how many events a channel keeps for those who resume.", ge=1, le=10_000_000
    )
    retention_seconds: int = _setting(
        "Redis", 3600, "How long a channel keeps events after its last one.", ge=1, le=43_200
    )
    position_read_seconds: float = _setting(
        "Redis",
        1.0,
        "How often the subscriber connection asks for the position while all is quiet.",
        ge=0.01,
        le=60,
    )
    link_deadline_seconds: float = _setting(
        "Redis",
        5.0,
        "How long Redis may leave a command unanswered before the link is made anew.",
        ge=0.05,
        le=300,
    )
    redis_loss_unready_seconds: float = _setting(
        "Redis",
        0.0,
        "After how long without Redis /readyz fails; 0: never, as a 503 makes an EventSource give up.",
        ge=0,
        le=86_400,
    )
    probe_seconds: float = _setting(
        "Redis",
        5.0,
        "How often the node publishes to itself, to find a subscription that is dead.",
        ge=0.05,
        le=3600,
    )
    reconnect_max_seconds: float = _setting(
        "Redis", 5.0, "The longest pause between two attempts to reach Redis.", ge=0.01, le=300
    )

    workers: int = _setting(
        "HTTP",
        1,
        "Processes that share the public port; each has its own link to Redis. About one for each core.",
        ge=1,
        le=256,
    )
    host: str = _setting("HTTP", "0.0.0.0", "The address of the public port.")  # noqa: S104 - the public port
    port: int = _setting("HTTP", 8080, "The public port; 0 takes a free one.", ge=0, le=65_535)
    admin_host: str = _setting("HTTP", "127.0.0.1", "The address of the admin port (health, metrics).")
    admin_port: int = _setting("HTTP", 9090, "The admin port; 0 takes a free one.", ge=0, le=65_535)
    allowed_origins: TextList = _list(
        "HTTP", "Origins whose pages may read events, with commas between; * for any, without cookies."
    )
    trusted_proxies: TextList = _list(
        "HTTP",
        "Addresses and networks of proxies whose word on clients' addresses and requests' ids is taken, "
        "with commas.",
    )
    forwarded_by: Literal["X-Forwarded-For", "Forwarded"] = _setting(
        "HTTP", "X-Forwarded-For", "The field in which those proxies tell the client's address."
    )
    demo: bool = _setting("HTTP", False, "Serve the demo page at /.")
    retry_ms: int = _setting(
        "HTTP", 2000, "The reconnection time told to browsers, before jitter.", ge=1, le=600_000
    )
    heartbeat_seconds: float = _setting(
        "HTTP", 15.0, "How often every stream gets a comment line.", ge=0.01, le=3600
    )
    turn_ms: float = _setting(
        "HTTP",
        10.0,
        "Under load, how long events gather at most so that they share a write; 0: not at all.",
        ge=0,
        le=1000,
    )
    max_stream_age_seconds: float = _setting(
        "HTTP",
        1800.0,
        "The longest life of a stream, before jitter; below retention_seconds.",
        ge=0.05,
        le=43_200,
    )
    drain_wait_seconds: float = _setting(
        "HTTP",
        3.0,
        "How long a node that stops goes on listening, unready, until the balancer has noticed.",
        ge=0,
        le=600,
    )
    drain_seconds: float = _setting(
        "HTTP", 10.0, "How long a stop takes to close its streams, spread out.", ge=0, le=600
    )

    presence_seconds: float = _setting(
        "HTTP",
        0.0,
        "How often streams that ask for it are told how many follow their channels; 0: never.",
        ge=0,
        le=3600,
    )
    compression: Literal["off", "gzip"] = _setting(
        "HTTP",
        "off",
        "Compress streams for clients that take gzip; not where secrets stand next to strangers' text.",
    )
    compression_level: int = _setting(
        "HTTP", 4, "How hard compression tries: 1 is the fastest, 9 the smallest.", ge=1, le=9
    )

    anonymous_subscribe: TextList = _list(
        "Access",
        "Channels that everybody may subscribe to, with commas between; * stands for any characters.",
    )
    personal_channel: str | None = _setting(
        "Access", None, "The channel that a token's subject may always subscribe to, such as user.{sub}."
    )
    jwt_secret: SecretStr | None = _setting(
        "Access", None, "The secret of tokens that are signed by HS256, of at least 32 bytes."
    )
    jwt_keys_file: str | None = _setting(
        "Access", None, "Keys that tokens are checked with: public keys in PEM, a JWK, or a JWK set."
    )
    jwks_url: str | None = _setting(
        "Access", None, "Where the issuer of tokens publishes its keys, a JWK set; https only."
    )
    jwks_ca_file: str | None = _setting(
        "Access", None, "The certificates, in PEM, that jwks_url is trusted by; none: the system's."
    )
    jwks_refresh_seconds: float = _setting(
        "Access", 300.0, "The age at which the issuer's keys are fetched again.", ge=1, le=86_400
    )
    jwks_pause_seconds: float = _setting(
        "Access",
        30.0,
        "The least time between two fetches of the keys, whatever tokens name.",
        ge=0.05,
        le=3600,
    )
    jwks_timeout_seconds: float = _setting(
        "Access", 5.0, "How long a fetch of the issuer's keys may take.", ge=0.05, le=60
    )
    max_jwks_bytes: int = _setting(
        "Access", 262_144, "The largest answer with the issuer's keys.", ge=1, le=16_777_216
    )
    jwt_issuer: TextList = _list(
        "Access", "The issuers (iss) whose tokens are taken, with commas between; none: any."
    )
    jwt_audience: TextList = _list(
        "Access",
        "This gateway's names in tokens (aud), with commas between; none: tokens must not have an aud.",
    )
    jwt_leeway_seconds: float = _setting(
        "Access", 10.0, "How far ahead an issuer's clock may be (nbf, iat).", ge=0, le=300
    )
    max_token_bytes: int = _setting("Access", 4096, "The longest token.", ge=64, le=8000)
    max_token_life_seconds: float = _setting(
        "Access",
        MAX_TOKEN_LIFE_SECONDS,
        "How long a token may live, and a revocation counts; the same on all nodes.",
        ge=1,
        le=MAX_TOKEN_LIFE_SECONDS,
    )
    token_cookie: str | None = _setting(
        "Access", None, "The cookie that may carry a token for GET /events; none: cookies are not read."
    )
    ticket_seconds: float = _setting(
        "Access", 30.0, "How long a ticket of POST /ticket can be used.", ge=1, le=30
    )

    publish_token: SecretStr | None = _setting(
        "Publishing", None, "A bearer token that may publish to every channel, visible ASCII."
    )
    max_event_bytes: int = _setting(
        "Publishing", 262_144, "The largest data of an event.", ge=1, le=16_777_216
    )
    max_publish_body_bytes: int = _setting(
        "Publishing",
        1_048_576,
        "The largest body of POST /publish, and the most data of it, counted once for each channel.",
        ge=1,
        le=1_073_741_824,
    )
    max_publish_batch: int = _setting(
        "Publishing", 10_000, "The most events in one POST /publish.", ge=1, le=1_000_000
    )

    max_streams: int = _setting(
        "Limits", 20_000, "The most streams that this node holds.", ge=1, le=10_000_000
    )
    max_channels_per_stream: int = _setting(
        "Limits", 100, "The most channels of one stream.", ge=1, le=10_000
    )
    max_last_events: int = _setting(
        "Limits", 100, "The largest N of last=N, for each channel of a stream.", ge=0, le=100_000
    )
    max_streams_per_address: int = _setting(
        "Limits",
        1000,
        "The most streams of one client address, IPv6 by /64; 0: any number.",
        ge=0,
        le=10_000_000,
    )
    max_streams_per_subject: int = _setting(
        "Limits", 1000, "The most streams of one subject (sub); 0: any number.", ge=0, le=10_000_000
    )
    max_new_streams_per_second: float = _setting(
        "Limits", 0.0, "How many streams this node begins in a second; 0: any number.", ge=0, le=1_000_000
    )
    max_connections: int = _setting(
        "Limits", 5000, "The most connections of the public port beside streams.", ge=1, le=10_000_000
    )
    max_connections_per_address: int = _setting(
        "Limits",
        1000,
        "Of those, the most of one client address that comes without a proxy; 0: any number.",
        ge=0,
        le=10_000_000,
    )
    max_failed_credentials_per_second: float = _setting(
        "Limits",
        100.0,
        "Of one client address, before its credentials are not looked at any more; 0: any number.",
        ge=0,
        le=1_000_000,
    )
    max_tickets_per_second: float = _setting(
        "Limits", 100.0, "The most tickets for one subject; 0: any number.", ge=0, le=1_000_000
    )
    max_publish_per_second: float = _setting(
        "Limits",
        1000.0,
        "The most events of one subject's tokens, not of the publish token; 0: any number.",
        ge=0,
        le=1_000_000,
    )
    max_publish_bytes_per_second: int = _setting(
        "Limits",
        1_048_576,
        "The most bytes of the same: bodies, or data counted once for each channel; 0: any number.",
        ge=0,
        le=1_073_741_824,
    )
    max_publishes_per_subject: int = _setting(
        "Limits", 16, "The most requests of the same under way at once; 0: any number.", ge=0, le=10_000
    )
    max_revocations: int = _setting(
        "Limits",
        MAX_REVOCATIONS,
        "The most revocations that count at a time; above it POST /disconnect refuses.",
        ge=1,
        le=1_000_000,
    )
    max_spans_per_second: float = _setting(
        "Limits",
        100.0,
        "The most spans of traced events in a second, with otlp_endpoint; 0: any number.",
        ge=0,
        le=1_000_000,
    )
    max_queued_spans: int = _setting(
        "Limits", 2048, "The most spans that wait for the collector.", ge=1, le=1_000_000
    )
    max_presence_channels: int = _setting(
        "Limits", 100, "The most channels of one GET /presence.", ge=1, le=400
    )
    max_questions_per_second: float = _setting(
        "Limits",
        20.0,
        "How often this process asks all nodes, for GET /presence and the inspector; 0: any number.",
        ge=0,
        le=10_000,
    )
    max_answers_per_second: float = _setting(
        "Limits", 200.0, "How often it answers another node's question; 0: any number.", ge=0, le=100_000
    )
    answer_wait_seconds: float = _setting(
        "Limits", 0.5, "How long it waits for the answers of all nodes.", ge=0.01, le=10
    )
    header_seconds: float = _setting(
        "Limits", 10.0, "How long a client may take to send its headers.", gt=0, le=3600
    )
    max_header_bytes: int = _setting(
        "Limits", 16_384, "The largest headers of a request, together.", ge=1024, le=1_048_576
    )
    body_seconds: float = _setting(
        "Limits", 30.0, "How long a client may take to send the body of POST /publish.", gt=0, le=3600
    )
    max_upload_bytes: int = _setting(
        "Limits",
        65_536,
        "What a client may send on an open stream before it is closed.",
        ge=0,
        le=1_073_741_824,
    )
    stall_seconds: float = _setting(
        "Limits", 60.0, "How long a client may take nothing at all before it is closed.", gt=0, le=3600
    )
    max_replays: int = _setting(
        "Limits", 32, "The most replays that read from Redis at once.", ge=1, le=10_000
    )
    max_replay_events: int = _setting(
        "Limits",
        1_000_000,
        "How many events a new stream reads of the past before it is told a gap up to now.",
        ge=1,
        le=1_000_000_000,
    )
    max_replay_bytes: int = _setting(
        "Limits", 1_073_741_824, "The same in bytes.", ge=1, le=1_099_511_627_776
    )
    max_last_bytes: int = _setting(
        "Limits",
        16_777_216,
        "What last=N may read, for all channels of a stream together; older events are told as a gap.",
        ge=1,
        le=1_073_741_824,
    )

    write_buffer_bytes: int = _setting(
        "Memory",
        65_536,
        "A stream's backlog in this process above which it goes back to replay.",
        ge=1,
        le=1_073_741_824,
    )
    send_buffer_bytes: int = _setting(
        "Memory", 131_072, "A stream's send buffer in the kernel (SO_SNDBUF).", ge=4096, le=1_073_741_824
    )
    hot_tail_bytes: int = _setting(
        "Memory", 1_048_576, "The newest events of a channel that are kept in memory.", ge=0, le=1_073_741_824
    )
    hot_tails_bytes: int = _setting(
        "Memory", 67_108_864, "The same, for all channels of this node together.", ge=0, le=1_099_511_627_776
    )
    compression_cache_bytes: int = _setting(
        "Memory",
        4_194_304,
        "What was compressed last, kept with its plain bytes for further streams.",
        ge=0,
        le=1_073_741_824,
    )
    page_bytes: int = _setting(
        "Memory", 262_144, "About how much a replay reads at once.", ge=1, le=1_073_741_824
    )
    linger_seconds: float = _setting(
        "Memory", 10.0, "How long a channel that nobody follows stays subscribed.", ge=0, le=3600
    )

    log_format: Literal["auto", "json", "console"] = _setting(
        "Logs", "auto", "How log lines look; auto is console on a terminal, else json."
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "Logs", "info", "The least level logged."
    )
    log_streams_per_second: int = _setting(
        "Logs",
        100,
        "How many streams that end have a log line each second; the others are counted.",
        ge=0,
        le=1_000_000,
    )

    otlp_endpoint: str | None = _setting(
        "Traces",
        None,
        "Where spans of traced events are sent by OTLP over HTTP; none: nowhere. Needs fanlight[otel].",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: Source,
        env_settings: Source,
        dotenv_settings: Source,
        file_secret_settings: Source,
    ) -> tuple[Source, ...]:
        """Only the arguments; see the module's docstring."""
        return (init_settings,)

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str) -> str:
        if is_sentinel_url(url):
            SentinelUrl.parse(url)
            return url
        example = (
            "redis://127.0.0.1:6379/0, rediss://user:password@host:6380/0, unix:///path or "
            "redis+sentinel://host1,host2,host3/mymaster"
        )
        try:
            parts = urlsplit(url)
            usable = bool(parts.path) if parts.scheme == "unix" else bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable, parts = False, urlsplit("")
        if not usable or parts.scheme not in _URL_SCHEMES:
            raise ValueError(f"expected a URL such as {example}")
        check_database(parse_url(url))  # type: ignore[no-untyped-call]
        return url

    @field_validator("redis_ca_file")
    @classmethod
    def _check_redis_ca_file(cls, path: str | None, info: ValidationInfo) -> str | None:
        if "redis_url" in info.data:  # else that is what is wrong
            trusting(info.data["redis_url"], path)
        return path

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        return validate_prefix(prefix)

    @field_validator("host", "admin_host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        if not host or any(c.isspace() or c == "/" for c in host):
            raise ValueError("expected an IP address or a host name, without a scheme or a port")
        return host

    @field_validator("publish_token")
    @classmethod
    def _check_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and _TOKEN.fullmatch(token.get_secret_value()) is None:
            raise ValueError("expected visible ASCII characters without spaces, at least one")
        return token

    @field_validator(
        "allowed_origins",
        "anonymous_subscribe",
        "jwt_issuer",
        "jwt_audience",
        "trusted_proxies",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return [part.strip() for item in value for part in item.split(",") if part.strip()]
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if origin != "*" and _ORIGIN.fullmatch(origin) is None:
                raise ValueError(
                    f"{origin[:100]!r} is not an origin: expected one such as https://app.example.com or "
                    "http://localhost:3000, in lower case, without a path; or * for any"
                )
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, networks: list[str]) -> list[str]:
        Proxies(networks)
        return networks

    @field_validator("anonymous_subscribe")
    @classmethod
    def _check_patterns(cls, patterns: list[str]) -> list[str]:
        return list(Patterns(patterns).texts)

    @field_validator("personal_channel")
    @classmethod
    def _check_template(cls, template: str | None) -> str | None:
        if template is not None:
            PersonalChannel.parse(template)
        return template

    @field_validator("jwt_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < _MIN_SECRET_BYTES:
            raise ValueError(
                f"expected at least {_MIN_SECRET_BYTES} bytes; make some with: openssl rand -hex 32"
            )
        return secret

    @field_validator("jwks_url")
    @classmethod
    def _check_jwks_url(cls, url: str | None) -> str | None:
        """The keys decide who may do what, so they come from the address that is written here, unaltered."""
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            usable = (
                bool(parts.hostname) and parts.port != 0 and not parts.fragment and "@" not in parts.netloc
            )
        except ValueError:
            usable, parts = False, urlsplit("")
        if not usable or parts.scheme != "https" or not _TOKEN.fullmatch(url):
            raise ValueError("expected a URL such as https://id.example.com/.well-known/jwks.json")
        return url

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_otlp_endpoint(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        except ValueError:
            usable, parts = False, urlsplit("")
        usable = usable and parts.scheme in ("http", "https") and bool(parts.path.strip("/"))
        if not usable or not _TOKEN.fullmatch(url):
            raise ValueError("expected a URL such as http://collector:4318/v1/traces")
        if not _is_installed("opentelemetry.exporter.otlp.proto.http"):
            raise ValueError("traces need OpenTelemetry: pip install 'fanlight[gateway,otel]'")
        return url

    @field_validator("token_cookie")
    @classmethod
    def _check_cookie(cls, name: str | None) -> str | None:
        if name is not None and _COOKIE.fullmatch(name) is None:
            raise ValueError("expected the name of a cookie, such as __Host-fanlight")
        return name

    @model_validator(mode="after")
    def _cross_check(self) -> Settings:
        """What no field can see alone. A fault: a setting, what it must be, the setting that it must fit."""
        faults: list[tuple[str, str, str]] = []
        if self.max_stream_age_seconds >= self.retention_seconds:
            faults.append(("max_stream_age_seconds", "less than", "retention_seconds"))
        if self.max_publish_body_bytes < self.max_event_bytes:
            faults.append(("max_publish_body_bytes", "at least", "max_event_bytes"))
        if self.hot_tail_bytes > self.hot_tails_bytes:
            faults.append(("hot_tail_bytes", "at most", "hot_tails_bytes"))
        if self.port == self.admin_port != 0 and _overlap(self.host, self.admin_host):
            faults.append(("admin_port", "another than", "port"))
        if faults:
            text = "; ".join(" ".join(fault) for fault in faults)
            raise PydanticCustomError(CROSS_CHECK, "expected {text}", {"text": text, "faults": faults})
        return self

    @property
    def redis(self) -> str:
        """`redis_url` for redis-py, with what the other settings say of the connection. A secret, like it."""
        return trusting(self.redis_url, self.redis_ca_file)

    @property
    def redis_address(self) -> str:
        """`redis_url` without user, password and query: for messages and logs."""
        return redact_url(self.redis_url)


RELOADABLE: Final = frozenset(
    {
        "answer_wait_seconds",
        "body_seconds",
        "header_seconds",
        "jwt_keys_file",
        "jwt_secret",
        "log_level",
        "max_answers_per_second",
        "max_channels_per_stream",
        "max_connections",
        "max_connections_per_address",
        "max_failed_credentials_per_second",
        "max_header_bytes",
        "max_last_events",
        "max_new_streams_per_second",
        "max_presence_channels",
        "max_publish_bytes_per_second",
        "max_publish_per_second",
        "max_publishes_per_subject",
        "max_questions_per_second",
        "max_spans_per_second",
        "max_streams",
        "max_streams_per_address",
        "max_streams_per_subject",
        "max_tickets_per_second",
        "max_upload_bytes",
        "publish_token",
        "stall_seconds",
    }
)
"""What can change while streams are open (`gateway.reload`). Whoever uses one of these asks for it at each
use; what is not here is read once."""


class SettingsError(Exception):
    """The settings are wrong. `faults` has one line for each thing to mend; none holds a secret."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(faults))


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def redact_url(url: str) -> str:
    """A URL without user, password, query and fragment."""
    if is_sentinel_url(url):
        try:
            sentinels = SentinelUrl.parse(url)
        except ValueError:
            return "(not a URL)"
        hosts = ",".join(map(shown_address, sentinels.sentinels))
        return f"{url.partition('://')[0]}://{hosts}/{sentinels.service}"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _overlap(a: str, b: str) -> bool:
    return a == b or not {a, b}.isdisjoint({"0.0.0.0", "::", "*"})  # noqa: S104 - compared
