"""All settings together: read once at start, checked, and passed down as an argument."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import ClassVar, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from todo_core.settings.api import ApiSettings, RateLimitSettings
from todo_core.settings.delivery import EmailSettings, StreamSettings, WebhookSettings, WorkerSettings
from todo_core.settings.exporter import ExporterSettings
from todo_core.settings.shared import (
    DEVELOPMENT_DATABASE_URL,
    DEVELOPMENT_KEY,
    MINIMUM_SECRET_BYTES,
    CacheSettings,
    DatabaseSettings,
    PasswordSettings,
    RedisSettings,
    RuntimeSettings,
    TokenSettings,
)
from todo_core.settings.source import Concern, ConfigurationError, env_file, variable_name


class Settings:
    """All settings. `Settings.load()` reads them; a test passes those that it wants to differ."""

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
        ExporterSettings,
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
        self.exporter = _pick(ExporterSettings, given)
        if self.runtime.environment == "production":
            self._refuse_in_production()

    @classmethod
    def load(cls) -> Self:
        """Read every setting.

        Raises:
            ConfigurationError: one is malformed, a named file cannot be read, or production is set with a
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


_ALMOST = 0.9
"""The similarity from which a name counts as misspelt. Names of other programs, as Compose's API_MEMORY, have less."""


def check_names() -> None:
    """Refuse names in the environment and `.env` that are almost a setting's: they would be ignored.

    Processes do not call it at their start: after a rollback, a release may find settings of a newer one.

    Raises:
        ConfigurationError: such names exist; the text says which setting each is nearest to.
    """
    names = {variable_name(concern, field) for concern in Settings.CONCERNS for field in concern.model_fields}
    names |= {f"{name}_FILE" for name in names}
    lines = [
        f"{given} is not a setting. Did you mean {nearest[0]}?"
        for given in sorted((os.environ.keys() | env_file().keys()) - names)
        if (nearest := get_close_matches(given, names, 1, _ALMOST))
    ]
    if lines:
        raise ConfigurationError("The settings are not valid:\n  " + "\n  ".join(lines))


_S = TypeVar("_S", bound=Concern)


def load_one(concern: type[_S]) -> _S:
    """Read one concern alone, for a process that needs no other settings and no secrets.

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
