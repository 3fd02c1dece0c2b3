"""Zygotes that tell what a test wants to know. Each is the target of a process of its own and changes only that one."""

import asyncio
import gc
import json
import socket
import sys
import threading
import time
from pathlib import Path

import psutil


def zygote_with_a_curious_worker(channel: socket.socket, extras: tuple[str, ...] = ()) -> None:
    """The real zygote; its worker writes down what it was born with, and ends."""
    from workers import zygote
    from workers.models import pydantic_ai_adapter as adapter
    from workers.models import warm_up
    from workers.shell import loop

    turns = []
    warm = warm_up._warm

    async def counted(*given: object) -> None:
        turns.append(given)
        await warm(*given)

    def run(fork: object, *_: object) -> int:
        before = set(sys.modules)
        facts = {
            "frozen_objects": gc.get_freeze_count(),
            "collects": gc.isenabled(),
            "warm_up_turns": len(turns),
            "has_tls": bool(adapter._tls),
            "modules": sorted(before),
        }
        gc.collect()
        facts["private_bytes_after_a_collection"] = psutil.Process().memory_full_info().uss
        asyncio.run(warm_up.warm_up(None, ("openai", *extras)))
        facts["imported_by_the_first_turn"] = sorted(set(sys.modules) - before)
        scratch = Path(f"{fork.events_log}.new")
        scratch.write_text(json.dumps(facts))
        scratch.rename(fork.events_log)
        return 0

    warm_up._warm = counted
    loop.run = run
    zygote.main(channel, extras)


def zygote_with_a_thread(channel: socket.socket, extras: tuple[str, ...] = ()) -> None:
    """The real zygote with a thread beside it."""
    from workers import zygote

    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    zygote.main(channel)


def zygote_that_cannot_start(channel: socket.socket, log: str, extras: tuple[str, ...] = ()) -> None:
    """One that ends as if the model library could not be imported."""
    from coordinator.shell.launchers.zygote_target import KEEP_BYTES
    from protocol.processes import redirect_stdio

    with Path(log).with_name("births").open("a") as births:
        births.write("x")
    redirect_stdio(log, KEEP_BYTES)
    raise ImportError("no library for you")


def zygote_with_a_parent(channel: socket.socket, extras: tuple[str, ...] = ()) -> None:
    """The real zygote; its worker starts what a model might start, in its folder, and goes on until it is killed."""
    from tests.support.trees import HIDE, STORY
    from workers import zygote
    from workers.shell import loop

    def run(fork: object, *_: object) -> int:
        sys.argv = ["", fork.cwd]
        exec(STORY + HIDE, {"__name__": "story"})
        time.sleep(600)
        return 0

    loop.run = run
    zygote.main(channel)


def zygote_with_a_hungry_model(channel: socket.socket, extras: tuple[str, ...] = ()) -> None:
    """The real zygote; its workers' model says a word and then wants more memory than there is."""
    from protocol.views import Usage
    from workers import child, zygote

    class Hungry:
        async def stream(
            self, endpoint: object, question: object, on_piece: object, *_: object, **more: object
        ) -> Usage:
            on_piece("so far ")
            self.eaten = bytearray(8 << 30)
            return Usage()

    child.PydanticAiModel = Hungry
    zygote.main(channel)
