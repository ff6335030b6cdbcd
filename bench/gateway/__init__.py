"""What a proxied request costs: this gateway against the proxies that people use, measured in turn in one run."""
