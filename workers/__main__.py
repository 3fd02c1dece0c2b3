"""A worker in an interpreter of its own: ``python -m workers``, with the order to start on standard input.

The order holds the worker's token, so it is neither an argument nor a variable: others could read those. It is read
when everything is imported; then standard input is let go, and that tells the coordinator that this start is through.
"""

import asyncio
import os
import sys

from protocol import failpoints
from protocol.codec import Decoder
from protocol.launch import Fork
from workers.child import become
from workers.shell.title import NOBODY, set_title


def main() -> None:
    """Read the order and become the worker; without an order, the coordinator is gone and nobody is needed."""
    failpoints.arm(os.environ)
    set_title(NOBODY)  # while the environment is whole: the place of the title is found through it
    order = sys.stdin.buffer.read()
    if order:
        decoder: Decoder[Fork] = Decoder(Fork)
        become(decoder.decode(order), asyncio.Runner())


if __name__ == "__main__":
    main()
