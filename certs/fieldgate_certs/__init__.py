"""Certificates for both doors: X.509 for TLS and OpenSSH for SSH, and the folder that holds them."""
