"""One coordinator per home: a lock that the kernel gives back when its holder dies.

Taken before the sockets are bound, because libzmq silently takes over a path that another coordinator uses. The file
is closed on exec, so neither the zygote nor a worker ever holds it.
"""

import fcntl
import os

from protocol.errors import HomeOwned, HomeUnsafe
from protocol.paths import Home


def own(home: Home) -> int:
    """Lock the home and return the lock's descriptor, to be kept open.

    Raises:
        HomeOwned: another coordinator has it.
    """
    try:
        descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = "Check its owner and mode."
        raise HomeUnsafe(f"The lock {home.lock} cannot be opened: {error.strerror}.", hint=hint) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise HomeOwned(f"Another coordinator owns {home.root}.") from None
    return descriptor
