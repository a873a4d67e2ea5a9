"""The chart library and the pages' security policy."""

import gzip
import re

from shop_pages.assets import PLOTLY, asset, style_ids


def test_plotly_adds_no_style_but_an_empty_one_and_those_that_the_pages_prevent() -> None:
    script = gzip.decompress(asset(PLOTLY).compressed).decode()
    made = [
        script[found.start() - 300 : found.end() + 300] for found in re.finditer(r'createElement\("style"\)', script)
    ]
    assert made
    for text in made:
        is_empty = 'createTextNode("")' in text
        is_prevented = any(f'if(!document.getElementById("{style}"))' in text for style in style_ids())
        assert is_empty or is_prevented, text
    assert "createElementNS" not in "".join(re.findall(r'.{40}"style"\)', script))
