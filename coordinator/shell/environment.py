"""The environment of child processes: what they need, and no secrets."""

import os

KEPT = frozenset(
    {
        "CC_FAILPOINT",
        "CC_FAILPOINT_ONCE",
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "SPT_NOENV",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
        "XDG_RUNTIME_DIR",
    }
)
KEPT_PREFIXES = ("LC_", "PYTHON")


def take_private() -> dict[str, str]:
    """Take everything out of this process's environment that children do not need, and return it.

    A forked worker shows its zygote's environment in /proc for ever, so what is not there cannot leak.
    """
    names = [name for name in os.environ if name not in KEPT and not name.startswith(KEPT_PREFIXES)]
    return {name: os.environ.pop(name) for name in names}
