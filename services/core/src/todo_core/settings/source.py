"""The sources of settings, and the base class of their models.

A value comes from the first of: the environment (`DATABASE_URL`), a file that the environment names
(`DATABASE_URL_FILE`), `.env` (either form), a file of that name in `/run/secrets` (`database_url`), the default.
"""

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SECRETS_DIR = Path("/run/secrets")
ENV_FILE = Path(".env")


class ConfigurationError(Exception):
    """The settings do not allow the process to start; the text says what to change."""


class _Source(PydanticBaseSettingsSource):
    """Reads the environment, `…_FILE`, `.env` and `/run/secrets`, in the order that this module's docstring gives."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.layers: tuple[Mapping[str, str | None], ...] = (
            os.environ,
            env_file(),
        )

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the interface
        name = variable_name(self.settings_cls, field_name)
        for layer in self.layers:
            if layer.get(name):
                return layer[name], field_name, False
            if path := layer.get(f"{name}_FILE"):
                return _read_secret(Path(path), f"{name}_FILE"), field_name, False
        # An empty file counts as an empty variable: Docker mounts no missing file, so an optional secret is empty.
        if (secret := SECRETS_DIR / name.lower()).is_file():
            return _read_secret(secret, name) or None, field_name, False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, field_name)
            if value is not None:
                values[key] = value
        return values


def env_file() -> Mapping[str, str | None]:
    """Return the variables of `.env`, if the file exists.

    Raises:
        ConfigurationError: a line of it cannot be read; the text has the line's number.
    """
    if not ENV_FILE.is_file():
        return {}
    text = ENV_FILE.read_text(encoding="utf-8")
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise ConfigurationError(f"{ENV_FILE}, line {binding.original.line}: this is not NAME=value.")
    return dotenv_values(stream=StringIO(text))


def _read_secret(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name}: {path} is not text in UTF-8.") from error


def variable_name(settings_cls: type[BaseSettings], field_name: str) -> str:
    """Return the environment variable that sets a field, such as `DATABASE_URL`."""
    return f"{settings_cls.model_config.get('env_prefix', '')}{field_name}".upper()


class Concern(BaseSettings):
    """The settings of one concern."""

    # hide_input_in_errors: a traceback that escapes to a log must not carry a secret.
    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Source(settings_cls)
