"""`make audit`: known vulnerabilities of everything that constraints.txt pins, by pip-audit.

Exit codes: 0 every pin was looked up and none is known to be vulnerable; 1 some are; 3 it could not be told of all of them
(no network, no pip-audit, a package that the advisories do not know). What was not looked up never counts as good.

    python deploy/supply/advisories.py [OPTIONS OF PIP-AUDIT]
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NONE_KNOWN, VULNERABLE, UNKNOWN = 0, 1, 3
PINS = Path(__file__).resolve().parents[2] / "constraints.txt"


def verdict(output: str, pinned: int) -> tuple[int, list[str]]:
    """Of pip-audit's JSON: the exit code, and what to say. `pinned`: how many there should be."""
    try:
        looked_up: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return UNKNOWN, ["no advisories could be had: nothing is known of any of them"]
    vulnerable = [
        f"{one['name']} {one['version']}: {', '.join(found['id'] for found in one['vulns'])}"
        for one in looked_up
        if one.get("vulns")
    ]
    skipped = [f"{one['name']}: not looked up" for one in looked_up if "skip_reason" in one]
    missing = pinned - len(looked_up)
    if missing > 0:
        skipped.append(f"{missing} pins: not looked up")
    if vulnerable:
        return VULNERABLE, vulnerable + skipped
    if skipped:
        return UNKNOWN, skipped
    return NONE_KNOWN, [f"{len(looked_up)} pins: no known vulnerability"]


def main(options: Sequence[str]) -> int:
    pinned = sum("==" in line for line in PINS.read_text(encoding="utf-8").splitlines())
    command = [sys.executable, "-m", "pip_audit", "-r", str(PINS), "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--format", "json", *options]
    # What it says where it fails may name the service that it asked: the verdict is enough.
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own arguments
    code, said = verdict(run.stdout, pinned)
    sys.stderr.write("\n".join(said) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
