"""`python -m tests.chaos --seconds 120 --seed 7`: exits with 0 if nothing was lost or doubled, else with 1."""

from __future__ import annotations

import asyncio
import logging
import sys

from dev.processes import ServerError, exit_on_sigterm
from tests.chaos import options
from tests.chaos.run import Run, directory, say
from todo_core import logs
from todo_core.settings import RuntimeSettings

OVERHEAD_SECONDS = 400
"""The time limit for start, drain and stop together."""


async def run(chosen: options.Options) -> int:
    """Do one run; return the exit status."""
    failed = True
    with directory(lambda: failed or chosen.keep) as path:
        async with asyncio.timeout(chosen.seconds + OVERHEAD_SECONDS):
            verdict = await Run(chosen, path).carry_out()
        failed = bool(verdict.violations)
    print("\nFAILED" if failed else "\nNothing was lost, and nothing was doubled without a reason.", flush=True)
    return int(failed)


def main() -> int:
    """Read the command line, run, and print the result."""
    chosen = options.parse()
    exit_on_sigterm()
    logs.configure(RuntimeSettings(environment="test", log_level="WARNING"))
    for noisy in ("asyncio", "mail.log"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    say(f'seed {chosen.seed}: make chaos ARGS="--seconds {chosen.seconds} --seed {chosen.seed}"')
    try:
        return asyncio.run(run(chosen))
    except ServerError as error:
        print(error, file=sys.stderr)
        return 2
    except TimeoutError:
        print("FAILED: it took far too long; the logs may say why.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
