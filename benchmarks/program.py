"""How every benchmark runs: an expected error ends it with one line and exit code 1, as it ends a segcct command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from segcct.errors import SegcctError, reason_of


def run(main: Callable[[], int | None]) -> NoReturn:
    """Call `main` and end the process with the exit code that it returns (0 for None)."""
    try:
        code = main()
    except (SegcctError, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {reason_of(error)}")
    sys.exit(code)
