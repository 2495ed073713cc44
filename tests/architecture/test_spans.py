"""Nothing gets into a span but what `broker.tracing.ATTRIBUTES` allows: read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from broker.tracing import ATTRIBUTES

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path for package in ("broker", "registry", "adapters") for path in (ROOT / package).rglob("*.py")
)
VARIABLE = {
    "method",
    "route",
    "template",
    "status",
    "request_id",
    "reason",
    "why",
    "attempt",
    "together",
    "outcome",
}
"""Names that a value may have: each holds a code, a number, a template, or the request's id."""
OF_SOMETHING = {
    "answer.status",
    "change.manager",
    "error.status",
    "kind.value",
    "manager.id",
    "outcome.value",
    "request.method",
}


def notes(source: str) -> Iterator[ast.Call]:
    """Calls of `span.note`, whatever the span is called."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        noting = node.func.attr == "note" and len(node.args) == 2
        if noting and "span" in ast.unparse(node.func.value):
            yield node


def is_allowed(value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return True
    if isinstance(value, ast.Call):
        return ast.unparse(value.func) == "len"
    text = ast.unparse(value)
    return text in VARIABLE or text in OF_SOMETHING


def faults(source: str) -> list[str]:
    found = []
    for call in notes(source):
        name, value = call.args
        if not isinstance(name, ast.Constant) or name.value not in ATTRIBUTES:
            found.append(f"{call.lineno}: {ast.unparse(name)}")
        if not is_allowed(value):
            found.append(f"{call.lineno}: {ast.unparse(value)}")
    return found


def test_a_span_is_given_only_what_is_allowed() -> None:
    sources = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in MODULES}
    assert {name: told for name, text in sources.items() if (told := faults(text))} == {}


def test_what_the_catalogue_explains_is_told_somewhere() -> None:
    given = {
        ast.literal_eval(call.args[0]) for path in MODULES for call in notes(path.read_text(encoding="utf-8"))
    }
    assert set(ATTRIBUTES) - given == {"error.type"}  # which `failed` gives


def test_what_is_not_allowed_is_found() -> None:
    for line in (
        "span.note('patient', 1)",
        "span.note(name, 1)",
        "span.note('cds.manager', request.path)",
        "span.note('cds.manager', str(error))",
        "span.note('cds.reason', body['name'])",
    ):
        assert faults(line), line
