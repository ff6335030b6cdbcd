"""One file for each kind of token, which knows how tokens of that kind are issued and looked up."""
