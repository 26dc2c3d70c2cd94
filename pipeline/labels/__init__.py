"""First labels of features, from statistics."""
