"""Models and corpora, from packages, the Hub or local folders."""
