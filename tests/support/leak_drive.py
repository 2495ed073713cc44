"""Every interaction of the broker, done well and done badly, with people's values in all that a client can send."""

from __future__ import annotations

import asyncio
import gzip
import re
import signal
from urllib.parse import quote, urlencode

from tests.contract.gestionnaire.people import INS_TEST, RPPS
from tests.support.faulty_proxy import Fault
from tests.support.federation import Answered, link
from tests.support.leak_people import carer_of, circle_of, patient_of, relative_of, structure_of
from tests.support.leak_world import FHIR_JSON, HOSTILE, MODES, Json, LeakWorld
from tests.support.waiting import until

TRE_R30 = "https://mos.esante.gouv.fr/NOS/TRE_R30-RegionOM/FHIR/TRE-R30-RegionOM"
PAYLOAD_CONTENT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content"
SUBSCRIPTION_SECRET = "urn:cds-broker:subscription-secret"
HOUSE = "Organization/bre.o1"


async def everything(world: LeakWorld) -> None:
    """All of it, in an order in which each finds what it needs. The broker and the agent have ended then."""
    await world.covered()
    await subscriptions(world)
    await world.agent.start()
    await searches(world)
    await writes(world)
    await wrong_bodies(world)
    await wrong_requests(world)
    await refusals(world)
    await administration(world)
    await console(world)
    await unreadable(world)
    await world.look()
    await faults(world)
    await world.look()
    await until(lambda: len(world.hook.told) >= 2, seconds=20.0)
    world.broker.send_signal(signal.SIGHUP)
    await world.look()
    await world.agent.stopped()
    await world.broker.stopped()


async def subscriptions(world: LeakWorld) -> None:
    cast = world.cast
    topic = {"type": "message", "endpoint": "kafka:occ", "payload": FHIR_JSON}
    hook = {
        "type": "rest-hook",
        "endpoint": world.hook.url,
        "payload": FHIR_JSON,
        "_payload": {"extension": [{"url": PAYLOAD_CONTENT, "valueCode": "id-only"}]},
        "header": [f"X-Key: {cast.secrets['hook']}"],
        "extension": [{"url": SUBSCRIPTION_SECRET, "valueString": cast.secrets["hook"]}],
    }
    criteria = f"CareTeam?patient.identifier={INS_TEST}|{cast.written.number}"
    made = await world.send("POST", "Subscription", _subscription(f"CareTeam?_tag={TRE_R30}|53", topic))
    assert made.status == 201, made.body
    made = await world.send("POST", "Subscription", _subscription(criteria, hook))
    assert made.status == 201, made.body
    one = f"Subscription/{made.json['id']}"
    await world.send("GET", "Subscription")
    await world.send("GET", f"{one}/$status")
    for wrong in (
        _subscription(f"CareTeam?patient.family:{cast.given['criterion']}=1", hook),
        _subscription(cast.given["criterion"], hook),
        _subscription("CareTeam", hook | {"endpoint": f"http://{cast.given['element']}.example/x"}),
        _subscription("CareTeam", hook | {"header": [cast.given["header"]]}),
        _subscription("CareTeam", topic | {"endpoint": f"kafka:{cast.given['slug']}"}),
        _subscription("CareTeam", topic) | {"reason": 7, cast.given["element"]: True},
    ):
        answered = await world.send("POST", "Subscription", wrong)
        assert answered.status in (400, 422), answered.body
    await until(lambda: bool(world.hook.told), seconds=20.0)  # the handshake


def _subscription(criteria: str, channel: Json) -> Json:
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Tenir la région à jour",
        "criteria": criteria,
        "channel": channel,
    }


