"""The API's own documentation: complete, true to the service, and served without anybody else's help."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from dev.openapi import DOCUMENT, files
from dev.problem_pages import REACTIONS
from tests.conftest import RunApi
from tests.factories import Api, Person
from tests.integration.test_mail_links import link_token
from todo_api.messages import PROBLEMS, RULES, rule_text
from todo_api.openapi_zh import CHINESE
from todo_core.settings import ApiSettings

CONTRACT = {
    "/users/": {"post"},
    "/users/me/": {"get", "patch", "delete"},
    "/token": {"post"},
    "/todos/": {"get", "post"},
    "/todos/{todo_id}": {"get", "put", "patch", "delete"},
    "/todos/{todo_id}/complete": {"post"},
    "/todos/{todo_id}/reopen": {"post"},
    "/todos/{todo_id}/snooze": {"post"},
    "/todos/{todo_id}/reminders": {"get"},
    "/users/me/preferences": {"get", "patch"},
    "/users/me/verify-email": {"post"},
    "/users/verify-email": {"post"},
    "/notifications/": {"get"},
    "/notifications/read": {"post"},
    "/notifications/{notification_id}/read": {"post"},
    "/notifications/stream": {"get"},
    "/webhooks/": {"get", "post"},
    "/webhooks/{webhook_id}": {"patch", "delete"},
    "/webhooks/{webhook_id}/rotate-secret": {"post"},
    "/livez": {"get"},
    "/readyz": {"get"},
}
# Behind the links in mails: pages for a browser, which take whatever is in the link.
PAGES = {"GET /verify-email", "POST /verify-email", "GET /unsubscribe", "POST /unsubscribe"}
PUBLIC = {"POST /users/", "POST /users/verify-email", "POST /token", "GET /livez", "GET /readyz", *PAGES}


@pytest.fixture(scope="module")
async def document(api: Api) -> dict[str, Any]:
    """What /openapi.json says."""
    answer = await api.http.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    return dict(answer.json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation, under a name such as "GET /todos/"."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def everything(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from everything(value)
    elif isinstance(node, list):
        for value in node:
            yield from everything(value)


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, where it is a reference."""
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document
    for name in schema["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def prefilled(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """What Swagger UI fills in for a value: its first example, else its default, else one made of its parts."""
    schema = resolve(document, schema)
    shown = [
        *schema.get("examples", []),
        *([schema["default"]] if "default" in schema else []),
        *schema.get("enum", []),
    ]
    if shown:
        return shown[0]
    if "anyOf" in schema:
        return prefilled(document, schema["anyOf"][0])
    if "items" in schema:
        return [prefilled(document, schema["items"])]
    if "properties" in schema:
        return {name: prefilled(document, part) for name, part in schema["properties"].items()}
    return {"string": "string", "integer": 0, "boolean": True}[schema["type"]]


def shown_bodies(
    document: dict[str, Any], operation: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any], list[Any]]]:
    """Every body and answer that is not a page: its place, its schema and its explicit examples."""
    described = {"body": operation.get("requestBody", {}), **operation["responses"]}
    for place, description in described.items():
        for media_type, media in description.get("content", {}).items():
            if media_type != "text/html":
                schema = resolve(document, media["schema"])
                examples = [media["example"]] if "example" in media else schema.get("examples", [])
                yield f"{place} {media_type}", media["schema"], examples


async def test_every_operation_of_the_contract_is_there(document: dict[str, Any]) -> None:
    for path, methods in CONTRACT.items():
        assert document["paths"][path].keys() == methods


OPERATION_IDS = {
    "createTodo", "listTodos", "readTodo", "replaceTodo", "updateTodo", "deleteTodo", "completeTodo", "reopenTodo",
    "listTodoReminders", "snoozeTodo", "readPreferences", "updatePreferences", "listNotifications",
    "markAllNotificationsRead", "markNotificationRead", "streamNotifications", "listWebhooks", "createWebhook",
    "updateWebhook", "rotateWebhookSecret", "deleteWebhook", "register", "signIn", "readMe", "updateMe", "deleteMe",
    "requestEmailVerification", "verifyEmail", "showVerifyPage", "confirmVerifyPage", "showUnsubscribePage",
    "confirmUnsubscribePage", "livez", "readyz",
}  # fmt: skip


async def test_every_operation_has_the_name_of_a_clients_method(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert sorted(ids) == sorted(OPERATION_IDS)
    assert document["webhooks"]["reminder.due"]["post"]["operationId"] == "reminderDue"


async def test_the_committed_document_is_the_services(document: dict[str, Any]) -> None:
    """Both ways to it: what `make openapi` writes, and what this service answers."""
    assert json.loads(DOCUMENT.read_text("utf-8")) == document, "run `make openapi`"
    for path, text in files().items():
        assert path.read_text("utf-8") == text, f"{path}: run `make openapi`"


@pytest.mark.parametrize(("page", "language"), [("problems.md", 0), ("problems.zh-CN.md", 1)])
def test_a_page_says_what_a_client_does_about_each_problem(page: str, language: int) -> None:
    assert REACTIONS.keys() == PROBLEMS.keys()
    text = DOCUMENT.with_name(page).read_text("utf-8")
    for code, problem in PROBLEMS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{code}` | {problem.status} |")]
        assert REACTIONS[code][language] in row
        assert re.search(r"[\u4e00-\u9fff]", REACTIONS[code][1])


async def test_what_may_be_left_out_is_told_from_what_may_be_null(document: dict[str, Any]) -> None:
    null = {"type": "null"}
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert isinstance(parameter["schema"]["type"], str), (name, parameter["name"])
        for media in operation.get("requestBody", {}).get("content", {}).values():
            assert null not in media["schema"].get("anyOf", []), name
    schemas = document["components"]["schemas"]
    assert not any(null in field.get("anyOf", []) for field in schemas["TokenForm"]["properties"].values())
    problem = schemas["ProblemDocument"]
    assert {"errors", "error"}.isdisjoint(problem["required"])
    assert (problem["properties"]["errors"]["type"], problem["properties"]["error"]["type"]) == ("array", "string")
    assert null in schemas["TodoCreate"]["properties"]["due_at"]["anyOf"]
    assert null in schemas["TodoPublic"]["properties"]["due_at"]["anyOf"]
    assert "due_at" in schemas["TodoPublic"]["required"]


async def test_a_time_zone_is_a_string_and_a_code_is_one_of_a_list(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("AccountCreate", "AccountPatch", "PreferencesPatch"):
        zone = schemas[name]["properties"]["timezone"]
        assert (zone["type"], zone["format"], "enum" in zone) == ("string", "iana-time-zone", False)
    assert schemas["ProblemDocument"]["properties"]["code"]["enum"] == list(PROBLEMS)
    assert schemas["FieldProblem"]["properties"]["rule"]["enum"] == list(RULES)


async def test_every_operation_says_what_it_does_and_what_comes_back(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in operations(document):
        assert 3 < len(operation["summary"]) < 60, name
        assert operation["description"], name
        assert set(operation["tags"]) <= tags, name
        (success,) = (status for status in operation["responses"] if status.startswith("2"))
        assert ("content" in operation["responses"][success]) == (success != "204"), name


async def test_every_operation_lists_the_errors_that_it_answers_with(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        expected = {"500", "503"} if name != "GET /livez" else set()
        expected |= {"503"} if name == "GET /readyz" else set()
        expected -= {"500"} if name == "GET /readyz" else set()
        expected |= {"401"} if name not in PUBLIC else set()
        expected |= {"400", "413", "415"} if "requestBody" in operation and name not in PAGES else set()
        if name not in PAGES and ("requestBody" in operation or operation.get("parameters")):
            expected |= {"400"} if name == "POST /token" else {"422"}
        expected |= {"404"} if "{todo_id}" in name else set()
        assert expected <= operation["responses"].keys(), name
        for status, answer in operation["responses"].items():
            if status < "400" or name in PAGES:
                continue
            ((media_type, media),) = answer["content"].items()
            assert media_type == "application/problem+json", (name, status)
            assert media["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}
            example = media["example"]
            assert example.keys() <= document["components"]["schemas"]["ProblemDocument"]["properties"].keys()
            assert str(example["status"]) == status, name
            assert PROBLEMS[example["code"]].status == example["status"], name
            assert "{" not in example["detail"]


async def test_an_example_of_an_error_is_one_that_the_operation_can_have(document: dict[str, Any]) -> None:
    def code(path: str, method: str, status: str) -> str:
        answer = document["paths"][path][method]["responses"][status]
        return str(answer["content"]["application/problem+json"]["example"]["code"])

    assert code("/todos/", "post", "400") == code("/users/me/", "patch", "400") == "malformed_body"
    assert code("/token", "post", "400") == "invalid_grant"
    assert code("/readyz", "get", "503") == "not_ready"
    assert code("/todos/{todo_id}", "get", "404") == "todo_not_found"


async def test_every_parameter_is_explained(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (name, parameter["name"])


async def test_every_body_and_answer_has_examples_that_its_schema_allows(document: dict[str, Any]) -> None:
    named = [*operations(document), ("reminder.due", document["webhooks"]["reminder.due"]["post"])]
    for name, operation in named:
        for place, schema, examples in shown_bodies(document, operation):
            assert examples, (name, place)
            holds = Draft202012Validator({**schema, "components": document["components"]}, validate_formats=True)
            for example in examples:
                assert [str(error) for error in holds.iter_errors(example)] == [], (name, place)
    for name, operation in operations(document):
        refused = operation["responses"].get("422", {"content": {}})["content"]
        for media in refused.values():
            (fault,) = media["example"]["errors"]
            assert rule_text(fault["rule"], "en", {}) == fault["detail"], name


async def test_every_body_as_the_page_fills_it_in_is_taken(
    api: Api, database_url: str, document: dict[str, Any]
) -> None:
    """Register, sign in, everything else in the order of the page with ids and tokens that exist, and delete."""
    bodies = {name: operation["requestBody"] for name, operation in operations(document) if "requestBody" in operation}

    async def send(name: str, signed: dict[str, str], **given: str) -> Any:
        ((media_type, media),) = bodies.pop(name)["content"].items()
        if media_type == "application/json":
            body = dict(prefilled(document, media["schema"]))
        else:  # the page has an input for each field of a form
            fields = resolve(document, media["schema"])["properties"]
            body = {field: prefilled(document, schema) for field, schema in fields.items()}
        body |= {"token": given["token"]} if "token" in body else {}
        sent: dict[str, Any] = {"json": body} if media_type == "application/json" else {"data": body}
        method, path = name.split()
        answer = await api.http.request(method, path.format(**given), params=given, headers=signed, **sent)
        assert answer.is_success, (name, body, answer.text)
        return answer.json() if media_type == "application/json" and answer.content else answer.text

    account = await send("POST /users/", {})
    tokens = json.loads(await send("POST /token", {}))
    person = Person(api.http, account["username"], account["email"], "", account["id"], tokens)
    todo = await person.add_todo()
    webhook = (await person.post("/webhooks/", json={"url": "https://example.com/"})).json()
    await person.post("/users/me/verify-email")
    proof = await link_token(api, person, database_url)
    await send("POST /users/verify-email", {}, token=proof)
    await send("POST /unsubscribe", {}, token=api.process.links.unsubscribe(person.id, person.email).partition("=")[2])
    last = "DELETE /users/me/"
    for name in [name for name in bodies if name != last]:
        await send(name, person.headers, todo_id=todo["id"], webhook_id=webhook["id"])
    await send(last, person.headers)
    assert bodies == {}


async def test_the_document_and_its_page_speak_chinese_too(api: Api, document: dict[str, Any]) -> None:
    chinese = (await api.http.get("/openapi.json", params={"lang": "zh"})).json()
    asked = await api.http.get("/openapi.json", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    assert (asked.json(), asked.headers["vary"]) == (chinese, "Accept-Language")
    overruled = await api.http.get("/openapi.json", params={"lang": "en"}, headers={"Accept-Language": "zh"})
    assert overruled.json() == document
    for name, operation in operations(chinese):
        assert re.search("[\u4e00-\u9fff]", operation["summary"]), name
        assert re.search("[\u4e00-\u9fff]", operation["description"]), name
        for parameter in operation.get("parameters", []):
            assert re.search("[\u4e00-\u9fff]", parameter["description"]), (name, parameter["name"])
    for part in (chinese["info"], *chinese["tags"], chinese["webhooks"]["reminder.due"]["post"]):
        assert re.search("[\u4e00-\u9fff]", part["description"])
    for page in ("/docs", "/redoc"):
        assert "/openapi.json?lang=zh" in (await api.http.get(page, params={"lang": "zh"})).text
        assert "/openapi.json?lang=zh" in (await api.http.get(page, headers={"Accept-Language": "zh-CN"})).text


async def test_no_chinese_is_left_of_an_english_text_that_is_gone(document: dict[str, Any]) -> None:
    texts = {
        text
        for node in everything(document)
        for name in ("summary", "description")
        if isinstance(text := node.get(name), str)
    }
    assert CHINESE.keys() - texts == set()


async def test_nothing_is_left_of_the_errors_that_the_framework_assumes(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    assert "ValidationError" not in text
    assert '"detail": [' not in text


async def test_every_reference_leads_somewhere_and_every_schema_is_used(document: dict[str, Any]) -> None:
    references = {str(node["$ref"]) for node in everything(document) if isinstance(node.get("$ref"), str)}
    for reference in references:
        assert resolve(document, {"$ref": reference})
    assert {f"#/components/schemas/{name}" for name in document["components"]["schemas"]} == references


async def test_the_authorize_button_asks_where_tokens_come_from(api: Api, document: dict[str, Any]) -> None:
    ((name, scheme),) = document["components"]["securitySchemes"].items()
    flow = scheme["flows"]["password"]
    assert scheme["type"] == "oauth2"
    document_url = api.http.base_url.join("/openapi.json")
    for address in (flow["tokenUrl"], flow["refreshUrl"]):
        assert document_url.join(address).path == "/token"
    for operation_name, operation in operations(document):
        assert operation.get("security", []) == ([] if operation_name in PUBLIC else [{name: []}])
    details = {"username": "swagger", "email": "swagger@example.com", "password": "correct horse battery"}
    await api.http.post("/users/", json=details)
    form = {"grant_type": "password", "username": "swagger", "password": "correct horse battery", "scope": ""}
    assert (await api.http.post(str(document_url.join(flow["tokenUrl"])), data=form)).status_code == 200


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_the_pages_load_only_what_the_service_has_itself(api: Api, page: str, slash: str) -> None:
    answer = await api.http.get(page + slash)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "//" not in re.sub(r"^\s*//.*$", "", answer.text, flags=re.MULTILINE).replace("<!-- //", "")
    assets = set(re.findall(r"""(?:src|href)=["']([^"'#]+)["']""", answer.text))
    assert len(assets) >= 2
    for path in {*assets, "/openapi.json"}:
        assert path.startswith("/")
        asset = await api.http.get(path)
        assert asset.status_code == 200
        assert len(asset.content) > 1_000
    assert "/openapi.json" in answer.text


async def test_redoc_wants_no_picture_that_its_page_forbids(api: Api) -> None:
    script = (await api.http.get("/assets/redoc.standalone.js")).text
    assert re.findall(r"""src:["'](?:https?:)?//""", script) == []


async def test_a_page_sends_nobody_to_a_button_that_it_lacks(document: dict[str, Any]) -> None:
    for line in document["info"]["description"].splitlines():
        assert "Authorize" not in line or "[Swagger UI](docs)" in line


async def test_what_goes_wrong_in_the_page_is_explained_there(api: Api, document: dict[str, Any]) -> None:
    scheme = document["components"]["securitySchemes"]["Account"]["description"]
    assert "`invalid_grant`" in scheme
    assert "`POST /users/`" in scheme
    stream = document["paths"]["/notifications/stream"]["get"]["description"]
    assert "curl --no-buffer" in stream
    assert "EventSource" in stream
    form = {"username": "lin", "password": "not the one"}
    refused = await api.http.post("/token", data=form, headers={"Accept-Language": "zh"})
    assert refused.json()["error_description"].startswith("The name, the password")  # Authorize shows it
    assert refused.json()["error_description"].isascii()


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_the_browser_is_told_to_load_nothing_from_elsewhere(api: Api, page: str) -> None:
    """Beside the page's own scripts: an asset that wanted a picture from elsewhere would get none."""
    answer = await api.http.get(page)
    policy, page_text = answer.headers["content-security-policy"], answer.text
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    scripts = re.findall(r"<script>(.*?)</script>", page_text, re.DOTALL)
    digests = {f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts}
    assert set(rules["script-src"].split()) == {"'self'", *digests}
    for sources in (rules[name] for name in rules.keys() - {"script-src"}):
        assert set(sources.split()) <= {"'self'", "'none'", "'unsafe-inline'", "data:", "blob:"}


async def test_the_documentation_can_be_turned_off(run_api: RunApi) -> None:
    silent = await run_api(ApiSettings(docs_enabled=False))
    for path in ("/docs", "/redoc", "/openapi.json", "/assets/swagger-ui-bundle.js", "/docs/oauth2-redirect"):
        for address in (path, f"{path}/"):
            answer = await silent.http.get(address)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await silent.http.get("/livez")).status_code == 200
