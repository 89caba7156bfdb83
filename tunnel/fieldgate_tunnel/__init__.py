"""Bytes across a hostile network: TLS and SSH streams, their listeners, and who is at the other end."""
