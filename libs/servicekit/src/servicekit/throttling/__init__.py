"""Budgets for guesses and floods, counted in Redis for all replicas, or in the process while Redis does not answer."""
