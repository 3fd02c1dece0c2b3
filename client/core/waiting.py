"""What ``wait --until`` waits for. Pure."""

from enum import Enum

from protocol.views import SessionView

UNTIL = ("idle", "waiting", "done")
# Where a session stays when nobody asks anything of it.
SETTLED = frozenset({"live", "hibernated"})
# Where it stays until a person does something.
OVER = frozenset({"failed", "stopping", "stopped"})


class Verdict(Enum):
    """It is so, not yet, or never of itself."""

    SO = "so"
    NOT_YET = "not yet"
    NEVER = "never"


def verdict(session: SessionView, until: str) -> Verdict:
    """Say whether a session is what is waited for.

    ``idle``: no turn runs. ``done``: and no prompt and no question waits. ``waiting``: it needs a person, for an answer
    to its question or to see its own.
    """
    is_idle = session.work == "idle" and session.residency in SETTLED
    claims = {
        "idle": is_idle,
        "done": is_idle and session.unanswered == 0 and session.ask is None,
        "waiting": session.unread or session.work == "requires_action",
    }
    if claims[until]:
        return Verdict.SO
    return Verdict.NEVER if session.residency in OVER else Verdict.NOT_YET
