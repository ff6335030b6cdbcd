"""What Parley's services share and what has no domain noun in it."""
