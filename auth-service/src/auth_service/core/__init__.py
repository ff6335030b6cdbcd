"""The rules of the authorization server; it imports nothing outside the standard library."""
