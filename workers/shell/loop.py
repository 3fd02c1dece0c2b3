"""A worker's main loop: messages in, a turn at a time, heartbeats out.

It says hello until it is welcomed, fetches back its history, and then answers what is delivered. When the coordinator
goes away it finishes its turn, keeps the reply, and says hello to the next one.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from protocol import logs
from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.errors import ChatCoordError
from protocol.failpoints import hit
from protocol.ids import new_id
from protocol.launch import EXIT_NO_MEMORY, Fork
from protocol.limits import CUT_MARK, REPLY_BYTES, RESTORE_BYTES, cut
from protocol.logs import log_to
from protocol.mailbox import Mailbox
from protocol.outbox import outbox_path
from protocol.paths import Home, find_running
from protocol.processes import descendants_of
from protocol.version import __version__
from protocol.views import ErrorView, StopReason, Usage
from workers.core.calls import Paused
from workers.core.conversation import Conversation, Shown, fits_after
from workers.core.instructions import instructions_for
from workers.core.turns import Running, Turns
from workers.models import naming
from workers.models.port import Answered, ChatModel, ContextTooLong, ModelFailed, Question
from workers.shell import stacks
from workers.shell.children import Children
from workers.shell.gather import Gatherer
from workers.shell.journal import ToolJournal
from workers.shell.outbox import Outbox
from workers.shell.permits import CoordinatorsPermits
from workers.shell.restoring import Restoring
from workers.shell.snapshot import pack, snapshot_of
from workers.shell.title import set_title
from workers.tools.box import Box, Where
from workers.tools.mcp_servers import Servers

HEARTBEAT_S = 1.0
# After so long without a word the coordinator may be elsewhere: another one, with its sockets in another folder.
SILENCE_S = 3.0
# Covers the start of the embedded model's server.
ENDPOINT_S = 90.0
RESEND_S = 0.5
# So long a model may think about a name, and so much of what it says is looked at.
NAMING_S = 20.0
NAME_BYTES = 200
# How soon a disk that took nothing is tried again.
DISK_RETRY_S = 1.0
EXIT_CLEAN = 0
EXIT_FENCED = 3

log = logging.getLogger(__name__)
_decoder: Decoder[m.ToWorker] = Decoder(m.ToWorker)


def run(fork: Fork, model: ChatModel, runner: asyncio.Runner) -> int:
    """Serve a session until it is told to leave, and return the exit code of the process."""
    log_to(Path(fork.events_log), "worker", fork.log_level, session=fork.session, epoch=fork.epoch)
    return runner.run(Worker(fork, model).serve())


class ReplyTooLong(Exception):
    """The model went on beyond what is stored."""


class Worker:
    """One session's process.

    Args:
        fork: who this is and where the coordinator answers.
        model: what answers prompts.
        beat_s: how often it says that it lives.
    """

    def __init__(self, fork: Fork, model: ChatModel, *, beat_s: float = HEARTBEAT_S) -> None:
        self._beat_s = beat_s
        self._session = fork.session
        self._epoch = fork.epoch
        self._token = fork.token
        self._endpoint_path = fork.endpoint
        self._model = model
        self._conversation = Conversation(RESTORE_BYTES)
        self._turns = Turns()
        self._permits = CoordinatorsPermits(fork.session, fork.epoch, self._send)
        self._boot: int | None = None
        self._welcome: m.Welcome | None = None
        self._restoring = Restoring(fork.session, fork.epoch, self._conversation, self._send)
        self._waiting: m.Deliver | m.Continue | None = None
        # A question for a snapshot that came before there was a conversation.
        self._wanted: m.SnapshotWanted | None = None
        self._journal: ToolJournal | None = None
        self._is_cancelled = False
        self._left_out = 0
        # Which endpoint and model refused a conversation, and how many bytes they take by their own count.
        self._fits: tuple[str, str, int] | None = None
        self._turn: asyncio.Task[None] | None = None
        self._naming: asyncio.Task[None] | None = None
        self._endpoint: asyncio.Future[m.Endpoint] | None = None
        self._home = Home(Path(fork.home))
        self._orphan_exit_s = fork.orphan_exit_s
        self._outbox = Outbox(outbox_path(self._home.outboxes, fork.session, fork.epoch))
        self._heard_s = time.monotonic()
        self._is_out_of_memory = False
        self.children = Children()
        self._servers = Servers(Path.cwd(), f"{fork.session}.{fork.epoch}")
        self._handlers: dict[type[m.Message], Callable[..., None]] = {
            m.Welcome: self._on_welcome,
            m.Fenced: self._on_fenced,
            m.Leave: lambda _: self._leave(EXIT_CLEAN),
            m.Pong: self._on_pong,
            m.Restore: self._on_restore,
            m.HistoryBack: self._on_history,
            m.Deliver: self._on_deliver,
            m.Continue: self._on_deliver,
            m.CancelTurn: self._on_cancel,
            m.AskNoted: self._on_ask_noted,
            m.WriteKnown: self._on_write_known,
            m.Endpoint: self._on_endpoint,
            m.EndpointRefused: self._on_endpoint_refused,
            m.Permit: self._permits.hear,
            m.PermitRefused: self._permits.hear,
            m.Rack: self._on_rack,
            m.SnapshotWanted: self._on_snapshot_wanted,
            m.StacksWanted: self._on_stacks_wanted,
            m.ToolEnded: lambda ended: self.children.ended(ended.reason),
            m.Renamed: lambda renamed: set_title(renamed.name),
            m.Retyped: self._on_retyped,
            m.NameWanted: self._on_name_wanted,
            m.Refused: self._on_refused,
        }

    async def serve(self) -> int:
        """Run until told to leave."""
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._leave, EXIT_CLEAN)
        self._mailbox = Mailbox(self._endpoint_path, self._on_frame)
        hit("worker.connected")
        self._say_hello()
        beats = asyncio.create_task(self._beat())
        try:
            return await self._exit
        finally:
            self._servers.end()
            for task in (beats, self._turn, self._naming):
                if task is not None:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
            self._mailbox.close()
            self._outbox.close()

    # ---- out

    def _send(self, message: m.WorkerSays) -> None:
        self._mailbox.send(encode(message))

    def _say_hello(self) -> None:
        seq, turn_id, leg = self._turns.in_hand
        self._send(
            m.Hello(
                session=self._session,
                epoch=self._epoch,
                token=self._token,
                pid=os.getpid(),
                seq=seq,
                turn_id=turn_id,
                leg=leg,
                version=__version__,
            )
        )

    async def _beat(self) -> None:
        lag_ms = 0
        while True:
            begun_s = time.monotonic()
            await asyncio.sleep(self._beat_s)
            lag_ms = max(0, round((time.monotonic() - begun_s - self._beat_s) * 1000))
            self.children.reap_orphans()
            if self._turns.running is None:
                self._servers.end_idle()
            silence_s = time.monotonic() - self._heard_s
            if silence_s > self._orphan_exit_s and self._turns.running is None:
                log.info("no coordinator: leaving")
                self._leave(EXIT_CLEAN)
                return
            if silence_s > SILENCE_S:
                self._look_elsewhere()
            if self._welcome is None:
                self._say_hello()
                continue
            self._ping(lag_ms)
            if not self._restoring.is_done:
                self._restoring.ask()

    def _ping(self, lag_ms: int) -> None:
        running = self._turns.running
        self._send(
            m.Ping(
                session=self._session,
                epoch=self._epoch,
                state="running" if running else "idle",
                turn_id=running.turn_id if running else None,
                loop_lag_ms=lag_ms,
                boot=self._permits.boot,
                permit=self._permits.held,
                permits_over=self._permits.over,
            )
        )

    def _look_elsewhere(self) -> None:
        """Connect to the sockets of the coordinator that runs now, if they are not the known ones."""
        found = find_running(self._home)
        if found is not None and found.workers != self._endpoint_path:
            log.info("coordinator found elsewhere", extra={"boot": found.boot})
            self._mailbox.close(linger_ms=0)
            self._endpoint_path = found.workers
            self._mailbox = Mailbox(self._endpoint_path, self._on_frame)
            self._say_hello()

    # ---- in

    def _on_frame(self, frame: bytes) -> None:
        self._heard_s = time.monotonic()
        try:
            message = _decoder.decode(frame)
        except ChatCoordError as error:
            log.warning("unreadable message", extra={"error": error.message})
            return
        self._handlers[type(message)](message)

    def _on_fenced(self, message: m.Fenced) -> None:
        log.warning("fenced", extra={"reason": message.reason})
        self._leave(EXIT_FENCED)

    def _on_pong(self, message: m.Pong) -> None:
        if message.boot != self._boot:
            self._say_hello()

    def _on_restore(self, message: m.Restore) -> None:
        self._restoring.on_restore(message)
        self._go_on()

    def _on_history(self, message: m.HistoryBack) -> None:
        self._restoring.on_history(message)
        self._go_on()

    def _on_rack(self, message: m.Rack) -> None:
        hit("worker.racked")
        if self._turns.confirm(message.turn_id):
            self._outbox.trim()
        hit("worker.trimmed")
        if self._is_out_of_memory and self._turns.unconfirmed is None:
            self._leave(EXIT_NO_MEMORY)

    def _on_ask_noted(self, message: m.AskNoted) -> None:
        hit("worker.ask_noted")
        if self._turns.confirm_asks(message):
            self._outbox.trim()

    def _on_write_known(self, message: m.WriteKnown) -> None:
        if self._journal is not None:
            self._journal.heard(message)

    def _on_endpoint(self, message: m.Endpoint) -> None:
        if self._endpoint is not None and not self._endpoint.done():
            self._endpoint.set_result(message)

    def _on_endpoint_refused(self, message: m.EndpointRefused) -> None:
        if self._endpoint is not None and not self._endpoint.done():
            why = message.error
            self._endpoint.set_exception(ModelFailed(why.code, why.message, hint=why.hint))

    def _on_refused(self, message: m.Refused) -> None:
        log.warning("refused", extra={"code": message.code, "reason": message.message})

    def _leave(self, code: int) -> None:
        hit("worker.leaving")
        if not self._exit.done():
            self._exit.set_result(code)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Outside of a turn there is nothing to save for a worker without memory: all it knew is in the store."""
        if isinstance(context.get("exception"), MemoryError):
            self._leave(EXIT_NO_MEMORY)
        else:
            loop.default_exception_handler(context)

    def _on_welcome(self, welcome: m.Welcome) -> None:
        if welcome.boot != self._boot:
            self._mailbox.forget()
        self._boot = welcome.boot
        logs.bind(boot=welcome.boot)
        self._welcome = welcome
        hit("worker.welcomed")
        self._permits.welcomed(welcome.boot)
        self._ping(0)  # tells what is held, which HELLO cannot: a grant may have come behind it
        set_title(welcome.name)
        if not self._restoring.is_done:
            self._restoring.ask()
        if self._turns.unconfirmed is not None:
            self._send(self._turns.unconfirmed)
        if self._endpoint is not None and not self._endpoint.done():
            self._send(m.EndpointWanted(session=self._session, epoch=self._epoch))

    def _on_retyped(self, order: m.Retyped) -> None:
        if self._welcome is not None:
            self._welcome = msgspec.structs.replace(self._welcome, type=order.type, system=order.system)

    def _go_on(self) -> None:
        """Begin what was delivered, and answer what was asked, before the conversation was there."""
        if not self._restoring.is_done:
            return
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._on_deliver(waiting)
        if self._wanted is not None:
            wanted, self._wanted = self._wanted, None
            self._on_snapshot_wanted(wanted)

    def _on_snapshot_wanted(self, wanted: m.SnapshotWanted) -> None:
        """Say all that is to be kept, or that this is no time to leave; either way go on as before."""
        if not self._restoring.is_done:
            self._wanted = wanted
            return
        why = self._why_busy()
        if why is not None:
            self._send(m.Busy(session=self._session, epoch=self._epoch, n=wanted.n, why=why))
            return
        conversation = self._conversation
        data = pack(snapshot_of(self._session, conversation))
        hit("worker.snapshot_taken")
        self._send(
            m.SnapshotTaken(
                session=self._session, epoch=self._epoch, n=wanted.n, through_seq=conversation.through_seq, data=data
            )
        )

    def _on_stacks_wanted(self, wanted: m.StacksWanted) -> None:
        self._send(m.Stacks(session=self._session, epoch=self._epoch, n=wanted.n, text=stacks.of_tasks()))

    def _why_busy(self) -> str | None:
        """Return what would be lost if the session hibernated now; None when nothing would."""
        if self._turns.running is not None:
            return "a turn runs"
        if self._turns.unconfirmed is not None:
            return "its reply is not confirmed yet"
        below = {pid for pid, _ in descendants_of(os.getpid())}
        return "a process that it started still runs" if below and below - self._servers.below() else None

    def _on_deliver(self, order: m.Deliver | m.Continue) -> None:
        if not self._restoring.is_done:
            self._waiting = order
            return
        hit("worker.delivered")
        running = self._turns.accept(order, new_id())
        if running is not None:
            self._is_cancelled, self._left_out = False, 0
            self._turn = asyncio.create_task(self._answer(running))
        elif isinstance(order, m.Continue) and self._has_started(order):
            self._send(self._started_of(order.seq, order.turn_id, order.leg))

    def _has_started(self, order: m.Continue) -> bool:
        running = self._turns.running
        return running is not None and (running.seq, running.leg) == (order.seq, order.leg)

    # ---- cancelled

    def _on_cancel(self, order: m.CancelTurn) -> None:
        """End the turn now; one that has not come yet, or has stopped to ask, ends as if it had been running."""
        running, kept = self._turns.running, self._turns.unconfirmed
        if self._waiting is not None and self._waiting.seq == order.seq:
            self._waiting = None
        if running is not None and running.seq == order.seq:
            if self._turn is not None and not self._is_cancelled:
                self._is_cancelled = True
                self._turn.cancel()
        elif isinstance(kept, m.Asked) and kept.seq == order.seq:
            self._turns.refuse(order.seq)
            self._end_leg(
                self._reply_to(order.seq, kept.turn_id, kept.text, "cancelled", kept.usage, kept.pieces, None)
            )
        elif kept is None and running is None and self._turns.refuse(order.seq):
            turn_id = new_id()
            self._end_leg(self._reply_to(order.seq, turn_id, "", "cancelled", Usage(), 0, None))

    # ---- a turn

    async def _answer(self, running: Running) -> None:
        """Answer a prompt, or go on with it: this leg ends with a reply, or with a question to a person."""
        said: list[str] = [running.said]
        gatherer = Gatherer(lambda n, text: self._send_delta(running, n, text), running.pieces)
        answered, error = Answered(Usage()), None
        stop_reason: StopReason = "completed"
        try:
            answered = await self._stream(running, said, gatherer)
        except asyncio.CancelledError:
            if not self._is_cancelled:
                raise
            stop_reason = "cancelled"
        except ReplyTooLong:
            log.warning("reply cut", extra={"turn": running.turn_id})
        except ModelFailed as failure:
            stop_reason = "failed"
            error = ErrorView(code=failure.case, message=failure.message, hint=failure.hint)
        except MemoryError:
            stop_reason, self._is_out_of_memory = "failed", True
            text = "The worker needed more memory than it may have, and is replaced."
            error = ErrorView(code="memory.exhausted", message=text, hint="Try again; or raise memory_hard_bytes.")
        except Exception as failure:
            log.exception("turn failed", extra={"turn": running.turn_id})
            stop_reason = "failed"
            reason = f"{type(failure).__name__}: {failure}"
            error = ErrorView(code="internal", message=f"The turn failed by a fault of chat-coord: {reason[:300]}.")
        finally:
            self._permits.end()
            self._servers.used()
        self._journal = None
        gatherer.flush()
        hit("worker.streamed")
        text = cut("".join(said), REPLY_BYTES, CUT_MARK.format(limit=REPLY_BYTES))
        usage = _sum(running.usage, answered.usage)
        if answered.paused is not None:
            asked = self._asked(running, answered.paused, text, usage, gatherer.pieces)
            if asked is not None:
                self._end_leg(asked)
                return
            stop_reason = "failed"
            error = ErrorView(code="ask.too_large", message="What the turn asks is too large to be kept.")
        self._conversation.add(running.seq, running.prompt, text, is_whole=stop_reason == "completed")
        self._end_leg(self._reply_to(running.seq, running.turn_id, text, stop_reason, usage, gatherer.pieces, error))

    def _asked(self, running: Running, paused: Paused, text: str, usage: Usage, pieces: int) -> m.Asked | None:
        """Return what is asked; None when that is larger than any message may be."""
        asks = [
            m.ToolAsk(
                id=new_id(),
                call=call.id,
                kind=question.kind,
                tool=call.tool,
                argv=question.argv,
                text=question.text,
                digest=question.digest,
            )
            for call, question in paused.questions.values()
        ]
        asked = m.Asked(
            session=self._session,
            epoch=self._epoch,
            seq=running.seq,
            turn_id=running.turn_id,
            leg=running.leg,
            asks=asks,
            state=paused.state,
            text=text,
            usage=usage,
            pieces=pieces,
        )
        try:
            encode(asked)
        except ChatCoordError as failure:
            log.warning("ask cannot be sent", extra={"turn": running.turn_id, "reason": failure.message})
            return None
        return asked

    def _reply_to(  # noqa: PLR0917 - a reply has so many parts
        self,
        seq: int,
        turn_id: str,
        text: str,
        stop_reason: StopReason,
        usage: Usage,
        pieces: int,
        error: ErrorView | None,
    ) -> m.Reply:
        return m.Reply(
            session=self._session,
            epoch=self._epoch,
            seq=seq,
            turn_id=turn_id,
            text=text,
            stop_reason=stop_reason,
            usage=usage,
            pieces=pieces,
            error=error,
            left_out=self._left_out,
        )

    def _end_leg(self, end: m.Reply | m.Asked) -> None:
        """Note what ends the leg, and send it until it is confirmed."""
        try:
            self._outbox.append(end)
        except OSError as failure:  # it is kept in memory, and sent until the coordinator has it
            log.warning("end of a turn not noted", extra={"turn": end.turn_id, "reason": str(failure)})
        if isinstance(end, m.Reply):
            hit("worker.reply_noted")
        else:
            hit("worker.ask_written")
        self._turns.finish(end)
        self._hand_over(end)
        if isinstance(end, m.Reply):
            hit("worker.replied")
        else:
            hit("worker.asked")

    def _hand_over(self, end: m.Reply | m.Asked) -> None:
        """Send what ends a leg until it is confirmed."""
        if self._turns.unconfirmed is end:
            if not self._mailbox.is_sending:
                self._send(end)
            delay_s = RESEND_S * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
            asyncio.get_running_loop().call_later(delay_s, self._hand_over, end)

    def _started_of(self, seq: int, turn_id: str, leg: int) -> m.Started:
        return m.Started(session=self._session, epoch=self._epoch, seq=seq, turn_id=turn_id, leg=leg)

    async def _note_start(self, running: Running) -> m.Started:
        """Note that a request may be sent from here on, so that no other worker sends it a second time."""
        started = self._started_of(running.seq, running.turn_id, running.leg)
        while True:
            try:
                self._outbox.append(started)
            except OSError as failure:
                log.warning("start not noted", extra={"turn": running.turn_id, "reason": str(failure)})
                await asyncio.sleep(DISK_RETRY_S)
            else:
                hit("worker.start_noted")
                return started

    async def _stream(self, running: Running, said: list[str], gatherer: Gatherer) -> Answered:
        if self._naming is not None:  # it would be in the way
            self._naming.cancel()
            await asyncio.wait({self._naming})
        endpoint = await self._find_endpoint()
        self._send(await self._note_start(running))
        hit("worker.started")
        size = len(running.said)

        def on_piece(piece: str) -> None:
            nonlocal size
            text = piece.encode(errors="replace").decode()  # a model may send half of a surrogate pair
            said.append(text)
            hit("worker.piece")
            gatherer.add(text)
            size += len(text)
            if size > REPLY_BYTES:
                raise ReplyTooLong

        if running.images and not endpoint.takes_images:
            hint = "Have another model answer: `chat-coord model set NAME MODEL`, then `chat-coord retry NAME`."
            raise ModelFailed("model.no_images", f"The model {endpoint.model!r} takes no images.", hint=hint)
        missing = await self._servers.open(endpoint.mcp)
        for name, why in missing.items():
            self._tell_missing(running, name, why)
        self._permits.begin(running.turn_id)
        shown = self._show(running, endpoint)
        try:
            return await self._ask_model(running, endpoint, shown, on_piece)
        except ContextTooLong as failure:
            if not failure.is_first or not shown.lines:
                raise
            fits = fits_after(failure.counts, shown.size, len(running.prompt.encode()))
            self._fits = (endpoint.base_url, endpoint.model, fits)
            log.info("conversation trimmed", extra={"turn": running.turn_id, "to_bytes": fits})
            shown = self._show(running, endpoint)
            if failure.counts is None:
                self._fits = None  # it was a guess
        return await self._ask_model(running, endpoint, shown, on_piece)

    def _show(self, running: Running, endpoint: m.Endpoint) -> Shown:
        """Return what the model is shown before the prompt; never more than what it refused before."""
        room_bytes = None
        if self._fits is not None and self._fits[:2] == (endpoint.base_url, endpoint.model):
            room_bytes = max(0, self._fits[2] - len(running.prompt.encode()))
        shown = self._conversation.shown(running.seq, endpoint.context_tokens, room_bytes)
        self._left_out = shown.left_out
        return shown

    async def _ask_model(
        self, running: Running, endpoint: m.Endpoint, shown: Shown, on_piece: Callable[[str], None]
    ) -> Answered:
        welcome = self._welcome
        session_type, own = (welcome.type, welcome.system) if welcome else ("development", None)
        question = Question(
            instructions_for(session_type, own, is_small_model=endpoint.is_small),
            shown.lines,
            running.prompt if shown.lines or not shown.mark else f"{shown.mark}\n\n{running.prompt}",
            running.images,
        )
        return await self._model.stream(
            endpoint,
            question,
            on_piece,
            self._permits,
            toolbox=self._toolbox(running, endpoint),
            resume=running.resume,
        )

    def _toolbox(self, running: Running, endpoint: m.Endpoint) -> Box | None:
        """Return what the model may use in this leg; nothing for a model that cannot use tools."""
        self._journal = ToolJournal(self._session, self._epoch, running, self._outbox, self._send, self.children)
        where = Where(Path.cwd(), f"{self._session}.{self._epoch}", endpoint.tool_timeout_s)
        box = Box(endpoint.tools, where, self._journal, self._servers if endpoint.mcp else None)
        return box if box.tools else None

    # ---- a name

    def _on_name_wanted(self, order: m.NameWanted) -> None:
        del order
        if self._turns.running is None and self._naming is None and self._restoring.is_done:
            self._naming = asyncio.create_task(self._find_name())

    async def _find_name(self) -> None:
        """Ask the model what the conversation shall be called; whatever goes wrong, nobody waits for it."""
        said: list[str] = []
        try:
            endpoint = await self._find_endpoint()
            self._permits.begin(m.NAMING)
            question = naming.question(self._conversation.exchanges)
            asking = self._model.stream(endpoint, question, said.append, self._permits)
            answered = await asyncio.wait_for(asking, NAMING_S)
        except (ModelFailed, TimeoutError) as failure:
            log.info("no name", extra={"reason": str(failure)})
        except Exception:
            log.exception("no name")
        else:
            text = cut("".join(said), NAME_BYTES)
            self._send(m.NameGiven(session=self._session, epoch=self._epoch, text=text, usage=answered.usage))
        finally:
            self._permits.end()
            self._naming = None

    def _tell_missing(self, running: Running, name: str, why: str) -> None:
        """A server of tools cannot be used: say so to whoever looks on."""
        log.warning("mcp server missing", extra={"server": name, "reason": why})
        self._send(
            m.ToolState(
                session=self._session,
                epoch=self._epoch,
                seq=running.seq,
                turn_id=running.turn_id,
                call="",
                tool=f"mcp {name}",
                state="failed",
                text=f"its tools are missing: {why}",
            )
        )

    async def _find_endpoint(self) -> m.Endpoint:
        self._endpoint = asyncio.get_running_loop().create_future()
        self._send(m.EndpointWanted(session=self._session, epoch=self._epoch))
        try:
            async with asyncio.timeout(ENDPOINT_S):  # wait_for could swallow a cancellation (Python 3.11)
                return await self._endpoint
        except TimeoutError:
            text = f"The coordinator did not say within {ENDPOINT_S:.0f} s where the model is."
            raise ModelFailed("model.unavailable", text, hint="Try again.") from None
        finally:
            self._endpoint = None

    def _send_delta(self, running: Running, n: int, text: str) -> None:
        self._send(
            m.Delta(
                session=self._session,
                epoch=self._epoch,
                seq=running.seq,
                turn_id=running.turn_id,
                n=n,
                text=text,
            )
        )


def _sum(first: Usage, second: Usage) -> Usage:
    return Usage(
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
    )
