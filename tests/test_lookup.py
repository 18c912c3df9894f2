import sys

import pytest

from common import lookup
from common.errors import Unknown


def test_the_files_of_a_package_are_its_plug_ins():
    assert lookup.names("signatures") == ("shared_secret", "standard_webhooks", "zoho")


def test_a_plug_in_is_found_by_the_name_of_its_file():
    assert lookup.find("signatures", "zoho").__name__ == "common.signatures.zoho"


@pytest.mark.parametrize("name", ["", "__init__", "os", "../zoho", "zoho.py", "Zoho", "zoho\n", "a" * 100, "zoho;x", "é"])
def test_nothing_but_a_plug_in_can_be_found(name):
    before = set(sys.modules)
    with pytest.raises(Unknown, match="there are: shared_secret"):
        lookup.find("signatures", name)
    assert set(sys.modules) == before
