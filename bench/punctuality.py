"""How late reminders are: many due at one instant, and some beside a receiver that hangs."""

from datetime import timedelta
from statistics import median

from bench import report
from bench.engine import EngineError, Servers
from bench.reminder_rows import Lateness, Rows, Sent
from bench.sampling import Ratio

ACCOUNTS = 500
AT_ONCE = 10_000
LEAD_SECONDS = 6.0
ADDED_BOUND = 1.10
FAST_PER_SECOND = 100
HANGING_PER_SECOND = 20
WAYS = (("webhook", ("webhook",)), ("inbox + webhook", ("inbox", "webhook")))


async def same_second(servers: Servers, rows: Rows, *, quick: bool) -> dict[str, object]:
    """10,000 due at one instant: by webhook alone, then (not if `quick`) by inbox and webhook."""
    print(f"\n{AT_ONCE:,} reminders due at one instant, {ACCOUNTS} receivers, two worker processes and beat")
    found: dict[str, object] = {}
    for name, channels in WAYS[:1] if quick else WAYS:
        accounts = await rows.accounts(ACCOUNTS, servers.receiver, inbox="inbox" in channels)
        for number in range(1 if quick else 3):
            before = servers.received()
            due = await rows.now() + timedelta(seconds=LEAD_SECONDS)
            batch = await rows.remind(accounts, AT_ONCE, due)
            await rows.calm(due)
            await rows.wait_until(due)
            await rows.drained(due)
            if servers.received() - before != AT_ONCE:
                raise EngineError(f"{servers.received() - before} requests for {AT_ONCE} deliveries")
            for channel in channels:
                sent = await rows.sent(batch, channel)
                found[f"{name}, round {number + 1}, {channel}"] = sent
                label = f"{name}: " if len(channels) == 1 else f"{name}, {channel}: "
                print(f"  {label}drained in {sent.drain_seconds:.2f} s; late: {sent.late}")
    return found


async def hanging(servers: Servers, rows: Rows, *, quick: bool) -> tuple[dict[str, object], list[Ratio]]:
    """A steady stream to fast receivers, in turns with and without one beside them that accepts and never answers."""
    seconds, rounds = (4, 1) if quick else (15, 5)
    print(
        f"\n{FAST_PER_SECOND} reminders a second to 50 fast receivers for {seconds} s, and {HANGING_PER_SECOND} to"
        f" one more,\nwhich answers as well (`without`), or accepts and never answers (`with`): {rounds} round(s) each"
    )
    fast = await rows.accounts(50, servers.receiver, inbox=False)
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
            f"hanging receiver: others' {what} lateness, with / without",
            [getattr(sent.late, what) for sent in taken["with"]],
            [getattr(sent.late, what) for sent in taken["without"]],
            None if quick else ADDED_BOUND,  # beat's ticks differ by more than that over a few seconds
        )
        for what in ("p50", "p99")
    ]
    print(*ratios, sep="\n")
    return {"samples": taken, "ratios": [ratio.values for ratio in ratios]}, ratios


async def _stream(servers: Servers, rows: Rows, fast: list[str], seconds: int, *, hang: bool) -> Sent:
    """One phase. Afterwards the hanging receiver answers, and all that waited for it is sent and out of the way."""
    servers.hang(hanging=hang)
    begin = await rows.now() + timedelta(seconds=2)
    batch = await rows.remind(fast, FAST_PER_SECOND * seconds, begin, seconds)
    one = await rows.accounts(1, f"{servers.receiver}/hang", inbox=False)
    beside = await rows.remind(one, HANGING_PER_SECOND * seconds, begin, seconds)
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
