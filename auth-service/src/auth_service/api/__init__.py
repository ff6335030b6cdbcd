"""The endpoints that do not belong to a single dialect: verification, revocation, discovery, a user's sessions."""
