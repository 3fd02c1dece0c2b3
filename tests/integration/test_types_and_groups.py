"""Types, templates, groups, names from prompts and files in prompts, with real processes and a scripted model."""

import json

import pytest

from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, wait_for

pytestmark = pytest.mark.integration

SYSTEM = "Answer like a strict reviewer."


def use(tool: str, **arguments: object) -> str:
    return f"use {json.dumps({'tool': tool, 'arguments': arguments})}"


def system_shown(model: ModelServer, prompt: str) -> str:
    return next(m["content"] for m in model.calls_of(prompt)[-1].messages if m["role"] == "system")


def test_a_type_changes_what_the_model_is_told_and_what_its_tools_may_do(product: Product, model: ModelServer):
    product.use_model(
        model.url, more=f'[types.review]\nsystem = "{SYSTEM}"\n[types.review.tools.run_command]\nrule = "deny"'
    )
    folder = product.home.parent / "work"
    folder.mkdir()
    product.run("new", "a", "--cwd", str(folder))
    product.run("send", "a", "echo one")
    assert "software" in system_shown(model, "echo one")

    assert product.json("type", "a", "review")["type"] == "review"
    product.run("send", "a", "echo two")
    assert system_shown(model, "echo two") == SYSTEM
    run = use("run_command", command="touch ran.txt")
    product.run("send", "a", run)  # it is denied, so nobody is asked

    assert not (folder / "ran.txt").exists()
    assert product.json("inbox") == []
    assert product.session("a")["type"] == "review"


def test_a_tool_cannot_change_the_rules_that_it_is_under(product: Product, model: ModelServer):
    product.use_model(model.url, more='[types.review.tools.run_command]\nrule = "allow"')
    product.run("new", "a", "--type", "review")
    command = use("run_command", command=f"{COMMAND} --home {product.home} type a development; echo code $?")
    product.run("send", "a", command)

    assert "code 1" in model.calls[-1].results[0]
    assert product.session("a")["type"] == "review"


def test_a_template_fills_what_was_not_said(product: Product, model: ModelServer):
    folder = product.home.parent / "work"
    folder.mkdir()
    product.use_model(
        model.url,
        more=f'[templates.strict]\ntype = "review"\nsystem = "{SYSTEM}"\ncwd = "{folder}"\n'
        '[templates.strict.tools.run_command]\nrule = "allow"',
    )
    made = product.json("new", "a", "--template", "strict")
    product.run("send", "a", use("run_command", command="touch ran.txt"))
    other = product.json("new", "b", "--template", "strict", "--type", "debug", "--system", "Mine.")
    product.run("send", "b", "echo two")
    unknown = product.result("new", "c", "--template", "lax")

    assert (made["type"], made["template"], made["cwd"]) == ("review", "strict", str(folder))
    assert (folder / "ran.txt").exists()
    assert other["type"] == "debug"
    assert system_shown(model, "echo two") == "Mine."
    assert unknown.returncode == 1
    assert "no template 'lax'" in unknown.stderr
    assert "strict" in unknown.stderr


def test_a_prompt_to_a_group_reaches_each_of_its_sessions_once(product: Product, model: ModelServer):
    product.use_model(model.url, more="max_active_sessions = 2")
    for name in ("a", "b", "c"):
        product.run("new", name, "--group", "night")
    product.run("new", "other")

    told = product.json("send", "--group", "night", "echo together")
    handed = product.run("send", "--group", "night", "echo again", "--no-wait", "--idem", "k")
    product.run("send", "--group", "night", "echo again", "--no-wait", "--idem", "k")

    assert [(one["name"], one["stop_reason"]) for one in told] == [(n, "completed") for n in ("a", "b", "c")]
    assert handed.splitlines() == [f"{n}: prompt 3 is accepted." for n in ("a", "b", "c")]
    wait_for(lambda: len(model.calls_of("echo again")) == 3)
    assert {s["name"] for s in product.sessions("--group", "night")} == {"a", "b", "c"}
    assert {s["group"] for s in product.sessions()} == {"night", None}
    assert product.json("history", "other") == []
    assert product.result("send", "--group", "day", "x").returncode == 1
    assert product.result("send", "a", "x", "--group", "night").returncode == 2


def test_one_that_refuses_keeps_the_others_from_nothing(product: Product):
    product.run("new", "a", "--group", "g")
    product.run("new", "b", "--group", "g")
    product.run("send", "a", "echo first", "--idem", "k")

    done = product.result("send", "--group", "g", "echo second", "--idem", "k", "--json")

    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told[0]["error"]["code"] == "prompt.conflict"
    assert (told[1]["name"], told[1]["stop_reason"]) == ("b", "completed")


def test_a_session_is_named_after_its_prompt_and_a_type_is_proposed(product: Product):
    product.run("new")
    said = product.run("chat", stdin="echo please review the harbour diff\n")

    session = product.sessions()[0]
    assert session["name"] == "echo-review-harbour"
    assert (session["type"], session["proposed_type"]) == ("development", "review")
    assert "this session is named echo-review-harbour now" in said
    assert said.count("/type review") == 1
    assert product.json("history", "session-1")[0]["text"].startswith("echo please")  # scripts go on
    said = product.run("chat", stdin="/type review\n/type\n")
    assert "is of type review now" in said
    assert product.sessions()[0]["proposed_type"] is None


def test_files_come_with_a_prompt(product: Product, model: ModelServer):
    folder = product.home.parent / "work"
    folder.mkdir()
    (folder / "code.py").write_text("x = 1\n")
    elsewhere = product.home.parent / "more.txt"
    elsewhere.write_text("more\n")
    product.run("new", "a", "--cwd", str(folder))
    product.run("send", "a", "echo what is @code.py", "--file", str(elsewhere))
    product.run("send", "a", "-", stdin="echo @code.py from a pipe")
    product.run("send", "a", "--file", str(elsewhere))
    said = product.run("chat", "a", stdin="@code.py echo\necho \\@code.py\n@nobody echo\n")

    texts = [row["text"] for row in product.json("history", "a") if row["role"] == "user"]
    code, more = "File code.py (6 bytes):\n```\nx = 1\n```", f"File {elsewhere} (5 bytes):\n```\nmore\n```"
    assert texts == [
        f"echo what is @code.py\n\n{code}\n\n{more}",
        "echo @code.py from a pipe",  # what comes through a pipe may be anybody's words
        more,
        f"@code.py echo\n\n{code}",
        "echo @code.py",
    ]
    assert said.count("@code.py") >= 1
    assert product.result("send", "a", "x", "--file", "/dev/null").returncode == 1
    assert product.result("send", "a").returncode == 2


def test_a_name_of_a_session_at_the_beginning_of_a_line_is_no_file(product: Product):
    folder = product.home.parent / "work"
    folder.mkdir()
    (folder / "b").write_text("x\n")
    product.run("new", "b")
    product.run("new", "a", "--cwd", str(folder))

    assert "Sent to b." in product.run("chat", "a", stdin="@b echo hello\n")
    wait_for(lambda: product.json("history", "b"))
    assert product.json("history", "b")[0]["text"] == "echo hello"
