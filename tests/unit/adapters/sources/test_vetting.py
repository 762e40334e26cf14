"""Which addresses may be connected to."""

from collections.abc import Sequence

import pytest

from veneer_adapters.errors import SourceNotAllowed
from veneer_adapters.sources.fetching import TryAgain
from veneer_adapters.sources.vetting import Resolve, Vetting, is_public

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700::1111",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "3ffe::1",
    "3fff:1000::1",
]
NOT_PUBLIC = [
    "127.0.0.1",
    "0.0.0.0",  # noqa: S104 - refused, not bound
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.0.9",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2001:1::3",
    "2001:4:112::1",
    "2002:c058:6301::1",
    "3fff::1",
    "3fff:fff::1",
    "64:ff9b::c058:6301",
    "fc00::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",
    "0x7f.1",
    "127.1",
    "2130706433",
    "localhost",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_any_other_address_is_not_also_when_it_is_wrapped(address: str) -> None:
    assert not is_public(address)


def answering(*addresses: str) -> Resolve:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


async def test_one_private_address_among_public_ones_refuses_them_all() -> None:
    vetting = Vetting(resolve=answering("8.8.8.8", "127.0.0.1"))
    with pytest.raises(SourceNotAllowed, match="not public"):
        await vetting.addresses("a.example", 443)


async def test_only_the_host_that_is_listed_may_be_private() -> None:
    vetting = Vetting(private_hosts=["A.example"], resolve=answering("10.0.0.1"))
    assert await vetting.addresses("a.example", 443) == ("10.0.0.1",)
    with pytest.raises(SourceNotAllowed):
        await vetting.addresses("b.example", 443)


async def test_a_host_without_an_address_may_have_one_later() -> None:
    with pytest.raises(TryAgain, match="cannot be found"):
        await Vetting(resolve=answering()).addresses("a.example", 443)


async def test_a_host_the_system_cannot_look_up_may_be_known_later() -> None:
    # Too long for a label, so it is never sent to a name server.
    with pytest.raises(TryAgain, match="cannot be found"):
        await Vetting().addresses("a" * 70 + ".example", 443)


@pytest.mark.parametrize("host", ["0x7f.1", "127.1", "2130706433", "localhost"])
async def test_this_machine_is_refused_in_any_dress(host: str) -> None:
    with pytest.raises(SourceNotAllowed):
        await Vetting().addresses(host, 443)
