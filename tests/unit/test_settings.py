"""Settings: where a value comes from, what is refused and in which words, and that .env.example tells of them all."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from todo_core.database import dsn
from todo_core.settings import (
    DEVELOPMENT_KEY,
    ApiSettings,
    ConfigurationError,
    DatabaseSettings,
    RedisSettings,
    Settings,
    TokenSettings,
    WebhookSettings,
    WorkerSettings,
    check_names,
    variable_name,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.example"
NAMES = {
    variable_name(concern, field): (concern, field) for concern in Settings.CONCERNS for field in concern.model_fields
}
GOOD_KEY = "k1:0123456789abcdef0123456789abcdef"
GOOD_URL = "postgresql://app:s3cr3t-of-its-own@db.internal/todo"


@pytest.fixture(autouse=True)
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is set anywhere but by the test; gives the path of a .env that does not exist yet."""
    for name in os.environ:
        if name.upper().removesuffix("_FILE") in NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setattr("todo_core.settings.source.ENV_FILE", tmp_path / ".env")
    monkeypatch.setattr("todo_core.settings.source.SECRETS_DIR", tmp_path / "secrets")
    return tmp_path / ".env"


@pytest.fixture
def secrets_directory(tmp_path: Path) -> Path:
    """An empty /run/secrets."""
    directory = tmp_path / "secrets"
    directory.mkdir()
    return directory


