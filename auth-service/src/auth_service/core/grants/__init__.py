"""One file per grant type: what its request must hold, and how it proves a grant."""
