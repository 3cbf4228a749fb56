"""What is posted to webhooks: each event's body, as receivers get it and as OpenAPI describes it."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field


class ReminderDueData(BaseModel):
    """A reminder that is due, and its todo."""

    delivery_id: UUID = Field(description="the same as in `webhook-id`")
    reminder_id: UUID
    occurrence: int = Field(description="goes up when a reminder that has gone out is due anew", examples=[1])
    remind_at: datetime = Field(description="when it was due", examples=["2026-12-01T08:30:00Z"])
    todo_id: UUID
    title: str = Field(examples=["Buy milk"])
    due_at: datetime | None = Field(description="when the todo is due", examples=["2026-12-01T09:00:00Z"])


class ReminderDue(BaseModel):
    """The body of `reminder.due`. Other types may come: answer 2xx to those that you do not know."""

    type: Literal["reminder.due"] = "reminder.due"
    timestamp: datetime = Field(description="when the reminder was due", examples=["2026-12-01T08:30:00Z"])
    data: ReminderDueData
