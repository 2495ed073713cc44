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

    # Claims and intents share one hash tag: each of their scripts touches several.

    @property
    def write_token(self) -> str:
        """Number: the last token of a claim."""
        return f"{self.prefix}:{{writes}}:token"

    def write_name(self, name: bytes) -> str:
        """Hash, with expiry until it is an intent's: t token, n nonce, i intent; or t token, r kept result."""
        return f"{self.prefix}:{{writes}}:name:{name.hex()}"

    @property
    def write_intents(self) -> str:
        """Hash: intent → its token, how often it was handed out, its names."""
        return f"{self.prefix}:{{writes}}:intents"

    @property
    def write_blobs(self) -> str:
        """Hash: intent → what its writer has to say, sealed."""
        return f"{self.prefix}:{{writes}}:blobs"

    @property
    def write_due(self) -> str:
        """Sorted set: intents by when they are due, milliseconds since the epoch by the server's clock."""
        return f"{self.prefix}:{{writes}}:due"

    @property
    def write_begun(self) -> str:
        """Sorted set: intents by when they were recorded, likewise."""
        return f"{self.prefix}:{{writes}}:begun"

    def idempotency(self, key: bytes) -> str:
        """Hash with expiry: f fingerprint, o owner; b the answer, sealed, once there is one."""
        return f"{self.prefix}:idempotency:{key.hex()}"
