"""Helpers of the tests of lists."""

from backend.lists.entries import MAX_NOTE

API = "/api/v1/lists"
GONE = "tiny/9-relu-1024/7"
HOSTILE_NOTES = [
    '=HYPERLINK("x")', "'=1", "''@x", "'tis", "+1", "-1", "@a", "\tcell", "\nline", "＝1", "</textarea>",
    "<script>alert(1)</script>", 'a,b;"c"\nd', "\u202egnp.exe", "😀 שלום", "\x1b[31m", "x" * MAX_NOTE, " ", "",
    "{{7*7}}", "null",
]  # fmt: skip
