"""What an installation states: the text on an index page, and addresses."""

from __future__ import annotations

import re
import tomllib
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def headers(built_metadata):
    return HeaderParser().parsestr((built_metadata / "METADATA").read_text(encoding="utf-8"))


def test_the_addresses_of_the_project_lead_into_the_repository(headers):
    urls = dict(line.split(", ") for line in headers.get_all("Project-URL"))
    assert set(urls) == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert urls["Homepage"] == "https://github.com/atlas-store/atlas"
    for name, url in urls.items():
        assert url.startswith(urls["Homepage"])
        path = url.partition("/blob/main/")[2]
        assert not path or (ROOT / path).is_file(), name


def test_every_link_of_the_long_description_is_absolute_and_names_a_file(headers):
    text = headers.get_payload()
    assert headers["Description-Content-Type"] == "text/markdown"
    targets = re.findall(r"\]\(\s*([^)\s]+)", text) + re.findall(r"(?:href|src)=[\"']([^\"']+)", text)
    targets += re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, flags=re.MULTILINE)
    links = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    ours = [target for target in targets if target.startswith(PROJECT["urls"]["Homepage"])]
    assert len(links) <= len(ours)
    for target in targets:
        assert re.match(r"https?://", target), f"{target}: written so that the build leaves it relative"
    for target in ours:
        path = re.match(r".*?/(?:blob|raw)/main/([^#?]+)", target)
        assert path, target
        assert (ROOT / path[1]).exists(), target


def test_the_long_description_differs_from_the_readme_in_links_alone(headers):
    homepage = PROJECT["urls"]["Homepage"]
    relative = re.sub(rf"\]\({homepage}/(?:blob|raw)/main/", "](", headers.get_payload())
    assert relative.strip() == README.strip()
