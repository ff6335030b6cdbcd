"""Issues, refreshes, verifies and revokes tokens in six wire dialects over one core."""
