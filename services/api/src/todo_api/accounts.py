"""Accounts over HTTP: register, sign in, stay signed in, `me`."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, ConfigDict, Field

from todo_api.dependencies import Accounts, CurrentUser, Passwords, ProcessDep
from todo_api.fields import Email, GivenPassword, Locale, Login, Password, TimeZone, Username, omitted
from todo_api.limits import network_of
from todo_api.openapi import problems
from todo_api.problems import language_of
from todo_api.routing import Route
from todo_core.accounts.service import Registration
from todo_core.errors import AppError, Fault

router = APIRouter(tags=["accounts"], route_class=Route)

_PASSWORD = "correct horse battery staple"  # noqa: S105 - of the examples


class AccountCreate(BaseModel):
    """What opens an account."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "username": "lin",
                    "email": "lin@example.com",
                    "password": _PASSWORD,
                    "timezone": "Asia/Shanghai",
                    "locale": "zh-CN",
                }
            ]
        },
    )

    username: Username
    email: Email
    password: Password
    timezone: TimeZone = "UTC"
    locale: Locale | None = None
    """Without one, the language of the request."""


class AccountPatch(BaseModel):
    """What changes: only what is sent."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"timezone": "Asia/Shanghai", "locale": "zh-CN"}]}
    )

    username: Username = omitted()
    email: Email = omitted()
    password: Password = omitted()
    timezone: TimeZone = omitted()
    locale: Locale = omitted()
    current_password: GivenPassword = omitted()
    """Needed beside a new `email` or `password`."""


class AccountDelete(BaseModel):
    """The password, once more."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"password": _PASSWORD}]})

    password: GivenPassword


class AccountPublic(BaseModel):
    """An account, without any secret."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "01890000-0000-7000-8000-000000000000",
                    "username": "lin",
                    "email": "lin@example.com",
                    "email_verified": False,
                    "timezone": "Asia/Shanghai",
                    "locale": "zh-CN",
                    "created_at": "2026-11-24T08:30:00.123456Z",
                }
            ]
        },
    )

    id: UUID
    username: str
    email: str
    email_verified: bool = Field(description="reminders go out by e-mail only once it is")
    timezone: str
    locale: str
    created_at: datetime


class TokenForm(BaseModel):
    """OAuth2's token request (RFC 6749, sections 4.3.2 and 6). Fields that are not known are ignored, as it wants."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"grant_type": "password", "username": "lin", "password": _PASSWORD}]}
    )

    grant_type: str = Field("password", examples=["password", "refresh_token"])
    username: Login | None = None
    password: GivenPassword | None = None
    refresh_token: str | None = Field(
        None, description="instead of the two, with `grant_type=refresh_token`", examples=[""]
    )
    scope: str = Field("", description="ignored")
    client_id: str | None = Field(None, description="ignored", examples=[""])
    client_secret: str | None = Field(None, description="ignored", examples=[""])


class TokenAnswer(BaseModel):
    """A pair of tokens."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "access_token": "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiIwMTg5In0.c2lnbmF0dXJl",
                    "token_type": "bearer",
                    "expires_in": 900,
                    "refresh_token": "yhCPAJt2rSp0s-RvXyX6jXbA6JqZ3eCk9mVnwQ1oG0E",
                }
            ]
        }
    )

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - a kind, not a secret
    expires_in: int = Field(description="seconds until the access token expires")
    refresh_token: str = Field(description="good for one exchange; the answer to that holds the next")


class TokenRequestInvalid(AppError):
    """A field is missing that this grant needs."""

    code = "invalid_request"


class UnsupportedGrantType(AppError):
    """Neither `password` nor `refresh_token`."""

    code = "unsupported_grant_type"


@router.post("/users/", status_code=201, summary="Open an account", responses=problems(409, 413, 415, 422, 429))
async def register(
    body: AccountCreate, accounts: Accounts, passwords: Passwords, process: ProcessDep, request: Request
) -> AccountPublic:
    """Username and e-mail address are unique whatever their case."""
    await process.limits.note_registration(network_of(request))
    locale = body.locale or ("zh-CN" if language_of(request.scope) == "zh" else "en")
    registration = Registration(body.username, body.email, body.password, body.timezone, locale)
    account = await accounts.register(registration, passwords)
    return AccountPublic.model_validate(account)


@router.post("/token", name="token", summary="Sign in, or refresh", responses=problems(400, 413, 415, 429))
async def sign_in(form: Annotated[TokenForm, Form()], accounts: Accounts, passwords: Passwords) -> TokenAnswer:
    """OAuth2 password flow: `username` is the username or the e-mail address.

    With `grant_type=refresh_token`, a refresh token is exchanged for a new pair. It is good for one exchange; when it
    comes a second time, its whole session ends.
    """
    if form.grant_type == "refresh_token":
        if not form.refresh_token:
            raise TokenRequestInvalid(Fault("refresh_token", "required"))
        pair = await accounts.refresh(form.refresh_token)
    elif form.grant_type == "password":
        missing = [name for name in ("username", "password") if not getattr(form, name)]
        if not form.username or not form.password:
            raise TokenRequestInvalid(*(Fault(name, "required") for name in missing))
        pair = await accounts.sign_in(form.username, form.password, passwords)
    else:
        raise UnsupportedGrantType
    return TokenAnswer(access_token=pair.access_token, expires_in=pair.expires_in, refresh_token=pair.refresh_token)


@router.get("/users/me/", summary="The signed-in account", responses=problems(401))
async def read_me(user: CurrentUser, accounts: Accounts) -> AccountPublic:
    """Whose access token this is."""
    return AccountPublic.model_validate(await accounts.me(user))


@router.patch("/users/me/", summary="Change the account", responses=problems(401, 403, 409, 413, 415, 422, 429))
async def update_me(body: AccountPatch, user: CurrentUser, accounts: Accounts, passwords: Passwords) -> AccountPublic:
    """Changes only what is sent. A new password ends every session of the account: sign in again with it."""
    changes = body.model_dump(exclude_unset=True)
    current_password = changes.pop("current_password", None)
    return AccountPublic.model_validate(await accounts.update(user, changes, current_password, passwords))


@router.delete(
    "/users/me/", status_code=204, summary="Delete the account", responses=problems(401, 403, 413, 415, 422, 429)
)
async def delete_me(body: AccountDelete, user: CurrentUser, accounts: Accounts, passwords: Passwords) -> None:
    """Removes the account and everything that is its own, at once and for good."""
    await accounts.delete(user, body.password, passwords)
