"""Say which names an issuing CA may vouch for (RFC 5280, section 4.2.1.10), and close every other kind; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509

from fieldgate_certs.subjects import Host, Network, Server, Subject, dns_host, network
from fieldgate_core.errors import PkiError

NOWHERE = "closed.invalid"
"""A name that cannot exist (RFC 2606): where it alone is permitted, every name of its kind is refused.

OpenSSL takes no empty constraint for "every URI" or "every mailbox", so an exclusion would close nothing there.
"""


@dataclass(frozen=True, slots=True)
class Constraints:
    """The domains, each with all below it, and the networks that an issuing CA may vouch for; at least one."""

    dns: tuple[str, ...]
    networks: tuple[Network, ...]

    @classmethod
    def parse(cls, dns: Iterable[str], networks: Iterable[str]) -> Constraints:
        """Build from the words of a command line. Raises PkiError."""
        domains = tuple(dict.fromkeys(str(dns_host(text)) for text in dns))
        found = cls(domains, tuple(dict.fromkeys(network(text, "--permit-ip") for text in networks)))
        if not found.dns and not found.networks:
            hint = "say what it may vouch for: --permit-dns plant-a.example --permit-ip 10.1.0.0/16"
            raise PkiError("issuing CA", "it has no names to vouch for", hint=hint)
        return found

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Constraints | None:
        """Read those of a CA's certificate; None if it has none."""
        try:
            found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            return None
        permitted = found.permitted_subtrees or ()
        dns = [name.value for name in permitted if isinstance(name, x509.DNSName) and name.value != NOWHERE]
        networks = [name.value for name in permitted if isinstance(name, x509.IPAddress)]
        return cls(
            tuple(dns),
            tuple(value for value in networks if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network)),
        )

    def extension(self) -> x509.NameConstraints:
        """Give the extension: what is named is permitted; IPv4, IPv6, DNS, URI and mail are closed where it is not."""
        permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in self.dns or (NOWHERE,)]
        permitted += [x509.IPAddress(one) for one in self.networks]
        permitted += [x509.UniformResourceIdentifier(NOWHERE), x509.RFC822Name(NOWHERE)]
        versions = {one.version for one in self.networks}
        closed = [text for version, text in ((4, "0.0.0.0/0"), (6, "::/0")) if version not in versions]
        return x509.NameConstraints(permitted, [x509.IPAddress(ipaddress.ip_network(text)) for text in closed] or None)

    def check(self, subject: Subject) -> None:
        """Raise PkiError for the first name of a subject that this CA may not vouch for."""
        hosts = subject.hosts if isinstance(subject, Server) else ()
        for host in hosts:
            if not self._permits(host):
                raise PkiError(
                    f"{subject.name}: {host}", "this issuing CA may not vouch for it", hint=f"it may: {self}"
                )
        # OpenSSL judges a common name with a dot as a DNS name where the certificate names no other
        named = any(isinstance(host, str) for host in hosts)
        if "." in subject.name and not named and not self._permits(subject.name.lower()):
            problem = "verifiers take a name with a dot for a host, and this issuing CA may not vouch for it"
            raise PkiError(subject.name, problem, hint="choose a name without dots")

    def _permits(self, host: Host) -> bool:
        if isinstance(host, str):
            return any(host == name or host.endswith(f".{name}") for name in self.dns)
        return any(host in one for one in self.networks)

    def __str__(self) -> str:
        return ", ".join([*self.dns, *map(str, self.networks)])
