#!/usr/bin/env bash
# Installs the Debian packages that the tests with real peers need; without root it names what will be skipped.
set -euo pipefail

# program:package
needed=(ssh:openssh-client ssh-keygen:openssh-client openssl:openssl mbpoll:mbpoll strace:strace
  setpriv:util-linux unshare:util-linux prlimit:util-linux faketime:faketime sshd:openssh-server useradd:passwd
  gnutls-cli:gnutls-bin stunnel4:stunnel4 haproxy:haproxy sslscan:sslscan ip:iproute2 ss:iproute2 nft:nftables node:nodejs npm:npm)

missing=()
for pair in "${needed[@]}"; do
  program=${pair%%:*}
  PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing+=("${pair##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if [ "$(id -u)" -ne 0 ]; then
  echo "tests: without root these Debian packages are not installed, and tests that need them are skipped: ${missing[*]}" >&2
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "tests: install these by hand, or the tests that need them are skipped: ${missing[*]}" >&2
  exit 0
fi
echo "tests: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
