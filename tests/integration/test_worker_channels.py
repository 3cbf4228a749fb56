"""The messages of each channel: their receivers and their form."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from email.message import EmailMessage

import jsonschema_rs
import pytest
import standardwebhooks
from redis.asyncio import Redis

from tests.receivers import HttpReceiver, SmtpReceiver
from tests.worker_kit import SECRET, Office, eventually
from todo_api.main import create_app
from todo_core.accounts.links import Links
from todo_core.database import StatementPool
from todo_core.reminders.dead_letters import DeadLetters


async def test_a_reminder_arrives_by_every_channel_that_its_owner_has_chosen(
    office: Office, http: HttpReceiver, smtp: SmtpReceiver
) -> None:
    lin = await office.account(verified=True)
    await office.webhook(lin, f"{http.url}/hook")
    await office.remind(lin, "Buy milk")
    worker = await office.start()
    await office.settled(3)
    assert await office.states() == {"sent": 3}
    assert [row["title"] for row in await office.sql.fetch("SELECT title FROM notifications")] == ["Buy milk"]
    assert [posted.path for posted in http.ledger] == ["/hook"]
    assert [mail["Subject"] for mail in smtp.mails()] == ["Reminder: Buy milk"]
    ids = await office.sql.fetchrow(
        "SELECT max(id::text) FILTER (WHERE channel = 'webhook') AS webhook,"
        " max(id::text) FILTER (WHERE channel = 'email') AS email FROM deliveries"
    )
    assert http.ids() == [ids["webhook"]]
    assert [mail["Message-ID"] for mail in smtp.mails()] == [f"<{ids['email']}@todo.example.com>"]
    assert 'todo_deliveries_total{channel="email",outcome="sent"} 1.0' in worker.metrics()


async def test_nothing_is_sent_before_its_time(office: Office) -> None:
    await office.remind(await office.account(), after=1.5)
    await office.start()
    await office.settled()
    early = await office.sql.fetchval(
        "SELECT count(*) FROM deliveries d JOIN notifications n ON n.delivery_id = d.id WHERE n.created_at < d.due_at"
    )
    assert early == 0


async def test_an_account_that_wants_to_hear_nothing_gets_nothing(office: Office) -> None:
    lin = await office.account()
    await office.only(lin)
    reminder = await office.remind(lin)

    async def skipped() -> bool:
        return bool(await office.sql.fetchval("SELECT state = 'skipped' FROM reminders WHERE id = $1", reminder))

    await office.start()
    await eventually(skipped)
    assert await office.states() == {}


# ---- the inbox


async def test_whoever_is_reading_is_told_at_once(office: Office, redis_url: str) -> None:
    lin = await office.account()
    async with Redis.from_url(redis_url) as redis, redis.pubsub() as listener:
        await listener.subscribe(f"todo:inbox:{lin}")
        await listener.get_message(timeout=5)
        await office.remind(lin)
        await office.start()
        message = await listener.get_message(ignore_subscribe_messages=True, timeout=5)
    assert json.loads(message["data"]) == {"seq": 1}


# ---- e-mail


async def one_mail(office: Office, smtp: SmtpReceiver, title: str, **columns: str) -> EmailMessage:
    """The mail that an account with these columns gets."""
    lin = await office.account(verified=True, **columns)
    await office.only(lin, "email")
    await office.remind(lin, title)
    await office.sql.execute("UPDATE todos SET due_at = '2026-12-01T01:05:00Z'")
    await office.start()
    async with asyncio.timeout(10):
        await smtp.wait_for(1)
    (mail,) = smtp.mails()
    return mail


def text(mail: EmailMessage, kind: str) -> str:
    """Return one of the mail's two bodies."""
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


async def test_a_mail_is_in_english_on_the_readers_clocks(office: Office, smtp: SmtpReceiver) -> None:
    mail = await one_mail(office, smtp, "Buy milk", timezone="America/New_York", username="lin-en")
    for kind in ("plain", "html"):
        assert "Buy milk" in text(mail, kind)
        assert "Hello lin-en," in text(mail, kind)
        assert "Monday, 30 November 2026, 20:05 (America/New_York)" in text(mail, kind)


async def test_a_mail_is_in_chinese_for_those_who_read_that(office: Office, smtp: SmtpReceiver) -> None:
    mail = await one_mail(office, smtp, "买牛奶", timezone="Asia/Shanghai", locale="zh-CN")
    assert mail["Subject"] == "提醒：买牛奶"
    for kind in ("plain", "html"):
        assert "买牛奶" in text(mail, kind)
        assert "2026年12月1日 星期二 09:05（Asia/Shanghai）" in text(mail, kind)
    assert '<html lang="zh-CN">' in text(mail, "html")


