"""The services that one calls: names, their replicas, and the connections to them."""
