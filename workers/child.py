"""How a process becomes a session's worker, whichever way it came to be: a fork of the zygote, or a new interpreter."""

import faulthandler
import os
import sys
from typing import NoReturn

from protocol.failpoints import hit
from protocol.launch import Fork
from protocol.processes import redirect_stdio
from workers.models.pydantic_ai_adapter import PydanticAiModel
from workers.shell import loop
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
        os.chdir(fork.cwd)
        faulthandler.enable()
        set_title(fork.name)
        code = loop.run(fork, PydanticAiModel())
    except BaseException:  # noqa: BLE001 - whatever it was, the log gets it and the process ends here
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)
