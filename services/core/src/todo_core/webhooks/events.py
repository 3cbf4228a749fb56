"""What is posted to webhooks: each event's body, as receivers get it and as OpenAPI describes it."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class ReminderDueData(BaseModel):
    """A reminder that is due, and its todo."""

    delivery_id: UUID = Field(description="the same as in `webhook-id`")
    reminder_id: UUID
    occurrence: int = Field(description="goes up when a reminder that has gone out is due anew")
    remind_at: datetime = Field(description="when it was due")
    todo_id: UUID
    title: str
    due_at: datetime | None = Field(description="when the todo is due")


class ReminderDue(BaseModel):
    """The body of `reminder.due`. Other types may come: answer 2xx to those that you do not know."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "reminder.due",
                    "timestamp": "2026-12-01T08:30:00Z",
                    "data": {
                        "delivery_id": "5f2b8c1e-7d0a-4f3c-9a57-2f8f2b6f9a10",
                        "reminder_id": "01890000-0000-7000-8000-000000000001",
                        "occurrence": 1,
                        "remind_at": "2026-12-01T08:30:00Z",
                        "todo_id": "01890000-0000-7000-8000-000000000000",
                        "title": "Buy milk",
                        "due_at": "2026-12-01T09:00:00Z",
                    },
                }
            ]
        }
    )

    type: Literal["reminder.due"] = "reminder.due"
    timestamp: datetime = Field(description="when the reminder was due")
    data: ReminderDueData
