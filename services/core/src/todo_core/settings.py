"""Every setting of the product: one model a concern, read once at start and passed down as an argument."""

import os
from collections.abc import Mapping
from typing import ClassVar, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from todo_core.settings_api import ApiSettings, RateLimitSettings
from todo_core.settings_delivery import EmailSettings, StreamSettings, WebhookSettings, WorkerSettings
from todo_core.settings_source import Concern, ConfigurationError, variable_name
from todo_core.settings_watch import WatchSettings

__all__ = [
    "ApiSettings",
    "ConfigurationError",
    "EmailSettings",
    "RateLimitSettings",
    "StreamSettings",
    "WatchSettings",
    "WebhookSettings",
    "WorkerSettings",
    "variable_name",
]

DEVELOPMENT_KEY = "dev:insecure-development-key-never-for-production"
DEVELOPMENT_PUBLIC_URL = "http://127.0.0.1:8000"
DEVELOPMENT_DATABASE_URL = "postgresql://todo:todo@127.0.0.1:5432/todo"
MINIMUM_SECRET_BYTES = 32
"""RFC 7518, section 3.2: an HS256 key is at least as long as the hash, 256 bits."""

LONGEST_MS = 2_147_483_647
"""PostgreSQL's own limit for its time limits."""
_NO_URL = "is not a URL; in its password, [ ] / ? # @ : and % must be percent-encoded"

Environment = Literal["development", "test", "production"]


class RuntimeSettings(Concern):
    """Where the process runs and how it logs."""

    environment: Environment = Field("development", description="production refuses development secrets")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe line logged")
    public_url: str = Field(
        DEVELOPMENT_PUBLIC_URL,
        description="where people reach the API: links in mails begin with it; https:// in production",
    )

    @field_validator("public_url")
    @classmethod
    def _is_origin(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")) or any(character in url for character in " \r\n?#"):
            raise ValueError("must start with http:// or https://, without a query")
        return url.rstrip("/")


class DatabaseSettings(Concern):
    """PostgreSQL, 15 or newer."""

    model_config = SettingsConfigDict(env_prefix="DATABASE_")

    url: SecretStr = Field(
        SecretStr(DEVELOPMENT_DATABASE_URL),
        description="libpq URL; TLS by ?sslmode=verify-full&sslrootcert=/path/ca.pem",
    )
    password: SecretStr | None = Field(None, description="replaces the password in the URL, so that a file can hold it")
    pool_size: int = Field(5, ge=1, le=200, description="connections a process keeps for transactions")
    statement_pool_size: int = Field(
        5, ge=1, le=200, description="connections it keeps for single statements: hot reads, deliveries"
    )
    pool_timeout_seconds: float = Field(5.0, gt=0, description="seconds a request waits for a connection, then 503")
    connect_timeout_seconds: float = Field(5.0, gt=0, description="seconds to open a connection")
    statement_timeout_ms: int = Field(
        5_000, ge=1, le=LONGEST_MS, description="milliseconds after which PostgreSQL ends a statement"
    )
    lock_timeout_ms: int = Field(2_000, ge=1, le=LONGEST_MS, description="milliseconds a statement waits for a lock")
    idle_in_transaction_timeout_ms: int = Field(
        15_000, ge=1, le=LONGEST_MS, description="milliseconds after which a transaction that does nothing is ended"
    )
    migration_lock_timeout_ms: int = Field(
        3_000, ge=1, le=LONGEST_MS, description="milliseconds a migration waits for a table lock before it gives up"
    )
    migration_statement_timeout_ms: int = Field(
        900_000, ge=1, le=LONGEST_MS, description="milliseconds one statement of a migration may take"
    )

    @field_validator("url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr) -> SecretStr:
        # A driver suffix (postgresql+asyncpg://) is what SQLAlchemy's users paste; libpq's form is what all tools read.
        scheme, separator, rest = url.get_secret_value().partition("://")
        if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
            raise ValueError("must start with postgresql://")
        try:
            urlsplit(f"postgresql://{rest}")
        except ValueError:
            raise ValueError(_NO_URL) from None
        return SecretStr(f"postgresql://{rest}")


class RedisSettings(Concern):
    """Redis or Valkey, 6.2 or newer: the cache, and the worker's wake-ups."""

    model_config = SettingsConfigDict(env_prefix="REDIS_")

    url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="redis://, rediss:// (TLS) or unix://")
    password: SecretStr | None = Field(None, description="replaces the password in the URL")
    timeout_ms: int = Field(
        250, ge=1, le=LONGEST_MS, description="milliseconds to connect or to answer; then it counts as down"
    )
    retry_after_ms: int = Field(
        1_000, ge=1, le=LONGEST_MS, description="milliseconds that a Redis which failed is left alone"
    )
    key_prefix: str = Field("todo", pattern=r"^[a-z0-9_-]+$", description="first part of every key")

    @field_validator("url")
    @classmethod
    def _is_redis(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        try:
            _ = urlsplit(url.get_secret_value()).port
        except ValueError:
            raise ValueError(_NO_URL) from None
        return url


class CacheSettings(Concern):
    """The read-through cache of todo lists."""

    model_config = SettingsConfigDict(env_prefix="CACHE_")

    enabled: bool = Field(True, description="false: every list comes from PostgreSQL")
    ttl_seconds: int = Field(60, ge=1, le=3_600, description="seconds a list stays in Redis")
    local_bytes: int = Field(8_388_608, ge=0, description="bytes of lists that each process keeps by itself; 0: none")


class PasswordSettings(Concern):
    """bcrypt."""

    model_config = SettingsConfigDict(env_prefix="PASSWORD_")

    bcrypt_cost: int = Field(12, ge=4, le=16, description="2^cost rounds; 12 takes about 0.25 s of a core")
    threads: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 2) - 1),
        ge=1,
        description="passwords checked at once; the default leaves one core to everything else",
    )
    queue: int = Field(64, ge=1, description="requests that wait for a thread; beyond, 503")


