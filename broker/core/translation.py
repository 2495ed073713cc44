"""One criterion, from public terms to one manager's own (federation, sections 1 and 2).

Public ids name their manager. So a criterion with public ids either becomes a criterion in the manager's own ids, or
cannot match anything there, or is true of everything there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum

import msgspec

from broker.core.identity import public_id, split_public_id
from broker.core.query import Criterion
from broker.core.query_values import unescape
from broker.core.search_parameters import ParamType
from registry.model import TRE_R30


class Verdict(Enum):
    NOTHING = "nothing"  # no resource of this manager can meet it
    EVERYTHING = "everything"  # every resource of this manager meets it


Translated = Criterion | Verdict


class Dialogue(msgspec.Struct, frozen=True):
    """Whom one speaks to: the manager's slug and region, the broker's public base, long ids resolved beforehand.

    `aliases` maps the public ids that stand for long ones to the managers' own ids. `is_broker`: it answers in public
    ids of its own and tags regions itself.
    """

    slug: str
    region: str
    public_base: str
    aliases: Mapping[str, str]
    is_broker: bool = False

    def local_id(self, public_id: str) -> str | None:
        """This manager's own id for a public id; None where the id is another manager's, or no public id."""
        parts = split_public_id(public_id)
        if parts is None or parts[0] != self.slug:
            return None
        return self.aliases.get(public_id, parts[1])


def translate(criterion: Criterion, dialogue: Dialogue) -> Translated:
    """The criterion as this manager must be asked it."""
    if criterion.modifier == "missing":
        return criterion
    if criterion.parameter.name == "_id":
        return _by_ids(criterion, dialogue)
    if criterion.parameter.type is ParamType.REFERENCE and criterion.modifier != "identifier":
        return _by_references(criterion, dialogue)
    if criterion.parameter.name == "_tag" and not dialogue.is_broker:
        return _by_region(criterion, dialogue)
    return criterion


def id_chain_as_reference(criterion: Criterion, searched: str) -> Criterion:
    """`participant:RelatedPerson._id=bre.5` is `participant=RelatedPerson/bre.5`: no chain is needed.

    `searched`: the resource type of the search.
    """
    if not criterion.chain or criterion.parameter.name != "_id" or criterion.modifier:
        return criterion
    last = criterion.chain[-1]
    owner = criterion.chain[-2].target if len(criterion.chain) > 1 else searched
    return replace(
        criterion,
        parameter=last.parameter,
        type=owner,
        chain=criterion.chain[:-1],
        values=tuple(f"{last.target}/{unescape(value)}" for value in criterion.values),
    )


def public_ids(criterion: Criterion) -> list[str]:
    """Every public id that a criterion names: the long ones among them must be resolved before it is translated."""
    if criterion.modifier == "missing":
        return []
    if criterion.parameter.name == "_id":
        return list(criterion.values)
    if criterion.parameter.type is ParamType.REFERENCE and criterion.modifier != "identifier":
        return [value.partition("/_history/")[0].rpartition("/")[2] for value in criterion.values]
    return []


def _kept(criterion: Criterion, values: list[str | None]) -> Translated:
    left = tuple(value for value in values if value is not None)
    return replace(criterion, values=left) if left else Verdict.NOTHING


def _by_ids(criterion: Criterion, dialogue: Dialogue) -> Translated:
    kept = _kept(criterion, [dialogue.local_id(value) for value in criterion.values])
    if criterion.modifier == "not" and kept is Verdict.NOTHING:
        return Verdict.EVERYTHING
    return kept


def _by_references(criterion: Criterion, dialogue: Dialogue) -> Translated:
    """References with their types, always: some servers find nothing by a bare id, nor by `:Type`."""
    kinds = criterion.parameter.targets if criterion.modifier is None else (criterion.modifier,)
    values = [one for value in criterion.values for one in _local_references(value, kinds, dialogue)]
    return replace(criterion, modifier=None, values=tuple(values)) if values else Verdict.NOTHING


def _local_references(value: str, kinds: Sequence[str], dialogue: Dialogue) -> list[str]:
    reference = unescape(value)
    if reference.startswith(dialogue.public_base + "/"):
        reference = reference[len(dialogue.public_base) + 1 :]
    elif ":" in reference:  # a URL elsewhere, a urn: nobody's public id, so anybody may hold it
        return [value]
    kind, _, public_id = reference.partition("/_history/")[0].rpartition("/")
    local = dialogue.local_id(public_id)
    if local is None:
        return []
    return [f"{one}/{local}" for one in ([kind] if kind else kinds)]


def in_public_terms(criterion: Criterion, slug: str) -> Criterion:
    """A criterion in a manager's own ids as one over resources in public terms: `translate` undone."""
    if criterion.parameter.name == "_id":
        return replace(criterion, values=tuple(public_id(slug, value) for value in criterion.values))
    if criterion.parameter.type is not ParamType.REFERENCE or criterion.modifier is not None:
        return criterion
    values = []
    for value in criterion.values:
        kind, slash, local = value.rpartition("/")
        values.append(value if ":" in value else f"{kind}{slash}{public_id(slug, local)}")
    return replace(criterion, values=tuple(values))


def _by_region(criterion: Criterion, dialogue: Dialogue) -> Translated:
    """Region tags are put on by the broker: a manager that tags nothing must not be asked for them."""
    own = f"{TRE_R30}|{dialogue.region}"
    regional = [value for value in criterion.values if value.startswith(TRE_R30 + "|")]
    if not regional:
        return criterion
    others = tuple(value for value in criterion.values if value not in regional)
    negated = criterion.modifier == "not"
    if own in regional:
        return Verdict.NOTHING if negated else Verdict.EVERYTHING
    if others:
        return replace(criterion, values=others)
    return Verdict.EVERYTHING if negated else Verdict.NOTHING
