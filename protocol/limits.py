"""The sizes that both ends of a socket hold to (bytes, unless the name says otherwise)."""

FRAME_BYTES = 1 << 20
# A message up to this size travels whole: the largest prompt with its envelope does. Above it goes in parts.
WHOLE_BYTES = 320 << 10
PART_BYTES = 256 << 10
# The largest message, assembled: a stored reply with its envelope.
BODY_BYTES = 9 << 20
PROMPT_BYTES = 256 << 10
# Images of one prompt: so many, and so much together; as text they must fit into what a turn that waits is kept as.
IMAGES = 8
IMAGES_BYTES = 3 << 20
REPLY_BYTES = 8 << 20
PIECE_BYTES = 64 << 10
NAME_CHARS = 64
# A tool's arguments, which a person must be able to see whole, and of a command the line alone.
ARGUMENTS_BYTES = 128 << 10
COMMAND_BYTES = 32 << 10
# What a model is shown of a tool's output.
TOOL_OUTPUT_BYTES = 64 << 10
# What a turn that waits for a person is kept as.
STATE_BYTES = 6 << 20
# What lists show of an ask; `inbox` has it whole.
ASK_TEXT_BYTES = 1 << 10
WHY_BYTES = 2 << 10
# What a person answers to a question.
ANSWER_BYTES = 64 << 10
SYSTEM_BYTES = 64 << 10
# As the OpenAI protocol has it.
MOST_TEMPERATURE = 2.0
CWD_BYTES = 4 << 10
ENV_BYTES = 128 << 10
# One page of history.
PAGE_BYTES = 512 << 10
# What is looked for: words, each of which is looked up.
SEARCH_BYTES = 1 << 10
SEARCH_WORDS = 32
# A conversation that is imported, in messages; with more the store would be busy with it for seconds.
IMPORT_ROWS = 100_000
ORIGIN_CHARS = 200
# One page of the list: with the longest paths and exit cards a session takes about 17 KiB.
PAGE_SESSIONS = 50
# Stacks of a worker, of each of two kinds.
STACKS_BYTES = 64 << 10
# What a worker asks back of its own history when it wakes: four bytes a token, far beyond today's windows.
RESTORE_BYTES = 4 << 20
CUT_MARK = "\n\n[… cut: the reply was longer than {limit} bytes]"


def cut(text: str, limit_bytes: int, mark: str = "") -> str:
    """Return the text within the limit, cut at a character and ended with the mark when it was longer.

    Args:
        text: any text.
        limit_bytes: the bound of the result in UTF-8 bytes, the mark included.
        mark: what to append to a text that was cut.
    """
    raw = text.encode(errors="replace")
    if len(raw) <= limit_bytes:
        return raw.decode()
    return raw[: max(0, limit_bytes - len(mark.encode()))].decode(errors="ignore") + mark
