"""Signs webhooks, so that they come past the edge, and bounds what a call may cost."""

import hashlib
import hmac
import os
from urllib.parse import urlsplit, urlunsplit

import schemathesis
from requests.auth import AuthBase


class Signature(AuthBase):
    def __call__(self, request):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        if isinstance(body, bytes):
            key = os.environ["WEBHOOK_KEY"].encode()
            request.headers["x-nango-hmac-sha256"] = hmac.new(key, body, hashlib.sha256).hexdigest()
        return request


@schemathesis.hook
def before_call(context, case, kwargs):
    """Nobody has time for a minute, and nothing of a test leaves this machine. What is bad stays bad."""
    query = case.query or {}
    wait = str(query.get("wait", ""))
    if wait.isdecimal() and wait == str(int(wait)) and 1 <= int(wait) <= 60:
        query["wait"] = 1
    body = case.body
    if case.path.endswith("/destination") and isinstance(body, dict):
        url = body.get("url")
        if isinstance(url, str) and url.startswith(("https://", "http://")) and len(url) <= 2048:
            body["url"] = os.environ["RECEIVER"]


schemathesis.auth.set_from_requests(Signature()).apply_to(path="/webhooks/nango")
