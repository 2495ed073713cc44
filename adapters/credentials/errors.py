"""Why there is nothing to authenticate with."""

from __future__ import annotations

from broker.errors import ConfigurationError


class CredentialsError(Exception):
    """`field`: of the registration, where to look (`auth.token_url`). `reason`: a few words, nothing of what was read, sent
    or received."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    @property
    def detail(self) -> str:
        return f"{self.field}: {self.reason}"

    def again(self) -> CredentialsError:
        """The same, to be raised anew: an error that is raised time and again gathers where it was raised."""
        return type(self)(self.field, self.reason)


class TokenAddressError(CredentialsError):
    """The token endpoint is where the broker does not call."""


def unusable(field: str, reason: str) -> ConfigurationError:
    """A secret or file of a registration that cannot be used."""
    return ConfigurationError("registry.invalid", field=field, reason=reason)
