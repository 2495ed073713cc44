"""What a manager's declaration must be, as schemas: that of the struct, narrowed by what each way of authenticating needs.

Answers show less than is declared (no files, of `auth` the type and variables alone), so they have schemas of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from registry.declared_access import NEEDS, TAKES
from registry.model import AuthType

Schema = dict[str, Any]

DECLARATION: Final = "Declaration"
_IDENTITY: Final = "DeclaredIdentity"


def declaration_schemas(schemas: Mapping[str, Schema], template: str) -> Mapping[str, Schema]:
    """By name; made of those of `Gestionnaire`, `Auth` and `Identity`. `template`: how a schema is referred to."""
    ways = {f"Auth{way.name.title()}": _auth(schemas["Auth"], way) for way in AuthType}
    declared, identity = schemas["Gestionnaire"], schemas["Identity"]
    fields = declared["properties"]
    narrowed = {
        "auth": {
            "description": fields["auth"]["description"],
            "oneOf": [{"$ref": template.format(name=name)} for name in ways],
        },
        "identity": {
            "description": fields["identity"]["description"],
            "anyOf": [{"$ref": template.format(name=_IDENTITY)}, {"type": "null"}],
        },
    }
    return {
        **ways,
        _IDENTITY: {**identity, "title": _IDENTITY, **_given(identity, ("audience", "key_file"))},
        DECLARATION: {**declared, "title": DECLARATION, "properties": {**fields, **narrowed}},
    }


def _auth(auth: Schema, way: AuthType) -> Schema:
    """One way, with the fields that it takes; `type` is said but for the one that is meant without it."""
    taken = {
        name: of if name in TAKES[way] else {"type": "null", "description": of["description"]}
        for name, of in auth["properties"].items()
        if name != "type"
    }
    alone = tuple(group[0] for group in NEEDS[way] if len(group) == 1)
    either = [group for group in NEEDS[way] if len(group) > 1]
    narrowed = _given({"properties": taken}, alone)
    schema: Schema = {
        "title": f"Auth{way.name.title()}",
        "description": auth["description"],
        "type": "object",
        "properties": {"type": {"const": way.value}, **narrowed["properties"]},
        "required": [*([] if way is AuthType.NONE else ["type"]), *alone],
        "additionalProperties": False,
    }
    if either:
        [group] = either
        schema["anyOf"] = [_given({"properties": {name: taken[name]}}, (name,)) for name in group]
    return schema


def _given(schema: Mapping[str, Any], names: Sequence[str]) -> Schema:
    """These fields are there, and neither null nor empty."""
    fields = dict(schema["properties"])
    for name in names:
        field = {key: value for key, value in fields[name].items() if key not in ("anyOf", "default")}
        bounds = next((one for one in fields[name].get("anyOf", ()) if one.get("type") == "string"), field)
        fields[name] = {"type": "string", "minLength": 1, **field, **bounds}
    return {"properties": fields, "required": list(names)}
