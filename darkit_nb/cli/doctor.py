"""`doctor`: what this machine can do."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def doctor(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Check this machine, and say in one line how to mend each lack.

    Ends with status 1 if something that training needs is missing.

    Args:
        json: Print the report as JSON.
    """
    from darkit_nb.doctor import examine

    report = examine()
    print(report.to_json() if json else report.to_text())
    return 0 if report.ready else 1
