"""A frame that a released version sent is still read, and means what it meant.

Each line of ``protocol-N.jsonl`` is one frame of version N: who reads it, the bytes, and the message. Files of released
versions are only ever added to; ``python -m tests.golden.test_frames`` prints the lines for today's messages.
"""

import json
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.outbox import Record
from protocol.views import (
    AskView,
    ChildMemory,
    ConversationView,
    ErrorView,
    ExitCard,
    Exported,
    FoundRow,
    GateView,
    HistoryRow,
    Inspection,
    Memory,
    MemoryPoint,
    ModelSpent,
    ModelView,
    NextToSleep,
    ParentView,
    PermitState,
    PermitsView,
    SessionCounts,
    SessionSpent,
    SessionView,
    Spent,
    Status,
    StatusMemory,
    StoreView,
    TopSession,
    TopTotals,
    Usage,
    UsageReport,
    WorkerMemory,
    WorkerView,
)

UNIONS = {
    "client says": m.ClientSays,
    "to client": m.ToClient,
    "worker says": m.WorkerSays,
    "to worker": m.ToWorker,
    "outbox": Record,
    "both": m.Part | m.PartAck,
}
LINES = [
    json.loads(line)
    for path in sorted(Path(__file__).parent.glob("protocol-*.jsonl"))
    for line in path.read_text(encoding="utf-8").splitlines()
]
ERROR = ErrorView(code="model.timeout", message="It did not answer in time.", hint="Try again.")
ROW = HistoryRow(
    seq=2, role="assistant", text="größer 🙂", turn_id="t", stop_reason="failed", at=1.5, reply_to=1, error=ERROR
)
SESSION = SessionView(
    id="0123456789abcdef", name="a b", number=1, active=True, type="debug", model="m", node="host", cwd="/",
    residency="live", work="running", work_detail={"seq": 1, "turn_id": "t", "prompts_waiting": 0}, display="running",
    unread=False, pinned=False, attached=True, archived=False, messages=3, tokens=9, pid=42, epoch=2,
    waiting_since=None, ask=None, exit_card=ExitCard(reason="killed", signal="SIGKILL", at=1.5, seq_in_flight=1),
    memory=Memory(uss_bytes=1, rss_bytes=2), created_at=1.5, last_active_at=2.5,
)  # fmt: skip
PARENT = ParentView(session="00000000000000aa", seq=4)
EXPORTED = Exported(
    id="0123456789abcdef", name="a b", type="debug", model="m", cwd="/", closed=False, created_at=1.5,
    last_active_at=2.5, messages=[ROW], missing="message 1", system="s", archived=True, parent=PARENT, origin="codex:1",
)  # fmt: skip
FOUND = FoundRow(session="0123456789abcdef", name="a b", seq=2, role="assistant", snippet="größer 🙂", at=1.5)
SPENT = ModelSpent(model="m", turns=1, input_tokens=2, output_tokens=3, cost=0.5, unpriced_tokens=0)
USAGE = UsageReport(
    since=1.5, more=False,
    sessions=[
        SessionSpent(
            session="0123456789abcdef", name="a b", models=[SPENT], turns=1, input_tokens=2, output_tokens=3, cost=0.5,
        )
    ],
    total=Spent(turns=1, input_tokens=2, output_tokens=3, cost=0.5),
)  # fmt: skip
GATE = GateView(provider="http://h/v1", why="rate_limit", until=1.5, allowed=0)
PERMITS = PermitsView(in_use=1, limit=5, waiting=2, gates=[GATE])
ASK = AskView(
    id="aa11", session="0123456789abcdef", name="a", kind="approval", tool="run_command",
    argv=["/bin/sh", "-c", "make"], text="in /: make", since=1.5,
)  # fmt: skip
STATUS = Status(
    pid=42, boot=3, version="0.1.0", home="/h", uptime_s=1.5, permits=PERMITS, rejected_frames=0,
    launcher="local", sessions=SessionCounts(live=1, queued=0, hibernated=0, total=1, max_active=10),
    memory=StatusMemory(coordinator_rss_bytes=1, workers_uss_bytes=None),
    store=StoreView(path="/h/chat-coord.db", bytes=4_096, writable=True),
    model=ModelView(name="embedded", provider="local", server_pid=None),
)  # fmt: skip
POINT = MemoryPoint(at=1.5, rss_bytes=9, uss_bytes=3, tree_uss_bytes=4)
HELD = PermitState(held=True, position=None, waited_ms=7)
WORKER = WorkerView(
    pid=42, epoch=2, started_at=1.5, uptime_s=2.5, heartbeat_age_ms=3, loop_lag_ms=4, restarts=1,
    exit_card=SESSION.exit_card, cpu_percent=1.5, threads=3, open_files=20, inbox=1, permit=HELD, stacks="Threads",
    children=(ChildMemory(pid=43, name="bash", pss_bytes=5),),
    memory=WorkerMemory(
        rss_bytes=9, pss_bytes=6, uss_bytes=3, swap_bytes=0, tree_uss_bytes=4, soft_limit_bytes=50,
        hard_limit_bytes=60, history=(POINT,),
    ),
)  # fmt: skip
INSPECTION = Inspection(
    session=SESSION, worker=WORKER,
    conversation=ConversationView(messages=3, tokens=9, snapshot_bytes=7, buffered_bytes=8),
)  # fmt: skip
TOP_ROW = TopSession(
    **{name: getattr(SESSION, name) for name in SessionView.__struct_fields__}, cpu_percent=1.5, tree_uss_bytes=4,
    history=(1, 3), pieces=5, pieces_per_s=2.5, permit=HELD,
)  # fmt: skip
OWN = {"session": "0123456789abcdef", "epoch": 2}
SAMPLES: list[object] = [
    m.ClientHello(client="cli", pid=42),
    m.ClientBye(),
    m.ClientPing(),
    m.Create(request=1, id="0123456789abcdef", name=None, type="debug", model="m", system="s", cwd="/", env={"A": "b"},
        temperature=0.5,
    ),
    m.Submit(request=2, session="a b", idem="k", text="hello", follow=True),
    m.Retry(request=13, session="a", idem="k", follow=False),
    m.Fetch(request=3, session="a", after_seq=0, view=True),
    m.ListSessions(request=4, offset=50, waiting=False, everything=True),
    m.GetSession(request=5, session=None),
    m.Switch(request=6, session="1"),
    m.Rename(request=7, session="a", name="b"),
    m.Close(request=8, session="a"),
    m.Attach(request=9, session="a"),
    m.Listen(request=10),
    m.GetStatus(request=11),
    m.Backup(request=13, path="/b/chat.db"),
    m.ShutDown(request=12, now=False),
    m.HandOver(request=14),
    m.Hibernate(request=15, session="a"),
    m.Wake(request=16, session="a"),
    m.Mark(request=17, session="a", mark="draft", value="not yet"),
    m.Delete(request=18, session="a"),
    m.Cancel(request=19, session="a", seq=3),
    m.ListAsks(request=20, offset=50),
    m.Decide(request=21, ask="aa11", approve=False, idem="k", why="no"),
    m.Decide(request=21, ask="aa11", approve=True, idem="k", answer="the second"),
    m.AsksAnswer(request=20, asks=[ASK], more=False),
    m.Decided(request=21, ask="aa11", session="0123456789abcdef", tool="run_command", approved=True),
    m.Cancelled(request=19, session="0123456789abcdef", seq=3, stop_reason="cancelled"),
    m.Asking(session="0123456789abcdef", seq=1, ask=ASK),
    m.AskResolved(
        session="0123456789abcdef", seq=1, name="a", ask="aa11", tool="run_command", outcome="denied", by="cli (pid 42)"
    ),
    m.ToolActivity(
        session="0123456789abcdef", seq=1, turn_id="t", call="c", tool="run_command", state="done", text="make … done"
    ),
    m.Asked(
        **OWN, seq=1, turn_id="t", leg=0, state=b"\x00\xff", text="so far", usage=Usage(input_tokens=1), pieces=1,
        asks=[m.ToolAsk(id="aa11", call="c", kind="approval", tool="run_command", argv=["make"], text="x", digest="d")],
    ),
    m.ToolIntent(**OWN, seq=1, turn_id="t", call="c", tool="run_command", text="make"),
    m.ToolDone(**OWN, seq=1, turn_id="t", call="c"),
    m.ToolState(**OWN, seq=1, turn_id="t", call="c", tool="run_command", state="running", text="make"),
    m.WriteWanted(**OWN, path="/f"),
    m.Continue(
        seq=1, turn_id="t", leg=1, text="hello", state=b"\x00\xff", said="so far", pieces=1, usage=Usage(),
        decisions=[m.Decision(call="c", approved=True, why="", digest="d")],
    ),
    m.AskNoted(turn_id="t", leg=0),
    m.CancelTurn(seq=1),
    m.WriteKnown(path="/f", holders=["b"]),
    m.Fork(request=19, session="a", id="00000000000000aa", name="b", at_seq=4),
    m.Outline(request=20, session="a"),
    m.FindOrigin(request=21, origin="codex:1", id="00000000000000aa"),
    m.ImportRows(request=22, batch="00000000000000bb", rows=[ROW]),
    m.ImportSession(
        request=23, id="00000000000000aa", batch="00000000000000bb", name="a", type="debug", model="m", system=None,
        cwd="/", env={"A": "b"}, created_at=1.5, last_active_at=2.5, closed=False, archived=True, parent=PARENT,
        origin="codex:1", messages=2,
    ),
    m.Search(request=24, text="größer", limit=5),
    m.GetUsage(request=25, session="a", since=1.5),
    m.Inspect(request=19, session="a", stacks=True),
    m.GetTop(request=20, offset=50),
    m.Kill(request=21, session="a", pid=42),
    m.RestartWorker(request=22, session="a", pid=42, force=True),
    m.ClientWelcome(boot=3, pid=42, version="0.1.0"),
    m.ClientPong(boot=3),
    m.Done(request=12),
    m.SessionAnswer(request=5, session=SESSION),
    m.SessionsAnswer(request=4, sessions=[SESSION], more=False),
    m.Attached(request=9, session=SESSION, turn_id="t", pieces=2, text="so far"),
    m.Ack(request=2, session="0123456789abcdef", seq=1, answered_by=None),
    m.History(request=3, session="0123456789abcdef", rows=[ROW], more=True),
    m.Outlined(request=20, session=EXPORTED),
    m.OriginAnswer(request=21, session=SESSION, id_is_free=False),
    m.Found(request=24, rows=[FOUND], more=True),
    m.UsageAnswer(request=25, usage=USAGE),
    m.StatusAnswer(request=11, status=STATUS),
    m.InspectAnswer(request=19, inspection=INSPECTION),
    m.TopAnswer(
        request=20, sessions=[TOP_ROW], more=False,
        totals=TopTotals(sessions=STATUS.sessions, permits=PERMITS, memory=STATUS.memory, cpu_percent=None),
        next_to_hibernate=[NextToSleep(session=SESSION.id, name="a b", why="idle")],
    ),
    m.Refused(request=None, code="protocol.version", message="no", hint="h"),
    m.Changed(seq=1, at=1.5, session="0123456789abcdef", name="a", before=None, after="starting", cause="created"),
    m.StoreState(seq=2, at=1.5, writable=False, reason="no room is left", hint="Make room."),
    m.BackedUp(request=13, path="/b/chat.db", bytes=4_096, sessions=2),
    m.Piece(session="0123456789abcdef", seq=1, turn_id="t", n=0, text="x"),
    m.Final(
        session="0123456789abcdef", seq=1, reply_seq=2, turn_id="t", stop_reason="failed", usage=Usage(), pieces=1,
        queued_ms=1, first_piece_ms=None, duration_ms=9, error=ERROR,
    ),
    m.Hello(**OWN, token=b"\x00\xff", pid=42, seq=1, turn_id="t"),
    m.Ping(**OWN, state="running", turn_id="t", loop_lag_ms=0),
    m.Started(**OWN, seq=1, turn_id="t"),
    m.Delta(**OWN, seq=1, turn_id="t", n=0, text="x"),
    m.Reply(**OWN, seq=1, turn_id="t", text="x", stop_reason="completed", usage=Usage(input_tokens=1), pieces=1),
    m.EndpointWanted(**OWN),
    m.FetchBack(**OWN, before_seq=None),
    m.RestoreWanted(**OWN, skip=1),
    m.Restored(**OWN, source="snapshot", exchanges=2),
    m.SnapshotTaken(**OWN, n=1, through_seq=3, data=b"\x00\xff"),
    m.Busy(**OWN, n=1, why="a turn runs"),
    m.Stacks(**OWN, n=1, text="Task"),
    m.PermitWanted(**OWN, boot=3, call=7, turn_id="t", barred_s=1.5),
    m.PermitReturned(**OWN, boot=3, call=7, status=429, retry_after_s=1.5, usage=Usage(input_tokens=1)),
    m.Ping(**OWN, state="running", turn_id="t", loop_lag_ms=0, boot=3, permit=7, permits_over=6),
    m.Welcome(boot=3, name="a", type="debug", system=None),
    m.Fenced(reason="old"),
    m.Pong(boot=3),
    m.Deliver(seq=1, text="hello"),
    m.Rack(turn_id="t"),
    m.Endpoint(
        provider="openai", base_url="http://h/v1", model="m", api_key="k", context_tokens=None, max_output_tokens=5
    ),
    m.EndpointRefused(error=ERROR),
    m.Permit(boot=3, call=7),
    m.PermitRefused(call=7, error=ERROR),
    m.HistoryBack(rows=[ROW], more=False),
    m.SnapshotWanted(n=1),
    m.StacksWanted(n=1),
    m.Restore(snapshot=b"\x00\xff", rows=[ROW], more=False),
    m.Renamed(name="b"),
    m.Leave(),
    m.Retyped(type="review", system="Be strict."),
    m.Mark(request=22, session="a", mark="type", value="review"),
    m.Create(
        request=1, id="0123456789abcdef", name="a", type="", model=None, system=None, cwd="/", env={}, group="g",
        template="t",
    ),
    m.ListSessions(request=4, offset=0, waiting=False, everything=False, group="g"),
    m.ToolEnded(reason="too large"),
    m.Mark(request=17, session="a", mark="model", value="claude"),
    m.Final(
        session="0123456789abcdef", seq=3, reply_seq=4, turn_id="t", stop_reason="completed", usage=Usage(), pieces=1,
        queued_ms=1, first_piece_ms=None, duration_ms=9, left_out=2,
    ),
    m.Reply(**OWN, seq=3, turn_id="t", text="x", stop_reason="completed", usage=Usage(), pieces=1, left_out=2),
    m.Endpoint(
        provider="anthropic", base_url="http://h", model="m", api_key="k", context_tokens=None, max_output_tokens=None,
        temperature=0.5,
    ),
    m.Endpoint(
        provider="openai", base_url="http://h/v1", model="m", api_key="k", context_tokens=None, max_output_tokens=None,
        takes_images=True,
        mcp=[m.McpServer(name="s", command=["x"], secrets={"K": "v"}, rule=m.ToolRule(rule="ask", allow=["get_*"]))],
    ),
    m.Submit(
        request=2, session="a", idem="k", text="look", follow=False,
        images=[m.Image(media_type="image/png", data=b"\x89PNG")],
    ),
    m.Deliver(seq=1, text="look", images=[m.Image(media_type="image/png", data=b"\x89PNG")]),
    m.NameWanted(),
    m.NameGiven(**OWN, text="parser-crash", usage=Usage(input_tokens=1)),
    m.Mark(request=9, session="a", mark="temperature", value=0.5),
    m.Part(transfer=1, n=0, last=True, crc=7, data=b"\x00\xff"),
    m.PartAck(transfer=1, n=0),
]  # fmt: skip


