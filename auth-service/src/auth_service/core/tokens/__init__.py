"""One file for each kind of token, which issues such tokens and looks them up."""
