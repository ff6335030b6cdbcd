"""The clients' side of the gateway: connections, the requests on them, and the end of both."""
