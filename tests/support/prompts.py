"""The text that tests of the prompt page have read, and by which SAEs."""

TEXT = "the river of <script>alert(1)</script> University\ncafé 😀"
NAMES = ["1-relu-64", "1-relu-256", "1-batchtopk-64"]
