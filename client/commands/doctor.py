"""``chat-coord doctor``."""

from pathlib import Path
from typing import Any

import click

from client.commands.common import home_of
from client.offline import ask_child
from client.options import home_option, json_option, more_help
from client.output import dump, say
from protocol.errors import EXIT_DONE, EXIT_NO
from protocol.paths import Home
from protocol.terminal_safe import clean_line

LOOK_S = 45.0


@click.command(
    epilog=more_help(
        "chat-coord doctor",
        "chat-coord doctor --fix",
        "chat-coord doctor --bundle report.tar.gz",
        "chat-coord doctor --json | jq '.[] | select(.ok | not)'",
        codes="0 all is well, or the bundle is written, 1 something was found, or the bundle could not be written.",
    )
)
@click.option("--fix", "mends", is_flag=True, help="Mend what can be mended without harm: modes, files of the dead.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a new FILE (.tar.gz) for a bug report: findings, state, settings, logs; no key, no word of yours.",
)
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, mends: bool, bundle: Path | None, as_json: bool) -> None:
    """Check the installation, with a fix for each finding. Needs no coordinator; changes nothing without --fix."""
    home = home_of(context)
    if bundle is not None:
        _write(home, bundle.expanduser().absolute(), as_json=as_json)
        return
    checks: list[dict[str, Any]] = ask_child(home, "mend" if mends else "doctor", within_s=LOOK_S)
    if as_json:
        dump(checks)
    else:
        for check in checks:
            word = "mended" if check["fixed"] else "ok" if check["ok"] else "FOUND"
            say(clean_line(f"{word:<7}{check['name']:<15} {check['finding']}"))
            if not check["ok"] and check["fix"]:
                say(clean_line(f"{'':<7}{'':<15} fix: {check['fix']}"))
    context.exit(EXIT_DONE if all(check["ok"] for check in checks) else EXIT_NO)


def _write(home: Home, file: Path, *, as_json: bool) -> None:
    done: dict[str, Any] = ask_child(home, "bundle", within_s=LOOK_S, file=file)
    if as_json:
        dump(done)
        return
    say(clean_line(f"{done['file']} is written, {done['bytes']:,} bytes:"))
    for name in done["members"]:
        say(clean_line(f"  {name}"))
    say("Look it through before you send it: texts, names, keys and paths are taken out as far as they can be known.")
