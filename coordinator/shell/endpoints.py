"""Where models answer, and with which key. Keys are read here, at each turn, and travel on the socket alone."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from coordinator.shell.local_models import LocalModels
from coordinator.shell.mcp_servers import servers_of
from protocol.embedded import CONTEXT_TOKENS, MAX_OUTPUT_TOKENS
from protocol.errors import ChatCoordError, KeyMissing, ModelUnknown
from protocol.messages import Endpoint, EndpointRefused, ToolRule
from protocol.settings import ModelSettings, Settings
from protocol.views import ErrorView

KEY_BYTES = 16 << 10


class Endpoints:
    """Answers workers that ask for their model.

    Args:
        settings: the models.
        local: the servers of local ones.
        private: the part of the environment that only the coordinator sees; keys are looked up there.
    """

    def __init__(self, settings: Settings, local: LocalModels, private: Mapping[str, str]) -> None:
        self._settings = settings
        self._local = local
        self._private = private

    def find(
        self,
        name: str,
        rules: dict[str, ToolRule],
        temperature: float | None,
        answer: Callable[[Endpoint | EndpointRefused], None],
    ) -> None:
        """Call back with the model's endpoint, or with why there is none.

        Args:
            name: the model.
            rules: those of the session's tools.
            temperature: the session's own; None: the model's.
            answer: takes either.
        """
        model = self._settings.all_models().get(name)
        try:
            if model is None:
                hint = "Put it back into config.toml, or use another session."
                raise ModelUnknown(f"The model {name!r} of this session is not configured any more.", hint=hint)
            if temperature is not None:
                model = msgspec.structs.replace(model, temperature=temperature)
            if model.provider == "local":
                self._local.find(model, lambda result: answer(self._local_one(model, result, rules)))
            else:
                answer(self._remote(name, model, rules))
        except ChatCoordError as error:
            answer(_refused(error))

    def _remote(self, name: str, model: ModelSettings, rules: dict[str, ToolRule]) -> Endpoint:
        return Endpoint(
            provider=model.provider,
            base_url=model.base_url,
            model=model.model,
            api_key=self._key(name, model),
            context_tokens=model.context_tokens,
            max_output_tokens=None,
            tools=rules if model.has_tools else {},
            tool_timeout_s=self._settings.tool_timeout_s,
            temperature=model.temperature,
            mcp=servers_of(self._settings.mcp, self._private) if model.has_tools else [],
            takes_images=model.takes_images,
        )

    def _local_one(
        self, model: ModelSettings, result: tuple[str, str] | ChatCoordError, rules: dict[str, ToolRule]
    ) -> Endpoint | EndpointRefused:
        if isinstance(result, ChatCoordError):
            return _refused(result)
        url, key = result
        is_embedded = not model.model
        return Endpoint(
            provider="local",
            base_url=f"{url}/v1",
            model="local",
            api_key=key,
            context_tokens=model.context_tokens or CONTEXT_TOKENS,
            max_output_tokens=MAX_OUTPUT_TOKENS if is_embedded else None,
            is_small=is_embedded,
            tools=rules if model.has_tools else {},
            tool_timeout_s=self._settings.tool_timeout_s,
            temperature=model.temperature,
            mcp=servers_of(self._settings.mcp, self._private) if model.has_tools else [],
        )

    def _key(self, name: str, model: ModelSettings) -> str | None:
        if model.api_key_env:
            if model.api_key_env not in self._private:
                hint = f"Set {model.api_key_env}, then `chat-coord stop` and `chat-coord start`, and send again."
                raise KeyMissing(f"The key of model {name!r} is not in the coordinator's environment.", hint=hint)
            return self._private[model.api_key_env]
        if model.api_key_file:
            path = Path(model.api_key_file).expanduser()
            try:
                return path.read_bytes()[:KEY_BYTES].decode().strip()
            except (OSError, UnicodeDecodeError) as error:
                text = f"The key file {path} of model {name!r} cannot be read: {error}."
                raise KeyMissing(text, hint="Check api_key_file and send again.") from error
        return None


def _refused(error: ChatCoordError) -> EndpointRefused:
    return EndpointRefused(error=ErrorView(code=error.code, message=error.message, hint=error.hint))
