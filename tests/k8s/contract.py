"""Compares the manifests with the images and Compose: each check returns the differences, in sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tests.k8s import images
from tests.k8s.manifests import ROOT, Documents, find, of_kind, pods
from todo_core.settings import Settings, variable_name

OURS = {"api": "api", "migrate": "api", "worker": "worker", "beat": "worker"}
"""Our own pods, and the image of each."""

PUBLIC = {"db": "db", "redis": "redis", "backup": "backup", "restore": "backup"}
"""The pods of public images, and the service of compose.yaml that is the same."""

SECRETS = {
    "api": {"database_password", "redis_password", "token_keys"},
    "worker": {"database_password", "redis_password", "token_keys", "email_password"},
    "beat": {"redis_password", "token_keys"},
    "migrate": {"database_password", "token_keys"},
    "backup": {"database_password"},
    "restore": {"database_password"},
    "db": {"database_password"},
    "redis": {"redis_password"},
}
"""The secrets that each service needs, and no others. Without its secrets, no service starts in production."""

AUTHORITIES = {"api", "worker", "beat", "migrate", "backup", "restore"}
"""The services that connect to PostgreSQL or Redis, and so may have to check a certificate."""

OF_IMAGES = {"FORWARDED_ALLOW_IPS": {"api"}}
"""Variables that are no settings of ours: uvicorn reads this one."""

SETTINGS = {variable_name(concern, field): concern for concern in Settings.CONCERNS for field in concern.model_fields}


def default(name: str) -> float:
    """Return the default of a setting that is a number."""
    concern = SETTINGS[name]
    field = name.removeprefix(str(concern.model_config.get("env_prefix", ""))).lower()
    return float(concern.model_fields[field].default)


Check = Callable[[Documents], Iterator[str]]


def environment_keys(documents: Documents) -> Iterator[str]:
    """Check that a program reads every variable."""
    public = {"db": {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS", "PGDATA"}}
    programs = "".join((ROOT / "ops" / f"{name}.sh").read_text() for name in ("backup", "backup-common", "restore"))
    public["backup"] = public["restore"] = {"DATABASE_URL"} | set(re.findall(r"\b(BACKUP_[A-Z_]+)\b", programs))
    for name, pod in pods(documents).items():
        for key in pod.environment:
            if name in OURS:
                if key not in SETTINGS and name not in OF_IMAGES.get(key, OURS.keys() - {name}):
                    yield f"{name}: {key} is no setting."
            elif key not in public.get(name, set()):
                yield f"{name}: {key} is nothing that its image reads."


def environment_values(documents: Documents) -> Iterator[str]:
    """Check that every variable of Compose is set, to the same value unless it depends on the place."""
    places = {"ENVIRONMENT", "LOG_LEVEL", "PUBLIC_URL", "DATABASE_URL", "REDIS_URL", "FORWARDED_ALLOW_IPS"}
    for name, pod in pods(documents).items():
        expected = {key: value for key, value in images.service(PUBLIC.get(name, name))["environment"].items() if value}
        expected.pop("BACKUP_EVERY_SECONDS", None)  # a CronJob comes by itself
        if name == "backup":
            program = (ROOT / "ops/backup.sh").read_text()
            expected |= {"BACKUP_KEEP_DAYS": re.findall(r"{BACKUP_KEEP_DAYS:-(\d+)}", program)[0]}
        if name == "restore":
            expected = {"DATABASE_URL": expected["DATABASE_URL"]}
        if name == "db":
            expected |= {"POSTGRES_PASSWORD_FILE": "/run/secrets/database_password"}
            expected |= {"PGDATA": "/var/lib/postgresql/data/pgdata"}
        secrets = {secret.upper() for secret in SECRETS[name]}
        for key, value in expected.items():
            if key in {"DATABASE_PASSWORD", "REDIS_PASSWORD", "TOKEN_KEYS", "POSTGRES_PASSWORD", "PGPASSWORD"}:
                if key in pod.environment:
                    yield f"{name}: {key} is in the environment, where everybody sees it."
            elif key == "FORWARDED_ALLOW_IPS" and not of_kind(documents, "Ingress"):
                continue  # nothing stands in front: port-forward comes from 127.0.0.1, which uvicorn believes
            elif not pod.environment.get(key):
                yield f"{name}: {key} is not set."
            elif key not in places and pod.environment[key] != value:
                yield f"{name}: {key} is {pod.environment[key]}, and {value} in Compose."
        for key in secrets & pod.environment.keys():
            yield f"{name}: {key} is in the environment, where everybody sees it."


def places(documents: Documents) -> Iterator[str]:
    """Check the addresses of PostgreSQL, Redis and clients: Compose's names in dev, one common place in vke."""
    settings = find(documents, "ConfigMap", "settings")["data"]
    database = urlsplit(settings["DATABASE_URL"])
    for name, pod in pods(documents).items():
        if pod.environment.get("DATABASE_URL", settings["DATABASE_URL"]) != settings["DATABASE_URL"]:
            yield f"{name}: its database is another one than everybody's."
    if database.password:
        yield "settings: DATABASE_URL has a password in it."
    if "db" in pods(documents):
        expected = images.service("api")["environment"]
        for key in ("DATABASE_URL", "REDIS_URL"):
            if settings[key] != expected[key]:
                yield f"settings: {key} is {settings[key]}, and {expected[key]} in Compose."
        for name in (database.hostname, urlsplit(settings["REDIS_URL"]).hostname):
            if not [service for service in of_kind(documents, "Service") if service["metadata"]["name"] == name]:
                yield f"settings: there is no Service {name}."
        return
    if settings["ENVIRONMENT"] != "production":
        yield "settings: ENVIRONMENT is not production."
    if database.query != "sslmode=verify-full&sslrootcert=/run/secrets/database_ca":
        yield "settings: DATABASE_URL does not check whom it speaks to."
    if pods(documents)["api"].environment["FORWARDED_ALLOW_IPS"] != "100.64.0.0/10":
        yield "api: FORWARDED_ALLOW_IPS is not where ALB's requests come from."


