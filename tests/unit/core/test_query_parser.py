"""What clients may write in a search, oddities included, and what they are told when it is wrong."""

from __future__ import annotations

import pytest

from broker.core.messages import MESSAGES, text
from broker.core.query import Include, SearchQuery, Summary, TotalMode
from broker.core.query_parser import canonical_type, parse_search, split_or, unescape
from broker.errors import RequestError

INS = "295109912611193"


def parse(*pairs: tuple[str, str], on: str = "CareTeam", strict: bool = False) -> SearchQuery:
    return parse_search(on, pairs, strict=strict)


def refused(*pairs: tuple[str, str], on: str = "CareTeam", strict: bool = False) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(*pairs, on=on, strict=strict)
    for language in ("fr", "en"):
        assert text(caught.value.key, language, **caught.value.params).count("?") == 0
    return caught.value


@pytest.mark.parametrize("segment", ["CareTeam", "Careteam", "careteam", "CARETEAM"])
def test_type_in_any_case(segment: str) -> None:
    assert canonical_type(segment) == "CareTeam"


def test_type_that_managers_do_not_hold() -> None:
    assert canonical_type("Observation") is None


def test_first_request_of_the_guide() -> None:
    query = parse(
        ("_include:iterate", "*"), ("patient.identifier", r"http://exAutoriteAffectation/patient\|123456")
    )
    assert query.pairs() == [
        ("patient.identifier", "http://exAutoriteAffectation/patient|123456"),
        ("_include:iterate", "*"),
    ]
    assert query.includes == (Include("*", "*", iterate=True),)
    assert query.criteria[0].type == "Patient"
    assert [link.target for link in query.criteria[0].chain] == ["Patient"]


@pytest.mark.parametrize(
    "name", ["_include:iterate ", "_include:iterate+", " _include:iterate", "_include:recurse"]
)
def test_second_request_of_the_guide(name: str) -> None:
    query = parse(
        (name, "CareTeam:subject"),
        ("participant:RelatedPerson.name:exact", "Ducros"),
        ("participant:RelatedPerson.address", "Tourcoing"),
        strict=True,
    )
    assert query.pairs() == [
        ("participant:RelatedPerson.name:exact", "Ducros"),
        ("participant:RelatedPerson.address", "Tourcoing"),
        ("_include:iterate", "CareTeam:subject"),
    ]


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("CDSCareTeamStart", "start"),
        ("CDSCareTeamEnd", "end"),
        ("CDSCareTeamParticipantStart", "participant-start"),
        ("CDSCareTeamParticipantEnd", "participant-end"),
    ],
)
def test_names_of_the_consommateur_statement(written: str, code: str) -> None:
    assert parse((written, "ge2026-01"), strict=True).pairs() == [(code, "ge2026-01")]


@pytest.mark.parametrize(
    ("name", "types", "last"),
    [
        ("patient.birthplace", ["Patient"], "birthplace"),
        ("participant:RelatedPerson._id", ["RelatedPerson"], "_id"),
        ("participant:RelatedPerson.relationship", ["RelatedPerson"], "relationship"),
        ("participant:PractitionerRole.role", ["PractitionerRole"], "role"),
        ("participant:PractitionerRole.practitioner.name", ["PractitionerRole", "Practitioner"], "name"),
        (
            "participant:PractitionerRole.practitioner:Practitioner.identifier",
            ["PractitionerRole", "Practitioner"],
            "identifier",
        ),
        ("participant:Organization.partof.name", ["Organization", "Organization"], "name"),
        ("managingOrganization.name", ["Organization"], "name"),
        ("participant.role", ["PractitionerRole"], "role"),  # one target only has it
        ("participant.patient.birthdate", ["RelatedPerson", "Patient"], "birthdate"),
    ],
)
def test_chains(name: str, types: list[str], last: str) -> None:
    query = parse((name, "2020" if last == "birthdate" else "x"), strict=True)
    (criterion,) = query.criteria
    assert [link.target for link in criterion.chain] == types
    assert (criterion.parameter.name, criterion.name) == (last, name)


