"""What a session's type and template say of its system prompt and its tools; and which type prompts look like.

A type is only ever proposed: nobody's rules change because of a word in a prompt.
"""

import re

from protocol.messages import ToolRule
from protocol.settings import TOOL_RULES, Settings, ToolSettings

# What types say of tools when nothing is configured: who plans or reviews changes nothing.
TYPE_RULES: dict[str, dict[str, ToolSettings]] = {
    "planning": {"write_file": ToolSettings(rule="deny"), "run_command": ToolSettings(rule="deny")},
    "review": {"write_file": ToolSettings(rule="deny"), "run_command": ToolSettings(rule="ask")},
}
# Words that speak for a type; those that end with * are beginnings of words.
WORDS = {
    "debug": "debug* bug* crash* traceback segfault error* exception* fails failing broken hangs stuck why "
    "fehler* absturz* erreur* plante fallo* ошибк* падает",
    "planning": "plan plans planning roadmap milestone* design architecture estimate* steps strategy brainstorm* "
    "planung plane planifi* étapes plano планиру* план",
    "review": "review* feedback critique proofread* audit nitpick* lgtm pr diff "
    "überprüf* begutacht* relire révis* revisa* проверь обзор",
    "development": "implement* write add create build refactor* code function class test* "
    "schreibe implementier* écris ajoute escribe añade напиши добавь",
}
# A type is proposed when so many words speak for it, and more than for any other.
ENOUGH = 2
READ_CHARS = 4_000
_WORD = re.compile(r"[^\W\d_]+")


def system_of(settings: Settings, session_type: str, own: str | None) -> str | None:
    """Return the system prompt that a session was given, else the configured one of its type; None: the usual one."""
    if own is not None or session_type not in settings.types:
        return own
    return settings.types[session_type].system


def rules_of(settings: Settings, session_type: str, template: str | None) -> dict[str, ToolRule]:
    """Return what each tool may do in a session: the general rules, over them its type's, over them its template's."""
    layers = [settings.tools, TYPE_RULES.get(session_type, {})]
    if session_type in settings.types:
        layers.append(settings.types[session_type].tools)
    if template in settings.templates:
        layers.append(settings.templates[template].tools)
    found = {}
    for name, rule in TOOL_RULES.items():
        known = ToolRule(rule=rule)
        for layer in layers:
            known = _over(known, layer.get(name, ToolSettings()))
        found[name] = known
    return found


def _over(known: ToolRule, own: ToolSettings) -> ToolRule:
    """Return a rule under a closer one. A closer rule makes the patterns meaningless that loosen the general one.

    What is never allowed in general stays so.
    """
    deny = [*known.deny, *own.deny]
    if own.rule is not None:
        return ToolRule(rule=own.rule, allow=own.allow, ask=own.ask, deny=deny)
    return ToolRule(rule=known.rule, allow=[*known.allow, *own.allow], ask=[*known.ask, *own.ask], deny=deny)


def proposed_type(text: str) -> str | None:
    """Return the type that a prompt looks like; None when it speaks for none, or for several alike."""
    words = set(_WORD.findall(text[:READ_CHARS].casefold()))
    votes = {kind: sum(_speaks(word, terms.split()) for word in words) for kind, terms in WORDS.items()}
    ranked = sorted(votes, key=lambda kind: -votes[kind])
    if votes[ranked[0]] < ENOUGH or votes[ranked[0]] == votes[ranked[1]]:
        return None
    return ranked[0]


def _speaks(word: str, terms: list[str]) -> bool:
    return any(word.startswith(term[:-1]) if term.endswith("*") else word == term for term in terms)
