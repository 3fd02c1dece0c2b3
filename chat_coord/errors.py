"""What can go wrong, for programs: a stable code, a sentence, a hint."""


class Error(Exception):
    """The answer is no, or there is none.

    Attributes:
        code: stable, for programs; ``session.unknown`` for example. The list is in docs/library.md.
        message: one sentence that says what is so.
        hint: what to do; perhaps empty.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Absent(Error):
    """No coordinator runs, or it does not answer."""


class TimedOut(Error):
    """The time that was given is over. A turn goes on; send the same again, with the same key, to wait on."""
