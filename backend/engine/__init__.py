"""The language model behind the live pages; the only room that imports torch."""
