"""How commands end that cannot be done."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.errors import YardmasterError


@contextmanager
def told() -> Iterator[None]:
    """What we raise on purpose becomes one sentence on standard error and exit code 2."""
    try:
        yield
    except YardmasterError as error:
        sys.stderr.write(f"yardmaster: {error.message}\n")
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"yardmaster: the package {error.name!r} is missing; `make environment` installs the locked ones.\n"
        )
        raise SystemExit(2) from None
