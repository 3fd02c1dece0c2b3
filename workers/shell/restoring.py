"""How a worker that begins gets its conversation: from the newest snapshot that can be used, else from history."""

import logging
from collections.abc import Callable
from typing import Literal

from protocol import messages as m
from protocol.failpoints import hit
from protocol.limits import RESTORE_BYTES
from protocol.views import HistoryRow
from workers.core.conversation import Conversation, Exchange
from workers.shell.snapshot import SnapshotUnfit, unpack

# The newest snapshot and the one before it.
SNAPSHOTS = 2

log = logging.getLogger(__name__)


class Restoring:
    """Asks until it has everything; a page that comes twice does no harm.

    Args:
        session: whose conversation.
        epoch: which worker asks.
        conversation: is filled.
        send: takes messages to the coordinator.
    """

    def __init__(
        self, session: str, epoch: int, conversation: Conversation, send: Callable[[m.WorkerSays], None]
    ) -> None:
        self._session = session
        self._epoch = epoch
        self._conversation = conversation
        self._send = send
        self._skip: int | None = 0
        self._rows: list[HistoryRow] = []
        self._bytes = 0
        self.is_done = False

    def ask(self) -> None:
        """Ask for the next that is missing; sent again it is answered again."""
        if self._skip is not None:
            self._send(m.RestoreWanted(session=self._session, epoch=self._epoch, skip=self._skip))
        else:
            before = min((row.seq for row in self._rows), default=None)
            self._send(m.FetchBack(session=self._session, epoch=self._epoch, before_seq=before))

    def on_restore(self, stored: m.Restore) -> None:
        """Take a snapshot with what came after it, or go on without."""
        if self.is_done or self._skip is None:
            return
        if stored.snapshot is None:
            self._skip = None
            self.on_history(m.HistoryBack(rows=stored.rows, more=stored.more))
            return
        try:
            snapshot = unpack(stored.snapshot, self._session)
        except SnapshotUnfit as error:
            log.warning("snapshot cannot be used", extra={"skipped": self._skip, "reason": error.message})
            self._skip = self._skip + 1 if self._skip + 1 < SNAPSHOTS else None
            self.ask()
            return
        if stored.more:  # so much came after it that all is asked for in the usual way
            self._skip = None
            self.ask()
            return
        pairs = zip(snapshot.seqs, snapshot.exchanges, strict=True)
        exchanges = [Exchange(seq, prompt, answer) for seq, (prompt, answer) in pairs]
        self._conversation.resume(exchanges, snapshot.through_seq, is_cut=snapshot.is_cut)
        self._conversation.restore(stored.rows)
        self._done("snapshot")

    def on_history(self, page: m.HistoryBack) -> None:
        """Take a page of history, the newest first."""
        if self.is_done or self._skip is not None:
            return
        known = {row.seq for row in self._rows}
        new = [row for row in page.rows if row.seq not in known]
        self._rows += new
        self._bytes += sum(len(row.text) for row in new)
        if page.more and self._bytes < RESTORE_BYTES:
            self.ask()
            return
        self._conversation.restore(self._rows, is_cut=page.more)
        self._done("history")

    def _done(self, source: Literal["snapshot", "history"]) -> None:
        self._rows = []
        self.is_done = True
        hit("worker.restored")
        count = len(self._conversation.exchanges)
        self._send(m.Restored(session=self._session, epoch=self._epoch, source=source, exchanges=count))
