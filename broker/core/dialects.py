"""From what was learnt of a manager and what its operator declares, what it is taken to be able to do; and
what that leaves missing, in words.

A dialect is the name of a known kind of server or a mapping of single skills. Declared beats learnt, skill by
skill; what neither says stays unknown (`None`), and unknown is bridged, never trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from broker.core.lacks import MODIFIERS, lacks_of, modifier_of, parameter_of
from broker.core.search_parameters import PARAMETERS
from registry.model import Registered, SearchMethod, Skills

_EVERYTHING = {kind: tuple(sorted(table)) for kind, table in PARAMETERS.items()}
_R4_CARETEAM = (
    "_id",
    "_lastUpdated",
    "category",
    "date",
    "identifier",
    "participant",
    "patient",
    "status",
    "subject",
)
_R4_ONLY = {
    kind: tuple(name for name in names if name != "birthplace") if kind != "CareTeam" else _R4_CARETEAM
    for kind, names in _EVERYTHING.items()
}


@dataclass(frozen=True, slots=True)
class Preset:
    """A kind of server. `params` holds for types of which nothing was learnt; else see `overrides_params`.

    `modifiers` are those that work there; None: as learnt.
    """

    skills: Mapping[str, bool]
    params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    modifiers: tuple[str, ...] | None = None
    overrides_params: bool = False


_ALL = dict.fromkeys(
    (
        "chaining",
        "include",
        "iterate",
        "revinclude",
        "sort",
        "post_search",
        "history_type",
        "history_instance",
        "read",
        "paging",
        "vread",
        "elements",
    ),
    True,
)

PRESETS: Mapping[str, Preset] = {
    # The guide's manager, whole.
    "gestionnaire": Preset({**_ALL, "total": True}, _EVERYTHING, MODIFIERS, overrides_params=True),
    # A broker bridges what its own managers lack; its totals are there only where they are true.
    "broker": Preset({**_ALL, "broker": True}, _EVERYTHING, MODIFIERS, overrides_params=True),
    # HAPI JPA out of the box: the guide's own parameters are there only once its SearchParameters were
    # loaded; :missing and :contains are refused unless they are switched on, so modifiers are left to the check.
    "hapi": Preset(_ALL, _R4_ONLY),
    # Medplum: see tests/integration/test_check_medplum.py for each of these.
    "medplum": Preset(
        {
            **_ALL,
            **dict.fromkeys(
                ("chaining", "include", "iterate", "revinclude", "elements", "paging", "history_type"), False
            ),
            "total": True,
        },
        _R4_ONLY,
        ("contains", "missing", "not", "text"),
    ),
}

BOOLEAN_SKILLS = frozenset({*_ALL, "total", "broker"})
NUMBER_SKILLS = frozenset({"max_page"})


def dialect_problems(dialect: str | Mapping[str, bool | int] | None) -> list[str]:
    """What is wrong with a declared dialect, one line each; empty where nothing is."""
    if dialect is None:
        return []
    if isinstance(dialect, str):
        if dialect in PRESETS:
            return []
        return [f"unknown dialect {dialect!r}: known are {', '.join(sorted(PRESETS))}"]
    return [problem for key, value in dialect.items() if (problem := _entry_problem(key, value))]


def _entry_problem(key: str, value: object) -> str | None:
    if key in NUMBER_SKILLS:
        good = isinstance(value, int) and not isinstance(value, bool) and value > 0
        return None if good else f"{key}: a whole number above 0 is expected"
    if key in BOOLEAN_SKILLS or parameter_of(key) or modifier_of(key):
        return None if isinstance(value, bool) else f"{key}: true or false is expected"
    known = ", ".join(sorted(BOOLEAN_SKILLS | NUMBER_SKILLS))
    return f"unknown skill {key!r}: known are {known}, param:TYPE:NAME, modifier:NAME"


def effective_skills(registered: Registered) -> Skills:
    """What this manager is taken to be able to do: learnt, then overridden by its dialect and its search
    method.

    Entries of a dialect that `dialect_problems` reports are left out.
    """
    declared = registered.gestionnaire
    skills = registered.skills or Skills()
    if declared.dialect is None and declared.search_method is SearchMethod.AUTO:
        return skills
    if isinstance(declared.dialect, str):
        skills = _with_preset(skills, declared.dialect)
    elif declared.dialect is not None:
        skills = _with_entries(skills, declared.dialect)
    if declared.search_method is not SearchMethod.AUTO:
        skills = msgspec.structs.replace(skills, post_search=declared.search_method is SearchMethod.POST)
    return msgspec.structs.replace(skills, lacks=lacks_of(skills))


def _with_preset(skills: Skills, name: str) -> Skills:
    preset = PRESETS.get(name)
    if preset is None:
        return skills
    params = skills.search_params
    params = {**params, **preset.params} if preset.overrides_params else {**preset.params, **params}
    modifiers = skills.modifiers if preset.modifiers is None else preset.modifiers
    return msgspec.structs.replace(skills, **preset.skills, search_params=params, modifiers=modifiers)


def _with_entries(skills: Skills, entries: Mapping[str, bool | int]) -> Skills:
    good = {key: value for key, value in entries.items() if _entry_problem(key, value) is None}
    changed: dict[str, Any] = {}
    params = {kind: list(names) for kind, names in skills.search_params.items()}
    for key, value in good.items():
        parameter = parameter_of(key)
        if parameter is not None:
            kind, name = parameter
            names = [known for known in params.get(kind, ()) if known != name]
            params[kind] = [*names, name] if value else names
        elif modifier_of(key) is None:
            changed[key] = value
    search_params = {kind: tuple(sorted(names)) for kind, names in params.items()}
    skills = msgspec.structs.replace(skills, **changed, search_params=search_params)
    return _with_modifiers(
        skills, {modifier: bool(good[key]) for key in good if (modifier := modifier_of(key)) is not None}
    )


def _with_modifiers(skills: Skills, declared: Mapping[str, bool]) -> Skills:
    if not declared:
        return skills
    working = {*(skills.modifiers or ()), *declared} - {name for name, works in declared.items() if not works}
    untried = {name for name in skills.unproven if name[1:] not in declared}
    if skills.modifiers is None:  # of the others nothing is known
        untried |= {f":{name}" for name in MODIFIERS if name not in declared}
    return msgspec.structs.replace(skills, modifiers=tuple(sorted(working)), unproven=tuple(sorted(untried)))
