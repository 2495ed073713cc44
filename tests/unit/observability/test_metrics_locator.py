"""How much of each manager the index holds, as figures: of the last look, and growing old by themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.federation.locating import LocatorGuide
from broker.observability.metrics_locator import LocatorFigures
from broker.sync.coverage_watch import CoverageWatch
from broker.sync.service import LocatorService
from registry.model import Gestionnaire, Status
from tests.support.fake_locator import FakeLocator
from tests.support.fake_stores import ManualClock
from tests.support.scripted_manager import FixedManagers

FRESH = 30.0


def manager(slug: str, status: Status = Status.ACTIVE) -> Gestionnaire:
    return Gestionnaire(slug, slug, "53", f"http://127.0.0.1/{slug}", status=status)


@dataclass
class Index:
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.locator = FakeLocator(self.clock)
        guide = LocatorGuide(self.locator, self.clock, FRESH)
        held = FixedManagers(manager("bre"), manager("nor"), manager("occ", Status.SUSPENDED))
        self.watch = CoverageWatch(LocatorService(self.locator, held, guide, self.clock), self.clock)
        self.figures = LocatorFigures(guide, lambda: (0, 0), self.watch)

    def shown(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.values()): sample.value
            for metric in self.figures.collect()
            for sample in metric.samples
            if sample.name == name
        }


async def test_each_manager_has_its_state_and_active_ones_their_age() -> None:
    index = Index()
    assert index.shown("cds_locator_coverage_state") == {}  # nobody has looked yet
    index.locator.cover("bre", "occ")
    index.clock.advance(12.0)
    await index.watch.look()
    states = index.shown("cds_locator_coverage_state")
    assert {key for key, value in states.items() if value} == {
        ("bre", "complete"),
        ("nor", "none"),
        ("occ", "complete"),
    }
    assert len(states) == 9
    assert index.shown("cds_locator_coverage_age_seconds") == {("bre",): 12.0}
    assert index.shown("cds_locator_coverage_fresh") == {("bre",): 1.0, ("nor",): 0.0}
    assert index.shown("cds_locator_circles").keys() == {("bre",), ("nor",), ("occ",)}


async def test_what_is_known_grows_old_while_the_index_is_out() -> None:
    index = Index()
    index.locator.cover("bre")
    await index.watch.look()
    assert index.shown("cds_locator_coverage_fresh")["bre",] == 1.0
    index.locator.down = True
    index.clock.advance(FRESH + 1)
    await index.watch.look()
    assert index.shown("cds_locator_coverage_age_seconds") == {("bre",): FRESH + 1}
    assert index.shown("cds_locator_coverage_fresh") == {("bre",): 0.0, ("nor",): 0.0}
    assert index.shown("cds_locator_coverage_state")["bre", "complete"] == 1.0
