"""The settings of what is done about slow managers (decision 11)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic_settings import BaseSettings

from broker.settings_fields import Seconds, doc


class Wanted(StrEnum):
    OFF = "off"
    ASKED = "asked"  # where the client says so
    ON = "on"


class TailSettings(BaseSettings):
    """A part of `broker.settings.Settings`, which is what is used."""

    hedged_reads: Annotated[
        Wanted,
        doc(
            "a proven replica is shown where its home is slow: off, asked (clients that say Prefer: replica=allow) or on "
            "(all but those that say deny); off also waits for replicas whose homes have answered",
            "une copie sûre est montrée si son origine tarde : off, asked (clients qui disent Prefer: replica=allow) ou on",
        ),
    ] = Wanted.ASKED
    adaptive_deadlines: Annotated[
        Wanted,
        doc(
            "searches give a manager up before its own time is over, by how long it took of late, and are partial then: "
            "off, asked (clients that say Prefer: wait) or on",
            "les recherches abandonnent tôt un gestionnaire, selon ses délais récents, et sont alors partielles : off, "
            "asked (clients qui disent Prefer: wait) ou on",
        ),
    ] = Wanted.OFF
    adaptive_floor: Annotated[
        Seconds,
        doc(
            "seconds that a manager is given by such a deadline at least",
            "secondes laissées au moins à un gestionnaire par un tel délai",
        ),
    ] = 0.5