async def searches(world: LeakWorld) -> None:
    cast, found = world.cast, 0
    held = cast.held
    forms: list[tuple[str, list[tuple[str, str]]]] = [
        ("CareTeam", [("patient.identifier", f"{INS_TEST}|{held.number}"), ("_include", "CareTeam:subject")]),
        ("CareTeam", [("patient.family", held.family)]),
        ("CareTeam", [("participant:Practitioner.identifier", f"{RPPS}|{cast.carer.number}")]),
        ("CareTeam", [("identifier", cast.numbers["held"]), ("_include", "*"), ("_include:iterate", "*")]),
        ("CareTeam", [("patient.identifier", f"{INS_TEST}|{cast.given_ins['criterion']}")]),
        ("CareTeam", [("patient.name", held.given), ("_sort", "name"), ("_total", "accurate")]),
        ("Patient", [("identifier", f"{INS_TEST}|{held.number}"), ("birthdate", held.born)]),
        ("Patient", [("family", held.family), ("given", held.given)]),
        ("Patient", [("phone", held.phone)]),
        ("Patient", [("email", held.email), ("address", held.line)]),
        ("Practitioner", [("family", cast.carer.family)]),
        ("RelatedPerson", [("name", cast.relative.family), ("phone", cast.relative.phone)]),
        ("Organization", [("name", cast.structure.family)]),
        ("PractitionerRole", [("practitioner.family", cast.carer.family)]),
    ]
    for kind, form in forms:
        for prefer in ("handling=lenient", "handling=strict, partial=deny"):
            answered = await world.send("POST", f"{kind}/_search", urlencode(form), Prefer=prefer)
            found += answered.status == 200 and b'"match"' in answered.body
        await world.send("GET", f"{kind}?{urlencode(form)}", Accept="application/fhir+xml")
    assert found > len(forms)
    identifier = quote(f"{INS_TEST}|{held.number}")
    located = await world.send("GET", f"CareTeam/$locate?patient.identifier={identifier}")
    assert b"bre.c1" in located.body, located.body
    await world.send(
        "POST", "CareTeam/$locate", urlencode({"patient.identifier": f"{INS_TEST}|{held.number}"})
    )
    await world.send("GET", "CareTeam/$locate?patient.identifier=" + quote(cast.given["criterion"]))
    await _paged(world)
    for target in (
        "CareTeam/bre.c1", "CareTeam/bre.c1/_history", "CareTeam/bre.c1/_history/1", "CareTeam/_history",
        "Patient/bre.p1", "Practitioner/bre.d1", "RelatedPerson/bre.r1", "Organization/bre.o1",
        "PractitionerRole/bre.x1",
    ):  # fmt: skip
        assert (await world.send("GET", target)).status in (200, 404), target


async def _paged(world: LeakWorld) -> None:
    """Pages of a search for a person, and links that are forged or another's."""
    form = urlencode({"name:contains": world.cast.structure.family, "_count": "1"})
    for number in range(2):
        await world.send(
            "POST", "Organization", structure_of(world.cast.structure), X_Gestionnaire=["bre", "occ"][number]
        )
    answered = await world.send("POST", "Organization/_search", form)
    following = link(answered.json, "next")
    assert following is not None, answered.body
    target = following.removeprefix(world.broker.base_url).lstrip("/")
    await world.send("GET", target)
    await world.send("GET", target, token=world.little)
    await world.send("GET", target[:-4] + "AAAA")
    await world.send("GET", target.partition("=")[0] + "=" + quote(world.cast.given["form"]))


