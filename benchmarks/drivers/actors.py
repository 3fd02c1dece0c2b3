"""thespian: an actor library whose actors are forked processes. The argument names its system base."""

import os
import signal
import sys
import time
from typing import Any

from serve import serve
from thespian.actors import Actor, ActorExitRequest, ActorSystem, ChildActorExited

ANSWER_S = 30.0


class Echo(Actor):
    """Answers with its pid."""

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - thespian's name
        """Answer."""
        if not isinstance(message, ActorExitRequest):
            self.send(sender, os.getpid())


class Parent(Actor):
    """Keeps an Echo alive: when it dies another one is made, and its first answer is passed on."""

    child: Any = None
    asker: Any = None

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        """Start the child, or pass on what it says."""
        if message == "begin":
            self.asker = sender
            self.child = self.createActor(Echo)
            self.send(self.child, "hello")
        elif message == "next":
            self.asker = sender
        elif isinstance(message, ChildActorExited):
            self.child = self.createActor(Echo)
            self.send(self.child, "hello")
        elif sender == self.child:
            self.send(self.asker, message)


def main() -> None:
    """Serve with one actor system."""
    system = ActorSystem(sys.argv[1])
    held: list[Any] = []

    def create(number: int) -> list[float]:
        """Return the milliseconds from the order to the first reply, each time."""
        taken = []
        for _ in range(number):
            begun_s = time.perf_counter()
            actor = system.createActor(Echo)
            assert system.ask(actor, "hello", ANSWER_S)
            taken.append((time.perf_counter() - begun_s) * 1000)
            system.tell(actor, ActorExitRequest())
        return taken

    def hold() -> int:
        """Start an actor, keep it, and return its pid."""
        held.append(system.createActor(Echo))
        return int(system.ask(held[-1], "hello", ANSWER_S))

    def release() -> None:
        """End the actors that are kept."""
        while held:
            system.tell(held.pop(), ActorExitRequest())

    def ping(number: int) -> list[float]:
        """Return the microseconds from ask to answer, each time, at the actor that is kept."""
        taken = []
        for _ in range(number):
            begun_s = time.perf_counter()
            assert system.ask(held[0], "ping", ANSWER_S)
            taken.append((time.perf_counter() - begun_s) * 1e6)
        return taken

    def revive(number: int) -> list[float]:
        """Return the milliseconds from SIGKILL until the parent's next child has answered, each time."""
        taken = []
        parent = system.createActor(Parent)
        pid = system.ask(parent, "begin", ANSWER_S)
        for _ in range(number):
            system.tell(parent, "next")
            time.sleep(0.02)
            begun_s = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            fresh = system.listen(ANSWER_S)
            assert fresh
            assert fresh != pid
            pid = fresh
            taken.append((time.perf_counter() - begun_s) * 1000)
        system.tell(parent, ActorExitRequest())
        return taken

    try:
        serve({"create": create, "hold": hold, "release": release, "ping": ping, "revive": revive})
    finally:
        system.shutdown()


if __name__ == "__main__":
    main()
