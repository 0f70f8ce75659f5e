#!/usr/bin/env bash
# Rookery beside what one would pick instead, in one run and on one machine:
#   bench/peers/run.sh                       installs what is missing, runs all
#   PEERS="nats ejabberd" SCENARIOS="pairs" DURING=5s bench/peers/run.sh
# The servers run in turn, on loopback, with their data in a temporary folder;
# what is installed besides nats-server comes from Debian and needs root once.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"

NATS_VERSION="${NATS_VERSION:-v2.15.2}"
PEERS="${PEERS:-nats jetstream jetstream-sync mosquitto ejabberd}"
SCENARIOS="${SCENARIOS:-pairs offline offline-kill idle storm}"
RUNS="${RUNS:-1}"
USERS="${USERS:-2000}" WARM="${WARM:-3s}" DURING="${DURING:-20s}" # pairs
RECIPIENTS="${RECIPIENTS:-2000}" MESSAGES="${MESSAGES:-100}"     # offline
KILL_RECIPIENTS="${KILL_RECIPIENTS:-200}"                        # offline-kill
KILL_AFTER="${KILL_AFTER:-0s}"                                   # peers only
SESSIONS="${SESSIONS:-9500}" REST="${REST:-12s}"                 # idle, storm
DATA="${DATA:-}"                                                 # a folder on the disk to be measured
OUT="${OUT:-$root/bin/peers}"

tools="$root/bin/tools"
nats="$tools/nats-server-$NATS_VERSION"

has() { [[ " $PEERS " == *" $1 "* ]]; }

# installed makes a Debian package be there. The services that come with it are
# not started: the run starts its own.
installed() {
  local missing=() guard=""
  for p in "$@"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  echo "installing ${missing[*]}" >&2
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    guard=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$guard" >/dev/null
    "${as_root[@]}" chmod +x "$guard"
  fi
  local status=0
  { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } || status=$?
  [ -z "$guard" ] || "${as_root[@]}" rm -f "$guard"
  return "$status"
}

if has nats || has jetstream || has jetstream-sync; then
  if [ ! -x "$nats" ]; then
    mkdir -p "$tools/nats.part"
    GOBIN="$tools/nats.part" go install "github.com/nats-io/nats-server/v2@$NATS_VERSION"
    mv "$tools/nats.part/nats-server" "$nats"
    rmdir "$tools/nats.part"
  fi
fi
if has mosquitto; then installed mosquitto; fi
if has ejabberd; then installed ejabberd; fi

make -s -C "$root" build
(cd "$here" && go build -trimpath -o "$root/bin/peers-bench" .)
rookery="$root/bin/rookery" bench="$root/bin/peers-bench"

mkdir -p "$OUT"
ulimit -n "$(ulimit -Hn)"
data="$(mktemp -d ${DATA:+-p "$DATA"})"
trap 'rm -rf "$data"' EXIT

# ours and theirs take the same parameters.
ours() { # scenario, file
  local flags=(--self --dir "$data" --runs "$RUNS" --json "$2")
  case "$1" in
  pairs) flags=(pairs "${flags[@]}" --users "$USERS" --warm "$WARM" --during "$DURING") ;;
  offline) flags=(offline "${flags[@]}" --users "$RECIPIENTS" --messages "$MESSAGES") ;;
  offline-kill) flags=(offline "${flags[@]}" --users "$KILL_RECIPIENTS" --messages "$MESSAGES" --kill) ;;
  idle) flags=(idle "${flags[@]}" --sessions "$SESSIONS" --rest "$REST") ;;
  storm) flags=(storm "${flags[@]}" --sessions "$SESSIONS") ;;
  esac
  "$rookery" bench "${flags[@]}"
}

theirs() { # peer, scenario, file
  local flags=(--peer "$1" --scenario "${2%-kill}" --nats "$nats" --dir "$data" --runs "$RUNS" --json "$3"
    --users "$USERS" --warm "$WARM" --during "$DURING" --messages "$MESSAGES" --sessions "$SESSIONS" --rest "$REST")
  case "$2" in
  offline-kill) flags+=(--recipients "$KILL_RECIPIENTS" --kill --kill-after "$KILL_AFTER") ;;
  *) flags+=(--recipients "$RECIPIENTS") ;;
  esac
  "$bench" run "${flags[@]}"
}

results=()
failed=()
for scenario in $SCENARIOS; do
  columns=()
  for who in rookery $PEERS; do
    file="$OUT/$scenario.$who.json"
    rm -f "$file"
    if [ "$who" = nats ] && [[ "$scenario" == offline* ]]; then
      continue # it stores nothing
    fi
    echo "== $scenario: $who" >&2
    # A run that has lost messages has a result, too, and that is to be shown.
    if [ "$who" = rookery ]; then
      ours "$scenario" "$file" >"$OUT/$scenario.$who.txt" || failed+=("$scenario: $who")
    else
      theirs "$who" "$scenario" "$file" >"$OUT/$scenario.$who.txt" || failed+=("$scenario: $who")
    fi
    if [ -s "$file" ]; then columns+=("$who=$file"); fi
  done
  results+=("${columns[@]/#/$scenario:}")
done

"$bench" table --html "$OUT/report.html" "${results[@]}" | tee "$OUT/report.txt"
echo "in $OUT: report.html, and each result" >&2
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed, or not to be believed: %s\n' "${failed[@]}" >&2
fi
