"""Self-signed certificates and their keys, in files."""

from dev.certificates import certificate, new_key, private_bytes


def issue(files, name, key=None, key_of=None):
    """Write a certificate for `name` and its key, or another key. Each file is replaced atomically."""
    for file, content in zip(files, pair(name, key, key_of), strict=True):
        replace(file, content)


def pair(name, key=None, key_of=None):
    key = key or new_key()
    return certificate(name, key), private_bytes(key_of or key)


def replace(file, content):
    written = file.with_suffix(".new")
    written.write_bytes(content)
    written.rename(file)