async def writes(world: LeakWorld) -> None:
    cast, home = world.cast, {"X_Gestionnaire": "bre"}
    patient = await _made(world, patient_of(cast.written), **home)
    await _made(world, carer_of(cast.carer), **home)
    relative = await _made(world, relative_of(cast.relative, patient), **home)
    circle = circle_of(cast.circles["written"], patient, [relative, HOUSE], cast.numbers["written"])
    key = f'"{cast.given_ins["header"]}"'
    made = await world.send("POST", "CareTeam", circle, Idempotency_Key=key)
    assert made.status == 201, made.body
    await world.send("POST", "CareTeam", circle, Idempotency_Key=key)
    await world.send("POST", "CareTeam", circle | {"status": "suspended"}, Idempotency_Key=key)
    second = await world.send("POST", "CareTeam", circle)
    assert second.status == 409, second.body
    target = f"CareTeam/{made.json['id']}"
    stored = made.json
    assert (await world.send("PUT", target, stored | {"status": "suspended"})).status == 200
    await world.send("PUT", target, stored, If_Match='W/"1"')
    await world.send("PUT", target, stored, If_Match=cast.given["header"].encode("ascii", "ignore").decode())
    condition = f"identifier={INS_TEST}|{cast.written.number}"
    await world.send("POST", "Patient", patient_of(cast.written), If_None_Exist=condition, **home)
    await world.send(
        "POST", "Patient", patient_of(cast.written), If_None_Exist=f"family={cast.given_ins['header']}"
    )
    moved = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
    entries = [
        {
            "fullUrl": moved,
            "request": {"method": "POST", "url": "Patient"},
            "resource": patient_of(cast.moved),
        },
        {
            "request": {"method": "POST", "url": "CareTeam"},
            "resource": circle_of(cast.circles["moved"], moved, [HOUSE], cast.numbers["moved"]),
        },
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    whole = await world.send("POST", "", bundle, **home)
    assert whole.status == 200, whole.body
    again = await world.send("POST", "", bundle, **home)
    assert again.status >= 400, again.body


async def _made(world: LeakWorld, resource: Json, **headers: str) -> str:
    answered = await world.send("POST", resource["resourceType"], resource, **headers)
    assert answered.status in (200, 201), answered.body  # 200: it was there already
    return f"{resource['resourceType']}/{answered.json['id']}"


async def wrong_bodies(world: LeakWorld) -> None:
    """Values where none belong: each is refused, and not repeated."""
    cast, refused = world.cast, 0
    patient, name = patient_of(cast.written), cast.given["element"]
    circle = circle_of(name, "Patient/bre.p1", [HOUSE], name)
    bad: list[tuple[str, Json | bytes, dict[str, str]]] = [
        ("Patient", patient | {"birthDate": name}, {}),
        ("Patient", patient | {"gender": name, "active": name}, {}),
        ("Patient", patient | {name: name}, {}),
        ("Patient", patient | {"resourceType": name}, {}),
        ("Patient", patient | {"name": name, "identifier": {"value": name}}, {}),
        ("Patient", patient | {"identifier": [{"system": INS_TEST, "value": cast.given_ins["element"][:-2] + "00"}]}, {}),
        ("CareTeam", circle | {"status": name}, {}),
        ("CareTeam", circle | {"subject": {"reference": f"Patient/{name}"}}, {}),
        ("CareTeam", circle | {"subject": {"reference": f"Patient/bre.{cast.given_ins['element']}"}}, {}),
        ("CareTeam", circle | {"subject": {"display": name}}, {}),
        ("CareTeam", circle | {"period": {"start": name}}, {}),
        ("CareTeam", circle | {"category": [{"coding": [{"system": "urn:x", "code": name}]}]}, {}),
        ("CareTeam", circle | {"participant": [{"member": {"reference": name}}]}, {}),
        ("CareTeam", circle | {"meta": {"profile": [name]}}, {}),
        ("", {"resourceType": "Bundle", "type": name, "entry": [{"resource": patient}]}, {}),
        ("", {"resourceType": "Bundle", "type": "transaction", "entry": [{"request": {"method": name, "url": name}}]}, {}),
        ("", _transaction("PUT", f"Patient/{name}", patient), {}),
        ("", _transaction("POST", f"Patient?family={name}", patient), {}),
        ("Patient", f'{{"resourceType":"Patient","name":[{{"family":"{cast.given["malformed"]}"'.encode(), {}),
        ("Patient", b"\xff\xfe" + cast.given["malformed"].encode("utf-16-le"), {}),
        ("Patient", b"[" * 5000 + cast.given["malformed"].encode(), {}),
        ("Patient", f"<Patient><name>{cast.given['xml']}</name>".encode(), {"Content-Type": "application/fhir+xml"}),
        ("Patient", _xml(cast.given["xml"]), {"Content-Type": "application/fhir+xml"}),
        ("Patient", gzip.compress(b"{" + cast.given["malformed"].encode())[:-5], {"Content-Encoding": "gzip"}),
        ("Patient", cast.given["malformed"].encode(), {"Content-Type": f"text/{cast.given_ins['malformed']}"}),
    ]  # fmt: skip
    for target, body, headers in bad:
        sent = {"X_Gestionnaire": "bre", **{name.replace("-", "_"): value for name, value in headers.items()}}
        answered = await world.send("POST", target, body, **sent)
        refused += answered.status >= 400
        assert b'"internal"' not in answered.body, answered.body
    assert refused >= len(bad) - 1  # a wrong key of an INS is warned about
    put = await world.send("PUT", "Patient/bre.p1", patient | {"id": name})
    assert put.status in (400, 422), put.body


def _transaction(method: str, url: str, resource: Json) -> Json:
    entry = {"request": {"method": method, "url": url}, "resource": resource}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}


