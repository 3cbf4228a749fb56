"""The checks themselves: whatever somebody gets wrong by hand, one of them says so."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.k8s import contract_pods, policy_places
from tests.k8s.manifests import Document, Documents, documents, find, pods

Change = Callable[[Documents], object]
MISTAKES: list[tuple[str, str, str, Change]] = []
"""A name, the overlay, the check that must find it, and the mistake."""


def mistake(overlay: str, check: str) -> Callable[[Change], Change]:
    """Note one."""

    def note(change: Change) -> Change:
        MISTAKES.append((change.__name__, overlay, check, change))
        return change

    return note


def container(found: Documents, name: str) -> Document:
    """The container of a pod."""
    return pods(found)[name].container


@mistake("dev", "environment_keys")
def a_setting_is_misspelt(found: Documents) -> None:
    find(found, "ConfigMap", "settings")["data"]["DATABASE_POOLSIZE"] = "7"


@mistake("vke", "environment_keys")
def the_worker_is_told_whom_the_api_believes(found: Documents) -> None:
    container(found, "worker")["env"].append({"name": "FORWARDED_ALLOW_IPS", "value": "*"})


@mistake("dev", "environment_keys")
def the_backup_is_told_what_it_does_not_read(found: Documents) -> None:
    container(found, "backup")["env"].append({"name": "BACKUP_KEEPDAYS", "value": "7"})


@mistake("vke", "environment_values")
def the_database_is_not_named(found: Documents) -> None:
    del find(found, "ConfigMap", "settings")["data"]["DATABASE_URL"]


@mistake("vke", "environment_values")
def alb_is_not_believed(found: Documents) -> None:
    container(found, "api")["env"].pop()


@mistake("dev", "environment_values")
def the_metrics_have_another_port(found: Documents) -> None:
    container(found, "api")["env"][0]["value"] = "9001"


@mistake("dev", "environment_values")
def a_password_is_a_variable(found: Documents) -> None:
    container(found, "worker")["env"].append({"name": "DATABASE_PASSWORD", "value": "todo"})


@mistake("vke", "places")
def a_password_is_in_the_url(found: Documents) -> None:
    data = find(found, "ConfigMap", "settings")["data"]
    data["DATABASE_URL"] = data["DATABASE_URL"].replace("todo@", "todo:secret@")


@mistake("vke", "places")
def certificates_are_not_checked(found: Documents) -> None:
    data = find(found, "ConfigMap", "settings")["data"]
    data["DATABASE_URL"] = data["DATABASE_URL"].replace("verify-full", "require")


@mistake("vke", "places")
def every_address_is_believed(found: Documents) -> None:
    container(found, "api")["env"][-1]["value"] = "*"


@mistake("vke", "places")
def the_backup_is_of_another_database(found: Documents) -> None:
    container(found, "backup")["env"][0] = {"name": "DATABASE_URL", "value": "postgresql://todo@db:5432/todo"}


@mistake("dev", "places")
def redis_has_another_name(found: Documents) -> None:
    find(found, "ConfigMap", "settings")["data"]["REDIS_URL"] = "redis://valkey:6379/0"


@mistake("dev", "ports")
def the_api_has_another_port(found: Documents) -> None:
    container(found, "api")["ports"][0]["containerPort"] = 8080


@mistake("vke", "ports")
def the_service_leads_to_the_metrics(found: Documents) -> None:
    find(found, "Service", "api")["spec"]["ports"][0]["targetPort"] = "metrics"


@mistake("vke", "ports")
def prometheus_asks_the_api(found: Documents) -> None:
    pods(found)["worker"].template["metadata"]["annotations"]["prometheus.io/port"] = "8000"


@mistake("dev", "probes")
def readiness_is_asked_somewhere_else(found: Documents) -> None:
    container(found, "api")["readinessProbe"]["httpGet"]["path"] = "/ready"


@mistake("dev", "probes")
def a_database_that_is_down_has_the_api_killed(found: Documents) -> None:
    container(found, "api")["livenessProbe"]["httpGet"]["path"] = "/readyz"


@mistake("dev", "probes")
def probes_ask_another_port(found: Documents) -> None:
    container(found, "api")["startupProbe"]["httpGet"]["port"] = "metrics"


@mistake("dev", "probes")
def the_worker_is_asked_by_the_broker(found: Documents) -> None:
    container(found, "worker")["livenessProbe"]["exec"]["command"] = ["celery", "inspect", "ping"]


@mistake("dev", "users")
def the_api_is_somebody_else(found: Documents) -> None:
    pods(found)["api"].spec["securityContext"]["runAsUser"] = 1000


@mistake("dev", "users")
def the_container_overrules_the_pod(found: Documents) -> None:
    container(found, "worker")["securityContext"]["runAsUser"] = 999


@mistake("dev", "users")
def secrets_belong_to_another_group(found: Documents) -> None:
    pods(found)["migrate"].spec["securityContext"]["fsGroup"] = 999


@mistake("dev", "commands")
def beat_is_a_worker(found: Documents) -> None:
    container(found, "beat")["args"] = ["celery", "-A", "todo_worker.app", "worker"]


@mistake("dev", "commands")
def the_migration_only_looks(found: Documents) -> None:
    container(found, "migrate")["args"] = ["todo-admin", "check-settings"]


@mistake("dev", "commands")
def redis_keeps_everything(found: Documents) -> None:
    arguments = container(found, "redis")["args"]
    arguments[2] = arguments[2].replace("volatile-lru", "noeviction")


@mistake("dev", "image_names")
def beat_is_of_another_release(found: Documents) -> None:
    container(found, "beat")["image"] = "todo-worker:0.9"


@mistake("dev", "image_names")
def postgresql_is_another_one(found: Documents) -> None:
    container(found, "db")["image"] = "postgres:18-trixie"


@mistake("dev", "secrets")
def a_secret_has_another_name(found: Documents) -> None:
    pods(found)["api"].volume("secrets")["projected"]["sources"][0]["secret"]["items"][2]["path"] = "token_key"


@mistake("dev", "secrets")
def a_secret_is_another_one(found: Documents) -> None:
    pods(found)["api"].volume("secrets")["projected"]["sources"][0]["secret"]["items"][0]["key"] = "redis_password"


@mistake("dev", "secrets")
def the_worker_has_no_mail_password(found: Documents) -> None:
    pods(found)["worker"].volume("secrets")["projected"]["sources"][0]["secret"]["items"].pop()


@mistake("vke", "secrets")
def beat_cannot_tell_whether_redis_is_redis(found: Documents) -> None:
    pods(found)["beat"].volume("secrets")["projected"]["sources"].pop()


@mistake("vke", "secrets")
def the_authority_has_another_name(found: Documents) -> None:
    data = find(found, "ConfigMap", "certificates")["data"]
    data["redis_authority"] = data.pop("redis_ca")


@mistake("dev", "secrets")
def everybody_may_read_secrets(found: Documents) -> None:
    pods(found)["worker"].volume("secrets")["projected"]["defaultMode"] = 0o444


@mistake("dev", "secrets")
def a_secret_is_read_by_nobody(found: Documents) -> None:
    find(found, "Secret", "secrets")["data"]["api_key"] = "eA=="


@mistake("dev", "secrets")
def secrets_are_somewhere_else(found: Documents) -> None:
    for mount in container(found, "api")["volumeMounts"]:
        mount["mountPath"] = mount["mountPath"].replace("/run/secrets", "/var/secrets")


@mistake("dev", "volumes")
def there_is_no_tmp(found: Documents) -> None:
    container(found, "worker")["volumeMounts"].pop(0)


@mistake("dev", "volumes")
def tmp_has_no_end(found: Documents) -> None:
    del pods(found)["api"].volume("tmp")["emptyDir"]["sizeLimit"]


@mistake("dev", "programs")
def the_backup_is_another_program(found: Documents) -> None:
    find(found, "ConfigMap", "backup-scripts")["data"]["backup.sh"] += "\n"


@mistake("dev", "limits")
def the_worker_has_half_the_memory(found: Documents) -> None:
    container(found, "worker")["resources"]["limits"]["memory"] = "256Mi"


@mistake("dev", "stopping")
def the_api_stops_at_once(found: Documents) -> None:
    del container(found, "api")["lifecycle"]


@mistake("dev", "stopping")
def the_api_is_killed_while_it_drains(found: Documents) -> None:
    pods(found)["api"].spec["terminationGracePeriodSeconds"] = 30


@mistake("dev", "stopping")
def the_worker_is_killed_while_it_finishes(found: Documents) -> None:
    pods(found)["worker"].spec["terminationGracePeriodSeconds"] = 20


@mistake("vke", "network")
def the_policies_are_gone(found: Documents) -> None:
    found[:] = [document for document in found if document["metadata"]["name"] != "default-deny"]


@mistake("vke", "network")
def everybody_reads_the_metrics(found: Documents) -> None:
    del find(found, "NetworkPolicy", "metrics")["spec"]["ingress"][0]["from"]


@mistake("vke", "network")
def webhooks_reach_private_networks(found: Documents) -> None:
    find(found, "NetworkPolicy", "worker-to-internet")["spec"]["egress"][0]["to"][0]["ipBlock"]["except"].pop()


@mistake("backup-upload", "network")
def backups_cannot_leave(found: Documents) -> None:
    found[:] = [document for document in found if document["metadata"]["name"] != "backup-to-internet"]


@mistake("backup-upload", "network")
def backups_reach_the_metadata_service(found: Documents) -> None:
    find(found, "NetworkPolicy", "backup-to-internet")["spec"]["egress"][0]["to"][0]["ipBlock"]["except"].pop(3)


@mistake("backup-upload", "names")
def the_password_of_the_store_is_elsewhere(found: Documents) -> None:
    volume = pods(found)["backup"].volume("backup-upload")
    volume["projected"]["sources"][0]["secret"]["name"] = "upload"


@mistake("vke", "network")
def the_load_balancer_is_shut_out(found: Documents) -> None:
    peer = find(found, "NetworkPolicy", "load-balancer")["spec"]["ingress"][0]["from"][0]
    peer["ipBlock"]["cidr"] = "10.0.0.0/8"


@mistake("vke", "way_in")
def the_metrics_are_on_the_internet(found: Documents) -> None:
    path = find(found, "Ingress", "api")["spec"]["rules"][0]["http"]["paths"][0]
    path["backend"]["service"]["port"] = {"number": 9000}


@mistake("vke", "way_in")
def plain_http_is_served(found: Documents) -> None:
    del find(found, "Ingress", "redirect")["metadata"]["annotations"][
        "ingress.vke.volcengine.com/loadbalancer-rules-configs"
    ]


@mistake("vke", "places")
def images_come_from_docker_hub(found: Documents) -> None:
    container(found, "backup")["image"] = "postgres:17-trixie"


@mistake("dev", "names")
def a_config_map_is_not_there(found: Documents) -> None:
    container(found, "beat")["envFrom"][0]["configMapRef"]["name"] = "setings"


@mistake("dev", "scaling")
def the_deployment_says_how_many(found: Documents) -> None:
    find(found, "Deployment", "api")["spec"]["replicas"] = 2


@mistake("dev", "scaling")
def the_workers_outgrow_postgresql(found: Documents) -> None:
    find(found, "HorizontalPodAutoscaler", "worker")["spec"]["maxReplicas"] = 20


@mistake("dev", "scaling")
def pools_outgrow_postgresql(found: Documents) -> None:
    find(found, "ConfigMap", "settings")["data"]["DATABASE_POOL_SIZE"] = "8"


@mistake("vke", "scaling")
def a_rollout_outgrows_rds(found: Documents) -> None:
    find(found, "HorizontalPodAutoscaler", "api")["spec"]["maxReplicas"] = 12


@mistake("vke", "scaling")
def there_may_be_fewer_than_there_must_be(found: Documents) -> None:
    find(found, "HorizontalPodAutoscaler", "api")["spec"]["maxReplicas"] = 1


@mistake("vke", "scaling")
def an_autoscaler_looks_at_nothing(found: Documents) -> None:
    find(found, "HorizontalPodAutoscaler", "worker")["spec"]["metrics"] = []


def target(found: Documents, name: str) -> Document:
    """What an autoscaler is after."""
    entry: Document = find(found, "HorizontalPodAutoscaler", name)["spec"]["metrics"][0]["resource"]["target"]
    return entry


@mistake("vke", "scaling")
def an_autoscaler_adds_pods_at_rest(found: Documents) -> None:
    target(found, "api")["averageValue"] = "1m"


@mistake("vke", "scaling")
def an_autoscaler_never_adds_pods(found: Documents) -> None:
    target(found, "worker")["averageValue"] = "2"


@mistake("vke", "jobs")
def backups_come_at_no_time_of_the_day(found: Documents) -> None:
    find(found, "CronJob", "backup")["spec"]["schedule"] = "99 99 * * *"


@mistake("vke", "jobs")
def backups_come_at_half_past_twenty_four(found: Documents) -> None:
    find(found, "CronJob", "backup")["spec"]["schedule"] = "30 24 * * *"


@mistake("vke", "jobs")
def restores_made_by_hand_stay_for_ever(found: Documents) -> None:
    del find(found, "CronJob", "restore")["spec"]["jobTemplate"]["spec"]["ttlSecondsAfterFinished"]


@mistake("dev", "patience")
def the_api_has_one_second_to_start(found: Documents) -> None:
    container(found, "api")["startupProbe"]["failureThreshold"] = 1


@mistake("dev", "patience")
def the_worker_has_to_answer_at_once(found: Documents) -> None:
    container(found, "worker")["livenessProbe"]["timeoutSeconds"] = 1


@mistake("vke", "patience")
def a_pause_of_the_database_empties_the_load_balancer(found: Documents) -> None:
    container(found, "api")["readinessProbe"]["failureThreshold"] = 2


@mistake("vke", "patience")
def a_pod_without_a_database_stays_in_the_load_balancer(found: Documents) -> None:
    container(found, "api")["readinessProbe"]["failureThreshold"] = 200


@mistake("vke", "patience")
def beat_may_hang_for_an_hour(found: Documents) -> None:
    container(found, "beat")["livenessProbe"]["failureThreshold"] = 180


@mistake("vke", "releases")
def beat_says_that_it_is_of_another_release(found: Documents) -> None:
    pods(found)["beat"].template["metadata"]["annotations"]["todo/release"] = "dev-0123456789"


@mistake("vke", "releases")
def nobody_says_of_which_release_they_are(found: Documents) -> None:
    for name in ("api", "worker", "beat"):
        pods(found)[name].template["metadata"]["annotations"]["todo/release"] = "unnamed"


@mistake("dev", "hardening")
def a_pod_gets_a_token(found: Documents) -> None:
    del pods(found)["api"].spec["automountServiceAccountToken"]


def report(check: str, found: Documents) -> list[str]:
    """What the check of this name says; `places` is one of both kinds."""
    sentences = contract_pods.problems(check, found) if check in contract_pods.CHECKS else []
    return sentences + (policy_places.problems(check, found) if check in policy_places.POLICIES else [])


@pytest.mark.parametrize(("name", "overlay", "check", "change"), MISTAKES, ids=[entry[0] for entry in MISTAKES])
def test_this_mistake_is_reported(name: str, overlay: str, check: str, change: Change) -> None:
    found = documents(overlay)
    assert report(check, found) == []
    change(found)
    assert report(check, found), f"nobody has noticed that {name.replace('_', ' ')}"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every scalar of a document: its path, what holds it, and its key there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        here = f"{path}.{key}" if path else str(key)
        if isinstance(item, dict | list):
            yield from leaves(item, here)
        else:
            yield here, value, key


FREE = re.compile(
    r"\.(periodSeconds|timeoutSeconds|failureThreshold)$"  # how often, and how patiently: `patience` has the bounds
    r"|resources\.requests"  # what was measured
    r"|fsGroupChangePolicy|terminationGracePeriodSeconds$|preStop\.sleep\.seconds$"  # more is as good
)
"""README.md names these."""


def everywhere() -> Iterator[tuple[str, str, str]]:
    """Every value of every pod of both overlays."""
    for overlay in ("dev", "vke"):
        for name, pod in pods(documents(overlay)).items():
            for path, _, _ in leaves(pod.template):
                if not FREE.search(path):
                    yield overlay, name, path


def test_no_value_of_a_pod_can_be_changed_unnoticed() -> None:
    originals = {overlay: documents(overlay) for overlay in ("dev", "vke")}
    unnoticed = []
    # The slowest last: it is seldom needed.
    checks = sorted(contract_pods.CHECKS.keys() | policy_places.POLICIES.keys(), key=lambda check: check == "network")
    for overlay, name, path in everywhere():
        found = copy.deepcopy(originals[overlay])
        template = pods(found)[name].template
        (holder, key) = next((holder, key) for here, holder, key in leaves(template) if here == path)
        value = holder[key]
        holder[key] = (not value) if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}x"
        if not any(report(check, found) for check in checks):
            unnoticed.append(f"{overlay} {name}: {path}")
    assert not unnoticed, "\n".join(unnoticed)
