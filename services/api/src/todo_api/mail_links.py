"""Where the links in mails lead: proving an address, and getting no more mail.

A link is opened by mail scanners and previews too, so that GET changes nothing: it shows a page with a button.
"""

import base64
import hashlib
from html import escape
from string import Template
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse

from todo_api.dependencies import CurrentUser, Mails, PreferencesDep, ProcessDep, Verifications
from todo_api.messages import PAGES, problem_text
from todo_api.openapi import problem_answer, problems
from todo_api.problems import language_of
from todo_api.routing import Route
from todo_core.accounts.links import UNSUBSCRIBE_PATH, VERIFY_EMAIL_PATH, InvalidLink

router = APIRouter(tags=["e-mail"], route_class=Route)

_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;margin:15vh auto;max-width:30rem;padding:0 1rem}button{font:inherit}"
)
_PAGE = Template(
    '<!doctype html><html lang="$lang"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    f"<title>$title</title><style>{_STYLE}</style><h1>$title</h1><p>$text</p>$form</html>"
)
_BUTTON = Template(
    '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
    '<button type="submit">$label</button></form>'
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Vary": "Accept-Language",
}
_HTML: dict[int | str, dict[str, Any]] = {
    400: {"description": "The link does not work", "content": {"text/html": {"schema": {"type": "string"}}}},
    **problems(),
}
_ONE_CLICK = {
    "requestBody": {
        "description": "As RFC 8058 has it. Not looked at: the token says all.",
        "required": False,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {"List-Unsubscribe": {"type": "string", "enum": ["One-Click"]}},
                    "examples": [{"List-Unsubscribe": "One-Click"}],
                }
            }
        },
    }
}

LinkToken = Annotated[str, Query(description="the link's token")]


class VerificationAsked(BaseModel):
    """Where the link is sent to."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "lin@example.com"}]})

    email: str


class VerificationToken(BaseModel):
    """What the link in the mail holds."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"token": "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.eyJhdWQiOiJ2In0.c2lnbmF0dXJl"}]},
    )

    token: str = Field(max_length=2_000)


@router.post(
    "/users/me/verify-email",
    status_code=202,
    summary="Ask for a link to verify the e-mail address",
    responses={**problems(401), 409: problem_answer("already_verified"), 429: problem_answer("mailed_recently")},
)
async def request_email_verification(
    user: CurrentUser, verifications: Verifications, mails: Mails
) -> VerificationAsked:
    """The link is good for three days. At most one mail a day goes to an address, whoever asks, and a few a day for an
    account, whichever addresses it has in it (429 `too_many_mails`).

    Reminders go out by e-mail only once the address is verified.
    """
    return VerificationAsked(email=await verifications.request(user, mails))


@router.post(
    "/users/verify-email",
    status_code=204,
    summary="Verify an e-mail address",
    responses={**problems(413, 415, 422), 400: problem_answer("invalid_link")},
)
async def verify_email(body: VerificationToken, verifications: Verifications) -> None:
    """The token is the proof: no sign-in is needed. Idempotent, while the account keeps the address."""
    await verifications.settle(body.token)


@router.get(VERIFY_EMAIL_PATH, response_class=HTMLResponse, summary="Where the link to verify leads", responses=_HTML)
async def show_verify_page(request: Request, process: ProcessDep, token: LinkToken = "") -> HTMLResponse:
    """A page with a button, for people. Changes nothing."""
    try:
        process.links.read_verify_email(token)
    except InvalidLink:
        return _broken(request)
    return _page(request, "verify", button=True)


@router.post(VERIFY_EMAIL_PATH, response_class=HTMLResponse, summary="The button of that page", responses=_HTML)
async def confirm_verify_page(request: Request, verifications: Verifications, token: LinkToken = "") -> HTMLResponse:
    """Does what `POST /users/verify-email` does, and answers with a page."""
    try:
        await verifications.settle(token)
    except InvalidLink:
        return _broken(request)
    return _page(request, "verified")


@router.get(
    UNSUBSCRIBE_PATH, response_class=HTMLResponse, summary="Where the link to unsubscribe leads", responses=_HTML
)
async def show_unsubscribe_page(request: Request, process: ProcessDep, token: LinkToken = "") -> HTMLResponse:
    """A page with a button, for people. Changes nothing."""
    try:
        process.links.read_unsubscribe(token)
    except InvalidLink:
        return _broken(request)
    return _page(request, "unsubscribe", button=True)


@router.post(
    UNSUBSCRIBE_PATH,
    response_class=HTMLResponse,
    summary="Get no more e-mail",
    responses=_HTML,
    openapi_extra=_ONE_CLICK,
)
async def confirm_unsubscribe_page(
    request: Request, process: ProcessDep, preferences: PreferencesDep, token: LinkToken = ""
) -> HTMLResponse:
    """One-click unsubscription (RFC 8058): switches the account's e-mail channel off, without sign-in. Idempotent."""
    try:
        await preferences.unsubscribe(process.links.read_unsubscribe(token))
    except InvalidLink:
        return _broken(request)
    return _page(request, "unsubscribed")


def _page(request: Request, name: str, *, button: bool = False) -> HTMLResponse:
    language = language_of(request.scope)
    title, text, *labels = PAGES[name][language]
    return _html(language, title, text, form=_BUTTON.substitute(label=escape(labels[0])) if button else "")


def _broken(request: Request) -> HTMLResponse:
    language = language_of(request.scope)
    title, text = problem_text(InvalidLink.code, language, {})
    return _html(language, title, text, status=400)


def _html(language: str, title: str, text: str, *, form: str = "", status: int = 200) -> HTMLResponse:
    lang = "zh-CN" if language == "zh" else "en"
    body = _PAGE.substitute(lang=lang, title=escape(title), text=escape(text), form=form)
    return HTMLResponse(body, status, {**_HEADERS, "Content-Language": lang})
