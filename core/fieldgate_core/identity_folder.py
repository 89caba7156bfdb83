"""Name the files of an identity folder: what `certs` writes is what server and client look for."""

from __future__ import annotations

TLS_KEY = "tls-key.pem"
TLS_CHAIN = "tls-chain.pem"
TLS_CLIENT_CA = "tls-client-ca.pem"
TLS_SERVER_CA = "tls-server-ca.pem"
TLS_CRL = "tls-crl.pem"
SSH_HOST_KEY = "ssh-host-key"
SSH_HOST_CERTIFICATE = "ssh-host-key-cert.pub"
SSH_USER_CA = "ssh-user-ca.pub"
SSH_KEY = "ssh-key"
SSH_CERTIFICATE = "ssh-key-cert.pub"
KNOWN_HOSTS = "known_hosts"
