"""What a sandbox Gestionnaire does, and what it can be told not to be able to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """Defaults: everything the guide asks of a Gestionnaire, done right.

    Each handicap copies what some real FHIR server does. `lying_statement` keeps them out of `/metadata`, as
    such servers do; otherwise the statement says what is really offered.
    """

    default_page: int = 20
    max_page: int = 100
    page_lifetime: float = 600.0  # seconds that a page link lives
    max_page_states: int = 1000  # searches whose page links live at once; the oldest goes first
    max_body: int = 16 * 1024 * 1024  # bytes
    allow_delete: bool = False  # offer DELETE, which the guide does not have
    check_profiles: bool = True  # 422 for a circle or a related person without what its profile demands
    one_circle_per_person: bool = False  # 409 for a second circle of the same subject

    no_full_url: bool = False
    no_search_mode: bool = False
    no_self_link: bool = False
    no_total: bool = False
    id_last: bool = False  # `id` is the last member of a resource
    uuid_versions: bool = False
    chains_match_nothing: bool = False
    ignores_include: bool = False  # `_include` and `_revinclude`
    ignores_sort: bool = False
    ignores_elements: bool = False
    ignored_params: frozenset[str] = frozenset()  # dropped without a word, with their modifiers and chains
    no_type_history: bool = False
    no_post_search: bool = False
    relative_next_links: bool = False  # `/fhir/CareTeam?…`, without scheme and host
    getpages_links: bool = False  # `?_getpages=…` on the base, like HAPI
    lying_statement: bool = False
