"""A conversation as text: Markdown and HTML for people, JSON for programs."""

import html
import json
import time

import msgspec

from protocol.terminal_safe import clean, clean_line
from protocol.views import Exported, HistoryRow

# No script, nothing from elsewhere: what a model wrote is text, and the page asks nobody for anything.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "section{margin:1em 0;padding:.5em 1em;border-left:.3em solid #999}section.user{border-color:#36c}"
    "h2{font-size:.9em;margin:0;color:#555}pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:.5em 0}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#111}h2{color:#aaa}}"
)


def as_text(session: Exported, form: str) -> str:
    """Return a session in one of the forms ``md``, ``json`` and ``html``."""
    return {"md": as_markdown, "json": as_json, "html": as_html}[form](session)


def as_json(session: Exported) -> str:
    """Return everything that is known, escaped to ASCII."""
    return json.dumps(msgspec.to_builtins(session), indent=1) + "\n"


def as_markdown(session: Exported) -> str:
    """Return the conversation for people, cleaned of what could steer a terminal."""
    lines = [f"# {clean_line(session.name)}", "", _facts(session), ""]
    if session.missing:
        lines += [f"**{_missing(session)}**", ""]
    for row in session.messages:
        lines += [f"## {_heading(row)}", "", clean(row.text), ""]
        if row.error is not None:
            lines += [f"({clean_line(row.error.message)})", ""]
    return "\n".join(lines)


def as_html(session: Exported) -> str:
    """Return the conversation as one page that needs nothing else."""
    name = html.escape(clean_line(session.name))
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{name}</title><style>{STYLE}</style></head><body>",
        f"<h1>{name}</h1>",
        f"<p>{html.escape(_facts(session))}</p>",
    ]
    if session.missing:
        lines.append(f"<p><strong>{html.escape(_missing(session))}</strong></p>")
    for row in session.messages:
        who = "user" if row.role == "user" else "model"
        lines += [f'<section class="{who}"><h2>{html.escape(_heading(row))}</h2>']
        lines += [f"<pre>{html.escape(clean(row.text))}</pre>"]
        if row.error is not None:
            lines.append(f"<p>({html.escape(clean_line(row.error.message))})</p>")
        lines.append("</section>")
    return "\n".join([*lines, "</body></html>", ""])


def _facts(session: Exported) -> str:
    facts = f"Session {session.id}, type {session.type}, model {session.model}, made {_date(session.created_at)}"
    if session.parent is not None:
        facts += f", forked from {session.parent.session} at message {session.parent.seq}"
    if session.origin is not None:
        facts += f", imported from {session.origin}"
    return clean_line(f"{facts}.")


def _missing(session: Exported) -> str:
    return f"Not in this file, because it could not be read: {clean_line(session.missing or '')}."


def _heading(row: HistoryRow) -> str:
    who = "You" if row.role == "user" else "Model"
    mark = "" if row.stop_reason in {None, "completed"} else f", {clean_line(row.stop_reason or '')}"
    return f"{who}, {_date(row.at)} (message {row.seq}{mark})"


def _date(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"