def ports(documents: Documents) -> Iterator[str]:
    """Ports are those that the images serve on, all the way from the Service to the process."""
    expected: dict[str, dict[str, int]] = {
        "api": {"http": int(option(images.image("api").command, "--port")), "metrics": 9000},
        "worker": {"metrics": 9000},
        "db": {"postgresql": 5432},
        "redis": {"redis": 6379},
    }
    for name in ("api", "worker"):
        if set(expected[name].values()) != images.image(name).ports:
            yield f"{name}: its image exposes {images.image(name).ports}."
    for name, pod in pods(documents).items():
        found = {port["name"]: port["containerPort"] for port in pod.container.get("ports", [])}
        if found != expected.get(name, {}):
            yield f"{name}: its ports are {found}, and {expected.get(name, {})} in its image."
        if "metrics" in found and pod.environment.get(f"{name.upper()}_METRICS_PORT") != str(found["metrics"]):
            yield f"{name}: the port of its metrics is not the one that it is told to open."
        annotations = pod.template["metadata"].get("annotations", {})
        if "metrics" in found and (
            annotations.get("prometheus.io/scrape"),
            annotations.get("prometheus.io/port"),
            annotations.get("prometheus.io/path"),
        ) != ("true", str(found["metrics"]), "/metrics"):
            yield f"{name}: Prometheus is not told where its metrics are."
    targets = {
        "api": [("http", 80, "http")],
        "db": [("postgresql", 5432, "postgresql")],
        "redis": [("redis", 6379, "redis")],
    }
    for service in of_kind(documents, "Service"):
        name = service["metadata"]["name"]
        if [(port["name"], port["port"], port["targetPort"]) for port in service["spec"]["ports"]] != targets.get(name):
            yield f"Service {name}: its ports are not {targets.get(name)}."


def option(command: list[str], name: str) -> str:
    """Return the value of an option in a command."""
    return command[command.index(name) + 1]


def commands(documents: Documents) -> Iterator[str]:
    """Each runs what Compose runs, or else what its image does by itself."""
    programs = {
        "backup": ["bash", "/opt/todo/backup.sh", "once"],
        "restore": ["bash", "-c", "exec bash /opt/todo/restore.sh $RESTORE_ARGUMENTS"],
    }
    for name, pod in pods(documents).items():
        entry_point, arguments = pod.container.get("command"), pod.container.get("args")
        if entry_point != programs.get(name):
            yield f"{name}: {entry_point} takes the place of its image's entry point."
        if name in programs:
            if arguments is not None:
                yield f"{name}: it is given {arguments}."
            continue
        by_itself = images.image(OURS[name]).command if name in OURS else None
        expected = images.service(name).get("command", by_itself)
        if (arguments or by_itself) != expected:
            yield f"{name}: its command is {arguments or by_itself}, and {expected} in Compose."


def image_names(documents: Documents) -> Iterator[str]:
    """The images are Compose's, wherever they are stored; those of ours are all of one release."""
    tags = set()
    for name, pod in pods(documents).items():
        path, _, tag = pod.container["image"].rpartition(":")
        if name in OURS:
            tags.add(tag)
            if path.rpartition("/")[2] != f"todo-{OURS[name]}":
                yield f"{name}: its image is {pod.container['image']}."
        elif f"{path.rpartition('/')[2]}:{tag}" != images.service(PUBLIC[name])["image"]:
            expected = images.service(PUBLIC[name])["image"]
            yield f"{name}: its image is {pod.container['image']}, and {expected} in Compose."
    if len(tags) > 1:
        yield f"Our images are of several releases: {sorted(tags)}."


def users(documents: Documents) -> Iterator[str]:
    """Each runs as the user that its image and Compose name."""
    for name, pod in pods(documents).items():
        expected = images.service(PUBLIC.get(name, name))["user"]
        if name in OURS and images.image(OURS[name]).user != expected:
            yield f"{name}: its image's user is {images.image(OURS[name]).user}."
        context = pod.spec.get("securityContext", {})
        own = pod.container.get("securityContext", {})
        found = f"{context.get('runAsUser')}:{context.get('runAsGroup')}"
        if found != expected or {"runAsUser", "runAsGroup"} & own.keys():
            yield f"{name}: its user is {found}, and {expected} in its image."
        if context.get("fsGroup") != context.get("runAsGroup"):
            yield f"{name}: it could not read its secrets, which belong to group {context.get('fsGroup')}."
