"""A hub that serves one directory as one model: fake_hub.py DIR OWNER/NAME COMMIT. Branch `main`, tag `v1`.

The port stands in the first line of the output; every path that is asked for follows, a line each.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import sys
from pathlib import Path

FOLDER, NAME, COMMIT = Path(sys.argv[1]), sys.argv[2], sys.argv[3]


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        say(path)
        files = {file.name: file.read_bytes() for file in FOLDER.iterdir()}
        api, resolve = f"/api/models/{NAME}/", f"/{NAME}/resolve/{COMMIT}/"
        if path in (f"{api}revision/main", f"{api}revision/v1", f"{api}revision/{COMMIT}"):
            self.reply({"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})
        elif path == f"{api}tree/{COMMIT}":
            self.reply(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in files.items()
                ]
            )
        elif path.startswith(resolve) and path.removeprefix(resolve) in files:
            data = files[path.removeprefix(resolve)]
            etag = hashlib.sha1(data).hexdigest()
            self.send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})
        elif path.startswith(api):
            self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "no such revision"})
        else:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "no such model"})

    def reply(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing but paths."""


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
say(server.server_port)
server.serve_forever()
