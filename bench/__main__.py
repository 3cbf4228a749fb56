"""`python -m bench [routes|depth|storage] [--quick]`; without a name, all."""

import argparse
import sys
from collections.abc import Awaitable, Callable

import uvloop

from bench import depth, report, routes, storage
from bench.load import LoadError
from bench.sampling import Ratio
from bench.stack import Stack, StackError
from dev.processes import exit_on_sigterm
from dev.servers import ServerError

Benchmark = Callable[..., Awaitable[tuple[dict[str, object], list[Ratio]]]]
BENCHMARKS: dict[str, Benchmark] = {"routes": routes.run, "depth": depth.run, "storage": storage.run}


def main() -> int:
    """Run what was asked for; 0 if every bound is kept, 1 if one is broken, 2 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures what docs/performance.md promises.")
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="one benchmark; without it, all")
    parser.add_argument("--quick", action="store_true", help="fewer requests: coarser, for CI")
    arguments = parser.parse_args()
    exit_on_sigterm()
    try:
        ratios = uvloop.run(_run([arguments.name] if arguments.name else list(BENCHMARKS), quick=arguments.quick))
    except (LoadError, StackError, ServerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    broken = [ratio for ratio in ratios if not ratio.kept]
    print("\nEvery bound is kept." if not broken else "\nBROKEN:", *broken, sep="\n  " if broken else "")
    return 1 if broken else 0


async def _run(names: list[str], *, quick: bool) -> list[Ratio]:
    facts: dict[str, str] = {}
    sections: dict[str, dict[str, object]] = {}
    ratios: list[Ratio] = []
    for name in names:
        # A cluster each, so that 100,000 rows of one benchmark are not in the other's tables.
        with Stack() as stack:
            stack.migrate()
            if not facts:
                facts = report.machine(await stack.postgres_version())
                print(report.machine_lines(facts))
            sections[name], found = await BENCHMARKS[name](stack, quick=quick)
            ratios += found
    report.save(facts, sections)
    return ratios


if __name__ == "__main__":
    sys.exit(main())
