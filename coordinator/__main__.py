"""The coordinator's process: ``python -m coordinator --home FOLDER``.

With a verb it is one that needs no coordinator, started by the command line: ``python -m coordinator doctor --home
FOLDER`` prints JSON and leaves.
"""


def main() -> int:
    """Do what the arguments say; return the exit code."""
    # Imported here and below: this module is also what multiprocessing looks at in the zygote's process.
    import argparse  # noqa: PLC0415

    parser = argparse.ArgumentParser(description="The coordinator; started by `chat-coord start`.")
    parser.add_argument("verb", nargs="?", choices=("serve", "doctor"), default="serve")
    parser.add_argument("--home", required=True)
    parser.add_argument("--launcher")
    given = parser.parse_args()
    return _doctor(given.home) if given.verb == "doctor" else _serve(given.home, given.launcher)


def _doctor(folder: str) -> int:
    """Look the installation through and print what was found."""
    import sys  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from coordinator.shell.checkup import check_all  # noqa: PLC0415
    from protocol.paths import find_home  # noqa: PLC0415

    sys.stdout.buffer.write(msgspec.json.encode(check_all(find_home(folder))))
    return 0


def _serve(folder: str, launcher: str | None) -> int:
    """Own the home, then serve; return the exit code."""
    import asyncio  # noqa: PLC0415
    import logging  # noqa: PLC0415
    import os  # noqa: PLC0415
    import resource  # noqa: PLC0415
    import sys  # noqa: PLC0415

    import setproctitle  # noqa: PLC0415

    from coordinator.shell.environment import take_private  # noqa: PLC0415
    from coordinator.shell.loop import Coordinator  # noqa: PLC0415
    from coordinator.shell.singleton import own  # noqa: PLC0415
    from protocol import failpoints  # noqa: PLC0415
    from protocol.errors import ChatCoordError  # noqa: PLC0415
    from protocol.logs import log_to  # noqa: PLC0415
    from protocol.paths import find_home  # noqa: PLC0415
    from protocol.settings import load_settings  # noqa: PLC0415

    os.umask(0o077)
    os.environ["SPT_NOENV"] = "1"  # children keep a readable /proc/PID/environ
    home = find_home(folder)
    try:
        failpoints.arm(os.environ)
        home.prepare()
        settings = load_settings(home.config, flags={"launcher": launcher} if launcher else None)
        lock = own(home)
        log_to(home.logs / "coordinator.log", "coordinator")
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65_536 if most == resource.RLIM_INFINITY else min(most, 65_536)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        setproctitle.setproctitle("chat-coord: coordinator")
        asyncio.run(Coordinator(home, settings, take_private()).run())
    except ChatCoordError as error:
        print(f"{error.message}\n{error.hint}".strip(), file=sys.stderr)  # noqa: T201
        logging.getLogger(__name__).warning("refused", extra={"code": error.code, "reason": error.message})
        return error.exit_code
    os.close(lock)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
