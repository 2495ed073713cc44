"""Nothing gets into a log line but what `broker.observability.log_events` allows: read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.observability.log_events import FIELDS, FORMATTED, NUMBERS, ONLY_IN

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path for package in ("broker", "registry", "adapters") for path in (ROOT / package).rglob("*.py")
)
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def is_logger(node: ast.expr) -> bool:
    return ast.unparse(node) in {"_log", "log", "logger"} or "getLogger(" in ast.unparse(node)


def calls(source: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in LEVELS and is_logger(node.func.value):
            yield node


def is_literal(node: ast.expr) -> bool:
    """A text of the code's own: nothing was put into it yet."""
    if isinstance(node, ast.IfExp):
        return is_literal(node.body) and is_literal(node.orelse)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_allowed(node: ast.expr) -> bool:
    text = ast.unparse(node)
    if isinstance(node, ast.BinOp):  # a sum or difference of numbers
        return all(isinstance(one, ast.Constant) or is_number(one) for one in (node.left, node.right))
    if is_number(node) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "len"):
        return True
    return any(text == end or text.endswith(f".{end}") for end in FORMATTED)


def is_number(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return any(text == end or text.endswith(f".{end}") for end in NUMBERS)


def faults(source: str, module: str = "") -> list[str]:
    found = []
    for call in calls(source):
        level_first = isinstance(call.func, ast.Attribute) and call.func.attr == "log"
        text, *values = call.args[1:] if level_first else call.args
        if not is_literal(text):
            found.append(f"{call.lineno}: the text is put together")
        values = [one for one in values if ONLY_IN.get(ast.unparse(one), "") != module or not module]
        found += [f"{call.lineno}: {ast.unparse(one)}" for one in values if not is_allowed(one)]
        found += [
            f"{call.lineno}: {one.arg}" for one in call.keywords if one.arg not in ("exc_info", "extra")
        ]
    return found


def test_a_log_line_is_given_only_what_is_allowed() -> None:
    sources = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in MODULES}
    found = {module: faults(source, module) for module, source in sources.items()}
    assert {module: wrong for module, wrong in found.items() if wrong} == {}


def test_there_are_calls_to_look_at() -> None:
    assert sum(1 for path in MODULES for _ in calls(path.read_text(encoding="utf-8"))) > 60


@pytest.mark.parametrize(
    "line",
    [
        "_log.info('asked %s', request.path)",
        "_log.info('asked %s', str(error))",
        "_log.info('asked %s', error)",
        "_log.warning(f'no {name}')",
        "_log.log(level, 'x' + name)",
        "logging.getLogger('broker').error('%s', patient)",
        "_log.info('late by %d', now - patient)",
    ],
)
def test_what_is_not_allowed_is_found(line: str) -> None:
    assert faults(line)


def test_extra_fields_are_those_of_the_catalogue() -> None:
    """`extra` is given in one place, by names that the catalogue explains."""
    giving = [
        path
        for path in MODULES
        for call in calls(path.read_text(encoding="utf-8"))
        if any(one.arg == "extra" for one in call.keywords)
    ]
    assert [path.relative_to(ROOT).as_posix() for path in giving] == ["broker/observability/log_events.py"]
    tree = ast.parse(giving[0].read_text(encoding="utf-8"))
    named = {
        key.value
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "tell_requests"
        for inner in ast.walk(node)
        if isinstance(inner, ast.Dict)
        for key in inner.keys
        if isinstance(key, ast.Constant)
    } | {"client", "reason", "trace_id"}  # the last by the formatter
    assert named == set(FIELDS)
