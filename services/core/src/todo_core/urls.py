"""Server URLs, with the password from a separate setting."""

from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import SecretStr


def with_password(url: SecretStr, password: SecretStr | None) -> str:
    """Return the URL with `password` instead of its own, if one is given, so that a file can hold the password."""
    text = url.get_secret_value()
    if password is None:
        return text
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")[2]
    secret = quote(password.get_secret_value(), safe="")
    return urlunsplit(parts._replace(netloc=f"{quote(parts.username or '', safe='%')}:{secret}@{host}"))