async def test_a_mail_has_what_mail_programs_look_for(office: Office, smtp: SmtpReceiver) -> None:
    mail = await one_mail(office, smtp, "Buy milk", email="lin.x@example.com")
    delivery = await office.delivery()
    assert mail["From"] == "Todo <reminders@todo.example.com>"
    assert mail["To"] == "lin.x@example.com"
    assert smtp.recipients == ["lin.x@example.com"]
    assert mail["Message-ID"] == f"<{delivery['id']}@todo.example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert abs((mail["Date"].datetime - datetime.now(UTC)).total_seconds()) < 60
    link = mail["List-Unsubscribe"]
    assert link.startswith("<https://todo.example.com/unsubscribe?token=")
    assert mail["Content-Language"] == "en"
    links = Links(office.settings.tokens)
    account_id = await office.sql.fetchval("SELECT id FROM accounts")
    assert links.read_unsubscribe(link.removesuffix(">").partition("token=")[2]).account_id == account_id
    assert link.strip("<>") in text(mail, "plain")
    # As it stands on the wire: mail programs decode no words in this header.
    assert f"\r\nList-Unsubscribe: {link}\r\n".encode() in smtp.raw[0]
    assert max(map(len, smtp.raw[0].split(b"\r\n"))) < 998


@pytest.mark.parametrize(
    "title",
    [
        "Milk\r\nBcc: everybody@example.com",
        '<script>alert(1)</script> & "co"',
        "Zoë’s 🎂 " + "x" * 180,
        "={{ 7 * 7 }} {title} %s",
        ".\r\n.\r\nMAIL FROM:<x@y>",
        "=?utf-8?B?DQpCY2M6IG1hbGxvcnlAZXhhbXBsZS5jb20NCg==?=",  # a line break and a Bcc, as an encoded word
        "=?utf-8?Q?=0D=0A=0D=0AThe_body_of_somebody_else?=",
    ],
)
async def test_a_title_stays_a_title_whatever_is_in_it(office: Office, smtp: SmtpReceiver, title: str) -> None:
    mail = await one_mail(office, smtp, title)
    assert mail["Subject"] == f"Reminder: {' '.join(title.split())}"
    assert mail["Bcc"] is None
    assert smtp.recipients == [mail["To"]]
    assert "<script>" not in text(mail, "html")
    assert " ".join(title.split()) in text(mail, "plain")
    assert mail.defects == []


@pytest.mark.parametrize(
    "address", ["o'brien+todo@example.com", "林@例子.中国", "lin@例子.中国", "l" * 64 + "@example.com"]
)
async def test_a_mail_goes_to_any_address_that_an_account_may_have(
    office: Office, smtp: SmtpReceiver, address: str
) -> None:
    await one_mail(office, smtp, "买牛奶", email=address)
    assert smtp.recipients == [address]
    assert f" {address}\r\n".encode() in smtp.raw[0].partition(b"\r\nSubject:")[0] + b"\r\n"


async def test_no_mail_goes_to_an_address_that_nobody_has_proved(office: Office, smtp: SmtpReceiver) -> None:
    await office.remind(await office.account(verified=False))
    await office.start()
    await office.settled()
    assert await office.states() == {"sent": 1}
    assert smtp.raw == []


async def test_one_connection_carries_many_mails(office: Office, smtp: SmtpReceiver) -> None:
    lin = await office.account(verified=True)
    await office.only(lin, "email")
    await office.remind_often(lin, 30)
    await office.start()
    await office.settled(30)
    assert len(smtp.raw) == 30
    assert smtp.sessions <= office.settings.email.connections


@pytest.mark.parametrize(
    ("replies", "state", "reason"),
    [
        ({"recipient_reply": "550 5.1.1 <lin@example.com>: no such user"}, "dead", "the mail server answered 550"),
        ({"data_reply": "554 5.7.1 looks like spam"}, "dead", "the mail server answered 554"),
        ({"sender_reply": "530 5.7.0 sign in first"}, "pending", "the mail server answered 530"),  # ours to mend
        ({"recipient_reply": "451 4.7.1 greylisted"}, "pending", "the mail server answered 451"),
        ({"data_reply": "452 4.3.1 no room"}, "pending", "the mail server answered 452"),
    ],
)
async def test_a_refusal_is_final_if_the_mail_server_says_so(
    office: Office, smtp: SmtpReceiver, replies: dict[str, str], state: str, reason: str
) -> None:
    vars(smtp).update(replies)
    lin = await office.account(verified=True)
    await office.only(lin, "email")
    await office.remind(lin)
    await office.start(retry_seconds=60, retry_longest_seconds=60)

    async def failed() -> bool:
        return bool(await office.sql.fetchval("SELECT last_error IS NOT NULL FROM deliveries"))

    await eventually(failed)
    delivery = await office.delivery()
    assert (delivery["state"], delivery["last_error"]) == (state, reason)


