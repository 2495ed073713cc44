"""Names of the keys. The registry's share one hash tag, so that its scripts work on a Redis Cluster too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RedisKeys:
    """Every key starts with `prefix`, so that several federations can share a server."""

    prefix: str = "cds"

    @property
    def declarations(self) -> str:
        """Hash: slug → `Registered` without skills, JSON."""
        return f"{self.prefix}:{{registry}}:declarations"

    @property
    def skills(self) -> str:
        """Hash: slug → `Skills`, JSON."""
        return f"{self.prefix}:{{registry}}:skills"

    @property
    def addresses(self) -> str:
        """Hash: base_url → slug. Keeps two managers from one address."""
        return f"{self.prefix}:{{registry}}:addresses"

    @property
    def slugs(self) -> str:
        """Set: every slug that has a history, removed ones too."""
        return f"{self.prefix}:{{registry}}:slugs"

    def history(self, slug: str) -> str:
        """List, newest first: `Version`, JSON. Its head is what a writer compares before it writes."""
        return f"{self.prefix}:{{registry}}:history:{slug}"

    @property
    def changes(self) -> str:
        """Pub/sub channel: the slug that changed."""
        return f"{self.prefix}:{{registry}}:changes"

    def page(self, key: str) -> str:
        return f"{self.prefix}:page:{key}"

    def alias(self, alias: str) -> str:
        return f"{self.prefix}:alias:{alias}"

    def lease(self, name: str) -> str:
        return f"{self.prefix}:lease:{name}"

    @property
    def locator_state(self) -> str:
        """String: `registry.locator_state.State`, JSON. The locator's small keys share one hash tag."""
        return f"{self.prefix}:{{locator}}:state"

    @property
    def locator_fence(self) -> str:
        """Number: the last fencing token given."""
        return f"{self.prefix}:{{locator}}:fence"

    def locator_lead(self, manager: str) -> str:
        """String with expiry: fencing token and node that feeds this manager."""
        return f"{self.prefix}:{{locator}}:lead:{manager}"

    def locator_conflicts(self, generation: int) -> str:
        """Set: digests of persons that have two homes, or had a moment ago."""
        return f"{self.prefix}:{{locator}}:conflicts:{generation:x}"

    def locator_bucket(self, generation: int, kind: str, bucket: int, tag: int) -> str:
        """String: records (`registry.locator_records`). `kind`: p, c or r. `tag`: 0–255, one slot each."""
        return f"{self.prefix}:{{l{tag:02x}}}:{generation:x}{kind}{bucket:x}"
