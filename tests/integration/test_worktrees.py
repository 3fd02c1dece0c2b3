"""``new --worktree``: a session's own checkout, and what becomes of it, with a real git."""

import subprocess
from pathlib import Path

import pytest

from tests.support.product import Product

pytestmark = pytest.mark.integration


def git(folder: Path, *words: str) -> str:
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *author, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture
def repository(product: Product) -> Path:
    folder = product.home.parent / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "a.txt").write_text("one\n")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def branches(repository: Path) -> list[str]:
    return git(repository, "branch", "--format", "%(refname:short)").split()


def gone(product: Product, name: str) -> str:
    product.run("close", name)
    return product.run("delete", name, "--yes")


def test_a_session_works_in_a_worktree_of_its_own(product: Product, repository: Path):
    made = product.json("new", "fix", "--cwd", str(repository), "--worktree")
    named = product.json("new", "two", "--cwd", str(repository), "--worktree=topic")

    tree = Path(made["cwd"])
    assert tree.parent == product.home / "worktrees"
    assert (tree / "a.txt").read_text() == "one\n"
    assert git(tree, "branch", "--show-current").strip() == "chat-coord/fix"
    assert git(Path(named["cwd"]), "branch", "--show-current").strip() == "topic"


def test_a_clean_one_goes_with_its_session_and_its_branch_stays(product: Product, repository: Path):
    tree = Path(product.json("new", "fix", "--cwd", str(repository), "--worktree")["cwd"])
    (tree / "b.txt").write_text("two\n")
    git(tree, "add", "-A")
    git(tree, "commit", "--quiet", "-m", "second")
    product.run("close", "fix")
    assert tree.exists()

    said = product.run("delete", "fix", "--yes")

    assert "was clean and is removed" in said
    assert not tree.exists()
    assert "chat-coord/fix" in branches(repository)
    assert git(repository, "worktree", "list").count("\n") == 1


@pytest.mark.parametrize("state", ["new file", "change", "no branch"])
def test_one_that_holds_work_is_left_and_named(product: Product, repository: Path, state: str):
    tree = Path(product.json("new", "fix", "--cwd", str(repository), "--worktree")["cwd"])
    if state == "new file":
        (tree / "b.txt").write_text("two\n")
    elif state == "change":
        (tree / "a.txt").write_text("two\n")
    else:
        git(tree, "checkout", "--quiet", "--detach")

    said = gone(product, "fix")

    assert f"Its worktree {tree} is left" in said
    assert (tree / "a.txt").exists()


def test_one_in_which_another_session_works_is_left(product: Product, repository: Path):
    tree = product.json("new", "fix", "--cwd", str(repository), "--worktree")["cwd"]
    product.run("new", "second", "--cwd", tree)

    assert "'second' works there too" in gone(product, "fix")
    assert Path(tree).exists()
    assert "was clean and is removed" in gone(product, "second")


def test_what_cannot_be_is_refused_and_leaves_nothing(product: Product, repository: Path):
    product.run("new", "fix", "--cwd", str(repository), "--worktree")
    outside = product.home.parent / "outside"
    outside.mkdir()
    before = git(repository, "worktree", "list"), branches(repository)

    def refused(*words: str) -> str:
        done = product.result("new", *words)
        assert done.returncode == 1, done
        return done.stderr

    assert "lies in no git repository" in refused("x", "--cwd", str(outside), "--worktree")
    assert "main" in refused("x", "--cwd", str(repository), "--worktree=main")  # it is checked out there
    assert "There is a branch 'chat-coord/fix' already" in refused("fix", "--cwd", str(repository), "--worktree")
    assert "is no name for a branch" in refused("x", "--cwd", str(repository), "--worktree=a..b")
    assert "There is a session named 'fix' already" in refused("fix", "--cwd", str(repository), "--worktree=topic")
    assert (git(repository, "worktree", "list"), branches(repository)) == before


def test_without_git_it_is_said(product: Product, repository: Path):
    only = product.home.parent / "bin"
    only.mkdir()
    product.env["PATH"] = str(only)

    done = product.result("new", "x", "--cwd", str(repository), "--worktree")

    assert done.returncode == 1
    assert "There is no git on the PATH" in done.stderr
