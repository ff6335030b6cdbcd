"""The code that Parley's services share and that knows nothing of their domain."""

__version__ = "0.1.0"  # of all services, which are released together
