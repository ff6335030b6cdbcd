"""Whom a token lets in: asked of auth-service, and remembered for a while."""
