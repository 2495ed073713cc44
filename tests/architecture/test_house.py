"""The rules of the house that a linter cannot hold: read from the source, so that they cannot be forgotten."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("broker", "registry", "adapters")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_LINES = 400


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names of what a module calls, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def test_imports_keep_the_contracts() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert run.returncode == 0, run.stdout[-3000:]
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", run.stdout)


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 80


def test_no_module_is_longer_than_can_be_read() -> None:
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {where: length for where, length in lengths.items() if length > MAX_LINES} == {}


_CLOCKS = re.compile(
    r"(^|\.)(datetime|date)\.(now|today|utcnow)$|^time\.(time|time_ns|monotonic|perf_counter)$"
)


def test_the_time_comes_from_the_clock() -> None:
    elsewhere = [path for path in MODULES if name(path) != "adapters/clock.py"]
    assert [(name(path), call) for path in elsewhere for call in calls(path) if _CLOCKS.search(call[0])] == []


def test_the_clock_is_where_it_was() -> None:
    assert any(_CLOCKS.search(call) for call, _ in calls(ROOT / "adapters/clock.py"))


PURE = [path for path in MODULES if name(path).startswith("broker/core/")] + [
    ROOT / "registry/model.py",
    ROOT / "registry/validation.py",
    ROOT / "registry/versions.py",
    ROOT / "broker/errors.py",
]
IMPURE_MODULES = {
    "aiohttp", "redis", "asyncio", "threading", "time", "random", "secrets", "logging", "structlog", "socket",
    "subprocess", "os", "pathlib", "tempfile", "uuid",
}  # fmt: skip


def test_the_core_is_pure() -> None:
    assert {name(path): faults for path in PURE if (faults := impurities(path))} == {}


def impurities(path: Path) -> list[object]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        one.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for one in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
    }
    return [
        *sorted(imported & IMPURE_MODULES),
        *(node.lineno for node in ast.walk(tree) if isinstance(node, ast.Await | ast.AsyncFunctionDef)),
        *(call for call in calls(path) if call[0] in ("open", "print", "input")),
    ]


def test_annotations_are_postponed() -> None:
    texts = {name(path): path.read_text(encoding="utf-8") for path in MODULES if path.name != "__init__.py"}
    postponing = "from __future__ import annotations"
    assert [where for where, text in texts.items() if text.strip() and postponing not in text] == []


def test_no_lint_is_silenced_wholesale() -> None:
    blanket = re.compile(r"#\s*noqa(?!:)|#\s*type:\s*ignore(?!\[)|#\s*ruff:\s*noqa")
    found = ((name(path), comment) for path in MODULES for comment in comments(path))
    assert [one for one in found if blanket.search(one[1])] == []


def comments(path: Path) -> Iterator[str]:
    with tokenize.open(path) as source:
        for one in tokenize.generate_tokens(source.readline):
            if one.type == tokenize.COMMENT:
                yield one.string


def committed() -> list[Path]:
    """What git keeps, or would: nothing of what it ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
    if run.returncode != 0:
        pytest.skip("not a git repository")
    return [path for one in run.stdout.decode().split("\0") if one and (path := ROOT / one).is_file()]


_REGISTRIES = re.compile(
    r"(--(extra-)?index-url|^\s*index-url\s*=|registry\s*=\s*http|\bpypi\.(org|io)\b|\bregistry\.npmjs\b"
    r"|pythonhosted|/simple/?\s*$|--find-links|[Aa]rtifactory|\bnexus\.)",
    re.MULTILINE,
)


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is for the machine to say, not for the repository."""
    found = []
    for path in committed():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [(name(path), one[0]) for one in _REGISTRIES.finditer(text)]
    assert found == []


_MODULES = {"pyjwt": "jwt"}
"""What a dependency is imported as, where that is not its name."""


def test_every_dependency_is_pinned_and_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {
        canonical(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    declared = [canonical(re.split(r"[<>=~!;\[ ]", one)[0]) for one in project["dependencies"]]
    developing = project["optional-dependencies"]["dev"]
    assert {*declared, *(canonical(re.split(r"[<>=~!;\[ ]", one)[0]) for one in developing)} <= pins
    source = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
    modules = {one: {one, one.replace("-", "_"), _MODULES.get(one, one)} for one in declared}
    unused = [
        one
        for one, names in modules.items()
        if not any(
            re.search(rf"^\s*(import|from) {re.escape(name)}\b", source, re.MULTILINE) for name in names
        )
    ]
    assert unused == []


def canonical(project: str) -> str:
    """PEP 503, but for dots, which are part of a module's name here."""
    return re.sub(r"[-_]+", "-", project.strip()).lower()
