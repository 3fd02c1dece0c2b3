"""Everything that can be wrong, with a stable code for machines and a hint for people.

An error crosses a socket as its code, sentence and hint (``messages.Refused``) and becomes ``RemoteError`` there.
"""

from typing import ClassVar

# How the line below an error's sentence begins, for people and for the command that reads what its child said.
HINT = "Hint: "

# Exit codes of the command line and of the processes.
EXIT_DONE = 0
EXIT_NO = 1
EXIT_USAGE = 2
EXIT_NO_COORDINATOR = 3
EXIT_TIMED_OUT = 4
EXIT_OWNED = 75
EXIT_CONFIG = 78


class ChatCoordError(Exception):
    """The root: one sentence that says what is so, and a hint that says what to do.

    Args:
        message: the sentence.
        hint: what to do; the class's hint when None.
        facts: what programs may want to read, such as candidates or limits.
    """

    code: ClassVar[str] = "internal"
    hint: str = ""
    exit_code: int = EXIT_NO

    def __init__(self, message: str, *, hint: str | None = None, **facts: str | int | list[str]) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        if hint is not None:
            self.hint = hint


class SessionUnknown(ChatCoordError):
    """No session has that name, number or id."""

    code = "session.unknown"
    hint = "See `chat-coord sessions --all` for the names."


class NameAmbiguous(ChatCoordError):
    """More than one session answers to that name or id prefix."""

    code = "name.ambiguous"
    hint = "Use one of the ids."


class NameIllegal(ChatCoordError):
    """The name breaks the rules for names."""

    code = "name.illegal"
    hint = "Use 1 to 64 letters, digits, spaces, '-' and '_', not digits alone and not a session type."


class NameTaken(ChatCoordError):
    """Another session has that name."""

    code = "name.taken"
    hint = "Choose another name, or close that session first."


class IdTaken(ChatCoordError):
    """The id of a create request is malformed or belongs to a different session."""

    code = "id.taken"
    hint = "Send a fresh identifier of 16 hexadecimal digits."


class SessionLimit(ChatCoordError):
    """Every slot is held."""

    code = "session.limit"
    hint = "Close one with `chat-coord close NAME`, wait in line without --no-queue, or raise max_active_sessions."


class SessionBusy(ChatCoordError):
    """The session is in the middle of something that does not go together with what was asked."""

    code = "session.busy"
    hint = "Wait until it is idle, or cancel what it does, and try again."


class DescriptorsShort(ChatCoordError):
    """The coordinator has most of its file descriptors open; the rest is kept for what runs."""

    code = "descriptors.short"
    hint = "Close sessions or terminals, or raise the hard limit (`ulimit -Hn`) and start the coordinator again."


class MemoryShort(ChatCoordError):
    """Memory is short, of the machine or of what all sessions may use; what runs goes on."""

    code = "memory.short"
    hint = "Idle sessions are being hibernated; try again in a moment, end other programs, or raise memory_total_bytes."


class NothingToRetry(ChatCoordError):
    """There is no turn that could be run again."""

    code = "turn.nothing_to_retry"
    hint = "`chat-coord history NAME` shows how each turn ended; send a new prompt instead."


class NothingToCancel(ChatCoordError):
    """No turn runs or waits in that session."""

    code = "turn.nothing_to_cancel"
    hint = "`chat-coord sessions` shows what each session does."


class TurnNotReady(ChatCoordError):
    """Where the turn is will be known in a moment: its worker has not said hello to this coordinator yet."""

    code = "turn.not_ready"
    hint = "Try again in a moment."


class AskUnknown(ChatCoordError):
    """Nothing with that id waits, or ever waited, for a person."""

    code = "ask.unknown"
    hint = "See `chat-coord inbox` for what waits."


class AskAmbiguous(ChatCoordError):
    """More than one ask begins so."""

    code = "ask.ambiguous"
    hint = "Give more characters of the id."


class AskTaken(ChatCoordError):
    """It was answered before, by this or another client; the first answer counts."""

    code = "ask.resolved"
    hint = "The first answer counts; `chat-coord inbox` shows what still waits."


class AskRefused(ChatCoordError):
    """A process that a session's tool started may not answer what a session asks."""

    code = "ask.refused"
    hint = "Answer from a terminal of your own, not from a command that a session runs."


class SessionClosed(ChatCoordError):
    """The session is stopped; its history is kept."""

    code = "session.closed"
    hint = "Read it with `chat-coord history NAME`; talk in a new session: `chat-coord new`."


class PromptEmpty(ChatCoordError):
    """The prompt has no text."""

    code = "prompt.empty"
    hint = "Give some text."


class PromptTooLarge(ChatCoordError):
    """The prompt is over the bound."""

    code = "prompt.too_large"
    hint = "Shorten it, or put the text into a file and say where it is."


