"""Budgets for guesses and floods: counted in Redis for all replicas, in the process while Redis cannot be asked."""
