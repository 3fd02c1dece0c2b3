"""Extras of the install: what is missing is found without importing it."""

import sys

import pytest

from client.doors.extra import NEEDS, ExtraMissing, require
from coordinator.shell.checkup import _libraries
from protocol import extras
from protocol.settings import ModelSettings, Settings

CLAUDE = Settings(models={"claude": ModelSettings(provider="anthropic", model="m")})


def test_what_needs_no_extra_is_always_installed():
    assert extras.is_installed("openai")
    assert extras.is_installed("local")


def test_what_is_missing_is_found_by_its_module(monkeypatch):
    assert extras.is_installed("anthropic")

    monkeypatch.setitem(extras.EXTRAS, "anthropic", ("not_there_at_all", "thing[anthropic]"))

    assert not extras.is_installed("anthropic")
    assert extras.how_to_install("anthropic") == f"{sys.executable} -m pip install 'thing[anthropic]'"


def test_the_checkup_names_an_extra_that_is_configured_and_missing(monkeypatch):
    assert _libraries(Settings()).ok
    assert _libraries(CLAUDE).ok

    monkeypatch.setitem(extras.EXTRAS, "anthropic", ("not_there_at_all", "thing[anthropic]"))

    assert _libraries(Settings()).ok
    assert not _libraries(CLAUDE).ok
    assert "thing[anthropic]" in _libraries(CLAUDE).fix


def test_a_door_without_its_library_says_what_brings_it(monkeypatch):
    require("acp")

    monkeypatch.setitem(NEEDS, "acp", (("acp", "not_there_at_all"), ("thing>=1",)))

    with pytest.raises(ExtraMissing) as missing:
        require("acp")
    assert "not_there_at_all" in missing.value.message
    assert missing.value.hint == f"Run: {sys.executable} -m pip install 'thing>=1'"