def _xml(name: str) -> bytes:
    entity = (
        f'<!DOCTYPE x [<!ENTITY e "{name}">]><Patient xmlns="http://hl7.org/fhir"><x value="&e;"/></Patient>'
    )
    return entity.encode()


async def wrong_requests(world: LeakWorld) -> None:
    """In addresses, parameters and headers."""
    cast = world.cast
    name, number, strict = (
        quote(cast.given["path"], safe=""), cast.given_ins["path"], quote(cast.given["strict"]),
    )  # fmt: skip
    for target in (
        f"Patient/{number}", f"Patient/bre.{number}", f"Patient/{number}.x", f"{name}/1", f"{name}", f"Patient/{name}",
        f"CareTeam/bre.c1/_history/{name}", f"CareTeam/bre.c1/{name}", f"CareTeam/bre.c1/${number}",
        f"/registry/gestionnaires/{name}", f"/registry/fhir/Organization/{name}", f"/{name}/{number}", f"/fhir/..%2f{name}",
        f"CareTeam?patient.identifier:{strict}=1", f"CareTeam?{strict}={strict}", f"CareTeam?_sort={strict}",
        f"CareTeam?_include={strict}", f"CareTeam?_count={strict}", f"CareTeam?_lastUpdated={strict}",
        f"CareTeam?patient:{strict}.family=x", f"CareTeam?_has:{strict}:x:y=z", f"Patient?birthdate={strict}",
        f"CareTeam?_format={strict}", f"CareTeam?_summary={strict}", f"CareTeam?_elements={strict}",
        f"CareTeam?patient=Patient/{number}", f"CareTeam?patient.identifier={number}&patient.identifier=%zz",
        f"CareTeam/_history?_since={strict}", f"Subscription/{number}", f"/registry/audit?person={name}&since={name}",
    ):  # fmt: skip
        for prefer in ("handling=strict", "handling=lenient"):
            await world.send("GET", target, Prefer=prefer)
    header = cast.given_ins["header"]
    for more in (
        {"X_Gestionnaire": header}, {"Prefer": f"handling={header}, wait={header}"}, {"Accept": f"text/{header}"},
        {"Accept_Language": header}, {"Via": f"1.1 {header}"}, {"User_Agent": header}, {"Cookie": f"name={header}"},
        {"Authorization": f"Bearer {header}"}, {"Authorization": f"Basic {header}"}, {"Expect": header},
        {"X_Forwarded_For": header}, {"X_SSL_Client_Cert": header}, {"traceparent": f"00-{header}-1"},
        {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": f"a={header}"},
        {"X_Request_Id": f"{header} of {header}"}, {"If_None_Match": f'W/"{header}"'}, {"Range": header},
    ):  # fmt: skip
        await world.send("GET", "CareTeam?status=active", **more)
        await world.send("POST", "Organization", structure_of(cast.structure), **more)
    for method in ("DELETE", "PATCH", "OPTIONS", "TRACE", header):
        await world.send(method, f"Patient/bre.{number}")
    await world.send("POST", "Patient/_search", f"family={cast.given['form']}&%zz=%ff&" + "[" * 200)
    await world.send("POST", "Patient/_search", "&".join(f"family={cast.given['form']}" for _ in range(300)))
    await world.send(
        "POST",
        "Patient/_search",
        cast.given["form"].encode("utf-16"),
        Content_Type="application/x-www-form-urlencoded",
    )


async def refusals(world: LeakWorld) -> None:
    """Whoever may not, and whoever is nobody."""
    cast = world.cast
    forged = world.token[:-6] + "AAAAAA"
    late = world.issuer.token(exp=1, sub=cast.given_ins["header"], client_id=cast.given_ins["header"])
    odd = world.issuer.token(client_id=cast.given["header"])
    for token in (None, world.little, forged, late, odd):
        await world.send("GET", f"Patient/bre.{cast.given_ins['path']}", token=token)
        form = urlencode({"patient.family": cast.given["criterion"]})
        await world.send("POST", "CareTeam/_search", form, token=token)
        await world.send("POST", "Patient", patient_of(cast.written), token=token)
        await world.send("GET", "/registry/audit?person=" + quote(cast.given["criterion"]), token=token)
        await world.send(
            "GET",
            f"CareTeam?access_token={token}&patient.family={quote(cast.given['criterion'])}",
            token=token,
        )


async def administration(world: LeakWorld) -> None:
    cast = world.cast
    json = {"Content_Type": "application/json"}
    search = f"CareTeam?patient.identifier={INS_TEST}|{cast.held.number}&patient.family={cast.held.family}"
    planned = await world.send("POST", "/registry/plan", {"search": search}, **json)
    assert planned.status == 200, planned.body
    await world.send(
        "POST",
        "/registry/plan",
        {"search": f"CareTeam?{cast.given['strict']}=1&_sort={cast.given['strict']}"},
        **json,
    )
    await world.send("POST", "/registry/plan", {cast.given["strict"]: cast.given["strict"]}, **json)
    name = cast.given["slug"]
    for wrong in (
        {"id": name, "name": name, "region": name, "base_url": name},
        {name: name},
        {"id": "zzz", "auth": {"type": name}},
    ):
        assert (await world.send("POST", "/registry/gestionnaires", wrong, **json)).status in (400, 422)
    for target in (
        "/registry/gestionnaires",
        "/registry/locator",
        "/registry/conflicts",
        "/registry/synchronisation",
        "/registry/audit?count=5",
    ):
        assert (await world.send("GET", target)).status == 200, target
    await world.send("POST", "/registry/synchronisation/occ/bootstrap", {}, **json)
    await world.send("POST", "/registry/locator/bre/crawl", {}, **json)


async def console(world: LeakWorld) -> None:
    """The operator's pages: with no purpose stated, with a wrong one, and as they are meant."""
    cast, name = world.cast, quote(world.cast.given["path"], safe="")
    form = urlencode({"family": cast.held.family, "ins": cast.held.number, "ins-kind": "test"})
    for target in (
        f"/console/search?family={name}",
        f"/console/circle/bre.{cast.given_ins['path']}",
        f"/console/{name}",
    ):
        await world.send("GET", target)
    await world.send("POST", "/console/search", form)
    asked = await world.send("GET", "/console/purpose")
    csrf = re.search(rb'name="csrf" value="([^"]+)"', asked.body)
    assert csrf is not None, asked.body
    cookies = asked.headers["Set-Cookie"].partition(";")[0]
    shown: dict[str, str] = {"csrf": csrf[1].decode(), "code": "TREAT"}
    await world.send(
        "POST", "/console/purpose", urlencode(shown | {"reference": cast.given_ins["form"]}), Cookie=cookies
    )
    taken = await world.send("POST", "/console/purpose", urlencode(shown), Cookie=cookies)
    assert taken.status == 303, taken.body
    cookies += "; " + taken.headers["Set-Cookie"].partition(";")[0]
    found = await world.send("POST", "/console/search", f"{form}&csrf={quote(shown['csrf'])}", Cookie=cookies)
    assert found.status == 200, found.body
    assert b"bre.c1" in found.body, found.body
    wrong = urlencode(
        shown
        | {
            "ins": cast.given_ins["criterion"][:-2] + "00",
            "ins-kind": "test",
            "birthdate": cast.given["criterion"],
        }
    )
    await world.send("POST", "/console/search", wrong, Cookie=cookies)
    for target in (
        "/console",
        "/console/circle/bre.c1",
        "/console/registry",
        "/console/synchronisation",
        "/console/audit",
    ):
        await world.send("GET", target, Cookie=cookies)


async def unreadable(world: LeakWorld) -> None:
    """What is no HTTP, or stops in the middle."""
    name, number = world.cast.given["line"].encode(), world.cast.given_ins["line"].encode()
    token = b"Authorization: Bearer " + world.token.encode() + b"\r\n"
    post = b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\n" + token
    for request in (
        b"GET /fhir/Patient?family=" + name + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /fhir/" + number + b" " + name + b" HTTP/9\r\n\r\n",
        number + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + name + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + number + b"\x00\r\n\r\n",
        b"GET /fhir/CareTeam HTTP/1.1\r\nHost: x\r\nContent-Length: " + number + b"\r\nContent-Length: 1\r\n\r\n",
        b"GET /" + number * 1000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        post + b"Transfer-Encoding: chunked\r\n\r\n" + number + b"zz\r\n" + name,
        post + b"Content-Length: 900\r\n\r\n" + name,
        b"\x16\x03\x01" + name + number + b"\r\n\r\n",
    ):  # fmt: skip
        await world.raw(request)


async def faults(world: LeakWorld) -> None:
    """Managers that fail, lie and vanish; a store that is killed."""
    cast = world.cast
    blind = urlencode({"status": "active", "_count": "50"})  # names nobody
    for mode in MODES:
        world.hostile.mode = mode
        await world.send("POST", "CareTeam/_search", blind)
        await world.send("GET", f"CareTeam/{HOSTILE}.x")
        await world.send("POST", "Organization", structure_of(cast.structure), X_Gestionnaire=HOSTILE)
        await world.send("POST", "/registry/gestionnaires/cor/check", {}, Content_Type="application/json")
    world.hostile.mode = ""
    bre = world.proxies["bre"]
    lost = await _made(world, patient_of(cast.lost), X_Gestionnaire="bre")
    for fault in (Fault.CUT_UNANSWERED, Fault.CUT_IN_ANSWER, Fault.ERROR_AFTER):
        bre.faults[cast.numbers["lost"]] = fault
        await world.send(
            "POST", "CareTeam", circle_of(cast.circles["lost"], lost, [HOUSE], cast.numbers["lost"])
        )
        bre.faults.clear()
    await bre.refuse()
    await world.send("POST", "CareTeam/_search", urlencode({"patient.family": cast.held.family}))
    await world.send("GET", "Patient/bre.p1")
    await world.send("POST", "CareTeam", circle_of(cast.circles["lost"], lost, [HOUSE], cast.numbers["lost"]))
    await bre.accept()
    await world.restart_store()
    await asyncio.gather(*(_search_again(world) for _ in range(4)))

    async def works_again() -> bool:
        answered = await _search_again(world)
        return answered.status == 200 and b"manager." not in answered.body

    await until(works_again, seconds=20.0)
    await _made(world, structure_of(cast.structure), X_Gestionnaire="bre")


async def _search_again(world: LeakWorld) -> Answered:
    held = world.cast.held
    form = urlencode({"patient.identifier": f"{INS_TEST}|{held.number}", "patient.family": held.family})
    return await world.send("POST", "CareTeam/_search", form)
