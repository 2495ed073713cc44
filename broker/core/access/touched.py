"""Whose data one request has touched: gathered on the way, told to the audit at its end."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.core.persons import person_of


@dataclass(slots=True)
class Touched:
    """`persons`: public references to Patients (`Patient/bre.12`), or addresses elsewhere. `resources`: public references
    to what was read or written by name. `managers`: slugs of those that were asked. `risk_accepted`: uniqueness was not
    proven, by choice. `reason`: key of the text that says why the answer is an error, where it was not raised."""

    persons: set[str] = field(default_factory=set)
    resources: set[str] = field(default_factory=set)
    managers: set[str] = field(default_factory=set)
    risk_accepted: bool = False
    reason: str | None = None

    def show(self, resource_type: str, public_id: str, raw: bytes) -> None:
        """A resource in public terms (`raw`: its JSON, empty for a deletion) that the answer holds."""
        person = person_of(resource_type, public_id, raw)
        if person is not None:
            self.persons.add(person)

    def name(self, resource_type: str, public_id: str, raw: bytes = b"") -> None:
        """A resource that was read, written or pointed to by name."""
        self.resources.add(f"{resource_type}/{public_id}")
        self.show(resource_type, public_id, raw)