async def test_a_mail_server_that_is_away_loses_nothing(office: Office, smtp: SmtpReceiver) -> None:
    lin = await office.account(verified=True)
    await office.only(lin, "email")
    await office.remind(lin)
    nowhere = office.but(office.settings.email.model_copy(update={"port": 1}))
    worker = await office.start(settings=nowhere)

    async def failed() -> bool:
        return bool(await office.sql.fetchval("SELECT attempts > 1 FROM deliveries"))

    await eventually(failed)
    assert "no connection to the mail server" in (await office.delivery())["last_error"]
    await worker.stop()
    await office.start()
    await office.settled()
    assert len(smtp.raw) == 1


# ---- webhooks


async def test_a_webhook_is_signed_as_standard_webhooks_are(office: Office, http: HttpReceiver) -> None:
    lin = await office.account()
    await office.only(lin, "webhook")
    old = "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk"
    await office.webhook(
        lin, f"{http.url}/hook", previous_secret=old, previous_secret_until=datetime(2100, 1, 1, tzinfo=UTC)
    )
    reminder = await office.remind(lin, "买牛奶", due_after=3_600)
    await office.start()
    await office.settled()
    (posted,) = http.ledger
    message, same = (standardwebhooks.Webhook(s).verify(posted.body, posted.headers) for s in (SECRET, old))
    assert message == same
    delivery = await office.delivery()
    todo = await office.sql.fetchrow("SELECT * FROM todos")
    assert message["type"] == "reminder.due"
    assert datetime.fromisoformat(message["timestamp"]) == delivery["due_at"]
    assert message["data"] == {
        "delivery_id": str(delivery["id"]),
        "reminder_id": reminder,
        "occurrence": 1,
        "remind_at": message["timestamp"],
        "todo_id": str(todo["id"]),
        "title": "买牛奶",
        "due_at": todo["due_at"].isoformat().replace("+00:00", "Z"),
    }
    assert posted.id == str(delivery["id"])
    assert posted.headers["content-type"] == "application/json"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(posted.body + b" ", posted.headers)


async def test_a_secret_that_has_had_its_time_signs_no_more(office: Office, http: HttpReceiver) -> None:
    lin = await office.account()
    await office.only(lin, "webhook")
    await office.webhook(lin, http.url, previous_secret=SECRET, previous_secret_until=datetime(2020, 1, 1, tzinfo=UTC))
    await office.remind(lin)
    await office.start()
    await office.settled()
    assert len(http.ledger[0].headers["webhook-signature"].split()) == 1


async def test_a_repeat_has_the_same_id_and_the_same_body_whatever_becomes_of_the_todo(
    office: Office, http: HttpReceiver
) -> None:
    http.status = 500
    lin = await office.webhook_account(http.url)
    await office.remind(lin, "Buy milk")
    await office.start()
    async with asyncio.timeout(10):
        await http.wait_for(1)
    await office.sql.execute("UPDATE todos SET title = 'Buy tea', due_at = NULL")
    async with asyncio.timeout(10):
        await http.wait_for(3)
    http.status = 202
    await office.settled()
    assert len({(posted.id, posted.body) for posted in http.ledger}) == 1
    assert json.loads(http.ledger[0].body)["data"]["title"] == "Buy milk"
    delivery = await office.delivery()
    assert delivery["state"] == "sent"
    assert (delivery["webhook_title"], delivery["webhook_due_at"]) == (None, None), "kept no longer than it is needed"
    assert await office.sql.fetchval("SELECT failing_since FROM webhooks") is None


async def test_a_dead_letter_that_is_sent_again_has_the_body_of_its_first_attempt(
    office: Office, http: HttpReceiver
) -> None:
    lin = await office.webhook_account(http.url)
    await office.remind(lin, "Buy milk")
    http.status = 500
    worker = await office.start(give_up_seconds=1e-6)
    await office.settled()
    assert await office.states() == {"dead": 1}
    await worker.stop()
    await office.sql.execute("UPDATE todos SET title = 'Buy tea'")
    pool = StatementPool(office.settings.database)
    assert await DeadLetters(pool).retry(None) == 1
    await pool.close()
    http.status = 200
    await office.start()
    await office.settled()
    assert len({(posted.id, posted.body) for posted in http.ledger}) == 1
    assert await office.states() == {"sent": 1}


async def test_what_is_posted_is_what_openapi_says(office: Office, http: HttpReceiver) -> None:
    lin = await office.webhook_account(http.url)
    await office.remind(lin)
    await office.remind(lin)
    await office.sql.execute("UPDATE todos SET due_at = NULL WHERE id = (SELECT min(id::text)::uuid FROM todos)")
    await office.start()
    await office.settled(2)
    document = create_app(office.settings).openapi()
    operation = document["webhooks"]["reminder.due"]["post"]
    schema = {**operation["requestBody"]["content"]["application/json"]["schema"], "components": document["components"]}
    for posted in http.ledger:
        assert {each["name"] for each in operation["parameters"]} <= posted.headers.keys()
        body = json.loads(posted.body)
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(body)
        described = document["components"]["schemas"]
        assert body.keys() == described["ReminderDue"]["properties"].keys()
        assert body["data"].keys() == described["ReminderDueData"]["properties"].keys()
