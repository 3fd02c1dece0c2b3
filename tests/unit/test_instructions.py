"""What a model is told at the start."""

import pytest

from protocol.views import SESSION_TYPES
from workers.core.instructions import BASE, instructions_for


@pytest.mark.parametrize("is_small_model", [False, True])
@pytest.mark.parametrize("own", ["You are a pirate.", ""])
def test_the_session_s_own_system_prompt_replaces_ours_even_when_it_is_empty(own, is_small_model):
    assert instructions_for("debug", own, is_small_model=is_small_model) == own


def test_every_type_of_session_has_instructions_of_its_own():
    told = {instructions_for(kind, None, is_small_model=False) for kind in SESSION_TYPES}

    assert len(told) == len(SESSION_TYPES)
    assert all(text.startswith(f"{BASE} You ") for text in told)


@pytest.mark.parametrize("kind", SESSION_TYPES)
def test_the_small_model_is_told_one_sentence_whatever_the_type(kind):
    assert instructions_for(kind, None, is_small_model=True) == BASE


def test_a_type_that_is_not_known_here_gets_the_base_alone():
    assert instructions_for("later", None, is_small_model=False) == BASE
