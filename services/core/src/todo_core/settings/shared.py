"""The settings that every process of the product reads."""

import os
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from todo_core.settings.source import Concern

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
    """The environment and the log of the process."""

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
    queue_share: int = Field(16, ge=1, description="how many of them one network or one account may have")
    wait_seconds: float = Field(5.0, gt=0, description="seconds a request waits for a thread, then 503")


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
