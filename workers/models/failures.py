"""What went wrong with a model, in one sentence and with a stable code: the same for every provider."""

import re

import httpx2
from pydantic_ai.exceptions import ModelContextWindowExceededError, ModelHTTPError

from protocol.messages import Endpoint
from workers.models.permit_client import AnswerTooLarge
from workers.models.port import ContextTooLong, ModelFailed

TOO_LARGE = 413
# How servers word it that do not give it a code; llama.cpp gives the counts as keys.
OVERLONG = re.compile(
    r"context (length|size|window)|context limit|prompt is too long|exceed_context_size", re.IGNORECASE
)
COUNTS = (
    re.compile(
        r"(?P<limit>\d+) tokens.{0,60}?(?:resulted in|requested|have|contains?|of) (?P<asked>\d+) (?:input )?tokens"
    ),
    re.compile(r"(?P<asked>\d+) tokens > (?P<limit>\d+)"),
    re.compile(r"(?P<asked>\d+) \+ \d+ > (?P<limit>\d+)"),
    re.compile(r"\((?P<asked>\d+) tokens?\).{0,60}?\((?P<limit>\d+)"),
)


def http_failure(endpoint: Endpoint, error: ModelHTTPError, *, is_first: bool) -> ModelFailed:
    """Return what an answer's status means.

    Args:
        endpoint: who answered.
        error: the answer.
        is_first: nothing has been answered in this leg of the turn yet, so it can begin anew.
    """
    where, status = endpoint.base_url, error.status_code
    said = one_line(error.body)
    if _is_overlong(error):
        text = f"{where} takes no conversation this long: {said}."
        return ContextTooLong(text, counts=_counts(error.body), is_first=is_first)
    if status in {401, 403}:
        hint = "Check api_key_env or api_key_file of that model; the coordinator reads the key where it was started."
        return ModelFailed("model.key_refused", f"{where} refused the API key (HTTP {status}): {said}.", hint=hint)
    if status == 404:  # noqa: PLR2004
        hint = "Check model and base_url in the configuration."
        return ModelFailed("model.unknown", f"{where} does not know the model {endpoint.model!r}: {said}.", hint=hint)
    if status == 429:  # noqa: PLR2004
        return ModelFailed("model.rate_limited", f"{where} takes no more requests now: {said}.", hint="Wait a little.")
    if status >= 500:  # noqa: PLR2004
        return ModelFailed("model.server_error", f"{where} failed (HTTP {status}): {said}.", hint="Try again later.")
    return ModelFailed("model.refused", f"{where} refused the request (HTTP {status}): {said}.", hint="See its answer.")


def connection_failure(endpoint: Endpoint, error: BaseException) -> ModelFailed:
    """Return what an error below the answer means."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
        if isinstance(root, httpx2.TransportError):
            break
    if isinstance(root, AnswerTooLarge):
        return bad_answer(endpoint, root)
    if isinstance(root, (httpx2.TimeoutException, TimeoutError)):
        text = f"{endpoint.base_url} did not answer in time."
        return ModelFailed("model.timeout", text, hint="Try again, or check the model's server.")
    if isinstance(root, (httpx2.RemoteProtocolError, httpx2.ReadError)):
        return broke_off(endpoint, one_line(root))
    if isinstance(root, (httpx2.TransportError, OSError)):
        text = f"{endpoint.base_url} cannot be reached: {one_line(root)}."
        return ModelFailed("model.unreachable", text, hint="Check base_url, and that the model's server runs.")
    return bad_answer(endpoint, root)


def broke_off(endpoint: Endpoint, why: str) -> ModelFailed:
    """Return that an answer has no end."""
    text = f"{endpoint.base_url} broke off in the middle of its answer: {why}."
    return ModelFailed("model.broke_off", text, hint="Try again; what had come is kept.")


def bad_answer(endpoint: Endpoint, error: BaseException) -> ModelFailed:
    """Return that an answer is none."""
    text = f"{endpoint.base_url} answered in a way that cannot be used: {one_line(error)}."
    return ModelFailed("model.bad_answer", text, hint="Try again; if it stays so, check the model's server.")


def one_line(what: object) -> str:
    """Return an error's words, on one line and bounded."""
    inner = what.get("error") if isinstance(what, dict) else None
    what = inner if isinstance(inner, dict) else what
    text = what.get("message") if isinstance(what, dict) and "message" in what else what
    return " ".join(str(text).split())[:200].rstrip(".") or type(what).__name__


def _is_overlong(error: ModelHTTPError) -> bool:
    if isinstance(error, ModelContextWindowExceededError) or error.status_code == TOO_LARGE:
        return True
    return error.status_code == 400 and OVERLONG.search(str(error.body)) is not None  # noqa: PLR2004


def _counts(body: object) -> tuple[int, int] | None:
    """Return how many tokens were sent and how many may be, if the answer says both."""
    facts = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(facts, dict) and {"n_prompt_tokens", "n_ctx"} <= facts.keys():
        found = str(facts["n_prompt_tokens"]), str(facts["n_ctx"])
        return (int(found[0]), int(found[1])) if all(n.isdecimal() for n in found) else None
    for pattern in COUNTS:
        match = pattern.search(str(body)[:4_096])
        if match is not None:
            return int(match["asked"]), int(match["limit"])
    return None
