"""The whole stack on one machine, for development (`make run`) and for the end-to-end tests."""
