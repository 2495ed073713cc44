"""Forms of the console."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
    "console.form": Message(
        400,
        "error",
        "processing",
        "Ce formulaire n'a pas été donné par cette console, ou il y a trop longtemps : rechargez la page et recommencez.",
        "This form was not given by this console, or too long ago: reload the page and try again.",
    ),
    "console.purpose": Message(
        403,
        "error",
        "forbidden",
        "Des données personnelles ne sont montrées qu'à qui a déclaré un motif.",
        "Personal data are shown only to those who have stated a purpose.",
    ),
    "console.streams": Message(
        429,
        "error",
        "throttled",
        "Trop de pages sont suivies en direct à la fois : {limit} au plus.",
        "Too many pages are followed live at a time: {limit} at most.",
    ),
}