@pytest.mark.parametrize(
    "name",
    [
        "participant.name",  # several targets have a name
        "participant.identifier",
        "participant:Patient.foo",
        "patient:Organization.name",  # no such target
        "status.name",  # no reference
        "patient.",
        "patient..name",
        "participant:Organization.partof.partof.partof.partof.name",
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_chain_not_understood(name: str, strict: bool) -> None:
    error = refused((name, "x"), strict=strict)
    assert (error.key, error.params) == ("request.bad-chain", {"parameter": name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status:not", "inactive"),
        ("category:text", "soins"),
        ("end:missing", "true"),
        ("participant:RelatedPerson", "12"),
        ("participant:RelatedPerson", "RelatedPerson/12"),
        ("participant:identifier", "https://rpps.esante.gouv.fr|10001234567"),
        ("participant", "PractitionerRole/bre.12/_history/3"),
        ("subject", "https://cds.bretagne.example/fhir/Patient/12"),
        ("subject", "urn:uuid:4e0e1d9d-9f9e-4c4c-8b6c-0a7d7c6b5a43"),
        ("identifier", "https://finess.esante.gouv.fr|"),
        ("identifier", "|123"),
        ("identifier", "a|1,b|2"),
        ("identifier", r"a|1\,5,b\\|2"),
        ("_id", "bre.12,hdf.7"),
        ("date", "ne2026"),
        ("date", "ap2026-02"),
        ("date", "sa2024-02-29"),
        ("_lastUpdated", "ge2026-02-28T23:59"),
        ("_lastUpdated", "lt2026-02-28T23:59:59.999999+14:00,gt2026-03-01T00:00Z"),
        ("_profile", "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam|2.0.1"),
    ],
)
def test_values_kept_as_written(name: str, value: str) -> None:
    assert parse((name, value), strict=True).pairs() == [(name, value)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start", "2026-02-30"),
        ("start", "2026-13"),
        ("start", "26-01-01"),
        ("start", "01/02/2026"),
        ("start", "xx2026"),
        ("start", "2026-01-01T25:00"),
        ("start", "2026-01-01T10"),
        ("start", "2026-01-01T10:00+14:30"),
        ("start", "٢٠٢٦"),
        ("start", "0000"),
        ("start", "2026,tomorrow"),
        ("start:missing", "perhaps"),
        ("identifier", "a|b|c"),
        ("identifier", "|"),
        ("_id", "a b"),
        ("_id", "x" * 65),
        ("subject", "12/_history/1"),
        ("subject", "Patient/1/2"),
        ("subject", "ftp://elsewhere/Patient/1"),
        ("participant:RelatedPerson", "Patient/12"),
        ("_profile", "a b"),
        ("status", "act\x00ive"),
        ("status", "\udc80"),
        ("_count", "-1"),
        ("_count", "ten"),
        ("_count", "1.5"),
        ("_count", "9" * 5000),
        ("_sort", "start,,end"),
        ("_sort", "-"),
        ("_elements", "name,;drop"),
        ("_summary", "all"),
        ("_total", "exact"),
        ("_include", "CareTeam"),
        ("_include", "CareTeam:a:b:c"),
        ("_include", "Care Team:subject"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_malformed_values_are_refused_in_both_modes(name: str, value: str, strict: bool) -> None:
    error = refused((name, value), strict=strict)
    assert error.key == "request.bad-value"
    assert error.params["parameter"] == name


@pytest.mark.parametrize(
    "name",
    [
        "identifier:exact",
        "start:not",
        "status:foo",
        "status:",
        "patient:Practitioner",
        "_count:exact",
        "_include:x",
        "participant:RelatedPerson:missing",
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_unknown_modifiers_are_refused_in_both_modes(name: str, strict: bool) -> None:
    assert refused((name, "1"), strict=strict).key == "request.unknown-modifier"


@pytest.mark.parametrize(
    "name",
    [
        "foo",
        "_has:CareTeam:subject:status",
        "_filter",
        "_query",
        "_text",
        "_content",
        "_list",
        "_contained",
        "_containedType",
    ],
)
def test_unknown_parameters(name: str) -> None:
    query = parse((name, INS), ("status", "active"))
    assert query.ignored == (name,)
    assert query.pairs() == [("status", "active")]
    error = refused((name, INS), strict=True)
    assert (error.key, error.params) == ("request.unknown-parameter", {"parameter": name})


def test_a_parameter_name_is_cleaned_before_it_is_repeated() -> None:
    assert parse(("<script>né\r\n" + INS + "x" * 100, "1")).ignored == ("scriptn" + "x" * 57,)
    assert parse(("é", "1")).ignored == ("…",)


def test_no_error_repeats_a_value() -> None:
    for name in ("start", "_count", "_summary", "_include", "subject", "_sort", INS):
        error = refused((name, f"é {INS}"), strict=True)
        assert INS not in str(error.params)


@pytest.mark.parametrize("name", ["_include", "_revinclude"])
@pytest.mark.parametrize(
    "value",
    [
        "CareTeam:encounter",
        "CareTeam:status",
        "Encounter:subject",
        "CareTeam:participant:Device",
        "CareTeam:subject:Organization",
        "*:subject",
    ],
)
def test_unknown_includes(name: str, value: str) -> None:
    query = parse((name, value))
    assert (query.includes, query.ignored) == ((), (name,))
    assert refused((name, value), strict=True).key == "request.unknown-parameter"


def test_includes() -> None:
    query = parse(
        ("_include", "careteam:participant:organization"),
        ("_include", "CareTeam:participant:Organization"),
        ("_include", "CareTeam:*"),
        ("_include:iterate", "PractitionerRole:practitioner"),
        ("_revinclude", "RelatedPerson:patient"),
        ("_include", "*:*"),
        strict=True,
    )
    assert query.includes == (
        Include("CareTeam", "participant", "Organization"),
        Include("CareTeam", "*"),
        Include("PractitionerRole", "practitioner", iterate=True),
        Include("RelatedPerson", "patient", reverse=True),
        Include("*", "*"),
    )


def test_the_shape_of_the_answer() -> None:
    query = parse(
        ("_sort", "-start,_lastUpdated,-start"),
        ("_count", "20"),
        ("_elements", "status,name"),
        ("_elements", "name,subject"),
        ("_summary", "data"),
        ("_total", "accurate"),
        ("_format", "xml"),
        ("_pretty", "true"),
        strict=True,
    )
    assert [(key.parameter.name, key.descending) for key in query.sort] == [
        ("start", True),
        ("_lastUpdated", False),
    ]
    assert (query.count, query.elements) == (20, ("status", "name", "subject"))
    assert (query.summary, query.total) == (Summary.DATA, TotalMode.ACCURATE)
    assert query.ignored == ()


def test_count_is_lowered_to_the_most_that_is_given() -> None:
    assert parse(("_count", "1000")).count == 200
    assert parse(("_count", "0")).count == 0
    assert parse(("status", "active")).count is None


def test_unknown_sort_key() -> None:
    query = parse(("_sort", f"-start,{INS}"))
    assert ([key.value for key in query.sort], query.ignored) == (["-start"], ("_sort",))
    assert refused(("_sort", INS), strict=True).params == {"parameter": "_sort"}


@pytest.mark.parametrize(
    ("name", "first", "last"), [("_count", "1", "2"), ("_sort", "start", "end"), ("_summary", "true", "text")]
)
def test_what_may_be_said_once_only(name: str, first: str, last: str) -> None:
    assert parse((name, first), (name, last)).pairs() == [(name, last)]
    assert refused((name, first), (name, last), strict=True).key == "request.repeated-parameter"


@pytest.mark.parametrize("name", ["status", "_count", "_sort", "_include", "patient.name"])
@pytest.mark.parametrize("value", ["", " "])
def test_a_parameter_without_a_value_is_ignored(name: str, value: str) -> None:
    assert parse((name, value)) == SearchQuery("CareTeam", ignored=(name,))
    assert refused((name, value), strict=True).key == "request.bad-value"


def test_an_empty_alternative_is_dropped() -> None:
    query = parse(("status", "active,,inactive"))
    assert (query.pairs(), query.ignored) == ([("status", "active,inactive")], ())
    assert refused(("status", "active,"), strict=True).key == "request.bad-value"


def test_an_empty_pair_is_nothing() -> None:
    assert parse(("", ""), strict=True) == SearchQuery("CareTeam")


def test_a_zone_whose_plus_became_a_blank() -> None:
    assert parse(("start", " ge2026-02-28T10:00:00 02:00")).pairs() == [
        ("start", "ge2026-02-28T10:00:00+02:00")
    ]


def test_repeated_criteria_are_kept_apart() -> None:
    pairs = [("date", "ge2026-01-01"), ("date", "le2026-12-31")]
    assert parse(*pairs).pairs() == pairs


def test_too_many_parameters() -> None:
    error = refused(*[("status", "active")] * 101)
    assert (error.key, error.params) == ("request.too-many-parameters", {"limit": 100})
    assert MESSAGES[error.key].status == 400


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        (r"a\,b", (r"a\,b",)),
        (r"a\\,b", (r"a\\", "b")),
        (r"a\\\,b,c", (r"a\\\,b", "c")),
        ("a\\", ("a\\",)),
        ("", ("",)),
        (r"\,,", (r"\,", "")),
    ],
)
def test_split_or(value: str, parts: tuple[str, ...]) -> None:
    assert split_or(value) == parts


@pytest.mark.parametrize(
    ("value", "meant"),
    [(r"a\,b", "a,b"), (r"a\\,b", r"a\,b"), (r"\$\|", "$|"), (r"a\b", r"a\b"), ("a\\", "a\\")],
)
def test_unescape(value: str, meant: str) -> None:
    assert unescape(value) == meant
