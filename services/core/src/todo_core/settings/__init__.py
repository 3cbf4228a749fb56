"""The settings of the product: one model a concern, read once at start and passed down as an argument."""

from todo_core.settings.api import ApiSettings, RateLimitSettings
from todo_core.settings.delivery import EmailSettings, Network, StreamSettings, WebhookSettings, WorkerSettings
from todo_core.settings.exporter import ExporterSettings
from todo_core.settings.load import Settings, check_names, load_one
from todo_core.settings.shared import (
    DEVELOPMENT_DATABASE_URL,
    DEVELOPMENT_KEY,
    DEVELOPMENT_PUBLIC_URL,
    LONGEST_MS,
    MINIMUM_SECRET_BYTES,
    CacheSettings,
    DatabaseSettings,
    Environment,
    PasswordSettings,
    RedisSettings,
    RuntimeSettings,
    TokenSettings,
)
from todo_core.settings.source import Concern, ConfigurationError, variable_name

__all__ = [
    "DEVELOPMENT_DATABASE_URL",
    "DEVELOPMENT_KEY",
    "DEVELOPMENT_PUBLIC_URL",
    "LONGEST_MS",
    "MINIMUM_SECRET_BYTES",
    "ApiSettings",
    "CacheSettings",
    "Concern",
    "ConfigurationError",
    "DatabaseSettings",
    "EmailSettings",
    "Environment",
    "ExporterSettings",
    "Network",
    "PasswordSettings",
    "RateLimitSettings",
    "RedisSettings",
    "RuntimeSettings",
    "Settings",
    "StreamSettings",
    "TokenSettings",
    "WebhookSettings",
    "WorkerSettings",
    "check_names",
    "load_one",
    "variable_name",
]
