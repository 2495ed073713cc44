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
