"""Verdicts on tokens, given by auth-service and cached for a while."""
