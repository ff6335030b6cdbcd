"""The endpoints that do not belong to a single dialect: tokens, verification, revocation, discovery, sessions."""
