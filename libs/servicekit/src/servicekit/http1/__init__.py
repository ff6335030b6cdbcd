"""HTTP/1.1 messages as bytes: heads, bodies and their framing (llhttp)."""
