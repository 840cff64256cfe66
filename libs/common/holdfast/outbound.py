"""Which addresses of the network a request on somebody's behalf may go to. Pure; resolves and connects to nothing.

What is not public is not for strangers to reach through us: this machine, a private network, a cloud's metadata. Callers check
the very address that they connect to, since a name may lead elsewhere a moment later.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")  # of which Python calls some global; one is a cloud's metadata
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_OF_AN_OPERATORS_NETWORK = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")
)


def is_public(address: Address) -> bool:
    """Also of what an IPv6 address carries within: a mapped IPv4 address, a tunnel's end."""
    if isinstance(address, IPv6Address):
        if address.sixtofour is not None or address.teredo is not None or address in _NAT64:
            return False
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.is_site_local or address.scope_id is not None:
            return False
    elif address in _PROTOCOLS:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_loopback(address: Address) -> bool:
    """This machine, in an address of its own kind (a mapped one is none)."""
    return any(address in network for network in _LOOPBACK)


def is_private(address: Address) -> bool:
    """This machine, or a network as operators have them: RFC 1918, carrier-grade NAT, unique-local, site-local.

    Link-local addresses are none: there the metadata of clouds is. Nor are multicast and reserved ones.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return is_private(address.ipv4_mapped)
    return is_loopback(address) or any(address in network for network in _OF_AN_OPERATORS_NETWORK)
