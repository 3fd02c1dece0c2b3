"""What the simulation ends with when something that must hold does not."""


class Violation(AssertionError):
    """Something that must always hold did not.

    ``claim`` says what, ``events`` and ``crashes`` after how many of the whole run.
    """

    def __init__(self, claim: str, story: str = "", events: int = 0, crashes: int = 0) -> None:
        super().__init__(f"{claim}\n{story}")
        self.claim = claim
        self.events = events
        self.crashes = crashes


def must(holds: object, claim: str, *facts: object) -> None:
    """Raise unless it holds; the facts are put into words only then."""
    if not holds:
        raise Violation(": ".join([claim, *map(repr, facts)]))