def production(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """Return the error with which a process in production refuses to start; "" if it starts."""
    for name, value in {
        "ENVIRONMENT": "production",
        "TOKEN_KEYS": GOOD_KEY,
        "DATABASE_URL": GOOD_URL,
        **variables,
    }.items():
        monkeypatch.setenv(name, value)
    try:
        Settings.load()
    except ConfigurationError as error:
        return str(error)
    return ""


# ---- .env.example


def example_values() -> dict[str, str]:
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_example_names_every_setting_once_and_no_other() -> None:
    names = re.findall(r"^#?([A-Z_]+)=", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(names) == sorted(NAMES)


def test_the_example_sets_nothing_until_a_line_is_uncommented() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_the_example_with_every_line_uncommented_is_the_defaults(env_file: Path) -> None:
    defaults = Settings()
    env_file.write_text("\n".join(f"{name}={value}" for name, value in example_values().items()), encoding="utf-8")
    assert vars(Settings.load()) == vars(defaults)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_shows_each_default_that_there_is(name: str) -> None:
    concern, field = NAMES[name]
    default = concern.model_fields[field].default
    # Without a default, or with one that the machine decides, there is nothing to show.
    shown = example_values()[name]
    assert bool(shown) == (concern.model_fields[field].default_factory is None and default not in (None, ""))


@pytest.mark.parametrize("name", NAMES)
def test_the_example_says_what_each_setting_is_for_in_the_models_own_words(name: str) -> None:
    concern, field = NAMES[name]
    before, _, _ = EXAMPLE.read_text(encoding="utf-8").partition(f"\n#{name}=")
    assert (concern.model_fields[field].description or "?") in before.rpartition("\n\n")[2]


@pytest.mark.parametrize(
    ("ending", "unit"),
    [("_SECONDS", "seconds"), ("_MS", "milliseconds"), ("_BYTES", "bytes"), ("_SIZE", "connections")],
)
def test_a_setting_with_a_unit_names_it(ending: str, unit: str) -> None:
    descriptions = {name: concern.model_fields[field].description or "" for name, (concern, field) in NAMES.items()}
    matching = {name: description for name, description in descriptions.items() if name.endswith(ending)}
    assert matching
    assert [name for name, description in matching.items() if unit not in description] == []


# ---- where a value comes from


def test_a_value_comes_from_the_first_place_that_has_one(
    env_file: Path, secrets_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prefix() -> str:
        return Settings.load().redis.key_prefix

    assert prefix() == "todo"
    (secrets_directory / "redis_key_prefix").write_text("from-run-secrets\n", encoding="utf-8")
    assert prefix() == "from-run-secrets"
    (tmp_path / "a").write_text("from-env-file-file\n", encoding="utf-8")
    env_file.write_text(f"REDIS_KEY_PREFIX_FILE={tmp_path / 'a'}\n", encoding="utf-8")
    assert prefix() == "from-env-file-file"
    env_file.write_text(f"REDIS_KEY_PREFIX_FILE={tmp_path / 'a'}\nREDIS_KEY_PREFIX=from-env-file\n", encoding="utf-8")
    assert prefix() == "from-env-file"
    (tmp_path / "b").write_text("from-variable-file\r\n", encoding="utf-8")
    monkeypatch.setenv("REDIS_KEY_PREFIX_FILE", str(tmp_path / "b"))
    assert prefix() == "from-variable-file"
    monkeypatch.setenv("REDIS_KEY_PREFIX", "from-variable")
    assert prefix() == "from-variable"


def test_an_empty_value_counts_as_none(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_KEY_PREFIX", "")
    monkeypatch.setenv("DATABASE_PASSWORD", "")
    env_file.write_text("REDIS_KEY_PREFIX=from-env-file\nCACHE_TTL_SECONDS=\n", encoding="utf-8")
    settings = Settings.load()
    assert settings.redis.key_prefix == "from-env-file"
    assert settings.database.password is None
    assert settings.cache.ttl_seconds == 60


def test_a_variable_of_any_type_that_is_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Settings()
    for name in NAMES:
        monkeypatch.setenv(name, "")
    assert vars(Settings.load()) == vars(defaults)


def test_only_the_line_break_at_its_end_is_cut_off_a_secret(
    secrets_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secrets_directory / "database_password").write_text("  two words \n\n", encoding="utf-8")
    password = Settings.load().database.password
    assert password is not None
    assert password.get_secret_value() == "  two words "


def test_an_empty_secret_file_counts_as_none(secrets_directory: Path) -> None:
    (secrets_directory / "redis_password").write_text("\n", encoding="utf-8")
    (secrets_directory / "redis_key_prefix").touch()
    settings = Settings.load()
    assert settings.redis.password is None
    assert settings.redis.key_prefix == RedisSettings().key_prefix


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("no", False), ("FALSE", False)])
def test_switches_read_the_usual_words(text: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_LIMIT_ENABLED", text)
    assert Settings.load().rate_limits.enabled is value


def test_settings_given_in_code_replace_their_concern_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_TTL_SECONDS", "7")
    settings = Settings(RedisSettings(key_prefix="given"))
    assert (settings.redis.key_prefix, settings.cache.ttl_seconds) == ("given", 7)


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValidationError):
        Settings().cache.ttl_seconds = 1  # type: ignore[misc]


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DATABASE_URL", "mysql://u:hunter2@h/d", "DATABASE_URL: must start with postgresql://."),
        ("DATABASE_URL", "hunter2", "DATABASE_URL: must start with postgresql://."),
        ("DATABASE_URL", "postgresql://u:hunter2[@h/d", "DATABASE_URL: is not a URL; in its password, "),
        ("DATABASE_POOL_SIZE", "hunter2", "DATABASE_POOL_SIZE: Input should be a valid integer"),
        ("DATABASE_POOL_SIZE", "0", "DATABASE_POOL_SIZE: Input should be greater than or equal to 1."),
        ("DATABASE_POOL_TIMEOUT_SECONDS", "nan", "DATABASE_POOL_TIMEOUT_SECONDS: Input should be greater than 0."),
        ("DATABASE_LOCK_TIMEOUT_MS", "2147483648", "DATABASE_LOCK_TIMEOUT_MS: Input should be less than or equal to"),
        ("REDIS_URL", "http://hunter2@h", "REDIS_URL: must start with redis://, rediss:// or unix://."),
        ("REDIS_URL", "redis://h:hunter2", "REDIS_URL: is not a URL; in its password, "),
        ("REDIS_KEY_PREFIX", "hunter 2", "REDIS_KEY_PREFIX: String should match pattern"),
        ("CACHE_ENABLED", "hunter2", "CACHE_ENABLED: Input should be a valid boolean"),
        ("PASSWORD_BCRYPT_COST", "17", "PASSWORD_BCRYPT_COST: Input should be less than or equal to 16."),
        ("TOKEN_KEYS", "hunter2", "TOKEN_KEYS: must be key-id:secret, comma-separated."),
        ("TOKEN_KEYS", ":hunter2", "TOKEN_KEYS: must be key-id:secret, comma-separated."),
        ("TOKEN_KEYS", "hunter2:", "TOKEN_KEYS: must be key-id:secret, comma-separated."),
        ("TOKEN_KEYS", " , ", "TOKEN_KEYS: must be key-id:secret, comma-separated."),
        ("TOKEN_KEYS", "a:hunter2,a:hunter3", "TOKEN_KEYS: names one key id twice."),
        ("TOKEN_REFRESH_SECONDS", "99999999999999", "TOKEN_REFRESH_SECONDS: Input should be less than or equal to"),
        ("API_CORS_ORIGINS", "https://hunter2.example/", "API_CORS_ORIGINS: must be origins, "),
        ("API_CORS_ORIGINS", "https://a.example, hunter2.example", "API_CORS_ORIGINS: must be origins, "),
        ("API_CORS_ORIGINS", "https://Hunter2.example", "API_CORS_ORIGINS: must be origins, "),
        ("ENVIRONMENT", "hunter2", "ENVIRONMENT: Input should be 'development', 'test' or 'production'."),
        ("LOG_LEVEL", "hunter2", "LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'."),
        ("WEBHOOK_ALLOWED_NETWORKS", "hunter2", "WEBHOOK_ALLOWED_NETWORKS: must be networks such as"),
        ("WEBHOOK_ALLOWED_NETWORKS", "10.0.0.1/8", "WEBHOOK_ALLOWED_NETWORKS: must be networks such as"),
        ("EMAIL_SENDER", "hunter2", "EMAIL_SENDER: must be an address, or Name <address>."),
        ("PUBLIC_URL", "hunter2", "PUBLIC_URL: must start with http:// or https://"),
        ("PUBLIC_URL", "https://h/?a=hunter2", "PUBLIC_URL: must start with http:// or https://"),
        ("WORKER_SEND_SECONDS", "30", "WorkerSettings: WORKER_SEND_SECONDS must be at most half"),
    ],
)
def test_a_malformed_value_gets_a_sentence_that_names_the_variable_and_never_the_value(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refusal:
        Settings.load()
    assert sentence in str(refusal.value)
    assert "hunter" not in str(refusal.value)
    # A traceback that escapes does not either.
    assert "hunter" not in repr(refusal.value.__cause__)
    assert "hunter" not in str(refusal.value.__cause__)


def test_all_malformed_values_of_a_concern_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_POOL_SIZE", "many")
    monkeypatch.setenv("DATABASE_LOCK_TIMEOUT_MS", "-1")
    with pytest.raises(ConfigurationError, match=r"DATABASE_POOL_SIZE: .*\n  DATABASE_LOCK_TIMEOUT_MS: "):
        Settings.load()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda _: None, "cannot read {path}: No such file or directory."),
        (lambda path: path.mkdir(), "cannot read {path}: Is a directory."),
        (lambda path: path.write_bytes(b"\xff\xfe"), "{path} is not text in UTF-8."),
    ],
)
def test_a_named_file_that_cannot_be_read_gets_a_sentence(
    make: Callable[[Path], object], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "password"
    make(path)
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", str(path))
    with pytest.raises(ConfigurationError) as refusal:
        Settings.load()
    assert str(refusal.value) == f"DATABASE_PASSWORD_FILE: {sentence.format(path=path)}"


# ---- production


def test_production_starts_on_secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert production(monkeypatch) == ""


def test_production_with_nothing_set_names_every_secret_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(ConfigurationError) as refusal:
        Settings.load()
    assert str(refusal.value).splitlines() == [
        "ENVIRONMENT=production refuses to start:",
        "  TOKEN_KEYS: this is the development key. Make one: openssl rand -hex 32.",
        "  DATABASE_URL: this is the development password; set DATABASE_URL or DATABASE_PASSWORD.",
    ]


@pytest.mark.parametrize(
    ("variables", "named", "hidden"),
    [
        ({"TOKEN_KEYS": "k1:hunter2"}, "TOKEN_KEYS: the secret of key 'k1' is shorter than 32 bytes.", "hunter2"),
        ({"TOKEN_KEYS": f"{GOOD_KEY},old:hunter2"}, "the secret of key 'old' is shorter than 32 bytes.", "hunter2"),
        ({"TOKEN_KEYS": f"k1:{'x' * 31}"}, "TOKEN_KEYS: the secret of key 'k1' is shorter", "xxx"),
        ({"TOKEN_KEYS": DEVELOPMENT_KEY}, "TOKEN_KEYS: this is the development key.", "insecure"),
        ({"TOKEN_KEYS": DEVELOPMENT_KEY.replace("dev:", "k1:")}, "TOKEN_KEYS: this is the dev", "insecure"),
        ({"TOKEN_KEYS": f"{GOOD_KEY},{DEVELOPMENT_KEY}"}, "TOKEN_KEYS: this is the development key.", "insecure"),
        ({"DATABASE_URL": "postgresql://todo:todo@db/todo"}, "DATABASE_URL: this is the development pass", "@db"),
        ({"DATABASE_URL": "postgresql+asyncpg://app:todo@db/x"}, "DATABASE_URL: this is the development pass", "@db"),
        ({"DATABASE_PASSWORD": "todo"}, "DATABASE_PASSWORD: this is the development password", "s3cr3t"),
    ],
)
def test_production_refuses_default_and_short_secrets_and_never_shows_them(
    variables: dict[str, str], named: str, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = production(monkeypatch, **variables)
    assert named in refusal
    assert hidden not in refusal


@pytest.mark.parametrize(
    "variables",
    [
        {"TOKEN_KEYS": f"k1:{'x' * 32}"},
        {"TOKEN_KEYS": f"k1:{'密' * 11}"},  # 33 bytes
        {"DATABASE_URL": "postgresql://todo:todo@db/todo", "DATABASE_PASSWORD": "s3cr3t-of-its-own"},
        {"DATABASE_URL": "postgresql://todo@/todo?host=/run/postgresql"},  # let in by its user id: no password at all
    ],
)
def test_production_accepts_secrets_at_the_border(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert production(monkeypatch, **variables) == ""


@pytest.mark.parametrize("environment", ["development", "test"])
def test_elsewhere_the_defaults_are_good_enough(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", environment)
    assert Settings.load().runtime.environment == environment


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    shown = repr(
        vars(
            Settings(
                DatabaseSettings(url="postgresql://u:hunter2@h/d", password="hunter3"),
                RedisSettings(url="redis://:hunter4@h", password="hunter5"),
                TokenSettings(keys="k:hunter6"),
            )
        )
    )
    assert "hunter" not in shown


# ---- what values mean


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"])
def test_a_database_url_may_name_a_driver_as_sqlalchemys_do(scheme: str) -> None:
    settings = DatabaseSettings(url=f"{scheme}://u:p@h:5433/d?sslmode=require")
    assert settings.url.get_secret_value() == "postgresql://u:p@h:5433/d?sslmode=require"


def test_the_first_key_signs_and_all_are_known_in_their_order() -> None:
    ring = TokenSettings(keys=" new:abc:def== , a:ghi ,").key_ring
    assert list(ring.items()) == [("new", "abc:def=="), ("a", "ghi")]


def test_origins_are_a_list() -> None:
    assert ApiSettings(cors_origins=" https://a.example ,https://b.example,").origins == [
        "https://a.example",
        "https://b.example",
    ]
    assert ApiSettings().origins == []


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_line_about_origins_in_the_readme_works_when_pasted(page: str, env_file: Path) -> None:
    (line,) = re.findall(r"^echo 'API_CORS_ORIGINS=.*$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    subprocess.run(["sh", "-c", line], cwd=env_file.parent, check=True)
    assert ApiSettings().origins == ["https://app.example.com", "https://www.example.com"]


@pytest.mark.parametrize("origin", ["*", "http://localhost:5173", "http://[::1]:80", "capacitor://localhost"])
def test_what_a_browser_sends_as_an_origin_is_accepted(origin: str) -> None:
    assert ApiSettings(cors_origins=origin).origins == [origin]


def parsed_by_asyncpg(
    url: str,
) -> tuple[list[tuple[str, int]] | list[str], asyncpg.connect_utils._ConnectionParameters]:
    """Return a URL as asyncpg parses it."""
    hosts, parameters = asyncpg.connect_utils._parse_connect_dsn_and_args(
        dsn=url, host=None, port=None, user=None, password=None, passfile=None, database=None, ssl=None, service=None,
        servicefile=None, direct_tls=None, server_settings=None, target_session_attrs=None, krbsrvname=None,
        gsslib=None,
    )  # fmt: skip
    return hosts, parameters


@given(password=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://lin@db.internal:6432/todo?sslmode=disable",
        "postgresql://lin:old%40password@db.internal:6432/todo?sslmode=disable",
        "postgresql://lin:old@/todo?host=/run/postgresql&port=6432&sslmode=disable",
    ],
)
def test_a_password_of_its_own_replaces_that_of_the_url_whatever_its_characters(url: str, password: str) -> None:
    hosts, parameters = parsed_by_asyncpg(dsn(DatabaseSettings(url=url, password=password)))
    assert (parameters.user, parameters.password, parameters.database) == ("lin", password, "todo")
    assert hosts == parsed_by_asyncpg(url)[0]


def test_a_user_name_with_special_characters_survives_a_password_of_its_own() -> None:
    parts = urlsplit(dsn(DatabaseSettings(url="postgresql://l%40n:x@h/d", password="p@ss")))
    assert (unquote(parts.username or ""), unquote(parts.password or ""), parts.hostname) == ("l@n", "p@ss", "h")


def test_several_hosts_stay_as_they_are() -> None:
    url = dsn(DatabaseSettings(url="postgresql://u@a:1,b:2/d?target_session_attrs=primary", password="p"))
    assert url == "postgresql://u:p@a:1,b:2/d?target_session_attrs=primary"


# ---- what brings reminders to people


@pytest.mark.parametrize(
    ("networks", "loopback"),
    [("", False), ("10.0.0.0/8, fd00::/8", False), ("127.0.0.1/32", True), ("::1/128", True), ("0.0.0.0/0", True)],
)
def test_an_allow_list_that_reaches_this_machine_says_so(networks: str, loopback: bool) -> None:
    assert WebhookSettings(allowed_networks=networks).allows_loopback is loopback


@pytest.mark.parametrize("networks", ["127.0.0.0/8", "10.0.0.0/8,::1/128", "0.0.0.0/0", "::/0"])
def test_production_refuses_webhooks_to_this_machine(networks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "WEBHOOK_ALLOWED_NETWORKS" in production(monkeypatch, WEBHOOK_ALLOWED_NETWORKS=networks)
    assert production(monkeypatch, WEBHOOK_ALLOWED_NETWORKS="10.0.0.0/8") == ""


def test_production_sends_no_mail_whose_links_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PUBLIC_URL" in production(monkeypatch, EMAIL_HOST="smtp.example.com")
    assert production(monkeypatch, EMAIL_HOST="smtp.example.com", PUBLIC_URL="https://todo.example.com/") == ""


def test_an_attempt_ends_well_before_its_lease() -> None:
    with pytest.raises(ValidationError, match="at most half"):
        WorkerSettings(send_seconds=16, lease_seconds=30)
    assert WorkerSettings(send_seconds=15, lease_seconds=30).send_seconds == 15


# ---- what a person mistypes


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_misspelt_name_is_refused_with_the_nearest_setting(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == ".env":
        env_file.write_text("TOKEN_ACCES_SECONDS=60\n", encoding="utf-8")
    else:
        monkeypatch.setenv("TOKEN_ACCES_SECONDS", "60")
    with pytest.raises(ConfigurationError, match="Did you mean TOKEN_ACCESS_SECONDS"):
        check_names()


def test_every_name_that_compose_and_the_examples_use_passes_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("compose.yaml", "compose.prod.yaml")]
    texts += [path.read_text(encoding="utf-8") for path in ROOT.glob(".env*.example")]
    names = {name for text in texts for name in re.findall(r"\$\{([A-Z_]+)|^#?([A-Z_]+)=", text, re.MULTILINE)}
    for name in {part for pair in names for part in pair if part}:
        monkeypatch.setenv(name, "")
    check_names()


def test_a_line_of_env_that_cannot_be_read_is_named_by_its_number(env_file: Path) -> None:
    env_file.write_text("LOG_LEVEL=INFO\nthis is no line\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"\.env, line 2: this is not NAME=value\."):
        Settings.load()
