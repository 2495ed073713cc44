"""What a sighting or a deletion changes, step by step."""

from __future__ import annotations

from dataclasses import replace

from registry.locator_plan import NOTHING, RENEWAL, Plan, conflicting, forget, learn
from registry.locator_records import NO_LINKS, Entry, Links

A, B, C = (letter * 7 for letter in (b"a", b"b", b"c"))


def links(*persons: bytes, circles: tuple[bytes, ...] = ()) -> Links:
    return Links(frozenset(persons), frozenset(circles))


def entry(*persons: bytes, updated: int = 10, **elements: object) -> Entry:
    return replace(Entry(1, "7", updated, "1", links=links(*persons)), **elements)  # type: ignore[arg-type]


def test_what_is_new_is_added_with_its_links() -> None:
    assert learn(None, entry(A)) == Plan(new=entry(A), add=links(A), review=frozenset((A,)))


def test_a_copy_concerns_nobody_who_looks_for_two_homes() -> None:
    copy = entry(A, replica=True)
    assert learn(None, copy).review == frozenset()
    assert learn(copy, entry(B, updated=11, replica=True)).review == frozenset()
    assert learn(copy, entry(A, updated=11)).review == {A}
    assert learn(entry(A), replace(copy, updated=11)).review == {A}


def test_what_is_known_already_changes_nothing() -> None:
    plan = learn(entry(A, stamp=9), entry(A))
    assert (plan.new, plan.add, plan.remove, plan.review) == (None, NO_LINKS, NO_LINKS, frozenset())


def test_another_version_leaves_the_links_alone() -> None:
    plan = learn(entry(A, stamp=9), entry(A, updated=11, version="2"))
    assert plan.new == entry(A, updated=11, version="2", stamp=10)
    assert (plan.add, plan.remove, plan.review) == (NO_LINKS, NO_LINKS, frozenset())


def test_links_take_the_stamp_again_before_they_fall_behind() -> None:
    plan = learn(entry(A, stamp=RENEWAL - 1), entry(A, updated=11))
    assert plan.add == links(A)
    assert learn(entry(A, stamp=255), entry(A, updated=11)).new == entry(A, updated=11, stamp=0)


def test_another_person_is_added_and_the_one_before_removed() -> None:
    plan = learn(entry(A, B, stamp=255), entry(B, C, updated=11))
    assert plan == Plan(
        new=entry(B, C, updated=11, leaving=links(A)),
        add=links(B, C),  # the stamp is one at which all links are renewed
        remove=links(A),
        upto=0,
        review=frozenset((A, B, C)),
    )


def test_only_new_links_are_added() -> None:
    assert learn(entry(A, B), entry(B, C, updated=11)).add == links(C)


def test_what_a_crashed_writer_left_behind_is_removed_by_the_next() -> None:
    left = entry(B, leaving=links(A), stamp=3)
    assert learn(left, entry(B)).remove == links(A)
    assert learn(left, entry(B)).new is None
    assert learn(left, entry(A, updated=11)).remove == links(B)
    assert learn(left, entry(C, updated=11)).remove == links(A, B)
    assert learn(left, entry(C, updated=9)) == Plan(remove=links(A, C), upto=3)


def test_older_news_changes_nothing_but_takes_back_what_it_may_have_added() -> None:
    assert learn(entry(A, stamp=4), entry(A, B, updated=9)) == Plan(remove=links(B), upto=4)


def test_a_deletion_keeps_what_has_to_go_until_it_is_gone() -> None:
    gone = Entry(1, "7", 12, written=99)
    plan = forget(entry(A, stamp=4), gone)
    assert plan.new == replace(gone, leaving=links(A), stamp=5)
    assert (plan.remove, plan.upto, plan.review) == (links(A), 5, {A})
    assert forget(entry(A, updated=13), gone) == NOTHING
    assert forget(None, gone) == Plan(new=gone)
    assert forget(None, replace(gone, updated=0)) == NOTHING


def test_a_deletion_is_final_up_to_its_instant() -> None:
    gone = Entry(1, "7", 12, written=99, stamp=5)
    assert learn(gone, entry(A, updated=12)) == Plan(remove=links(A), upto=5)
    assert learn(gone, entry(A, updated=13)).new == entry(A, updated=13, stamp=6)
    assert learn(gone, entry(A, updated=0)).new == entry(A, updated=0, stamp=6)


def test_without_an_order_both_count() -> None:
    plan = learn(entry(A), entry(B, updated=0, version="2"))
    assert plan.new == entry(A, B, stamp=1)
    assert plan.remove == NO_LINKS
    plan = learn(entry(A, updated=0), entry(B, version="2"))
    assert plan.new == entry(A, B, version="2", stamp=1)
    assert learn(entry(A, updated=0), entry(B, updated=0)).remove == links(A)


def test_two_homes_are_a_conflict_unless_they_are_one_circle() -> None:
    one, other = (entry(A, links=links(A, circles=(circle,))) for circle in (B, C))
    same = entry(A, links=links(A, circles=(A, B)), manager=2)
    assert conflicting([one, other])
    assert conflicting([same, one, other])
    assert not conflicting([one])
    assert not conflicting([one, same])
    assert not conflicting([one, replace(other, replica=True)])
    assert not conflicting([one, replace(other, written=1)])
    assert conflicting([entry(A), entry(A, circle_id="8")])
    assert not conflicting([])
