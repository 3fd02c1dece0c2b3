"""Jupyter kernels: a Python process for each conversation with code, behind ZeroMQ; a session's nearest kin."""

import time
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from serve import serve

ANSWER_S = 60.0

held: list[tuple[Any, BlockingKernelClient]] = []


def _info(client: BlockingKernelClient) -> None:
    client.kernel_info()
    client.get_shell_msg(timeout=ANSWER_S)


def _start() -> tuple[Any, BlockingKernelClient]:
    manager = KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    _info(client)
    return manager, client


def _end(manager: Any, client: BlockingKernelClient) -> None:
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def create(number: int) -> list[float]:
    """Return the milliseconds from start to the reply to kernel_info, each time."""
    taken = []
    for _ in range(number):
        begun_s = time.perf_counter()
        kernel = _start()
        taken.append((time.perf_counter() - begun_s) * 1000)
        _end(*kernel)
    return taken


def hold() -> int:
    """Start a kernel, keep it, and return its pid."""
    held.append(_start())
    return int(held[-1][0].provisioner.process.pid)


def release() -> None:
    """End the kernels that are kept."""
    while held:
        _end(*held.pop())


def ping(number: int) -> list[float]:
    """Return the microseconds from kernel_info to its reply, each time, at the kernel that is kept."""
    taken = []
    for _ in range(number):
        begun_s = time.perf_counter()
        _info(held[0][1])
        taken.append((time.perf_counter() - begun_s) * 1e6)
    return taken


def stream(number: int, text: str) -> dict[str, float]:
    """Let the kernel send a text so many times, each in a stream message of its own.

    It is sent the way that ipykernel itself sends what is printed, without the 0.2 s for which print gathers and
    without the wait of a flush: the fastest that a kernel can.

    Returns:
        ``messages`` and ``bytes`` that came, and ``seconds`` from the first message to the last.
    """
    client = held[0][1]
    content = {"name": "stdout", "text": text}
    code = (
        "k = get_ipython().kernel\n"
        f"for _ in range({number}):\n    k.send_response(k.iopub_socket, 'stream', {content!r})\n"
    )
    asked = client.execute(code)
    messages, size, first_s, last_s = 0, 0, 0.0, 0.0
    while True:
        message = client.get_iopub_msg(timeout=ANSWER_S)
        if message["parent_header"].get("msg_id") != asked:
            continue
        if message["msg_type"] == "stream":
            last_s = time.perf_counter()
            first_s = first_s or last_s
            messages += 1
            size += len(message["content"]["text"])
        elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    client.get_shell_msg(timeout=ANSWER_S)
    return {"messages": messages, "bytes": size, "seconds": last_s - first_s}


if __name__ == "__main__":
    try:
        serve({"create": create, "hold": hold, "release": release, "ping": ping, "stream": stream})
    finally:
        release()
