"""Signs webhooks, so that they come past the edge."""

import hashlib
import hmac
import os

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


schemathesis.auth.set_from_requests(Signature()).apply_to(path="/webhooks/nango")
