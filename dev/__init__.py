"""The whole of Parley on one machine, for development: `make run`, and the stack under the end-to-end tests."""
