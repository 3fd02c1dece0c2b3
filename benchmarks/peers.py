"""What we are compared with, in an environment of its own under the cache folder; never in the project's."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs

REQUIREMENTS = ("ipykernel", "jupyter_client", "thespian", "llm")
INSTALL_S = 600.0


def _folder() -> Path:
    """Return the environment's folder: another one for each interpreter and each list of peers."""
    key = hashlib.sha256(" ".join([sys.version, sys.executable, *REQUIREMENTS]).encode()).hexdigest()[:12]
    return platformdirs.user_cache_path("chat-coord-benchmarks") / f"peers-{key}"


def python() -> Path:
    """Return the interpreter of the peers' environment."""
    return _folder() / "bin" / "python"


def install() -> None:
    """Make the environment unless it is there.

    Raises:
        subprocess.CalledProcessError: a peer cannot be installed.
    """
    folder = _folder()
    if (folder / "complete").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=INSTALL_S)
    command = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    subprocess.run(command, check=True, timeout=INSTALL_S, stdout=sys.stderr)
    (folder / "complete").touch()


def versions() -> dict[str, str]:
    """Return the version of each peer."""
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {REQUIREMENTS!r}}}))"
    done = subprocess.run([str(python()), "-c", code], check=True, capture_output=True, text=True, timeout=30)
    found: dict[str, str] = json.loads(done.stdout)
    return found
