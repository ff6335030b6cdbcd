"""A local registry with one empty image, which it serves under every name and tag except `nothing`."""

import gzip
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_TAR = bytes(1024)
_LAYER = gzip.compress(_TAR, mtime=0)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


_CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [_digest(_TAR)]}}
).encode()
_IMAGE = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(_CONFIG),
            "digest": _digest(_CONFIG),
        },
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": len(_LAYER),
                "digest": _digest(_LAYER),
            }
        ],
    }
).encode()
DIGEST = _digest(_IMAGE)


class Registry:
    """Serves the pull half of the registry protocol for as long as the context lasts."""

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """The address as a prefix of an image's name."""
        return f"localhost:{self._server.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        last = self.path.rpartition("/")[2]
        found = {_digest(_LAYER): _LAYER, _digest(_CONFIG): _CONFIG}.get(
            last, _IMAGE if "/manifests/" in self.path else b""
        )
        self.send_response(404 if "/nothing/" in self.path else 200)
        self.send_header("Content-Type", _MANIFEST)
        self.send_header("Content-Length", str(len(found)))
        self.send_header("Docker-Content-Digest", _digest(found))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(found)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""
