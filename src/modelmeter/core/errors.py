"""The one exception for what a user can cause."""


class ModelMeterError(ValueError):
    """A wrong call, size, file or configuration. The message names the call, the reason and the remedy."""
