"""What a type and a template say of tools and of the system prompt, and which type a prompt looks like; pure."""

import pytest

from coordinator.core.session_types import proposed_type, rules_of, system_of
from protocol.messages import ToolRule
from protocol.settings import Settings, TemplateSettings, ToolSettings, TypeSettings


def rule(settings: Settings, kind: str, tool: str, template: str | None = None) -> ToolRule:
    return rules_of(settings, kind, template)[tool]


@pytest.mark.parametrize(
    ("kind", "write", "run"),
    [("development", "ask", "ask"), ("debug", "ask", "ask"), ("planning", "deny", "deny"), ("review", "deny", "ask")],
)
def test_who_plans_or_reviews_writes_nothing(kind, write, run):
    rules = rules_of(Settings(), kind, None)

    assert (rules["write_file"].rule, rules["run_command"].rule) == (write, run)
    assert {rules[name].rule for name in ("read_file", "list_directory", "search_text")} == {"allow"}


def test_a_closer_rule_comes_before_a_general_one():
    run = "run_command"
    settings = Settings(
        tools={run: ToolSettings(rule="allow")},
        types={"review": TypeSettings(tools={run: ToolSettings(rule="deny")})},
        templates={"t": TemplateSettings(tools={run: ToolSettings(rule="ask")})},
    )

    assert rule(settings, "development", run).rule == "allow"
    assert rule(settings, "planning", run).rule == "deny"  # what is said of all tools loosens no type
    assert rule(settings, "review", run).rule == "deny"
    assert rule(settings, "review", run, "t").rule == "ask"
    assert rule(settings, "review", run, "unknown").rule == "deny"


def test_a_closer_rule_drops_what_loosens_and_keeps_what_is_never_allowed():
    general = ToolSettings(allow=["docs/*"], ask=["src/*"], deny=["~/.ssh"])
    settings = Settings(tools={"write_file": general})

    assert rule(settings, "review", "write_file") == ToolRule(rule="deny", deny=["~/.ssh"])
    assert rule(settings, "debug", "write_file") == ToolRule(
        rule="ask", allow=["docs/*"], ask=["src/*"], deny=["~/.ssh"]
    )


def test_patterns_without_a_rule_are_added():
    settings = Settings(
        types={"review": TypeSettings(tools={"read_file": ToolSettings(deny=["secret"], allow=["/usr"])})}
    )

    assert rule(settings, "review", "read_file") == ToolRule(rule="allow", allow=["/usr"], deny=["secret"])


def test_a_system_prompt_of_the_session_comes_before_that_of_its_type():
    settings = Settings(types={"review": TypeSettings(system="Be strict.")})

    assert system_of(settings, "review", None) == "Be strict."
    assert system_of(settings, "review", "Mine.") == "Mine."
    assert system_of(settings, "debug", None) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I get a traceback, the server crashes", "debug"),
        ("Please review this diff", "review"),
        ("Plan the roadmap for autumn", "planning"),
        ("Implement a function that sorts", "development"),
        ("Bitte überprüfe und gib Feedback", "review"),
        ("what is the capital of France", None),
        ("review", None),  # one word is not enough
        ("review the diff and plan the roadmap", None),  # it speaks for two alike
    ],
)
def test_a_prompt_looks_like_a_type_when_enough_words_say_so(text, kind):
    assert proposed_type(text) == kind
