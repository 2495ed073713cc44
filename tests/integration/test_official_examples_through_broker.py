"""The guide's official examples through the whole broker over HTTP: not a byte changes that need not.

What may change is `id`, `meta`, `fullUrl` and the ids in references (federation, section 1). Everything else is compared
as text, by the standard library's scanner and not the broker's own.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from adapters.sandbox.app import running_sandbox
from registry.model import Gestionnaire
from tests.support.federation import Broker, federation
from tests.support.regions import CHECKED
from tests.support.scripted_manager import FHIR_JSON, Reply, ScriptedManager, scripted_manager
from tests.support.valkey import Valkey

PACKAGE = Path(__file__).parents[3] / "shared" / "ig" / "ans.fhir.fr.cds-2.0.1.tgz"
BOM = b"\xef\xbb\xbf"
TYPES = ("CareTeam", "Organization", "Patient", "RelatedPerson")
EVERYBODY = "CareTeam?_include=*&_include:iterate=*"
_DECODER = json.JSONDecoder()

pytestmark = [
    pytest.mark.guide,
    pytest.mark.skipif(not PACKAGE.exists(), reason="the guide's package is not beside the repository"),
]

Published = Mapping[str, str]
"""One resource of each type, as the guide writes it."""


def published(source: str) -> Published:
    """`files`: each type's own example. `transaction`: the resources of the transaction's example."""
    with tarfile.open(PACKAGE) as package:

        def text(name: str) -> str:
            file = package.extractfile(f"package/example/{name}.json")
            assert file is not None
            return file.read().decode("utf-8-sig")

        if source == "files":
            return {kind: text(f"{kind}-cds-{kind.lower()}-example") for kind in TYPES}
        bundle = text("Bundle-cds-bundle-transaction-creation-example")
    found = [value_at(bundle, match.end()) for match in re.finditer(r'"resource"\s*:\s*', bundle)]
    return {json.loads(one)["resourceType"]: one for one in found}


def value_at(text: str, start: int) -> str:
    """The JSON value that begins there."""
    return text[start : _DECODER.raw_decode(text, start)[1]]


def members(text: str) -> dict[str, str]:
    """The members of a JSON object as they are written, in their order."""
    found: dict[str, str] = {}
    position = text.index("{") + 1
    while (key := re.compile(r'\s*,?\s*"').match(text, position)) is not None:
        name, end = _DECODER.raw_decode(text, key.end() - 1)
        colon = re.compile(r"\s*:\s*").match(text, end)
        assert colon is not None
        found[name] = value_at(text, colon.end())
        position = colon.end() + len(found[name])
    return found


# --- ways to write the same resource


def as_it_is(text: str) -> str:
    return text


def indented(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)


def indented_for_windows(text: str) -> str:
    return indented(text).replace("\n", "\r\n")


def escaped(text: str) -> str:
    return json.dumps(json.loads(text), separators=(",", ":"))


def id_and_meta_last(text: str) -> str:
    parts = members(text)
    order = [name for name in parts if name not in ("id", "meta")] + ["meta", "id"]
    return "{" + ", ".join(f'"{name}": {parts[name]}' for name in order) + "}"


def with_numbers(text: str) -> str:
    """With numbers that a program would like to write otherwise, and keys in no order."""
    numbers = ("1.50", "1e3", "0.000000000000000000001", "100000000000000000001", "-0.0", "2E+2")
    extensions = ",".join(f'{{"valueDecimal":{one},"url":"urn:z","id":"a"}}' for one in numbers)
    return text.rstrip()[:-1] + f',"modifierExtension":[{extensions}],"aa":{{"z":1,"a":[]}}}}'


WRITINGS: tuple[Callable[[str], str], ...] = (
    as_it_is,
    indented,
    indented_for_windows,
    escaped,
    id_and_meta_last,
    with_numbers,
)


# --- what came back


def assert_unharmed(came: str, sent: str) -> None:
    """Every member as it was, in its order; references in public terms, `id` and `meta` restated."""
    was, now = members(sent), members(came)
    assert [name for name in now if name != "meta"] == [name for name in was if name != "meta"]
    for name, value in was.items():
        if name == "id":
            assert json.loads(now["id"]) == f"bre.{json.loads(value)}"
        elif name == "meta":
            assert_meta(members(now["meta"]), members(value))
        else:
            assert in_own_terms(now[name]) == value, name
    assert references(came) == [re.sub("/", "/bre.", one, count=1) for one in references(sent)]


def assert_meta(now: Mapping[str, str], was: Mapping[str, str]) -> None:
    assert now["profile"] == was["profile"]
    assert now["source"].startswith('"http://127.0.0.1:')
    assert '"53"' in now["tag"]


def in_own_terms(value: str) -> str:
    return re.sub(r'("reference"\s*:\s*"[A-Za-z]+/)bre\.', r"\1", value)


def references(text: str) -> list[str]:
    return re.findall(r'"reference"\s*:\s*"([^"]+)"', text)


def resources_of(bundle: str) -> Published:
    found = [value_at(bundle, match.end()) for match in re.finditer(r'"resource"\s*:\s*(?=\{)', bundle)]
    return {json.loads(one)["resourceType"]: one for one in found}


# --- two kinds of managers


def json_reply(body: bytes) -> Reply:
    return Reply(200, body, {"Content-Type": FHIR_JSON})


def serve(manager: ScriptedManager, resources: Published, *, bom: bool) -> None:
    """The texts, pasted into a searchset as they are, and each alone as a read."""
    entries = []
    mark = BOM if bom else b""
    for kind, text in resources.items():
        target = f"{kind}/{json.loads(text)['id']}"
        mode = "match" if kind == "CareTeam" else "include"
        entries.append(
            f'{{"fullUrl":"{manager.base_url}/{target}","resource":{text},"search":{{"mode":"{mode}"}}}}'
        )
        manager.replies[target] = json_reply(mark + text.encode())
    searchset = f'{{"resourceType":"Bundle","type":"searchset","total":1,"entry":[{",".join(entries)}]}}'
    manager.replies["CareTeam/_search"] = json_reply(mark + searchset.encode())


@asynccontextmanager
async def able(valkey: Valkey, manager: Gestionnaire) -> AsyncIterator[Broker]:
    """A broker that trusts its one manager to include."""
    async with federation(valkey, manager) as broker:
        await broker.running.store.save_skills(manager.id, CHECKED)
        await broker.running.managers.refresh()
        yield broker


@asynccontextmanager
async def through_scripted(
    valkey: Valkey, resources: Published, *, bom: bool = False
) -> AsyncIterator[Broker]:
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(scripted_manager())
        serve(manager, resources, bom=bom)
        yield await stack.enter_async_context(able(valkey, manager.gestionnaire("bre")))


@asynccontextmanager
async def through_sandbox(
    valkey: Valkey, resources: Published, *, bom: bool = False
) -> AsyncIterator[Broker]:
    mark = BOM if bom else b""
    async with AsyncExitStack() as stack:
        held = [mark + text.encode() for text in resources.values()]
        box = await stack.enter_async_context(running_sandbox(held))
        manager = Gestionnaire("bre", "Bretagne", "53", box.base_url)
        yield await stack.enter_async_context(able(valkey, manager))


MANAGERS = [through_scripted, through_sandbox]


@pytest.fixture(params=["files", "transaction"])
def examples(request: pytest.FixtureRequest) -> Published:
    return published(request.param)


def test_the_examples_are_what_this_is_about(examples: Published) -> None:
    """Traps of the official material: an empty `valueString`, narratives with links."""
    assert tuple(sorted(examples)) == TYPES
    assert '"valueString":""' in examples["CareTeam"]
    assert all("<a name" in json.loads(text)["text"]["div"] for text in examples.values())
    assert references(examples["CareTeam"])


@pytest.mark.parametrize(
    ("write", "bom"),
    [
        *(pytest.param(write, False, id=write.__name__) for write in WRITINGS),
        *(pytest.param(write, True, id=f"{write.__name__}, BOM") for write in WRITINGS[:2]),
    ],
)
@pytest.mark.parametrize("through", MANAGERS, ids=["scripted", "sandbox"])
async def test_nothing_is_harmed_by_search_or_read(
    valkey: Valkey,
    examples: Published,
    through: Callable[..., object],
    write: Callable[[str], str],
    *,
    bom: bool,
) -> None:
    sent = {kind: write(text) for kind, text in examples.items()}
    async with through(valkey, sent, bom=bom) as broker:  # type: ignore[attr-defined]  # one of the two above
        answered = await broker.get(EVERYBODY)
        assert answered.status == 200, answered.body
        came = resources_of(answered.body.decode())
        assert sorted(came) == sorted(sent)
        for kind, text in sent.items():
            assert_unharmed(came[kind], text)
            full_url = f"{broker.base_url}/{kind}/bre.{json.loads(text)['id']}"
            assert f'"fullUrl":"{full_url}"' in answered.body.decode()
            read = await broker.get(full_url)
            assert read.status == 200
            assert_unharmed(read.body.decode(), text)


@pytest.mark.parametrize("through", MANAGERS, ids=["scripted", "sandbox"])
async def test_narratives_survive_xml(
    valkey: Valkey, examples: Published, through: Callable[..., object]
) -> None:
    async with through(valkey, examples) as broker:  # type: ignore[attr-defined]  # one of the two above
        answered = await broker.get(EVERYBODY, Accept="application/fhir+xml")
        for kind, text in examples.items():
            narrative = json.loads(text)["text"]["div"]
            read = await broker.get(f"{kind}/bre.{json.loads(text)['id']}", Accept="application/fhir+xml")
            for body in (answered.body.decode(), read.body.decode()):
                ET.fromstring(body)
                assert narrative in body
