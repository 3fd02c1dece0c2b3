"""Identifiers. A session's id outlives every process and every name; keys and file names use it, people see names."""

import secrets

ID_LENGTH = 16


def new_id() -> str:
    """Return a random identifier: 16 hexadecimal digits, for sessions, turns and idempotency keys."""
    return secrets.token_hex(ID_LENGTH // 2)


def is_id(text: str) -> bool:
    """Say whether the text has the form of an identifier, so that it is safe as a key and as a file name."""
    return len(text) == ID_LENGTH and all(c in "0123456789abcdef" for c in text)
