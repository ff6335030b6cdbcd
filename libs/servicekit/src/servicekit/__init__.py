"""What Parley's services share and what has no domain noun in it."""

__version__ = "0.1.0"  # of all services, which are released together
