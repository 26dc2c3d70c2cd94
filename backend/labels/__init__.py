"""Labels and notes that owners of this server write."""
