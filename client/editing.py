"""To ask something again in other words: a fork that ends before a prompt, so that another one can take its place."""

from client.connection import Connection
from protocol import messages as m
from protocol.errors import ValueIllegal
from protocol.ids import new_id
from protocol.views import SessionView


async def fork_before(connection: Connection, session: str, seq: int | None, name: str | None = None) -> SessionView:
    """Make a fork with everything before a prompt; what was said stays as it is.

    Args:
        connection: an open one.
        session: name, number or id.
        seq: the prompt's message, or the reply to it; None: the last prompt.
        name: the fork's; None: NAME-fork.

    Raises:
        ValueIllegal: there is no such prompt.
        RemoteError: the answer is no; nothing was made.
    """
    prompts: list[int] = []
    replies: dict[int, int] = {}
    async for page in connection.history(session, after_seq=0):
        prompts += [row.seq for row in page.rows if row.role == "user"]
        replies |= {row.seq: row.reply_to for row in page.rows if row.reply_to is not None}
    wanted = max(prompts, default=None) if seq is None else replies.get(seq, seq)
    if wanted not in prompts:
        which = "no prompt" if seq is None else f"no message {seq}"
        raise ValueIllegal(f"That session has {which}.", hint="`chat-coord history NAME --json` shows the numbers.")
    before = max((prompt for prompt in prompts if prompt < wanted), default=0)
    order = m.Fork(request=connection.number(), session=session, id=new_id(), name=name, at_seq=before)
    made = (await connection.ask(order, m.SessionAnswer)).session
    assert made is not None  # noqa: S101 - a fork is always answered with its session
    return made
