"""Run benchmarks and append their rows: `darkit-nb bench` or `python -m benchmarks [--quick] [name …]`.

`--quick` runs everything once at its smallest size, checks that rivals agree, and records nothing.
"""

from __future__ import annotations

import argparse
import json
import pkgutil
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from .harness import RESULTS, record

PACKAGE = __package__ or "benchmarks"


def benchmarks() -> dict[str, ModuleType]:
    """Every benchmark there is, by name: the modules of this package that define `run`."""
    folder = Path(__file__).parent
    names = sorted(each.name for each in pkgutil.iter_modules([str(folder)]) if each.name != "__main__")
    found = {name: import_module(f"{PACKAGE}.{name}") for name in names if "def run(" in _source(folder, name)}
    return {name: module for name, module in found.items() if hasattr(module, "run")}


def _source(folder: Path, name: str) -> str:
    # Read before it is imported: what is no benchmark may need packages that are not here.
    file = folder / f"{name}.py"
    return file.read_text() if file.is_file() else ""


def run_benchmarks(
    names: Sequence[str] = (), *, quick: bool = False, device: str = "cpu", results: Path = RESULTS
) -> int:
    """Run benchmarks, print every row, and append it unless `quick`.

    Args:
        names: which ones; without a name all that measure `device`.
        quick: smallest sizes, nothing recorded.
        device: cpu or cuda.
        results: folder of the rows.

    Returns:
        0, or 2 where a name is unknown.
    """
    known = benchmarks()
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"no benchmark called {', '.join(unknown)}; there are {', '.join(known) or 'none'}", file=sys.stderr)
        return 2
    chosen = names or [name for name, module in known.items() if getattr(module, "DEVICE", "cpu") == device]
    for name in chosen:
        start = time.perf_counter()
        for row in known[name].run(quick):
            stamped = row if quick else record(name, row, results=results)
            print(json.dumps(stamped, ensure_ascii=False), flush=True)
        print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    if not quick and chosen:
        print(f"rows: {results}", flush=True)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="which ones; all of the device without a name")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, nothing recorded")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="what to measure")
    arguments = parser.parse_args()
    sys.exit(run_benchmarks(arguments.names, quick=arguments.quick, device=arguments.device))


if __name__ == "__main__":
    main()
