"""`doctor`: what this machine can do."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def doctor(
    *, json: Annotated[bool, Parameter(negative="")] = False, build: Annotated[bool, Parameter(negative="")] = False
) -> int:
    """Check this machine, and say in one line how to mend each lack.

    Ends with status 1 if something that training needs is missing.

    Args:
        json: Print the report as JSON.
        build: Build the CPU library first, with the C++ compiler of this machine.
    """
    from darkit_nb.doctor import examine
    from darkit_nb.doctor.native import build_native_library

    if build and not build_native_library():
        return 1
    report = examine()
    print(report.to_json() if json else report.to_text())
    return 0 if report.ready else 1
