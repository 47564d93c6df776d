"""A small client application of the Connections Service.

    connect  start a connection, print where its user must go, wait for the outcome
    listen   take notifications, each verified before it is looked at
    pull     read the feed from where the last run ended, and wait for more

It needs Python 3.9 and, to listen, `pip install standardwebhooks`. Settings come from the environment, by the names that
`cargo sandbox up` writes into `target/sandbox/sandbox.env`.
"""

import argparse
import http.client
import http.server
import itertools
import json
import os
import pathlib
import ssl
import sys
import time
import uuid
from urllib.parse import urlencode, urlsplit


LARGEST = 1 << 20  # bytes of a body
DRAINED = 16 << 20  # bytes that are read of one that is refused unread


class Refused(Exception):
    """An answer that is no success, with its problem document."""

    def __init__(self, status, problem, retry_after):
        super().__init__(f"{status} {problem.get('code')}: {problem.get('detail')}")
        self.status, self.problem, self.retry_after = status, problem, retry_after


class Connections:
    """The API, as one tenant's application calls it over mTLS."""

    def __init__(self, edge_url, tenant, ca, certificate, key):
        edge = urlsplit(edge_url)
        tls = ssl.create_default_context(cafile=ca)
        tls.load_cert_chain(certificate, key)
        self._host, self._port, self._tls, self._tenant = edge.hostname, edge.port, tls, tenant

    def call(self, method, path, body=None, headers=None, attempts=5):
        """One call. What passes is waited for as Retry-After says, `attempts` times or, with None, without an end: 429, 503, and
        where a repeat does nothing twice a 504 and a lost answer too."""
        headers = {"content-type": "application/json", **(headers or {})}
        is_safe = method != "POST" or "idempotency-key" in headers
        for attempt in itertools.count(1):
            try:
                return self._call_once(method, path, body, headers)
            except Refused as refused:
                passes = refused.status in (429, 503) or (refused.status == 504 and is_safe)
                if attempt == attempts or not passes:
                    raise
                wait = refused.retry_after or ""
            except ssl.SSLCertVerificationError:
                raise  # no edge of ours, however often it is asked
            except (OSError, http.client.HTTPException):
                if attempt == attempts or not is_safe:
                    raise
                wait = "1"
            time.sleep(int(wait) if wait.isdigit() else 3)

    def _call_once(self, method, path, body, headers):
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._tls, timeout=75)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/tenants/{self._tenant}{path}", text, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status < 400:
            return json.loads(content or b"{}")
        try:
            problem = json.loads(content)
        except ValueError:
            problem = {}  # of something between us and the edge
        raise Refused(answer.status, problem, answer.getheader("retry-after"))

    def start(self, sub, provider, scopes=()):
        """The key makes a repeat the same start: send the same one again until there is an answer."""
        body = {"sub": sub, "provider": provider, "scopes": list(scopes)}
        return self.call("POST", "/connections", body, {"idempotency-key": str(uuid.uuid4())})

    def show(self, connection_id):
        return self.call("GET", f"/connections/{connection_id}")

    def wait(self, connection_id, version, seconds=30):
        """The connection, as soon as it is newer than this version, or as it is after so many seconds."""
        return self.call("GET", f"/connections/{connection_id}?wait={seconds}&version={version}")

    def events(self, after, seconds=None):
        """A page of the feed; with `seconds`, once there is something in it, and whatever restarts meanwhile."""
        query = {"after": after or None, "wait": seconds}
        path = "/events?" + urlencode({name: value for name, value in query.items() if value})
        return self.call("GET", path, attempts=None if seconds else 5)


def connect(connections, arguments):
    started = connections.start(arguments.sub, arguments.provider, arguments.scope)
    print("send the user to:", started["authorizationUrl"], flush=True)
    connection = connections.show(started["connectionId"])
    while connection["status"] == "pending":
        connection = connections.wait(connection["connectionId"], connection["version"])
    print(json.dumps(connection, indent=2))
    return 0 if connection["status"] == "active" else 1


def pull(connections, arguments):
    """Keeps its place in a file, written after the events were dealt with: a crash repeats, and loses nothing."""
    place = pathlib.Path(arguments.place)
    after = place.read_text() if place.exists() else ""
    while True:
        page = connections.events(after, None if arguments.once else 30)
        for event in page["events"]:
            print(event["occurredAt"], event["type"], event["connectionId"], event["id"], flush=True)
        after = page["nextCursor"]
        place.write_text(after)
        if arguments.once and not page["events"]:
            return 0


