"""How a process becomes a session's worker, whichever way it came to be: a fork of the zygote, or a new interpreter."""

import faulthandler
import os
import sys
from typing import NoReturn

from protocol.failpoints import hit
from protocol.launch import EXIT_NO_MEMORY, MARK, Fork, mark_of
from protocol.processes import adopt_orphans, kill_below, redirect_stdio
from workers.models.pydantic_ai_adapter import PydanticAiModel
from workers.shell import loop, stacks
from workers.shell.kernel_limit import limit_own_data
from workers.shell.title import set_title


def become(fork: Fork) -> NoReturn:
    """Take the session's streams, environment, folder and name, serve it, and end this process with its exit code.

    Args:
        fork: who this is; this process leads a session of its own already.
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
        code = loop.run(fork, PydanticAiModel())
    except MemoryError:
        code = EXIT_NO_MEMORY
    except BaseException:  # noqa: BLE001 - whatever it was, the log gets it and the process ends here
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        kill_below(os.getpid())
        os._exit(code)
