"""The list, the names and the counts are the same as if everybody were looked at each time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.lifecycle import HOLDS_SLOT, LIST_ORDER, Residency, Work
from coordinator.core.restarts import RestartBudget
from coordinator.core.roll import Roll
from coordinator.core.world import Session


def session(key: str, number: int) -> Session:
    return Session(
        id=key,
        name=f"n{number}",
        number=number,
        type="debug",
        model="m",
        system=None,
        cwd="/",
        env={},
        created_at=float(number),
        last_active_at=0.0,
        restarts=RestartBudget(1, 1),
    )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 11),
            st.sampled_from(Residency),
            st.sampled_from(Work),
            st.booleans(),
            st.booleans(),
            st.sampled_from(("set", "set", "set", "remove", "rename", "close")),
        ),
        max_size=60,
    ),
    st.integers(0, 14),
    st.integers(1, 6),
)
def test_the_roll_says_what_a_look_at_everybody_would(steps, offset, limit):
    roll = Roll()
    everybody: dict[str, Session] = {}
    for n, residency, work, unread, archived, deed in steps:
        key = f"{n:016x}"
        if key not in everybody:
            number = roll.free_number()
            assert number == next(
                i for i in range(1, 99) if all(s.number != i or not s.holds_name for s in everybody.values())
            )
            everybody[key] = session(key, number)
            everybody[key].name = f"n{n}"
            roll.add(everybody[key])
        one = everybody[key]
        if deed == "remove":
            roll.remove(everybody.pop(key))
            continue
        if deed == "rename":
            before, one.name = one.name, f"m{n}"
            roll.renamed(one, before)
        if deed == "close" and not one.is_close_committed:
            one.is_close_committed = True
            roll.release(one)
        before_residency, one.residency = one.residency, residency
        one.work, one.unread, one.is_archived = work, unread, archived
        roll.moved(one, before_residency)
        roll.show(one)

    for residency in Residency:
        assert roll.count(residency) == sum(s.residency is residency for s in everybody.values())
    assert {s.id for s in roll.holders} == {s.id for s in everybody.values() if s.residency in HOLDS_SLOT}
    assert roll.slots_held == len(roll.holders)
    for waiting in (False, True):
        chosen = [
            s
            for s in everybody.values()
            if not (s.is_archived or s.display in {"stopped", "stopping"}) and (s.needs_person or not waiting)
        ]
        chosen.sort(key=lambda s: (LIST_ORDER.index(s.display), s.number, s.created_at, s.id))
        page = roll.page(offset, limit, waiting=waiting, everything=False)
        assert [s.id for s in page] == [s.id for s in chosen][offset : offset + limit]
    assert len(roll.page(0, 99, waiting=False, everything=True)) == len(everybody)
    for one in everybody.values():
        assert one in roll.candidates(one.name)
        assert (roll.owner_of(one.name) is one) == one.holds_name
        assert one in roll.candidates(one.id[:16])
        if one.holds_name:
            assert one in roll.candidates(str(one.number))
