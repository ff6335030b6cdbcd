"""One file for each grant type: it defines the parameters of a request, and how these prove the grant."""
