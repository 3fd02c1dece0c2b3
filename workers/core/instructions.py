"""What a model is told at the start when the session has no system prompt of its own: one sentence by type. Pure."""

BASE = "You are a helpful AI assistant."
BY_TYPE = {
    "development": "You help a developer to write software: complete, simple, correct.",
    "debug": "You help a developer to find the cause of a fault: ask for facts, test one idea at a time.",
    "planning": "You help to plan work: goals, steps, risks, open questions.",
    "review": "You review the work of others: name what is wrong, where, why, and a better way.",
}


def instructions_for(session_type: str, own: str | None, *, is_small_model: bool) -> str:
    """Return the instructions of a session.

    Args:
        session_type: one of the types of sessions.
        own: the session's own system prompt, which replaces ours.
        is_small_model: the embedded model answers worse the more it is told, so it gets one sentence.
    """
    if own is not None:
        return own
    return BASE if is_small_model else f"{BASE} {BY_TYPE.get(session_type, '')}".rstrip()
