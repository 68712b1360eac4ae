"""`python -m darkit_nb.convert.plan_worker REQUEST`: the plan of a conversion as JSON, for forms that load no model."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from darkit_nb.errors import DarkitError
from darkit_nb.records.conversion_request import ConversionRequest

EXIT_ERROR = 2


def main(arguments: Sequence[str]) -> int:
    """Print the plan, or what stands in its way; returns the exit code.

    Args:
        arguments: a `ConversionRequest` as JSON.
    """
    try:
        request = ConversionRequest.from_dict(json.loads(arguments[0]))
        # Here, so that settings that cannot be meant are told before torch takes its seconds.
        from darkit_nb.convert.job import plan_of

        print(json.dumps(plan_of(request).to_dict()))
    except DarkitError as error:
        print(f"darkit-nb: {error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
