"""Make docs/pictures/tour.cast: the real command in a pseudo-terminal, with a scripted model, recorded as asciicast.

``python docs/make_recording.py`` makes it; ``asciinema play docs/pictures/tour.cast`` plays it.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.model_server import Call, ModelServer  # noqa: E402 - the repository's own, wherever this is called
from tests.support.product import COMMAND, Product  # noqa: E402

FILE = ROOT / "docs" / "pictures" / "tour.cast"
WIDTH, HEIGHT = 96, 26
LONGEST_PAUSE_S = 1.2
WISH = 'use {"tool": "run_command", "arguments": {"command": "pytest -q tests/unit"}}'
REPLIES = {
    "leak": "Compare what is private to one worker with what all share:\n\n1. `chat-coord top` shows **who grows**\n"
    "2. `chat-coord inspect code` shows its history\n3. tracemalloc names the line\n\nStart with the first.",
    "plan": "A plan in three steps:\n\n- measure\n- mend\n- measure **again**\n",
}


class Model(ModelServer):
    """Answers a few prompts with words, slowly enough to be seen."""

    def _pieces(self, word: str, rest: str, call: Call) -> Iterator[str]:
        reply = next((text for key, text in REPLIES.items() if key in call.prompt), None)
        if reply is None:
            yield from super()._pieces(word, rest, call)
            return
        for piece in reply.split(" "):
            yield piece + " "
            time.sleep(0.09)


class Recorder:
    """Types like a person, and writes down what the terminal says."""

    def __init__(self, product: Product) -> None:
        environment = product.environment | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self._child = pexpect.spawn(
            COMMAND, ["chat", "research"], env=environment, dimensions=(HEIGHT, WIDTH), encoding="utf-8", timeout=30
        )
        self._begun_s = time.monotonic()
        self.events: list[tuple[float, str]] = []

    def look(self, for_s: float) -> None:
        """Take in what comes for so long."""
        end_s = time.monotonic() + for_s
        while time.monotonic() < end_s:
            try:
                data = self._child.read_nonblocking(1 << 16, timeout=0.05)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                return
            self.events.append((time.monotonic() - self._begun_s, data))

    def type(self, text: str, then_s: float = 1.0) -> None:
        """Type letter by letter."""
        for letter in text:
            self._child.send(letter)
            self.look(0.05)
        self.look(then_s)

    def press(self, keys: str, then_s: float = 1.0) -> None:
        """Press one key."""
        self._child.send(keys)
        self.look(then_s)

    def close(self) -> None:
        """End it."""
        self._child.close(force=True)

    def save(self) -> None:
        """Write the recording, with pauses that are not longer than a viewer likes."""
        lines = [json.dumps({"version": 2, "width": WIDTH, "height": HEIGHT, "title": "chat-coord"})]
        at_s = before_s = 0.0
        for now_s, data in self.events:
            at_s += min(now_s - before_s, LONGEST_PAUSE_S)
            before_s = now_s
            lines.append(json.dumps([round(at_s, 3), "o", data]))
        FILE.write_text("\n".join(lines) + "\n")
        print(f"{FILE.relative_to(ROOT)} is made: {at_s:.0f} s, {FILE.stat().st_size >> 10} KiB")


def main() -> None:
    """Record the tour."""
    folder = Path(tempfile.mkdtemp(prefix="cc-"))
    model, product = Model(), Product(folder / "home")
    try:
        product.use_model(model.url)
        for name in ("research", "code", "roadmap"):
            product.run("new", name)
            product.live(name)
        recorder = Recorder(product)
        recorder.look(2.0)
        recorder.type("How do I find a memory leak?\r", 1.2)
        recorder.press("\x1b3", 0.8)  # away while it streams
        recorder.type("Make a plan.\r", 3.0)
        recorder.type("a thought that is not finished", 0.5)
        product.run("send", "code", WISH, "--no-wait")
        recorder.look(1.2)
        recorder.press("\x1bw", 2.0)  # the next that waits: it asks
        recorder.press("\x1bOQ", 1.8)
        recorder.press("a", 1.5)
        recorder.press("\x1b", 0.8)
        recorder.press("\x1bw", 2.0)  # the answer that came meanwhile
        recorder.press("\x1b3", 2.0)  # and the draft is still there
        recorder.press("\x11", 1.0)
        recorder.close()
        recorder.save()
    finally:
        model.close()
        product.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
