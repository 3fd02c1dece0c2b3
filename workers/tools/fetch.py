"""The tool that fetches an address: http and https, without credentials, bounded in size and time.

A redirect to another host is not followed: a person said yes to an address, and the model can ask for the next one.
"""

from urllib.parse import urljoin, urlsplit

import httpx2

from protocol.limits import TOOL_OUTPUT_BYTES
from workers.tools.files import ToolFailed
from workers.tools.output import Output
from workers.tools.rules import ArgumentBad

URL_CHARS = 4_096
REDIRECTS = 5


def checked(url: str) -> str:
    """Return an address that may be fetched.

    Raises:
        ArgumentBad: it is no http or https address, or has a user name or password in it.
    """
    try:
        parts = urlsplit(url)
        has_user = parts.username is not None or parts.password is not None
        host = parts.hostname
    except ValueError as error:
        raise ArgumentBad(f"That is no address: {error}.") from error
    if parts.scheme not in {"http", "https"} or not host or len(url) > URL_CHARS or not url.isprintable():
        raise ArgumentBad(f"Only http and https addresses of at most {URL_CHARS} characters can be fetched.")
    if has_user:
        raise ArgumentBad("An address with a user name or password is not fetched.")
    return url


async def fetch_url(url: str, timeout_s: float) -> str:
    """Return status, type and text of what an address answers.

    Raises:
        ToolFailed: nobody answers there.
    """
    host = urlsplit(url).netloc
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=timeout_s, follow_redirects=False) as http:
            for _ in range(REDIRECTS + 1):
                async with http.stream("GET", url, headers={"user-agent": "chat-coord"}) as answer:
                    if not answer.is_redirect:
                        return await _text(answer)
                    target = urljoin(url, answer.headers.get("location", ""))
                if urlsplit(target).netloc != host or urlsplit(target).scheme not in {"http", "https"}:
                    return f"[{answer.status_code}: it redirects to {target}; fetch that if you want it]"
                url = target
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ToolFailed(f"{url} cannot be fetched: {type(error).__name__} {error}.") from error
    raise ToolFailed(f"{url} redirects more than {REDIRECTS} times.")


async def _text(answer: httpx2.Response) -> str:
    output = Output()
    async for data in answer.aiter_bytes():
        output.add(data)
        if output.size_bytes > TOOL_OUTPUT_BYTES:
            break
    kind = answer.headers.get("content-type", "unknown type")
    return f"[{answer.status_code}, {kind}]\n{output.text()}"
