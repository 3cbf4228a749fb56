"""Addresses of servers, with the password from a setting of its own."""

from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import SecretStr


def with_password(url: SecretStr, password: SecretStr | None) -> str:
    """The URL; with this password instead of its own, where there is one, so that a file can hold it."""
    text = url.get_secret_value()
    if password is None:
        return text
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")[2]
    secret = quote(password.get_secret_value(), safe="")
    return urlunsplit(parts._replace(netloc=f"{quote(parts.username or '', safe='%')}:{secret}@{host}"))
