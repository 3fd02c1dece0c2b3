"""Who sends more than is served waits alone."""

from coordinator.shell.turnstile import PENDING, TELL_S, Turnstile


def test_so_many_messages_of_a_peer_may_wait_and_no_more():
    turnstile = Turnstile()

    assert all(turnstile.lets_in(b"flood") for _ in range(PENDING))
    assert not turnstile.lets_in(b"flood")
    assert turnstile.lets_in(b"other")
    assert turnstile.turned_away == 1


def test_whoever_was_served_may_send_again():
    turnstile = Turnstile()
    for _ in range(PENDING + 1):
        turnstile.lets_in(b"flood")
    turnstile.let_out(b"flood")

    assert turnstile.lets_in(b"flood")
    assert not turnstile.lets_in(b"flood")


def test_a_peer_that_has_nothing_waiting_is_forgotten():
    turnstile = Turnstile()
    turnstile.lets_in(b"a")
    turnstile.should_tell(b"a", 0.0)
    turnstile.let_out(b"a")

    assert (turnstile._pending, turnstile._told) == ({}, {})


def test_it_is_told_now_and_then_and_not_each_time():
    turnstile = Turnstile()

    assert [turnstile.should_tell(b"a", at) for at in (0.0, TELL_S / 2, TELL_S, TELL_S * 1.5)] == [
        True,
        False,
        True,
        False,
    ]
