"""What a client meets: its connection, the way of each of its requests, and what ends either."""