class TokenSettings(Concern):
    """Access tokens (JWT, HS256) and refresh tokens."""

    model_config = SettingsConfigDict(env_prefix="TOKEN_")

    keys: SecretStr = Field(
        SecretStr(DEVELOPMENT_KEY),
        description="key-id:secret, comma-separated; the first signs, all verify, so that keys rotate",
    )
    access_seconds: int = Field(900, ge=1, le=86_400, description="seconds an access token lives")
    refresh_seconds: int = Field(
        2_592_000, ge=1, le=315_360_000, description="seconds a refresh token lives if it is not used"
    )

    @property
    def key_ring(self) -> dict[str, str]:
        """Secrets by key id, the signing key first."""
        pairs = (entry.strip().partition(":") for entry in self.keys.get_secret_value().split(",") if entry.strip())
        return {key_id: secret for key_id, _, secret in pairs}

    @field_validator("keys")
    @classmethod
    def _well_formed(cls, keys: SecretStr) -> SecretStr:
        entries = [entry.strip() for entry in keys.get_secret_value().split(",") if entry.strip()]
        if not entries or any(not all(entry.partition(":")) for entry in entries):
            raise ValueError("must be key-id:secret, comma-separated")
        ids = [entry.partition(":")[0] for entry in entries]
        if len(set(ids)) < len(ids):
            raise ValueError("names one key id twice")
        return keys


class Settings:
    """All of them. `Settings.load()` reads them; a test passes those that it wants to differ."""

    CONCERNS: ClassVar[tuple[type[Concern], ...]] = (
        RuntimeSettings,
        DatabaseSettings,
        RedisSettings,
        CacheSettings,
        PasswordSettings,
        TokenSettings,
        ApiSettings,
        RateLimitSettings,
        WorkerSettings,
        EmailSettings,
        WebhookSettings,
        StreamSettings,
        WatchSettings,
    )

    def __init__(self, *overrides: Concern) -> None:
        given: dict[type[Concern], Concern] = {type(override): override for override in overrides}
        self.runtime = _pick(RuntimeSettings, given)
        self.database = _pick(DatabaseSettings, given)
        self.redis = _pick(RedisSettings, given)
        self.cache = _pick(CacheSettings, given)
        self.passwords = _pick(PasswordSettings, given)
        self.tokens = _pick(TokenSettings, given)
        self.api = _pick(ApiSettings, given)
        self.rate_limits = _pick(RateLimitSettings, given)
        self.worker = _pick(WorkerSettings, given)
        self.email = _pick(EmailSettings, given)
        self.webhooks = _pick(WebhookSettings, given)
        self.streams = _pick(StreamSettings, given)
        self.watch = _pick(WatchSettings, given)
        if self.runtime.environment == "production":
            self._refuse_in_production()

    @classmethod
    def load(cls) -> Self:
        """Read every setting.

        Raises:
            ConfigurationError: one is malformed, a named file cannot be read, or production was asked for with a
                default or short secret. The text names the variables, never their values.
        """
        try:
            return cls()
        except ValidationError as error:
            raise ConfigurationError(_sentences(error)) from error

    def _refuse_in_production(self) -> None:
        problems = [
            f"TOKEN_KEYS: the secret of key '{key_id}' is shorter than {MINIMUM_SECRET_BYTES} bytes."
            for key_id, secret in self.tokens.key_ring.items()
            if len(secret.encode()) < MINIMUM_SECRET_BYTES
        ]
        default_secret = DEVELOPMENT_KEY.partition(":")[2]
        if default_secret in self.tokens.key_ring.values():
            problems.append("TOKEN_KEYS: this is the development key. Make one: openssl rand -hex 32.")
        if self.database.password is not None:
            name, password = "DATABASE_PASSWORD", self.database.password.get_secret_value()
        else:
            name, password = "DATABASE_URL", urlsplit(self.database.url.get_secret_value()).password or ""
        if password == urlsplit(DEVELOPMENT_DATABASE_URL).password:
            problems.append(f"{name}: this is the development password; set DATABASE_URL or DATABASE_PASSWORD.")
        if self.webhooks.allows_loopback:
            problems.append(
                "WEBHOOK_ALLOWED_NETWORKS: holds a loopback network; webhooks could reach this machine itself."
            )
        if self.email.host and not self.runtime.public_url.startswith("https://"):
            problems.append("PUBLIC_URL: must start with https://; mails would carry links that lead nowhere.")
        if problems:
            raise ConfigurationError("ENVIRONMENT=production refuses to start:\n  " + "\n  ".join(problems))


_S = TypeVar("_S", bound=Concern)


def load_one(concern: type[_S]) -> _S:
    """Read one concern alone, for a process that needs no more, and so none of the secrets.

    Raises:
        ConfigurationError: as `Settings.load()`.
    """
    try:
        return concern()
    except ValidationError as error:
        raise ConfigurationError(_sentences(error)) from error


def _pick(concern: type[_S], given: Mapping[type[Concern], Concern]) -> _S:
    chosen = given.get(concern)
    return chosen if isinstance(chosen, concern) else concern()


def _sentences(error: ValidationError) -> str:
    concern = next(model for model in Settings.CONCERNS if model.__name__ == error.title)
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        name = variable_name(concern, str(item["loc"][0])) if item["loc"] else error.title
        lines.append(f"{name}: {item['msg'].removeprefix('Value error, ')}.")
    return "The settings are not valid:\n  " + "\n  ".join(lines)
