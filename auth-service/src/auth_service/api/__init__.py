"""The endpoints that belong to no one dialect: verification, revocation, discovery, a user's sessions."""
