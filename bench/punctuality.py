"""How late reminders are: many due at one instant, and some beside receivers that hang."""

from datetime import timedelta
from statistics import median

from bench import report
from bench.engine import EngineError, Servers
from bench.reminder_rows import Lateness, Rows, Sent
from bench.sampling import Ratio

ACCOUNTS = 500
AT_ONCE = 10_000
LEAD_SECONDS = 6.0
INBOX_BOUND = 5.0
ADDED_BOUND = 2.0
HANGING = 30
FAST_PER_SECOND = 100
HANGING_PER_SECOND = 5
WAYS = (("inbox", ("inbox",)), ("webhook", ("webhook",)), ("inbox + webhook", ("inbox", "webhook")))


async def same_second(servers: Servers, rows: Rows, *, quick: bool) -> tuple[dict[str, object], Ratio]:
    """10,000 due at one instant: by inbox, by webhook, then (not if `quick`) by both."""
    print(f"\n{AT_ONCE:,} reminders due at one instant, {ACCOUNTS} receivers, two worker processes and beat")
    found: dict[str, object] = {}
    inbox: list[float] = []
    for name, channels in WAYS[:2] if quick else WAYS:
        accounts = await rows.accounts(ACCOUNTS, servers.receiver, channels)
        for number in range(1 if quick else 3):
            before = servers.received()
            due = await rows.now() + timedelta(seconds=LEAD_SECONDS)
            batch = await rows.remind(accounts, AT_ONCE, due)
            await rows.calm(due)
            await rows.wait_until(due)
            await rows.drained(due)
            if servers.received() - before != (AT_ONCE if "webhook" in channels else 0):
                raise EngineError(f"{servers.received() - before} requests for {AT_ONCE} deliveries")
            for channel in channels:
                sent = await rows.sent(batch, channel)
                found[f"{name}, round {number + 1}, {channel}"] = sent
                label = f"{name}: " if len(channels) == 1 else f"{name}, {channel}: "
                print(f"  {label}drained in {sent.drain_seconds:.2f} s; late: {sent.late}")
                if channels == ("inbox",):
                    inbox.append(sent.late.p99)
    bound = Ratio.of("inbox alone: lateness p99 in seconds", inbox, [1.0] * len(inbox), None if quick else INBOX_BOUND)
    print(bound)
    return found, bound


async def hanging(servers: Servers, rows: Rows, *, quick: bool) -> tuple[dict[str, object], list[Ratio]]:
    """A steady stream to fast receivers, in turns with and without others beside them that accept and never answer."""
    seconds, rounds = (4, 1) if quick else (15, 5)
    print(
        f"\n{FAST_PER_SECOND} reminders a second to 50 fast receivers for {seconds} s, and {HANGING_PER_SECOND} to each"
        f" of {HANGING} more,\nwhich answer as well (`without`), or accept and never answer (`with`): {rounds} round(s)"
        " each"
    )
    fast = await rows.accounts(50, servers.receiver, ("webhook",))
    taken: dict[str, list[Sent]] = {"without": [], "with": []}
    for number in range(rounds):
        for name in ("without", "with") if number % 2 == 0 else ("with", "without"):
            taken[name].append(await _stream(servers, rows, fast, seconds, hang=name == "with"))
    head = ("", "late p50 ms", "p99 ms", "max ms", "after claim p50 ms", "p99 ms", "max ms")
    table = [
        (name, *_columns([sent.late for sent in sents]), *_columns([sent.after_claim for sent in sents]))
        for name, sents in taken.items()
    ]
    print(report.table([head, *table]))
    print("  Most of the lateness is the wait for beat's tick, once a second; `after claim` is without it.")
    ratios = [
        Ratio.of(
            f"{HANGING} hanging receivers: others' {what} lateness, with / without",
            [getattr(sent.late, what) for sent in taken["with"]],
            [getattr(sent.late, what) for sent in taken["without"]],
            None if quick else ADDED_BOUND,  # beat's ticks differ by more than that over a few seconds
        )
        for what in ("p50", "p99")
    ]
    print(*ratios, sep="\n")
    return {"samples": taken, "ratios": [ratio.values for ratio in ratios]}, ratios


async def _stream(servers: Servers, rows: Rows, fast: list[str], seconds: int, *, hang: bool) -> Sent:
    """One phase. Afterwards the hanging receivers answer, and all that waited for them is sent and out of the way."""
    servers.hang(hanging=hang)
    begin = await rows.now() + timedelta(seconds=2)
    batch = await rows.remind(fast, FAST_PER_SECOND * seconds, begin, seconds)
    others = await rows.accounts(HANGING, f"{servers.receiver}/hang", ("webhook",))
    beside = await rows.remind(others, HANGING * HANGING_PER_SECOND * seconds, begin, seconds)
    await rows.calm(begin)
    await rows.wait_until(batch.last + timedelta(seconds=1.5))
    servers.hang(hanging=False)
    await rows.drained(batch.last)
    await rows.sent(beside)
    return await rows.sent(batch)


def _columns(late: list[Lateness]) -> tuple[str, str, str]:
    return (
        f"{median(each.p50 for each in late) * 1e3:.1f}",
        f"{median(each.p99 for each in late) * 1e3:.1f}",
        f"{median(each.longest for each in late) * 1e3:.1f}",
    )
