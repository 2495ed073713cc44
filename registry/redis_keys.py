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

    # The outbox shares the hash tag of the writes: an intent is cleared and its changes are put there in one step.

    @property
    def outbox(self) -> str:
        """Stream: m manager, i id, v version, t instant, o operation, s sequence."""
        return f"{self.prefix}:{{writes}}:outbox"

    @property
    def outbox_epoch(self) -> str:
        """String: run of the server (`run_id`) and since when it runs, ms: where the numbers of changes go on from."""
        return f"{self.prefix}:{{writes}}:outbox:epoch"

    @property
    def outbox_floors(self) -> str:
        """Hash: slug → up to which instant (ms) what is unknown at that manager is old."""
        return f"{self.prefix}:{{writes}}:outbox:floors"

    @property
    def outbox_lead(self) -> str:
        """String with expiry: fencing token and node that publishes."""
        return f"{self.prefix}:{{writes}}:outbox:lead"

    @property
    def outbox_fence(self) -> str:
        """Number: the last fencing token given."""
        return f"{self.prefix}:{{writes}}:outbox:fence"

    def outbox_circles(self, manager: str, bucket: int) -> str:
        """Hash: what is known of a manager's circles that changed (`registry.outbox_scripts`)."""
        return f"{self.prefix}:{{writes}}:circles:{manager}:{bucket:x}"

    @property
    def bootstrap_lead(self) -> str:
        """String with expiry: fencing token and node that sends newcomers the present state."""
        return f"{self.prefix}:{{bootstraps}}:lead"

    @property
    def bootstrap_fence(self) -> str:
        """Number: the last fencing token given."""
        return f"{self.prefix}:{{bootstraps}}:fence"

    @property
    def bootstrap_progress(self) -> str:
        """Hash: subscription and manager, by a blank → `BootstrapProgress`, JSON."""
        return f"{self.prefix}:{{bootstraps}}:progress"

    @property
    def bootstrap_requests(self) -> str:
        """Hash: subscription → how often its owner asked for the present state."""
        return f"{self.prefix}:{{bootstraps}}:requests"

    # Conflicts: few and small, so one hash tag.

    @property
    def conflicts(self) -> str:
        """Hash: id → `Conflict`, JSON."""
        return f"{self.prefix}:{{conflicts}}:all"

    @property
    def conflicts_looked(self) -> str:
        """Number: when the index was last asked for conflicts, seconds since 1970."""
        return f"{self.prefix}:{{conflicts}}:looked"

    @property
    def conflicts_lead(self) -> str:
        """String with expiry: fencing token and node that looks for conflicts and tells of them."""
        return f"{self.prefix}:{{conflicts}}:lead"

    @property
    def conflicts_fence(self) -> str:
        """Number: the last fencing token given."""
        return f"{self.prefix}:{{conflicts}}:fence"

    def session(self, key: str) -> str:
        """String with expiry: a session of the console, sealed. `key`: a digest of what the browser holds."""
        return f"{self.prefix}:session:{key}"

    def rate(self, client: str) -> str:
        """Number with expiry: up to when what a client asked for is paid, microseconds by the server's clock."""
        return f"{self.prefix}:rate:{client}"

    def idempotency(self, key: bytes) -> str:
        """Hash with expiry: f fingerprint, o owner; b the answer, sealed, once there is one."""
        return f"{self.prefix}:idempotency:{key.hex()}"

    # Subscriptions, and the queues of those that are told by HTTP: few and small, so one hash tag each.

    @property
    def subscriptions(self) -> str:
        """Hash: id → version, instant, sealed content."""
        return f"{self.prefix}:{{subscriptions}}:documents"

    def subscription_gone(self, subscription: str) -> str:
        """String with expiry: the last version, when it was removed, and a nonce."""
        return f"{self.prefix}:{{subscriptions}}:gone:{subscription}"

    @property
    def subscription_versions(self) -> str:
        """Hash: id → version."""
        return f"{self.prefix}:{{subscriptions}}:versions"

    @property
    def subscription_epoch(self) -> str:
        """Number: grows with each write of a subscription."""
        return f"{self.prefix}:{{subscriptions}}:epoch"

    @property
    def subscription_changes(self) -> str:
        """Pub/sub channel: the id that changed."""
        return f"{self.prefix}:{{subscriptions}}:changes"

    @property
    def hook_due(self) -> str:
        """Sorted set: subscriptions by when they are due, milliseconds since the epoch by the server's clock."""
        return f"{self.prefix}:{{hooks}}:due"

    @property
    def hook_wakes(self) -> str:
        """Pub/sub channel: a subscription that became due."""
        return f"{self.prefix}:{{hooks}}:wakes"

    def hook_state(self, subscription: str) -> str:
        """Hash: see `registry.hook_scripts`."""
        return f"{self.prefix}:{{hooks}}:state:{subscription}"

    def hook_events(self, subscription: str) -> str:
        """Stream: entry `{number}-0`, fields e event, t milliseconds, c content, sealed."""
        return f"{self.prefix}:{{hooks}}:events:{subscription}"

    def hook_known(self, subscription: str) -> str:
        """Hash: event → number, of what the stream holds."""
        return f"{self.prefix}:{{hooks}}:known:{subscription}"

    def sent_circles(self, bucket: int) -> str:
        """Hash: public id of a circle → ids of the subscriptions that were sent it, by blanks. Small: it is kept packed."""
        return f"{self.prefix}:sent:{bucket:x}"

    @property
    def audit_heads(self) -> str:
        """Hash: stream of the audit trail → number and seal of its last line."""
        return f"{self.prefix}:{{audit}}:heads"

    @property
    def audit_mourned(self) -> str:
        """Set: stream, first and last number of lines that were there once and are gone."""
        return f"{self.prefix}:{{audit}}:mourned"
