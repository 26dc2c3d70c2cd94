"""A fake run whose texts are in Persian, Thai, Chinese and more, with characters that do not show."""

import pytest

from data.layout import StorePaths
from tests.support import fake_model, fake_run
from tests.support.fakes import publish_fake_run

PERSIAN = "من کتاب می\u200cخواهم"
WORDS = [
    " کتاب", " می", "\u200c", "خواهم", " را", " من", "ประเทศ", "ไทย", "北京", "大学", "\u3000", "\u00a0", "👩",
    "\u200d", "🚀", " C++", " C#", " x86-64", "++", " New", " York", "e", "\u0301", "日本",
]  # fmt: skip


def publish_scripts_run(store: StorePaths) -> None:
    """Publish the fake run with these words in place of English ones, and nothing hostile among them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (fake_model, fake_run):
            patch.setattr(module, "WORDS", WORDS)
            patch.setattr(module, "HOSTILE", [" و"])
        publish_fake_run(store)
