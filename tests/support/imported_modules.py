"""`cds-broker`, which says at its end which modules of traces it imported. `TEST_ABSENT` in the environment: as if the extra
`otel` were not installed."""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

OF_THE_EXTRA = ("opentelemetry", "google", "requests")
OF_TRACES = (*OF_THE_EXTRA, "adapters.tracing")
IMPORTED = "imported of traces: "


def is_of_redis(name: str) -> bool:
    """Whether redis-py imports it by itself, where it is installed: never what makes or sends spans."""
    made = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.proto")
    return name.startswith("opentelemetry") and not name.startswith(made)


class _Absent(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith(OF_THE_EXTRA):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def _tell() -> None:
    found = sorted(name for name in sys.modules if name.startswith(OF_TRACES))
    print(f"{IMPORTED}{json.dumps(found)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    atexit.register(_tell)
    if os.environ.get("TEST_ABSENT"):
        sys.meta_path.insert(0, _Absent())
    from broker.__main__ import main

    main()
