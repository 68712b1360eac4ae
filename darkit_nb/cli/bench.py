"""`bench`: how fast it is here, as rows."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

from cyclopts import Parameter

import darkit_nb
from darkit_nb.errors import ConfigError

PACKAGE = Path(darkit_nb.__file__).parent
IN_WHEEL, IN_CHECKOUT = PACKAGE / "benchmarks", PACKAGE.parent / "benchmarks"


def bench(
    *names: str,
    quick: Annotated[bool, Parameter(negative="")] = False,
    device: Literal["cpu", "cuda"] = "cpu",
    out: str | None = None,
) -> int:
    """Measure neurons, spiking products and training steps on this machine, against rivals that do the same work.

    Every result is checked before it is timed, rivals take turns in one process, and each row names commit, machine,
    versions, medians and spreads. What this machine cannot measure is a row that says so.

    Try:

        darkit-nb bench --quick
        darkit-nb bench --device cuda

    Args:
        names: Benchmarks to run; all of the device if not given. In a checkout there are more than in an installation.
        quick: Smallest sizes, to see that everything runs; nothing is recorded.
        device: What to measure.
        out: Folder for the rows, one .jsonl a benchmark; in a checkout benchmarks/results, else darkit-bench.
    """
    runner, folder = _runner()
    return runner.run_benchmarks(names, quick=quick, device=device, results=Path(out) if out else folder)


def _runner() -> tuple[ModuleType, Path]:
    """The runner of the benchmarks, and where its rows go: a wheel carries those that need nothing else."""
    if (IN_WHEEL / "__main__.py").is_file():
        return import_module(f"{darkit_nb.__name__}.benchmarks.__main__"), Path("darkit-bench")
    if (IN_CHECKOUT / "__main__.py").is_file():
        if str(IN_CHECKOUT.parent) not in sys.path:
            sys.path.insert(0, str(IN_CHECKOUT.parent))
        return import_module("benchmarks.__main__"), IN_CHECKOUT / "results"
    raise ConfigError(
        "This installation carries no benchmarks.",
        expected=f"{IN_WHEEL} or {IN_CHECKOUT}",
        received="neither",
        fix="install the wheel again, or run it in a checkout",
    )
