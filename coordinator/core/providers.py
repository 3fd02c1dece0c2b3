"""Who is asked, and within which limits: providers as the settings describe them. Pure."""

from coordinator.core.permits import Governor, Limits
from protocol.embedded import SLOTS
from protocol.errors import ModelUnknown
from protocol.settings import ModelSettings, Settings


def provider_of(settings: Settings, name: str) -> str:
    """Return which provider answers for a model: its endpoint, or the file of a local one."""
    model = settings.all_models().get(name)
    if model is None:
        return f"model {name}"
    return f"local {model.model or name}" if model.provider == "local" else model.base_url


def check_model(settings: Settings, name: str) -> None:
    """See to it that the configuration names a model.

    Raises:
        ModelUnknown: it does not.
    """
    models = settings.all_models()
    if name not in models:
        raise ModelUnknown(f"There is no model {name[:64]!r}.", hint=f"Models are: {', '.join(sorted(models))}.")


def governor_of(settings: Settings) -> Governor:
    """Return a governor with the limits that are configured; where several models share an endpoint, the lowest."""
    limits: dict[str, Limits] = {}
    for name, model in settings.all_models().items():
        provider = provider_of(settings, name)
        limits[provider] = _lower(limits.get(provider, Limits()), _limits(model))
    return Governor(settings.max_concurrent_api_calls, limits)


def _limits(model: ModelSettings) -> Limits:
    at_once = model.max_concurrent_api_calls
    if model.provider == "local":  # what its server does not take at once would only wait there
        at_once = min(at_once or SLOTS, SLOTS)
    return Limits(at_once, model.requests_per_minute, model.tokens_per_minute)


def _lower(one: Limits, other: Limits) -> Limits:
    def lower(a: int | None, b: int | None) -> int | None:
        return min((x for x in (a, b) if x is not None), default=None)

    return Limits(
        lower(one.at_once, other.at_once),
        lower(one.requests_per_minute, other.requests_per_minute),
        lower(one.tokens_per_minute, other.tokens_per_minute),
    )
