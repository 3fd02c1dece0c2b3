"""The version of the package. The version of the protocol stands apart, in ``protocol.messages``."""

__version__ = "0.1.0"
