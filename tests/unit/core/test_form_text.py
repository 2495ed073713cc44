"""Form text is what the standard library makes of the same pairs, and reads back as them."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from hypothesis import given
from hypothesis import strategies as st

from broker.core.form_text import form_text

PAIRS = st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=5)


@given(PAIRS)
def test_it_is_what_urlencode_makes(pairs: list[tuple[str, str]]) -> None:
    assert form_text(pairs) == urlencode(pairs)
    assert parse_qsl(form_text(pairs), keep_blank_values=True) == pairs


def test_every_ascii_character() -> None:
    everything = "".join(map(chr, range(128)))
    assert form_text([(everything, everything)]) == urlencode([(everything, everything)])
