"""What waits for a slow peer."""

from coordinator.shell.backlog import FRAMES, Backlog


def test_frames_leave_in_the_order_in_which_they_came():
    backlog = Backlog()
    for n in range(3):
        backlog.add(b"%d" % n, None)

    assert list(backlog) == [b"0", b"1", b"2"]
    assert len(backlog) == 0


def test_of_a_state_only_the_last_value_waits_in_the_newest_place():
    backlog = Backlog()
    backlog.add(b"a1", "a")
    backlog.add(b"b1", "b")
    backlog.add(b"a2", "a")

    assert list(backlog) == [b"b1", b"a2"]


def test_the_bound_holds_and_a_newer_value_of_a_state_still_finds_its_place():
    backlog = Backlog()
    taken = [backlog.add(b"x", n) for n in range(FRAMES + 5)]

    assert taken.count(True) == FRAMES
    assert backlog.add(b"new", 0)
    assert not backlog.add(b"other", None)
    assert list(backlog)[-1] == b"new"


def test_a_frame_that_could_not_be_sent_stays():
    backlog = Backlog()
    backlog.add(b"a", None)
    backlog.add(b"b", None)
    for _ in backlog:
        break

    assert list(backlog) == [b"a", b"b"]
