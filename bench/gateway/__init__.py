"""The cost of a proxied request: this gateway against widely used proxies, measured in turn in one run."""
