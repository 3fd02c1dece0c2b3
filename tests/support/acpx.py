"""acpx, the headless client of the Agent Client Protocol from npm: installed once, into the user's cache."""

import os
import shutil
import subprocess
from pathlib import Path

VERSION = "0.19.1"


def find_acpx() -> tuple[str, str]:
    """Return the command, or an empty one and why there is none."""
    npm = shutil.which("npm")
    if npm is None:
        return "", "npm is not installed"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "chat-coord-tests" / f"acpx-{VERSION}"
    command = cache / "node_modules" / ".bin" / "acpx"
    if not command.exists():
        cache.mkdir(parents=True, exist_ok=True)
        words = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(cache), f"acpx@{VERSION}"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            return "", f"npm cannot install acpx: {done.stderr[-200:]}"
    return str(command), ""