def listen(arguments):
    from standardwebhooks import Webhook, WebhookVerificationError

    webhook = Webhook(os.environ["NOTIFICATION_SIGNING_SECRET"])
    seen = set()  # yours is a table, with the event's id as its key
    newest = {}  # and the highest sequence that was applied, by connection

    def verified(body, headers):
        """The event, if we can know that the service sent it; else the status of a refusal."""
        try:
            event = webhook.verify(body, dict(headers))
        except WebhookVerificationError:
            return None, 401
        except Exception:  # what the library makes of a header or a body that is malformed: each is somebody's bad request
            return None, 400
        if not isinstance(event, dict) or not all(isinstance(event.get(name), str) for name in ("id", "type")):
            return None, 400
        kinds = {"sequence": int, "connectionId": str}
        if not all(isinstance(event.get(name), (kind, type(None))) for name, kind in kinds.items()):
            return None, 400
        return event, 204

    class Receiver(http.server.BaseHTTPRequestHandler):
        timeout = 15  # for each read: nobody keeps a thread

        def do_POST(self):
            body, status = self.read_body()
            if body is not None:
                event, status = verified(body, self.headers)
                if event is not None:
                    self.take(event)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.send_header("connection", "close")
            self.end_headers()

        def read_body(self):
            """The body, or the status of a refusal. It reads what is sent: an answer before that may be lost."""
            lengths = self.headers.get_all("content-length") or []
            if self.headers.get("transfer-encoding") or len(lengths) != 1:
                self.read_up_to(DRAINED)
                return None, 411
            if not (lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 10):
                self.read_up_to(DRAINED)
                return None, 400
            length = int(lengths[0])
            if length > LARGEST:
                self.read_up_to(min(length, DRAINED), 5)
                return None, 413
            body = self.read_up_to(length, 5)
            return (body, 204) if len(body) == length else (None, 400)

        def read_up_to(self, length, seconds=2):
            """Less, where nothing comes for so many seconds."""
            self.connection.settimeout(seconds)
            pieces = []
            try:
                while length > 0 and (piece := self.rfile.read1(min(length, 1 << 16))):
                    length -= len(piece)
                    pieces.append(piece)
            except OSError:
                pass
            return b"".join(pieces)

        def take(self, event):
            # A repeat has the same id. Within a connection they come in the order of `sequence`, but for what was
            # asked to be sent again: that may be older than what is known. A test has no sequence.
            connection, sequence = event.get("connectionId"), event.get("sequence")
            is_old = sequence is not None and sequence <= newest.get(connection, 0)
            if event["id"] not in seen and not is_old:
                print(event["type"], connection, sequence, flush=True)
                seen.add(event["id"])
                newest[connection] = sequence or 0

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128  # five, and a burst of notifications is dropped before anybody reads it

    server = Server(("127.0.0.1", arguments.port), Receiver)
    if arguments.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.certificate, arguments.key)
        tls.load_verify_locations(os.environ["CA_CERT"])
        tls.verify_mode = ssl.CERT_REQUIRED  # only the service has a certificate that this accepts
        # The handshake is the thread's of its connection: whoever makes none keeps nobody waiting.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print("listening on port", server.server_port, flush=True)
    server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("connect")
    one.add_argument("--sub", default="user-1")
    one.add_argument("--provider", default="github")
    one.add_argument("--scope", action="append", default=[])
    one = commands.add_parser("pull")
    one.add_argument("--place", default="connections.cursor")
    one.add_argument("--once", action="store_true", help="end when there is no more")
    one = commands.add_parser("listen")
    one.add_argument("--port", type=int, default=0)
    one.add_argument("--certificate")
    one.add_argument("--key")
    arguments = parser.parse_args()
    needed = ("EDGE_URL", "TENANT", "CA_CERT", "CLIENT_CERT", "CLIENT_KEY")
    if arguments.command == "listen":
        needed = ("NOTIFICATION_SIGNING_SECRET", *(["CA_CERT"] if arguments.certificate else []))
    missing = [name for name in needed if name not in os.environ]
    if missing:
        sys.exit(f"set {', '.join(missing)}: `set -a; . target/sandbox/sandbox.env`")
    if arguments.command == "listen":
        return listen(arguments)
    connections = Connections(*(os.environ[name] for name in needed))
    try:
        return {"connect": connect, "pull": pull}[arguments.command](connections, arguments)
    except Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    sys.exit(main())
