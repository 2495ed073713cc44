"""Search conditions of writes: `If-None-Exist`, `ifNoneExist`, conditional references (FHIR R4, http.html#ccreate).

A condition is a search without its `?`, or with a type and a `?` before it. Where it holds no public id it goes on as the
client wrote it, to the byte. A condition is never applied in part: what is not understood is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl, quote

from broker.core.query import Criterion, SearchQuery
from broker.core.query_parser import parse_search
from broker.core.translation import Dialogue, Verdict, id_chain_as_reference, public_ids, translate
from broker.errors import RequestError


def condition_pairs(text: str) -> list[tuple[str, str]]:
    """The decoded names and values of a condition, in order."""
    return parse_qsl(_search(text), keep_blank_values=True)


def condition_search(resource_type: str, text: str) -> SearchQuery:
    """The search that a condition is. Raises as `read_condition`."""
    query = parse_search(resource_type, condition_pairs(text), strict=True)
    if not query.criteria:
        raise RequestError("request.bad-condition")
    return query


def read_condition(resource_type: str, text: str) -> tuple[Criterion, ...]:
    """What must be met. Raises `RequestError`: request.bad-condition where it is no criterion, and the parser's own."""
    return condition_search(resource_type, text).criteria


def ids_in_condition(resource_type: str, criteria: Iterable[Criterion]) -> tuple[str, ...]:
    """The public ids that a condition names."""
    return tuple(one for each in criteria for one in public_ids(id_chain_as_reference(each, resource_type)))


def inward_condition(resource_type: str, text: str, dialogue: Dialogue) -> str:
    """The condition in a manager's own ids.

    Raises as `read_condition`, and condition.foreign where nothing of that manager can meet it because it names what
    is another manager's, or nobody's.
    """
    changed = False
    pairs: list[tuple[str, str]] = []
    for criterion in read_condition(resource_type, text):
        plain = id_chain_as_reference(criterion, resource_type)
        own = translate(plain, dialogue)
        if own is Verdict.NOTHING:
            raise RequestError("condition.foreign")
        if isinstance(own, Criterion):
            pairs.append((own.name, own.value))
        changed = changed or own != criterion
    if not changed:
        return text
    if not pairs:
        raise RequestError("request.bad-condition")
    before = text[: len(text) - len(_search(text))]
    return before + "&".join(f"{quote(name, safe=':')}={quote(value, safe='')}" for name, value in pairs)


def _search(text: str) -> str:
    return text.partition("?")[2] or text