class ImagesNotTaken(ChatCoordError):
    """The session's model cannot be shown images."""

    code = "model.no_images"
    hint = 'Choose another one, `chat-coord model set NAME MODEL`; or, if it can, images = "yes" in its table.'


class AttachmentBad(ChatCoordError):
    """A file cannot be put into a prompt."""

    code = "attachment.bad"
    hint = "Only regular files of text in UTF-8 can be; a word that begins with \\@ names none."


class WorktreeRefused(ChatCoordError):
    """Git made no worktree."""

    code = "worktree.refused"
    hint = "See `git worktree list`, or leave --worktree out."


class TemplateUnknown(ChatCoordError):
    """The configuration has no such template."""

    code = "template.unknown"


class IdemConflict(ChatCoordError):
    """The same idempotency key came with another text."""

    code = "prompt.conflict"
    hint = "Use a fresh key for a new prompt."


class ValueIllegal(ChatCoordError):
    """A field of a request is outside its range."""

    code = "value.illegal"


class ModelUnknown(ChatCoordError):
    """The configuration names no such model."""

    code = "model.unknown"


class ModelNotInstalled(ChatCoordError):
    """The embedded model or its engine is not on this machine."""

    code = "model.not_installed"
    hint = "Run `chat-coord model pull`."


class ModelPullFailed(ChatCoordError):
    """The download of the embedded model did not end well."""

    code = "model.pull_failed"


class ModelUnavailable(ChatCoordError):
    """The embedded model's server did not start or went away."""

    code = "model.unavailable"
    hint = "Try again; if it stays so, see the model's log (model-NAME.log) in the logs folder."


class SpendLimit(ChatCoordError):
    """So many tokens were spent that no more requests go out until a person raises the limit."""

    code = "spend.limit"


class KeyMissing(ChatCoordError):
    """A model's API key is configured but not there."""

    code = "key.missing"


class SpawnRefused(ChatCoordError):
    """A worker could not be started."""

    code = "worker.spawn_failed"


class IllegalTransition(ChatCoordError):
    """A peer reported a change that the lifecycle does not allow."""

    code = "state.illegal"
    hint = "The report was ignored and nothing changed."


class StoreFailed(ChatCoordError):
    """The database did not take a change, so nothing was acknowledged."""

    code = "store.failed"
    hint = "Check the disk of the home folder and try again."


class StoreReadOnly(ChatCoordError):
    """The database takes no changes for now: nothing new is acknowledged, what there is can be read."""

    code = "store.readonly"


class StoreRefused(ChatCoordError):
    """A database file, or the place for one, is not fit for what was asked; nothing was changed."""

    code = "store.refused"


class CoordinatorStopping(ChatCoordError):
    """The coordinator is on its way out."""

    code = "coordinator.stopping"
    hint = "Run `chat-coord start` in a moment; nothing acknowledged is lost."


class UnsupportedKind(ChatCoordError):
    """The peer does not know this kind of message."""

    code = "protocol.unsupported"


class UnsupportedVersion(ChatCoordError):
    """The peer speaks another version of the protocol."""

    code = "protocol.version"
    hint = "Install the same version of chat-coord on both sides, then `chat-coord stop` and `chat-coord start`."


class BadMessage(ChatCoordError):
    """Bytes that are no message of this protocol."""

    code = "protocol.bad_message"


class Busy(ChatCoordError):
    """The peer sends faster than it is served; what it sent was not taken."""

    code = "protocol.busy"
    hint = "Wait for answers before sending more; what was not answered may be sent again."


class CoordinatorAbsent(ChatCoordError):
    """No coordinator runs for this home."""

    code = "coordinator.absent"
    hint = "Run `chat-coord start`."
    exit_code = EXIT_NO_COORDINATOR


class CoordinatorSilent(ChatCoordError):
    """The coordinator is there but does not answer in time."""

    code = "coordinator.silent"
    hint = "See coordinator.log in the logs folder, or run `chat-coord stop` and `chat-coord start`."
    exit_code = EXIT_NO_COORDINATOR


class TimedOut(ChatCoordError):
    """The time that the user gave is over; the turn goes on."""

    code = "timed_out"
    exit_code = EXIT_TIMED_OUT


class HomeOwned(ChatCoordError):
    """Another coordinator owns this home."""

    code = "home.owned"
    hint = "Use it, or stop it with `chat-coord stop`."
    exit_code = EXIT_OWNED


class HomeUnsafe(ChatCoordError):
    """A folder or file that must be private to the user is not, or is in the way."""

    code = "home.unsafe"
    exit_code = EXIT_CONFIG


class ConfigBad(ChatCoordError):
    """The configuration cannot be used."""

    code = "config.bad"
    exit_code = EXIT_CONFIG


class RemoteError(ChatCoordError):
    """An error that another process reported; it carries that error's own code.

    Args:
        code: the stable code.
        message: the sentence.
        hint: what to do.
    """

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.remote_code = code
