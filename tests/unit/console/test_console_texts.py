"""Each text that a template or a page asks for is there, in both languages, with the same placeholders."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

from broker.console.federation_view import PLACES
from broker.console.frame import TEMPLATES, environment
from broker.console.texts import TEXTS, text
from registry.model import REGIONS

CODE = Path(TEMPLATES).parent
_ASKED = re.compile(r"""\bt\(\s*["']([a-z][\w.-]*)["']\s*[,)]""")
_PREFIX = re.compile(r"""\bt\(\s*["']([a-z][\w.-]*\.)["']\s*[+~]""")


def placeholders(of: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(of) if name is not None}


def test_both_languages_say_the_same_with_the_same_placeholders() -> None:
    for key, (fr, en) in TEXTS.items():
        assert fr.strip(), key
        assert en.strip(), key
        assert placeholders(fr) == placeholders(en), key


def test_every_text_that_templates_ask_for_is_there() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*.html")}
    asked = {key for source in sources.values() for key in _ASKED.findall(source)}
    assert len(asked) > 60
    assert asked - TEXTS.keys() == set()
    prefixes = {prefix for source in sources.values() for prefix in _PREFIX.findall(source)}
    assert [one for one in prefixes if not any(key.startswith(one) for key in TEXTS)] == []


def test_no_text_is_there_for_nobody() -> None:
    """A key stands in a template or in the code, or under a prefix that does."""
    paths = [*TEMPLATES.glob("*.html"), *CODE.glob("*.py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    assert [
        key for key in TEXTS if key not in source and not any(f"{part}." in source for part in _prefixes(key))
    ] == []


def _prefixes(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def test_every_template_can_be_read() -> None:
    made = environment()
    for path in TEMPLATES.glob("*.html"):
        made.get_template(path.name)


def test_text_fills_in() -> None:
    assert text("federation.age", "fr", age="2 s") == "il y a 2 s"
    assert text("federation.age", "en", age="2 s") == "2 s ago"


def test_every_region_has_a_place_of_its_own() -> None:
    assert PLACES.keys() == REGIONS.keys()
    assert len({*PLACES.values()}) == 18
    assert list(PLACES.values()) == sorted(PLACES.values()), "read as it is seen"
