"""The coordinator's process: ``python -m coordinator --home FOLDER``.

With a verb it is one that needs no coordinator, started by the command line: ``python -m coordinator doctor --home
FOLDER`` prints JSON and leaves. What it cannot do it says on standard error: a sentence, and a line with a hint.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from protocol.errors import ChatCoordError

VERBS = ("doctor", "mend", "bundle", "backup", "restore", "export")


def main() -> int:
    """Do what the arguments say; return the exit code."""
    # Imported here and below: this module is also what multiprocessing looks at in the zygote's process.
    import argparse  # noqa: PLC0415

    parser = argparse.ArgumentParser(description="The coordinator; started by `chat-coord start`.")
    parser.add_argument("verb", nargs="?", choices=("serve", *VERBS), default="serve")
    parser.add_argument("--home", required=True)
    parser.add_argument("--launcher")
    parser.add_argument("--file", default="")
    parser.add_argument("--supervised", action="store_true", help="a restart replaces the program, not the process")
    given = parser.parse_args()
    if given.verb in VERBS:
        return _offline(given.verb, given.home, given.file)
    return _serve(given.home, given.launcher, is_supervised=given.supervised)


def _offline(verb: str, folder: str, file: str) -> int:
    """Do what needs no coordinator and print each result as a line of JSON."""
    import os  # noqa: PLC0415
    import sys  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from coordinator.shell import bundle, checkup, offline  # noqa: PLC0415
    from protocol.errors import ChatCoordError  # noqa: PLC0415
    from protocol.paths import find_home  # noqa: PLC0415

    os.umask(0o077)
    home = find_home(folder)
    deeds: dict[str, Callable[[], Iterable[object]]] = {
        "doctor": lambda: [checkup.check_all(home)],
        "mend": lambda: [checkup.check_all(home, mends=True)],
        "bundle": lambda: [bundle.write(home, Path(file))],
        "backup": lambda: [offline.back_up(home, Path(file))],
        "restore": lambda: [offline.put_back(home, Path(file))],
        "export": lambda: offline.export(home),
    }
    try:
        for result in deeds[verb]():
            sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    except ChatCoordError as error:
        return _refuse(error)
    return 0


def _serve(folder: str, launcher: str | None, *, is_supervised: bool) -> int:
    """Own the home, then serve; return the exit code."""
    import asyncio  # noqa: PLC0415
    import logging  # noqa: PLC0415
    import os  # noqa: PLC0415
    import resource  # noqa: PLC0415

    import setproctitle  # noqa: PLC0415

    from coordinator.shell import supervised  # noqa: PLC0415
    from coordinator.shell.environment import take_private  # noqa: PLC0415
    from coordinator.shell.loop import Coordinator  # noqa: PLC0415
    from coordinator.shell.singleton import own  # noqa: PLC0415
    from protocol import failpoints  # noqa: PLC0415
    from protocol.errors import ChatCoordError, HomeUnsafe  # noqa: PLC0415
    from protocol.logs import also_to_stderr, log_to  # noqa: PLC0415
    from protocol.paths import find_home  # noqa: PLC0415
    from protocol.settings import load_settings  # noqa: PLC0415

    os.umask(0o077)
    os.environ["SPT_NOENV"] = "1"  # children keep a readable /proc/PID/environ
    logging.lastResort = logging.NullHandler()  # what comes before there is a log file is for nobody's terminal
    home = find_home(folder)
    try:
        failpoints.arm(os.environ)
        home.prepare()
        settings = load_settings(home.config, flags={"launcher": launcher} if launcher else None)
        lock = own(home)
        log_to(home.coordinator_log, "coordinator", settings.log_level)
        if is_supervised and "JOURNAL_STREAM" in os.environ:
            also_to_stderr()
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65_536 if most == resource.RLIM_INFINITY else min(most, 65_536)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        setproctitle.setproctitle("chat-coord: coordinator")
        private = take_private()
        keeps_workers = asyncio.run(Coordinator(home, settings, private, is_supervised=is_supervised).run())
    except OSError as error:
        hint = "Nothing acknowledged is lost. Check room, owner and mode there, then start again."
        code = _refuse(HomeUnsafe(f"{error.filename or home.root}: {error.strerror or error}.", hint=hint))
        logging.getLogger(__name__).exception("ended by the system")
        return code
    except ChatCoordError as error:
        code = _refuse(error)
        logging.getLogger(__name__).warning("refused", extra={"code": error.code, "reason": error.message})
        return code
    os.close(lock)
    if is_supervised and keeps_workers:
        supervised.begin_again(private)
    return 0


def _refuse(error: "ChatCoordError") -> int:
    """Say what is wrong, and what to do, as commands do; return the exit code.

    A command reads it, or with ``start --foreground`` a person in a terminal.
    """
    import sys  # noqa: PLC0415

    from protocol.errors import HINT  # noqa: PLC0415
    from protocol.terminal_safe import clean_line  # noqa: PLC0415

    lines = [clean_line(error.message), *([f"{HINT}{clean_line(error.hint)}"] if error.hint else [])]
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
