"""Reading statements: true ones, odd ones and nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.capability import federation_statement
from broker.core.statement import FEDERATION_EXTENSION, read_statement

GUIDE = Path(__file__).parents[3].parent / "shared" / "ig" / "ans.fhir.fr.cds-2.0.1.tgz"


def _statement(**members: Any) -> bytes:
    return orjson.dumps({"resourceType": "CapabilityStatement"} | members)


@pytest.mark.guide
def test_the_guides_own_statement() -> None:
    if not GUIDE.exists():
        pytest.skip("the guide's package is not here")
    import tarfile

    with tarfile.open(GUIDE) as package:
        member = package.extractfile("package/CapabilityStatement-CDSGestionnaire.json")
        assert member is not None
        found = read_statement(member.read())
    assert found is not None
    assert found.fhir_version == "4.0.1"
    assert found.formats == ("json", "xml")
    assert found.search_params["RelatedPerson"] == ("_id", "name", "relationship")
    assert "participant-end" in found.search_params["CareTeam"]
    assert found.interactions["CareTeam"][-2:] == ("history-instance", "history-type")
    assert found.transaction
    assert not found.broker


def test_what_is_declared() -> None:
    found = read_statement(
        b"\xef\xbb\xbf"
        + _statement(
            fhirVersion="4.0.1",
            software={"name": "HAPI FHIR Server", "version": "8.4.0"},
            format=["application/fhir+xml", "application/fhir+json; fhirVersion=4.0", "json", "html/turtle"],
            instantiates=["https://example.org/statement"],
            rest=[
                {"mode": "client", "resource": [{"type": "Patient"}]},
                {
                    "mode": "server",
                    "interaction": [{"code": "transaction"}, {"code": "history-system"}],
                    "resource": [
                        {
                            "type": "CareTeam",
                            "interaction": [{"code": "read"}, {"code": "read"}],
                            "searchParam": [{"name": "CDSCareTeamStart"}, {"name": "start"}, {"name": "own"}],
                            "searchInclude": ["CareTeam:subject"],
                            "searchRevInclude": ["Task:focus"],
                        },
                        {"type": "Observation"},
                    ],
                },
            ],
        )
    )
    assert found is not None
    assert found.software == "HAPI FHIR Server 8.4.0"
    assert found.formats == ("xml", "json", "html/turtle")
    assert found.instantiates == ("https://example.org/statement",)
    assert found.interactions == {"CareTeam": ("read",)}
    assert found.search_params == {"CareTeam": ("start", "own")}
    assert found.includes == {"CareTeam": ("CareTeam:subject",)}
    assert found.revincludes == {"CareTeam": ("Task:focus",)}
    assert found.system_interactions == ("transaction", "history-system")
    assert (found.broker, found.federations) == (False, ())


def test_a_broker_is_known_by_its_own_statement() -> None:
    own = federation_statement(
        [], public_base="https://b.example/fhir", version="1", now="", federation_id="f1"
    )
    found = read_statement(orjson.dumps(own))
    assert found is not None
    assert (found.broker, found.federations) == (True, ("f1",))


def test_a_broker_of_another_make_is_known_by_the_extension() -> None:
    extension = [{"url": FEDERATION_EXTENSION, "valueString": "f9"}, {"url": "other", "valueString": "no"}]
    found = read_statement(_statement(implementation={"extension": extension}, software={"name": "else"}))
    assert found is not None
    assert (found.broker, found.federations) == (True, ("f9",))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"resourceType":"Bundle"}',
        b'{"resourceType":"CapabilityStatement"',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_statement(body: bytes) -> None:
    assert read_statement(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "code", "type", "mode", "resource", "extension", "url"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
MEMBERS = ("fhirVersion", "software", "format", "instantiates", "rest", "implementation")


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_members_of_any_shape_are_at_worst_not_declared(members: dict[str, Any]) -> None:
    assert read_statement(_statement(**members)) is not None


def test_it_does_not_grow_without_bound() -> None:
    params = [{"name": f"p{number}" + "x" * 5000} for number in range(2000)]
    rest = [{"resource": [{"type": "CareTeam", "searchParam": params}]}]
    found = read_statement(_statement(rest=rest))
    assert found is not None
    names = found.search_params["CareTeam"]
    assert len(names) == 500
    assert max(map(len, names)) == 200
