"""The stages, one module each; they meet in artifacts and never import each other."""
