"""What arrives where, and in which shape."""

from __future__ import annotations

from tests.worker_kit import Office


async def test_a_reminder_that_is_due_arrives_in_the_inbox(office: Office) -> None:
    lin = await office.account()
    await office.remind(lin, "Buy milk")
    await office.start()
    await office.settled()
    (notification,) = await office.sql.fetch("SELECT * FROM notifications")
    delivery = await office.delivery()
    assert (delivery["state"], delivery["channel"], delivery["attempts"]) == ("sent", "inbox", 1)
    assert (notification["title"], notification["delivery_id"]) == ("Buy milk", delivery["id"])
