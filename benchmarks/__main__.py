"""Run benchmarks and append their rows: `python -m benchmarks [--quick] [name …]`.

`--quick` runs everything once at its smallest size, checks that rivals agree, and records nothing.
"""

from __future__ import annotations

import argparse
import json
import pkgutil
import time
from importlib import import_module

import benchmarks
from benchmarks.harness import record


def names() -> list[str]:
    """Every benchmark there is: the modules of this package that define `run`."""
    found = [
        each.name for each in pkgutil.iter_modules(benchmarks.__path__) if each.name not in ("__main__", "harness")
    ]
    return sorted(name for name in found if hasattr(import_module(f"benchmarks.{name}"), "run"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="which ones; all of them without a name")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, nothing recorded")
    arguments = parser.parse_args()
    known = names()
    unknown = sorted(set(arguments.names) - set(known))
    if unknown:
        parser.error(f"no benchmark called {', '.join(unknown)}; there are {', '.join(known) or 'none'}")
    for name in arguments.names or known:
        start = time.perf_counter()
        for row in import_module(f"benchmarks.{name}").run(arguments.quick):
            print(json.dumps(row if arguments.quick else record(name, row), ensure_ascii=False), flush=True)
        print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
