"""Preferences over HTTP: how an account is reminded."""

from datetime import time
from typing import Annotated, Any, Self

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from todo_api.dependencies import CurrentUser, PreferencesDep
from todo_api.fields import Duration, TimeOfDay, TimeZone, omitted
from todo_api.openapi import problems
from todo_api.routing import Route
from todo_core.preferences.service import MOST_DEFAULTS, CurrentPreferences
from todo_core.reminders.schedule import Offset

router = APIRouter(prefix="/users/me/preferences", tags=["preferences"], route_class=Route)


def _few_and_different(offsets: list[Offset]) -> list[Offset]:
    if len(offsets) > MOST_DEFAULTS:
        raise PydanticCustomError("too_many", "too_many", {"most": MOST_DEFAULTS})
    if len(set(offsets)) < len(offsets):
        raise PydanticCustomError("repeated", "repeated")
    return offsets


class ChannelsPatch(BaseModel):
    """Which channels change."""

    model_config = ConfigDict(extra="forbid")

    inbox: StrictBool = omitted()
    email: StrictBool = omitted()
    webhook: StrictBool = omitted()


class QuietHours(BaseModel):
    """From `start` until before `end`, every day in the account's time zone; over midnight if `end` is the earlier."""

    model_config = ConfigDict(extra="forbid")

    start: TimeOfDay = Field(examples=["22:00"])
    end: TimeOfDay = Field(examples=["07:00"])

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.start == self.end:
            raise PydanticCustomError("quiet_hours", "quiet_hours")
        return self


class PreferencesPatch(BaseModel):
    """What changes: only what is sent. Null switches quiet hours off."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "default_reminders": ["PT0S", "PT30M"],
                    "channels": {"email": True},
                    "quiet_hours": {"start": "22:00", "end": "07:00"},
                    "timezone": "Asia/Shanghai",
                }
            ]
        },
    )

    default_reminders: Annotated[list[Duration], AfterValidator(_few_and_different)] = omitted(
        description=f"so long before the due time, at most {MOST_DEFAULTS}, none twice; moves the reminders of every "
        "todo that has none of its own",
        examples=[["PT0S", "PT30M", "P1D"]],
    )
    channels: ChannelsPatch = omitted()
    quiet_hours: QuietHours | None = omitted(description="a reminder that falls into them waits for their end")
    timezone: TimeZone = omitted()

    @property
    def changes(self) -> dict[str, Any]:
        """As the rules take them."""
        sent = self.model_fields_set
        changes: dict[str, Any] = {}
        if "default_reminders" in sent:
            changes["default_reminders"] = [str(offset) for offset in self.default_reminders]
        if "channels" in sent:
            changes |= self.channels.model_dump(exclude_unset=True)
        if "quiet_hours" in sent:
            changes["quiet_start"] = self.quiet_hours.start if self.quiet_hours else None
            changes["quiet_end"] = self.quiet_hours.end if self.quiet_hours else None
        if "timezone" in sent:
            changes["timezone"] = self.timezone
        return changes


class Channels(BaseModel):
    """Where the account is reminded."""

    inbox: bool
    email: bool = Field(description="only once the address is verified: see `email_verified`")
    webhook: bool


class PreferencesPublic(BaseModel):
    """How the account is reminded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "default_reminders": ["PT0S", "PT30M"],
                    "channels": {"inbox": True, "email": True, "webhook": True},
                    "quiet_hours": {"start": "22:00", "end": "07:00"},
                    "timezone": "Asia/Shanghai",
                    "email_verified": False,
                }
            ]
        }
    )

    default_reminders: list[str] = Field(description="so long before the due time", examples=[["PT0S", "PT30M"]])
    channels: Channels
    quiet_hours: QuietHours | None = Field(description="a reminder that falls into them waits for their end")
    timezone: str = Field(description="the account's", examples=["Asia/Shanghai"])
    email_verified: bool


def _public(preferences: CurrentPreferences) -> PreferencesPublic:
    quiet = None
    if preferences.quiet_start is not None and preferences.quiet_end is not None:
        quiet = QuietHours(start=_minutes(preferences.quiet_start), end=_minutes(preferences.quiet_end))
    return PreferencesPublic(
        default_reminders=preferences.default_reminders,
        channels=Channels(inbox=preferences.inbox, email=preferences.email, webhook=preferences.webhook),
        quiet_hours=quiet,
        timezone=preferences.timezone,
        email_verified=preferences.email_verified_at is not None,
    )


def _minutes(moment: time) -> time:
    return moment.replace(second=0, microsecond=0)


@router.get("", summary="How you are reminded", responses=problems(401))
async def read_preferences(user: CurrentUser, preferences: PreferencesDep) -> PreferencesPublic:
    """The defaults, until they are changed."""
    return _public(await preferences.get(user))


@router.patch("", summary="Change how you are reminded", responses=problems(401, 413, 415, 422))
async def update_preferences(
    body: PreferencesPatch, user: CurrentUser, preferences: PreferencesDep
) -> PreferencesPublic:
    """Changes only what is sent. Reminders that are still to come move at once; one that is due by now goes out."""
    return _public(await preferences.update(user, body.changes))
