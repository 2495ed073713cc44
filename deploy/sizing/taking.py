"""Figures out of the JSON that `make bench` and `make soak` write, into `measured.json`.

Each figure there says where it is to be found: `terms`, to be added up, each a `path` of names, of numbers (places in a
list), and of objects (the first of a list that has all of their values), with `times` where it is to be multiplied.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

QUIET = 0.5
"""Load of a machine, per processor, above which what was measured on it counts as measured on a busy one."""


def take(measured: Path, files: Sequence[Path]) -> Iterator[str]:
    """Write what is found; a line of each figure. The last file that has all terms of a figure counts."""
    told = json.loads(measured.read_text(encoding="utf-8"))
    found = [(file, json.loads(file.read_text(encoding="utf-8"))) for file in files]
    for name, figure in told["figures"].items():
        for file, document in found:
            value = worth(document, figure.get("terms", ()))
            if value is None or value <= 0:
                continue
            yield f"{name}: {figure['value']} becomes {value:.4g} ({file.name})"
            status = "measured" if is_quiet(document) or name.endswith("_bytes") else "loaded"
            figure |= {"value": float(f"{value:.4g}"), "status": status, "file": file.name}
    for _, document in found:
        told["machine"] = ", ".join(f"{name} {value}" for name, value in document.get("machine", {}).items())
    measured.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def worth(document: Mapping[str, Any], terms: Sequence[Mapping[str, Any]]) -> float | None:
    """None where one of them is not there."""
    whole = 0.0
    for term in terms:
        value = at(document, term["path"])
        if not isinstance(value, int | float):
            return None
        whole += value * term.get("times", 1)
    return whole if terms else None


def at(document: Any, path: Sequence[Any]) -> Any:
    """None where it leads nowhere."""
    for step in path:
        if isinstance(step, Mapping):
            among = document if isinstance(document, list) else ()
            document = next((one for one in among if step.items() <= one.items()), None)
        elif isinstance(step, int) and isinstance(document, list):
            document = document[step] if -len(document) <= step < len(document) else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
        if document is None:
            return None
    return document


def is_quiet(document: Mapping[str, Any]) -> bool:
    """By the load when it began, where the document tells it."""
    machine = document.get("machine", {})
    try:
        return float(machine["load"]) / float(machine["cpus"]) <= QUIET
    except (KeyError, ValueError):
        return False
