"""How a process becomes a session's worker, whichever way it came to be: a fork of the zygote, or a new interpreter."""

import asyncio
import faulthandler
import os
import socket
import sys
from typing import NoReturn

from protocol.codec import Decoder
from protocol.failpoints import hit
from protocol.launch import DATAGRAM_BYTES, EXIT_NO_MEMORY, MARK, Fork, mark_of
from protocol.processes import adopt_orphans, kill_below, redirect_stdio
from workers.models.pydantic_ai_adapter import PydanticAiModel
from workers.shell import loop, stacks
from workers.shell.kernel_limit import limit_own_data
from workers.shell.title import NOBODY, set_title


def wait_for_order(orders: socket.socket) -> NoReturn:
    """Be ready, and become what the order says; without one, whoever could give it is gone and nobody is needed.

    Args:
        orders: what one ``Fork`` comes from.
    """
    try:
        set_title(NOBODY)
        runner = asyncio.Runner()
        runner.get_loop()
        order = orders.recv(DATAGRAM_BYTES)
        orders.close()
    except BaseException:  # noqa: BLE001 - the log gets it
        sys.excepthook(*sys.exc_info())
        order = b""
    if not order:
        os._exit(0)
    decoder: Decoder[Fork] = Decoder(Fork)
    become(decoder.decode(order), runner)


def become(fork: Fork, runner: asyncio.Runner) -> NoReturn:
    """Take the session's streams, environment, folder and name, serve it, and end this process with its exit code.

    Args:
        fork: who this is; this process leads a session of its own already.
        runner: whose loop is served in. It is not closed: the process ends.
    """
    code = 1
    try:
        redirect_stdio(fork.log)
        hit("worker.born")
        os.environ.clear()
        os.environ.update(fork.env)
        os.environ[MARK] = mark_of(fork.session, fork.epoch)
        adopt_orphans()
        os.chdir(fork.cwd)
        faulthandler.enable()
        stacks.register()
        set_title(fork.name)
        limit_own_data(fork.data_bytes)
        code = loop.run(fork, PydanticAiModel(), runner)
    except MemoryError:
        code = EXIT_NO_MEMORY
    except BaseException:  # noqa: BLE001 - whatever it was, the log gets it and the process ends here
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        kill_below(os.getpid())
        os._exit(code)
