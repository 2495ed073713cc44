"""The settings of the process itself: how it ends, and what it says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic_settings import BaseSettings

from broker.settings_fields import doc


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class Background(StrEnum):
    PROCESS = "process"
    WORKER = "worker"


class ProcessSettings(BaseSettings):
    """A part of `broker.settings.Settings`, which is what is used."""

    background: Annotated[
        Background,
        doc(
            "what publishes changes, crawls managers and tells endpoints: a process of its own, or, where one only serves, "
            "that one (worker)",
            "ce qui publie les changements, parcourt les gestionnaires et prévient les abonnés : un processus à part "
            "(process) ou, s'il n'y en a qu'un qui sert, celui-là (worker)",
        ),
    ] = Background.PROCESS
    drain: Annotated[
        float,
        doc(
            "seconds after SIGTERM for which a worker says that it is not ready and still answers; behind a balancer two of "
            "its checks and more",
            "secondes après SIGTERM pendant lesquelles un processus se dit indisponible et répond encore ; derrière un "
            "répartiteur, deux de ses contrôles au moins",
            ge=0,
            le=600,
        ),
    ] = 0.0
    log_format: Annotated[
        LogFormat | None,
        doc(
            "text or json, one object a line; unset: text on a terminal, else json",
            "text ou json, un objet par ligne ; sinon text sur un terminal, json ailleurs",
        ),
    ] = None
    log_requests: Annotated[
        bool,
        doc(
            "one line for each request: route, status, time, client, request id",
            "une ligne par requête : route, statut, durée, client, identifiant",
        ),
    ] = True
