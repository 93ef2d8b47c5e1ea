from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Rejected
from bal.harmonise import MeterNames
from bal.harmonise.names import check_names

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


def test_the_mrid_comes_first() -> None:
    found = MeterNames("a/b", (("Auth ority", "T", "N"), ("", "", "M"))).identities()
    assert found == ("mrid:a%2Fb", "name:Auth%20ority/T/N", "name:///M".replace("///", "//"))


def test_no_names_no_identity() -> None:
    assert MeterNames(None, ()).identities() == ()


@given(names, names, names)
def test_an_identity_tells_its_parts_again(authority: str, kind: str, name: str) -> None:
    [identity] = MeterNames(None, ((authority, kind, name),)).identities()
    assert identity.isascii()
    assert tuple(map(unquote, identity.removeprefix("name:").split("/"))) == (authority, kind, name)


@pytest.mark.parametrize(
    "bad", ["", "a\x00", "\ud800", "\x7f", "\x9f", "\uffff", "a\nb", "x" * 257]
)
def test_what_is_no_name(bad: str) -> None:
    for arguments in ((bad, ()), (None, (("", "", bad),))):
        with pytest.raises(Rejected, match="name-invalid") as error:
            check_names(*arguments)
        assert bad not in str(error.value) or not bad
    if bad:
        with pytest.raises(Rejected, match="name-invalid"):
            check_names(None, (("", bad, "n"),))


def test_names_are_checked_together() -> None:
    assert check_names("m", (("a", "t", "Zähler 7"),)) == MeterNames("m", (("a", "t", "Zähler 7"),))
    with pytest.raises(Rejected):
        check_names(None, (("", "", "n"),) * 17)
