# A shell for trying out what the pages say, in the folder of this repository, while a sandbox runs:
#
#   cargo sandbox up --detach
#   . docs/shell.sh

# Beside docker compose: SANDBOX_ENV=sandbox/compose/sandbox.env . docs/shell.sh

# A checkout that was copied has the file of the other one, whose sandbox is not this folder's to control.
if [ -z "${SANDBOX_ENV:-}" ]; then
    if ! [ -e target/sandbox/sandbox.env ]; then
        echo "there is no target/sandbox/sandbox.env here: in the folder of the repository, run: cargo sandbox up --detach" >&2
        return 1
    fi
    of=$(sed -n "s/^SANDBOX_ROOT='\(.*\)'\$/\1/p" target/sandbox/sandbox.env) || return
    if [ -n "$of" ] && ! [ "$of" -ef . ]; then
        echo "the sandbox that target/sandbox/sandbox.env names runs in $of, and this folder is a copy of it; start one here" >&2
        return 1
    fi
fi
. "${SANDBOX_ENV:-target/sandbox/sandbox.env}"
PATH=${POSTGRES_PROGRAMS:+$POSTGRES_PROGRAMS:}$PATH

# PostgreSQL's programs take the password from PGPASSWORD, so that no command line shows it.
PG_URL=$(echo "${DATABASE_URL:-}" | sed 's|^\([a-z]*://[^:/@]*\):[^@/]*@|\1@|')
PGPASSWORD=$(echo "${DATABASE_URL:-}" | sed -n 's|^[a-z]*://[^:/@]*:\([^@/]*\)@.*|\1|p' | sed 's/%/\\x/g')
if [ -n "$PGPASSWORD" ]; then PGPASSWORD=$(printf '%b' "$PGPASSWORD"); export PGPASSWORD; else unset PGPASSWORD; fi

# A call as the client application does it. Where there is no answer, curl says why.
api() { curl -sS --cacert "$CA_CERT" --cert "$CLIENT_CERT" --key "$CLIENT_KEY" -H 'content-type: application/json' "$@"; }

# A call with a key of Nango's, which no command line shows: as KEY …
as() {
    key=$1; shift
    printf 'authorization: Bearer %s\n' "$key" | curl -sS -H @- "$@"
}

# A text out of an answer: `api … | field connectionId`. The first, if there are several.
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

# A call to the public listener. Behind a tunnel it shows the tunnel's certificate, which the system knows.
public() { curl -sS ${PUBLIC_CA_CERT:+--cacert "$PUBLIC_CA_CERT"} "$@"; }

# What a user does in a browser: opens a link, and presses Allow at the (stand-in) provider.
allow() { public -L -d decision=allow "$1"; }

# Starts a connection, lets its user allow it, and shows it when it is active, or fails after a minute: connect [PROVIDER]
connect() {
    started=$(api "$EDGE_URL/tenants/$TENANT/connections" -d "{\"sub\":\"user-1\",\"provider\":\"${1:-github}\"}") || return
    id=$(echo "$started" | field connectionId)
    allow "$(echo "$started" | field authorizationUrl)" > /dev/null || return
    for _ in 1 2 3 4 5 6; do
        shown=$(api "$EDGE_URL/tenants/$TENANT/connections/$id?wait=10&version=1")
        if [ "$(echo "$shown" | field status)" = active ]; then echo "$shown"; return; fi
        sleep 1
    done
    echo "$shown"; return 1
}

# Control's own program, with the settings that the sandbox's control has.
control() { (set -a; . target/sandbox/control.env; set +a; cargo run -q -p control -- "$@"); }

# Puts standard input where a file is, in one piece, so that who watches it never sees half of it; for the same readers as before.
replace() { cp -p "$1" "$1.new" && cat > "$1.new" && mv "$1.new" "$1"; }

# Waits until the application took a notification about the connection that was started last.
told() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        sent=$(api "$EDGE_URL/tenants/$TENANT/connections/$id/deliveries") || return
        if echo "$sent" | grep -q '"status":"delivered"'; then echo "$sent"; return; fi
        sleep 1
    done
    echo "$sent"; return 1
}

# A webhook that tells nothing, signed with a key as Nango signs: webhook KEY. It prints the status of the answer; without an
# answer it fails, and curl says why. The key is in no command line.
webhook() {
    signature=$(KEY=$1 python3 -c 'import hmac, os; print(hmac.new(os.environ["KEY"].encode(), b"{}", "sha256").hexdigest())') || return
    public "$PUBLIC_URL/webhooks/nango" -H 'content-type: application/json' -H "x-nango-hmac-sha256: $signature" -d '{}' \
        -w '%{http_code}\n'
}

# An authority: authority NAME. What it signs: issue NAME AUTHORITY NAMES. Both as $PKI_FOLDER/NAME.crt and .key.
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=$1" \
        -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$PKI_FOLDER/$1.key" -out "$PKI_FOLDER/$1.crt" 2> /dev/null
}
issue() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$PKI_FOLDER/$1.key" -out "$PKI_FOLDER/$1.csr" 2> /dev/null &&
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3" > "$PKI_FOLDER/$1.ext" &&
    openssl x509 -req -in "$PKI_FOLDER/$1.csr" -days 1 -CA "$PKI_FOLDER/$2.crt" -CAkey "$PKI_FOLDER/$2.key" \
        -CAcreateserial -extfile "$PKI_FOLDER/$1.ext" -out "$PKI_FOLDER/$1.crt" 2> /dev/null
}

# Whose certificate a server shows: shown https://127.0.0.1:8443
shown() { (openssl s_client -connect "${1#https://}" < /dev/null 2> /dev/null || true) | openssl x509 -noout -subject; }
