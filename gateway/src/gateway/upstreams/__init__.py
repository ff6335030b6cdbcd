"""The services behind the gateway: names, their replicas, and the connections to them."""
