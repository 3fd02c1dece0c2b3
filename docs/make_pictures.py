"""Make the pictures of the terminal in docs/pictures: the application itself, before sessions that are made up.

``python docs/make_pictures.py`` writes them; nothing of a clock or of a network gets into them.
"""

import asyncio
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from client.tui.app import ChatApp  # noqa: E402 - the repository's own, wherever this is called
from protocol.paths import Home  # noqa: E402
from protocol.views import AskView  # noqa: E402
from tests.support.scripted_connection import NOW, ScriptedConnection, a_session, a_turn  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
SIZE = (104, 28)
PROMPT = "How do we find out which worker leaks memory?"
REPLY = """Three steps, from cheap to dear:

1. **Watch** `chat-coord top` while it grows; the sparkline tells a leak from a peak.
2. **Compare** what is private to one worker (`uss`) with what all share (`pss`).
3. **Trace** the allocations of the one that stands out:

```python
tracemalloc.start(10)
before = tracemalloc.take_snapshot()
run_turns(100)
for line in tracemalloc.take_snapshot().compare_to(before, "lineno")[:5]:
    print(line)
```

| worker | USS | after 100 turns |
|---|---|---|
| research | 4.1 MiB | 4.2 MiB |
| code | 4.0 MiB | **61.7 MiB** |
"""


def scene() -> ScriptedConnection:
    """Return six sessions in the states that a day brings."""
    ask = AskView(
        id="3f9c02d1aa5e7b10", session="code", name="code", kind="approval", tool="run_command",
        argv=["/bin/sh", "-c", "pytest -q tests/unit && git commit -am 'Bound the cache'"],
        text="in /home/me/project: pytest -q tests/unit && git commit -am 'Bound the cache'", since=NOW - 95,
    )  # fmt: skip
    second = AskView(
        id="77aa02d1aa5e7b10", session="release", name="release-notes", kind="approval", tool="write_file",
        argv=["CHANGELOG.md"], since=NOW - 12,
        text="CHANGELOG.md\n--- before\n+++ after\n@@ -3,2 +3,3 @@\n ## [Unreleased]\n+- The cache is bounded.\n",
    )  # fmt: skip
    sessions = [
        a_session("research", 1, messages=2, work="running", display="running", work_detail={"seq": 3}),
        a_session("code", 2, work="requires_action", display="requires_action", ask=ask, waiting_since=NOW - 95),
        a_session("review-of-pr-17", 3, type="review", unread=True, display="unread", waiting_since=NOW - 340),
        a_session("release-notes", 4, id="release", work="requires_action", display="requires_action", ask=second,
                  waiting_since=NOW - 12),
        a_session("roadmap", 5, type="planning", last_active_at=NOW - 700),
        a_session("last-week", 6, display="hibernated", residency="hibernated", last_active_at=NOW - 500_000),
    ]  # fmt: skip
    found = ScriptedConnection(sessions, {"research": a_turn(1, PROMPT, REPLY)})
    found.rows["review-of-pr-17"] = a_turn(1, "Review the diff of PR 17.", "Two findings: a lock is held over a call …")
    found.rows["research"] += a_turn(3, "And if it is the model's server?", "")[:1]
    found.asks_waiting = [ask, second]
    found.running["research"] = ("t3", 3, "Then its own memory grows, not a worker's: `chat-coord status` shows it a")
    return found


async def make(name: str, *keys: str) -> None:
    """Take one picture."""
    connection = scene()
    app = ChatApp(connection, Home(Path("/")), connection.sessions["research"], now=lambda: NOW)  # type: ignore[arg-type]
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(0.5)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.3)
        picture = app.export_screenshot(title="chat-coord")
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)  # no font from elsewhere
    picture = re.sub(r"terminal-\d+", "terminal", picture)
    file = PICTURES / f"{name}.svg"
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")
    print(f"{file.relative_to(ROOT)} is made")


async def main() -> None:
    """Take all."""
    await make("main")
    await make("inbox", "f2", "down")
    await make("find", "ctrl+p", "r", "e", "v")


if __name__ == "__main__":
    asyncio.run(main())
