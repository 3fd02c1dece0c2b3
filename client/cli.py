"""The command line. Commands are imported when they are called, so that ``--help`` stays as fast as the interpreter."""

import importlib
import sys

import click
from click.shell_completion import CompletionItem

from client.options import home_option, more_help
from protocol.terminal_safe import clean
from protocol.version import __version__

# Name, module and one line for the help, in the order in which a new user needs them.
COMMANDS = {
    "chat": "Open the terminal on a session; starts everything that is needed.",
    "start": "Start the coordinator.",
    "stop": "Stop the coordinator; nothing acknowledged is lost.",
    "restart": "Replace the coordinator; workers and running turns go on.",
    "status": "Show the coordinator at a glance.",
    "new": "Make a session with a worker of its own.",
    "send": "Send a prompt and stream the reply.",
    "cancel": "End a turn now; what it said is kept.",
    "inbox": "Show everything that waits for a person.",
    "approve": "Say yes to what a session asks.",
    "deny": "Say no to what a session asks.",
    "answer": "Answer a question of a session.",
    "retry": "Run the last turn again, if it did not complete.",
    "history": "Show a session's conversation.",
    "sessions": "List the sessions.",
    "switch": "Make a session the active one, and open the terminal on it.",
    "attach": "Open the terminal on a session, or only look.",
    "web": "Serve the terminal to a browser on this machine.",
    "type": "Change a session's type.",
    "rename": "Give a session another name.",
    "hibernate": "Put a session to sleep; nothing is lost.",
    "wake": "Give a session that sleeps a worker.",
    "pin": "Keep a session awake.",
    "unpin": "Let a pinned session sleep again.",
    "archive": "Hide a session from the list.",
    "close": "End a session; its history is kept.",
    "delete": "Remove a session with its history.",
    "search": "Look for words in every conversation.",
    "edit": "Ask again in other words, in a fork.",
    "fork": "Make a session that begins with another's conversation.",
    "wait": "Wait until a session is idle, waiting or done.",
    "watch": "Follow every change of state.",
    "inspect": "Show everything about a session and its worker.",
    "top": "Watch what the workers use, live.",
    "restart-worker": "Put another worker in the place of a session's.",
    "kill": "Kill a session's worker.",
    "logs": "Show the log of a session's worker.",
    "model": "List, choose and download models; change that of a session.",
    "config": "Show and change settings.",
    "backup": "Copy the whole store into a file.",
    "restore": "Put a backup in the store's place.",
    "export": "Write conversations into files.",
    "import": "Make sessions of files, also of other programs.",
    "usage": "Show what sessions cost.",
    "acp": "Be an editor's agent (Agent Client Protocol).",
    "http": "Offer sessions over HTTP, and OpenAI's protocol.",
    "mcp": "Offer sessions to other models, as tools.",
    "doctor": "Check the installation, with a fix for each finding.",
    "completion": "Print the completion script for a shell.",
}
ALIASES = {"ls": "sessions"}
# Where the name is none that Python allows.
MODULES = {"import": "import_", "restart-worker": "restart_worker"}


class Commands(click.Group):
    """Commands by name, each in a module of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        del ctx
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"client.commands.{MODULES.get(name, name)}")
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names and options without importing a single command."""
        names = [CompletionItem(name, help=COMMANDS[name]) for name in COMMANDS if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing a single command."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=more_help(
        "chat-coord                                   # the terminal",
        "chat-coord new research",
        'chat-coord send research "What is the capital of France?"',
        "chat-coord sessions",
        codes="0 done, 1 the answer is no, 2 wrong usage, 3 no coordinator, 4 timed out, "
        "75 another coordinator owns this home, 78 bad configuration.",
    ),
)
@click.version_option(__version__, prog_name="chat-coord")
@home_option
@click.pass_context
def commands(context: click.Context) -> None:
    """Many chats with language models at once, each in a process of its own behind one coordinator.

    Without a command it opens the terminal, as `chat-coord chat` does.
    """
    if context.invoked_subcommand is None:
        command = commands.get_command(context, "chat")
        if command is not None:
            context.invoke(command)


def main() -> None:
    """Run the command line; every error is one sentence and a hint on standard error, with its exit code."""
    try:
        code = commands.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        if context is not None:
            click.echo(context.get_usage(), err=True)
        click.echo(clean(f"Error: {error.format_message()}"), err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        from protocol.errors import ChatCoordError  # noqa: PLC0415 - only when something is wrong

        if not isinstance(error, ChatCoordError):
            raise
        from client.output import complain  # noqa: PLC0415

        complain(error)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