def readers(message: object) -> list[str]:
    return [name for name, union in UNIONS.items() if isinstance(message, get_args(union))]


def as_json(message: object) -> object:
    return json.loads(msgspec.json.encode(message))


def known_part(means: object, meant: object) -> object:
    """What a message says, without the fields that later versions added."""
    if isinstance(meant, dict) and isinstance(means, dict):
        return {key: known_part(means.get(key), meant[key]) for key in meant}
    if isinstance(meant, list) and isinstance(means, list) and len(means) == len(meant):
        return [known_part(a, b) for a, b in zip(means, meant, strict=True)]
    return means


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line['reader']}: {line['kind']}")
def test_a_frame_of_a_released_version_means_what_it_meant(line):
    message = Decoder(UNIONS[line["reader"]]).decode(bytes.fromhex(line["frame"]))
    meant, means = line["message"], as_json(message)

    assert type(message).__name__ == line["kind"]
    assert known_part(means, meant) == meant


def test_every_kind_of_message_has_a_golden_frame():
    kept = {line["kind"] for line in LINES}

    assert kept == {kind.__name__ for union in UNIONS.values() for kind in get_args(union)}


if __name__ == "__main__":
    for sample in SAMPLES:
        for reader in readers(sample):
            kind, frame = type(sample).__name__, encode(sample).hex()  # type: ignore[arg-type]
            print(json.dumps({"reader": reader, "kind": kind, "frame": frame, "message": as_json(sample)}))
