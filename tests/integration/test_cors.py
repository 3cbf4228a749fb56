"""Pages of other origins: which may call the API, and what an operator reads about one that may not."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tests.conftest import RunApi
from tests.factories import Api
from todo_core.settings import ApiSettings, RuntimeSettings

PAGE = "http://localhost:5173"  # where Vite serves a page under development
DEVELOPMENT = RuntimeSettings(environment="development")


async def preflight(api: Any, origin: str) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer: httpx.Response = await api.http.options("/todos/", headers=headers)
    return answer


async def test_in_development_a_page_of_localhost_may_call(run_api: RunApi) -> None:
    api = await run_api(DEVELOPMENT)
    asked = await preflight(api, PAGE)
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, PAGE)
    answer = await api.http.get("/todos/", headers={"Origin": PAGE})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == PAGE


async def test_a_page_can_read_that_the_service_is_unavailable(run_api: RunApi) -> None:
    api = await run_api(DEVELOPMENT, database_url="postgresql://todo:todo@127.0.0.1:1/todo")
    answer = await api.http.post("/token", data={"username": "lin", "password": "x" * 10}, headers={"Origin": PAGE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (503, PAGE)
    assert {"retry-after", "x-request-id"} <= {
        name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")
    }


async def test_elsewhere_only_the_origins_of_the_setting_may_call(run_api: RunApi) -> None:
    api = await run_api(ApiSettings(cors_origins="https://app.example.com"))
    assert (await preflight(api, "https://app.example.com")).status_code == 200
    refused = await preflight(api, PAGE)
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost.evil.example", "null"])
async def test_a_refused_origin_leaves_a_line_that_names_the_setting(run_api: RunApi, origin: str) -> None:
    api = await run_api(DEVELOPMENT)
    with capture_logs() as lines:
        await api.http.get("/livez", headers={"Origin": origin})
    (line,) = [line for line in lines if line["event"] == "origin_refused"]
    assert (line["origin"], line["setting"]) == (origin, "API_CORS_ORIGINS")


async def test_a_refused_preflight_leaves_one_line_too(run_api: RunApi) -> None:
    """It is all that an operator sees: the browser sends no request after it."""
    api = await run_api(ApiSettings(cors_origins="https://app.example.com"))
    with capture_logs() as lines:
        await preflight(api, PAGE)
    assert [(line["origin"], line["setting"]) for line in lines if line["event"] == "origin_refused"] == [
        (PAGE, "API_CORS_ORIGINS")
    ]


async def test_a_page_of_the_service_itself_is_no_other_origin(api: Api) -> None:
    with capture_logs() as lines:
        await api.http.get("/livez", headers={"Origin": f"http://127.0.0.1:{api.port}"})
    assert "origin_refused" not in {line["event"] for line in lines}
