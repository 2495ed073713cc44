"""A body that a client writes: read strictly, judged once, and kept as the bytes it came in.

What goes to a manager are the client's own bytes (without a byte-order mark); only XML is converted. The tree beside
them is for looking: it is never serialised again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

import orjson

from broker.core import json_text
from broker.core.fhir_xml import to_json
from broker.core.json_form import MAX_DEPTH, Number
from broker.core.media_type import Format
from broker.core.messages import MESSAGES, text
from broker.errors import Issue, RefusedError, RequestError

_REFUSING: Final = frozenset({"error", "fatal"})
_STRUCTURE: Final = "write.structure"
_RULE: Final = "write.rule"
_WARNING_CODE: Final = 299  # miscellaneous, as the retired `Warning` header of RFC 7234 had it


def read_resource_body(
    body: bytes, form: Format, expected: str | None, max_depth: int = MAX_DEPTH
) -> tuple[bytes, dict[str, Any]]:
    """The JSON of a resource, as bytes and as a tree. `expected` is its type; None where any type will do.

    Numbers that a float cannot hold (`1e999`) are `json_form.Number` in the tree. Raises `RequestError`
    request.bad-resource for what is no JSON object or XML of a resource in UTF-8, names a member twice (readers
    would not agree on which counts); limit.nesting for elements nested deeper than `max_depth`; request.wrong-type for
    another type.
    """
    if form is Format.XML:
        body = to_json(body)
    try:
        body = json_text.utf8(body)
        resource = _tree(body)
    except (ValueError, RecursionError) as error:
        raise RequestError("request.bad-resource") from error
    # No more than one level for each bracket that opens: most bodies need no look at their depth.
    if body.count(b"{") + body.count(b"[") > max_depth and _is_deeper(resource, max_depth):
        raise RequestError("limit.nesting", limit=max_depth)
    type_name = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(resource, dict) or not isinstance(type_name, str):
        raise RequestError("request.bad-resource")
    if expected is not None and type_name != expected:
        raise RequestError("request.wrong-type", type=expected)
    return body, resource


def refusal(issues: Sequence[Issue]) -> RefusedError | None:
    """The refusal that issues make, warnings included so that all is told at once; None where nothing refuses.

    400 (`write.structure`) where anything is no FHIR, else 422 (`write.rule`).
    """
    errors = [issue for issue in issues if _severity(issue) in _REFUSING]
    if not errors:
        return None
    bad = any(MESSAGES[issue.key].status == MESSAGES[_STRUCTURE].status for issue in errors)
    others = [issue for issue in issues if _severity(issue) not in _REFUSING]
    return RefusedError(_STRUCTURE if bad else _RULE, [*errors, *others])


def warnings_of(issues: Iterable[Issue]) -> tuple[str, ...]:
    """One header value for each issue that does not refuse: `299 - "text (FHIRPath)"`, in ASCII and English."""
    return tuple(_warning(issue) for issue in issues if _severity(issue) not in _REFUSING)


def _warning(issue: Issue) -> str:
    told = text(issue.key, "en", **issue.params)
    ascii_text = told.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return f'{_WARNING_CODE} - "{ascii_text}"'


def _severity(issue: Issue) -> str:
    return issue.severity or MESSAGES[issue.key].severity


def _tree(body: bytes) -> Any:
    """The text as Python values. Raises ValueError or RecursionError for what must not be relayed."""
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        json_text.check(body)  # a number beyond a float is JSON; a lone surrogate or `NaN` is not
        tree = json.loads(
            body,
            parse_float=Number,
            parse_int=Number,
            parse_constant=_refuse,
            object_pairs_hook=_members_once,
        )
    else:
        json.loads(body, parse_constant=_refuse, object_pairs_hook=_members_once)
    return tree


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _refuse(_: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _is_deeper(tree: Any, levels: int) -> bool:
    """Whether elements nest deeper. A list is no level of its own, and never holds another one: then it is no FHIR."""
    level: list[dict[str, Any]] = _elements_in([tree])
    for _ in range(levels):
        level = [child for node in level for child in _elements_in(node.values())]
        if not level:
            return False
    return True


def _elements_in(values: Iterable[Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for value in values:
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, dict):
                found.append(one)
            elif isinstance(one, list):
                raise RequestError("request.bad-resource")
    return found
