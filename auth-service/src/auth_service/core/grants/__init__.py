"""One file per grant type: the parameters that its request must have, and how they prove a grant."""
